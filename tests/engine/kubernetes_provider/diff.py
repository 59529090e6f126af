"""What differs between two sets of inputs, and which differences replace the object."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.engine.kubernetes_provider import naming
from tests.engine.kubernetes_provider.addresses import Kind
from tests.engine.kubernetes_provider.values import UNKNOWN, Object, Path, without_nulls

IDENTITY = ("metadata.name", "metadata.namespace")

POD_SPEC = tuple(
    f"spec.{field}"
    for field in [
        "affinity",
        "automountServiceAccountToken",
        "dnsConfig",
        "dnsPolicy",
        "enableServiceLinks",
        "hostAliases",
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "hostname",
        "imagePullSecrets",
        "nodeName",
        "nodeSelector",
        "overhead",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "readinessGates",
        "restartPolicy",
        "runtimeClassName",
        "schedulerName",
        "securityContext",
        "serviceAccount",
        "serviceAccountName",
        "shareProcessNamespace",
        "subdomain",
        "terminationGracePeriodSeconds",
        "volumes",
    ]
)
CONTAINER = tuple(
    f"spec.{containers}[*].{field}"
    for containers in ("containers", "initContainers")
    for field in [
        "args",
        "command",
        "env",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "ports",
        "readinessProbe",
        "resources",
        "securityContext",
        "stdin",
        "stdinOnce",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "tty",
        "volumeDevices",
        "volumeMounts",
        "workingDir",
    ]
)
VOLUME_SOURCES = tuple(
    f"spec.{source}"
    for source in [
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "csi",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "glusterfs",
        "hostPath",
        "iscsi",
        "local",
        "nfs",
        "photonPersistentDisk",
        "portworxVolume",
        "quobyte",
        "rbd",
        "scaleIO",
        "storageos",
        "vsphereVolume",
    ]
)

REPLACING: Mapping[tuple[str, str], Sequence[str]] = {
    ("apps", "DaemonSet"): ["spec.selector"],
    ("apps", "Deployment"): ["spec.selector"],
    ("apps", "StatefulSet"): [
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ],
    ("batch", "Job"): ["spec.completions", "spec.parallelism", "spec.selector", "spec.template"],
    ("", "PersistentVolume"): VOLUME_SOURCES,
    ("", "PersistentVolumeClaim"): [
        "spec.accessModes",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeName",
    ],
    ("", "Pod"): [*POD_SPEC, *CONTAINER],
    ("", "ResourceQuota"): ["spec.scopes"],
    ("", "Service"): ["spec.clusterIP"],
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ["roleRef"],
    ("rbac.authorization.k8s.io", "RoleBinding"): ["roleRef"],
    ("storage.k8s.io", "StorageClass"): ["parameters", "provisioner"],
}
"""Fields that replace an object in the official provider, release 4; names and namespaces always do."""


@dataclass(frozen=True)
class Change:
    """One difference."""

    path: Path
    kind: Literal["add", "delete", "update"]

    @property
    def text(self) -> str:
        """The path as the engine writes it: `spec.containers[0].image`, `metadata.annotations["a.b/c"]`."""
        return path_text(self.path)


def path_text(path: Path) -> str:
    """A path as the engine writes it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$]*", part):
            text += f".{part}" if text else part
        else:
            quoted = part.replace('"', '\\"')
            text += f'["{quoted}"]'
    return text


def changes(old: Any, new: Any, path: Path = ()) -> Iterator[Change]:
    """The differences from `old` to `new`, at the deepest place where they show."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield Change((*path, key), "delete")
            elif key not in old:
                yield Change((*path, key), "add")
            else:
                yield from changes(old[key], new[key], (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            yield from changes(before, after, (*path, index))
        yield from (Change((*path, index), "delete") for index in range(len(new), len(old)))
        yield from (Change((*path, index), "add") for index in range(len(old), len(new)))
    elif new is UNKNOWN or old != new or isinstance(old, bool) != isinstance(new, bool):
        yield Change(path, "update")


def comparable(kind: Kind, inputs: Object) -> Object:
    """`inputs` without what makes no difference to the API: nulls, and the two ways to write a Secret's data."""
    plain = without_nulls(inputs)
    if (kind.group, kind.name) != ("", "Secret") or not isinstance(plain.get("stringData"), Mapping):
        return plain
    return with_encoded_data(plain)


def with_encoded_data(secret: Object) -> Object:
    """A Secret with its `stringData` moved into `data`, as the API stores it.

    The API cannot tell who owns a key of `stringData`, so that one which a program drops would stay for ever.
    """
    text: Mapping[str, Any] = secret.get("stringData") or {}
    if text is UNKNOWN or secret.get("data") is UNKNOWN:
        return secret
    encoded = {
        key: UNKNOWN if value is UNKNOWN else base64.b64encode(str(value).encode()).decode()
        for key, value in text.items()
    }
    rest = {key: value for key, value in secret.items() if key != "stringData"}
    return {**rest, "data": {**(secret.get("data") or {}), **encoded}} if encoded else rest


def replacing_fields(kind: Kind, inputs: Object, *, mutable: frozenset[str] = frozenset()) -> list[str]:
    """Fields whose change replaces the object.

    Args:
        kind: What it is.
        inputs: What the program asks for: an immutable ConfigMap or Secret is replaced in any case.
        mutable: Of `ConfigMap` and `Secret` those that the provider's configuration lets change in place.
    """
    fields = [*IDENTITY, *REPLACING.get((kind.group, kind.name), ())]
    replaced = kind.name not in mutable or inputs.get("immutable") is True
    if (kind.group, kind.name) == ("", "ConfigMap") and replaced:
        fields += ["data", "binaryData"]
    if (kind.group, kind.name) == ("", "Secret"):
        fields += ["type", "data", "stringData"] if replaced else ["type"]
    return fields


def replaces(change: Change, fields: Sequence[str]) -> bool:
    """Whether a difference at, below or above one of `fields` replaces the object."""
    return any(_overlap(change.path, _parts(field)) for field in fields)


def deletes_first(inputs: Object, old_name: str, old_namespace: str | None) -> bool:
    """Whether a replacement cannot be made beside the old object: the program itself chose the name."""
    own = naming.metadata(inputs)
    same = own.get("name") == old_name and (own.get("namespace") or None) == old_namespace
    return same and not naming.is_set(inputs, naming.AUTONAMED)


def _parts(field: str) -> tuple[str, ...]:
    return tuple(part for part in field.replace("[*]", ".*").split(".") if part)


def _overlap(path: Path, field: tuple[str, ...]) -> bool:
    return all(wanted in ("*", part) for part, wanted in zip(path, field, strict=False))
