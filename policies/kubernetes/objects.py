"""Kubernetes' objects under one token each, and the pods in everything that embeds them.

An object has many ways into a stack: by the token of an older API version, as a patch, in a list, as a custom resource
of a built-in kind (`kubernetes:v1:Pod`), in the operator's settings, or in a chart's values. Each is followed to the one
token that the checks look at.
"""

from collections.abc import Iterator
from typing import Any

from policies import resource_types as types
from policies.kubernetes import operator_settings
from policies.kubernetes.hub_pods import hub_pods
from policies.kubernetes.notebooks import notebook_pod
from policies.parts import Part
from policies.reader import UNKNOWN, Partial, Value, items, partial, plain, read

PREFIX = "kubernetes:"
LIST, PATCH = "List", "Patch"
OTHER_POLICY = "NetworkPolicy"
"""How the kinds of policies end that other engines read, such as Cilium's, Calico's and AdminNetworkPolicy."""

_APPS, _BATCH, _CORE = {"apps", "extensions"}, {"batch"}, {""}
_NETWORKING, _ROLES, _ADMISSION = (
    {"networking.k8s.io", "extensions"},
    {"rbac.authorization.k8s.io"},
    {"admissionregistration.k8s.io"},
)
_KUBEFLOW, _GATEWAY = {"kubeflow.org"}, {"gateway.networking.k8s.io"}

GROUPS: dict[str, set[str]] = {
    **dict.fromkeys((types.POD, types.POD_TEMPLATE, types.REPLICATION_CONTROLLER), _CORE),
    **dict.fromkeys((types.DEPLOYMENT, types.STATEFUL_SET, types.DAEMON_SET, types.REPLICA_SET), _APPS),
    **dict.fromkeys((types.JOB, types.CRON_JOB), _BATCH),
    **dict.fromkeys((types.NAMESPACE, types.RESOURCE_QUOTA, types.LIMIT_RANGE, types.CONFIG_MAP), _CORE),
    **dict.fromkeys((types.KUBERNETES_SECRET, types.KUBERNETES_SERVICE, types.PERSISTENT_VOLUME), _CORE),
    **dict.fromkeys((types.NETWORK_POLICY, types.INGRESS), _NETWORKING),
    **dict.fromkeys((types.KUBERNETES_ROLE, types.CLUSTER_ROLE), _ROLES),
    **dict.fromkeys((types.ROLE_BINDING, types.CLUSTER_ROLE_BINDING), _ROLES),
    **dict.fromkeys((types.ADMISSION_POLICY, types.ADMISSION_BINDING), _ADMISSION),
    **dict.fromkeys((types.NOTEBOOK, types.PROFILE), _KUBEFLOW),
    types.HTTP_ROUTE: _GATEWAY,
}
"""API groups that each kind was ever in, by the token that checks look at."""

_BY_KIND = {token.rsplit(":", 1)[1]: token for token in GROUPS}

TEMPLATES: dict[str, tuple[str, ...]] = {
    types.POD_TEMPLATE: ("template",),
    types.CRON_JOB: ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        (
            types.REPLICATION_CONTROLLER,
            types.DEPLOYMENT,
            types.STATEFUL_SET,
            types.DAEMON_SET,
            types.REPLICA_SET,
            types.JOB,
        ),
        ("spec", "template"),
    ),
}
"""Where a kind has the template of its pods; unknown kinds are looked at in the usual place."""

USUAL_PLACE = ("spec", "template")


def token_of(properties: Value, otherwise: str = "") -> str:
    """The token of an object by its own account of what it is."""
    api, kind = read(properties, "apiVersion"), read(properties, "kind")
    return f"{PREFIX}{api}:{kind}" if isinstance(api, str) and isinstance(kind, str) else otherwise


def usual_token(token: str) -> str | None:
    """The token that checks look at, for any token of the same kind; None for a kind that no check knows."""
    api, _, kind = token.removeprefix(PREFIX).rpartition(":")
    group = api.rpartition("/")[0]
    found = _BY_KIND.get(kind)
    return found if found and ("" if group == "core" else group) in GROUPS[found] else None


def is_other_policy(token: str) -> bool:
    """Whether an object is a policy on packets that is no NetworkPolicy of Kubernetes' own."""
    return token.startswith(PREFIX) and token.endswith(OTHER_POLICY) and usual_token(token) is None


def carried(type_: str, properties: Value) -> Iterator[Part]:
    """What a resource of Kubernetes holds that the checks look at under another token; nothing for other resources."""
    if not type_.startswith(PREFIX):
        return
    usual = usual_token(type_)
    if usual == type_ or type_ in (types.RELEASE, types.CHART):
        yield from _contents(type_, properties)
    elif usual:
        yield Part(usual, "", properties)
    elif type_.endswith(LIST):
        for number, item in enumerate(items(properties, "items")):
            name = read(item, "metadata", "name")
            token = token_of(item, type_.removesuffix(LIST))
            yield Part(token, f"item {name if isinstance(name, str) else number}", item)
    elif type_.endswith(PATCH):
        yield Part(type_.removesuffix(PATCH), "the patch", partial(plain(properties)))
    else:
        yield from _pods(properties, USUAL_PLACE, "its pods")


def _contents(type_: str, properties: Value) -> Iterator[Part]:
    if type_ in TEMPLATES:
        yield from _pods(properties, TEMPLATES[type_], "its pods")
    elif type_ == types.NOTEBOOK:
        yield Part(types.POD, "its pod", notebook_pod(plain(read(properties, "spec", "template"))))
    elif type_ == types.PROFILE and read(properties, "spec", "resourceQuotaSpec", "hard") is not None:
        yield Part(types.RESOURCE_QUOTA, "its quota", {"spec": read(properties, "spec", "resourceQuotaSpec")})
    elif type_ == types.CONFIG_MAP:
        for part in operator_settings.parts(properties):
            yield Part(token_of(part.properties, part.type), part.name, part.properties, part.carrier)
    elif type_ in (types.RELEASE, types.CHART):
        for name, pod in hub_pods(properties):
            yield Part(types.POD, name, pod)


def _pods(properties: Value, path: tuple[str, ...], name: str) -> Iterator[Part]:
    found = properties
    for step in path:
        if isinstance(found, Partial) and step not in found:
            # A patch that does not name the template leaves it alone.
            return
        found = read(found, step)
    if found is UNKNOWN:
        yield Part(types.POD, name, UNKNOWN)
    elif read(found, "spec") is not None:
        yield Part(types.POD, name, {"metadata": read(found, "metadata"), "spec": read(found, "spec")})


def objects(type_: str, properties: Value, *, whole: tuple[str, ...] = ()) -> Iterator[tuple[str, Value]]:
    """A resource under its usual token, and everything in it, however deep; those of the types in `whole` stay shut."""
    usual = type_.startswith(PREFIX) and (usual_token(type_) == type_ or type_ in (types.RELEASE, types.CHART))
    if usual or is_other_policy(type_):
        yield type_, properties
    if usual and type_ in whole:
        return
    for part in carried(type_, properties):
        yield from objects(part.type, part.properties, whole=whole)


def pod_specs(type_: str, properties: Value) -> Iterator[dict[str, Any] | Value]:
    """Every pod that a resource is or embeds, each with `metadata` and `spec`; `UNKNOWN` for one that is not known."""
    yield from (found for token, found in objects(type_, properties) if token == types.POD)
