"""What pods are handed: an image, a token of the cluster, secrets, and volumes that others read too."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.exposure.containers import SECRET_NAME, SECRET_POINTER
from policies.findings import Finding, undecided, violation
from policies.kubernetes.pods import containers
from policies.reader import UNKNOWN, Value, items, read
from policies.registry import REGISTRY
from policies.resource_types import POD

MOVING_TAGS = ("", "latest", "stable", "main", "master", "edge", "nightly", "dev")
"""Tags that are another image tomorrow."""

DEFAULT_ACCOUNTS = (None, "", "default")
READ_ONLY = re.compile(r"read-?only", re.IGNORECASE)


def is_pinned(image: str) -> bool:
    """Whether an image is named by its digest, or by a tag that is not made to move."""
    return "@sha256:" in image or image.rsplit("/", 1)[-1].partition(":")[2] not in MOVING_TAGS


@REGISTRY.check(
    "pod-image-pinned",
    family="exposure",
    severity="high",
    types=(POD,),
    remediation="Name the image with its digest, or with the tag of one version.",
)
def pod_image_pinned(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What runs tomorrow is what runs today (NSA Kubernetes guide: build secure container images).

    An image that is unknown at preview is one that this update makes; the check decides before the update uses it.
    """
    for container in containers(pod):
        image = read(container.given, "image")
        if image not in (None, UNKNOWN) and not is_pinned(str(image)):
            yield violation(f"{container.what} runs {image!r}, which is another image tomorrow")


@REGISTRY.check(
    "pod-token",
    family="exposure",
    severity="high",
    types=(POD,),
    remediation="Set automountServiceAccountToken to false, or to true with a service account of the pod's own.",
)
def pod_token(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No pod gets a token of the cluster without asking for it by a name of its own (CIS Kubernetes 5.1.5, 5.1.6)."""
    account, mounted = read(pod, "spec", "serviceAccountName"), read(pod, "spec", "automountServiceAccountToken")
    sources = [source for volume in items(pod, "spec", "volumes") for source in items(volume, "projected", "sources")]
    projected = [read(source, "serviceAccountToken") for source in sources]
    if mounted is UNKNOWN:
        yield undecided("spec.automountServiceAccountToken")
    elif mounted is None:
        yield violation("gets a token of the cluster (automountServiceAccountToken is not set; Kubernetes mounts one)")
    elif mounted or any(found not in (None, UNKNOWN) for found in projected):
        if account is UNKNOWN:
            yield undecided("spec.serviceAccountName")
        elif account in DEFAULT_ACCOUNTS:
            yield violation("gets a token of the namespace's default service account, which all pods share")


@REGISTRY.check(
    "pod-secret-in-environment",
    family="exposure",
    severity="critical",
    types=(POD,),
    remediation="Keep it in a Secret and name that in valueFrom, or mount it.",
)
def pod_secret_in_environment(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No secret stands in a pod's text, where everybody who may read pods reads it (CIS Kubernetes 5.4.1)."""
    for container in containers(pod):
        for variable in items(container.given, "env"):
            name, value = read(variable, "name"), read(variable, "value")
            if variable is UNKNOWN or name is UNKNOWN:
                yield undecided(f"{container.what}'s env")
            elif value not in (None, "") and SECRET_NAME.search(str(name)) and not SECRET_POINTER.search(str(name)):
                yield violation(f"{container.what} has a secret in the environment variable {name}")


@REGISTRY.check(
    "pod-read-only-mount",
    family="exposure",
    severity="high",
    types=(POD,),
    remediation="Set readOnly of the mount to true.",
)
def pod_read_only_mount(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A folder that is called read-only is."""
    for container in containers(pod):
        for mount in items(container.given, "volumeMounts"):
            path, only = read(mount, "mountPath"), read(mount, "readOnly")
            if path is UNKNOWN or not READ_ONLY.search(str(path)):
                continue
            if only is UNKNOWN:
                yield undecided(f"readOnly of {container.what}'s {path}")
            elif only is not True:
                yield violation(f"{container.what} can write to {path} (readOnly is {only!r})")
