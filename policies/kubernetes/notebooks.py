"""Pods of Notebooks as the notebook operator makes them of what their users say."""

from typing import Any

from policies.iam_documents import as_list
from policies.reader import UNKNOWN, Value, as_mapping, partial, read

POD_DEFAULTS: dict[str, Value] = {"serviceAccountName": "default-editor", "automountServiceAccountToken": False}
USER_DEFAULTS: dict[str, Value] = {
    "runAsUser": 1000,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_DEFAULTS: dict[str, Value] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def notebook_pod(template: Value) -> Value:
    """The pod of a Notebook's template: what its user says, and what holds otherwise.

    Resources that the user does not name are the platform's, which do not stand in the Notebook.
    """
    spec = read(template, "spec")
    if spec is UNKNOWN or not isinstance(spec, dict):
        return UNKNOWN
    pod: dict[str, Any] = {**POD_DEFAULTS, **as_mapping(spec)}
    pod["securityContext"] = _filled(pod.get("securityContext"), USER_DEFAULTS)
    for kind in ("containers", "initContainers"):
        given = pod.get(kind)
        if isinstance(given, list):
            listed: list[Value] = as_list(given)
            pod[kind] = [
                _secured(container, first=kind == "containers" and not n) for n, container in enumerate(listed)
            ]
    return {"spec": pod}


def _filled(own: Value, defaults: dict[str, Value]) -> Value:
    return own if own is UNKNOWN else {**defaults, **as_mapping(own)}


def _secured(container: Value, *, first: bool) -> Value:
    if not isinstance(container, dict):
        return UNKNOWN
    filled: dict[str, Any] = {**as_mapping(container)}
    filled["securityContext"] = _filled(filled.get("securityContext"), CONTAINER_DEFAULTS)
    resources = filled.get("resources")
    if first and resources is not UNKNOWN:
        limits: dict[str, Value] = {"requests": {}, "limits": {}, **as_mapping(resources)}
        filled["resources"] = partial(limits)
    return filled
