"""What checks of Kubernetes' objects are tried on: good ones, from which each case changes something."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pulumi.runtime.rpc import UNKNOWN as UNKNOWN_SENTINEL
from pulumi_policy.proxy import unknown_checking_proxy

import policies.pack  # noqa: F401  (registers the checks)
from policies.registry import FAMILY_CONFIG, REGISTRY, StackResource

UNKNOWN = UNKNOWN_SENTINEL
GONE = object()
"""Takes a key away."""

DEFAULTS = {name: schema["default"] for name, schema in FAMILY_CONFIG.items()}

Properties = dict[str, Any]

CONTAINER: Properties = {
    "name": "main",
    "image": "registry.example.org/notebook:2026-08-01",
    "resources": {"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "2Gi"}},
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
POD: Properties = {
    "metadata": {"name": "a", "namespace": "users", "labels": {"app": "a"}},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [CONTAINER],
    },
}


def changed(document: Any, path: str, value: Any) -> Any:
    """A copy with another value at a path such as `spec/containers/0/image`; `GONE` takes it away, + adds to a list.

    A slash in a key is written ~.
    """
    document = copy.deepcopy(document)
    *steps, last = [int(step) if step.isdigit() else step.replace("~", "/") for step in path.split("/")]
    place = document
    for step in steps:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    if last == "+":
        place.append(value)
    elif value is GONE:
        del place[last]
    else:
        place[last] = value
    return document


def pod(*changes: tuple[str, Any]) -> Properties:
    """The good pod with changes; paths are below `spec`."""
    result = POD
    for path, value in changes:
        result = changed(result, f"spec/{path}", value)
    return result


def pod_with(kind: str, **container: Any) -> Properties:
    """The good pod with one more container, of a kind."""
    return pod((kind, [*POD["spec"].get(kind, []), {**CONTAINER, "name": "other", **container}]))


def verdict(check: str, type_: str, properties: Any, **config: Any) -> str:
    """What a check says of a resource: passes, refused, undecided."""
    wrapped = unknown_checking_proxy(properties)
    found = [
        finding.undecided
        for each, finding in REGISTRY.findings(None, type_, "x", wrapped, {**DEFAULTS, **config})
        if each.id == check
    ]
    return "passes" if not found else "undecided" if all(found) else "refused"


def messages(check: str, type_: str, properties: Any, **config: Any) -> list[str]:
    """What a check tells."""
    found = REGISTRY.findings(None, type_, "x", unknown_checking_proxy(properties), {**DEFAULTS, **config})
    return [finding.message for each, finding in found if each.id == check]


def resource(
    type_: str, name: str, inputs: Properties, dependencies: Mapping[str, Sequence[str]] | None = None
) -> StackResource:
    """A resource among others of its stack."""
    urn = f"urn:pulumi:test::hubstack::{type_}::{name}"
    return StackResource(
        type_, name, urn, f"{name}-id", unknown_checking_proxy(inputs), dependencies=dependencies or {}
    )


def stack_verdict(check: str, resources: Sequence[StackResource], **config: Any) -> str:
    """What a stack check says: passes, refused, undecided."""
    found = [
        finding.undecided
        for each, _, finding in REGISTRY.stack_findings(resources, {**DEFAULTS, **config})
        if each.id == check
    ]
    return "passes" if not found else "undecided" if all(found) else "refused"


def stack_messages(check: str, resources: Sequence[StackResource], **config: Any) -> list[tuple[str, str]]:
    """Where a stack check tells what."""
    found = REGISTRY.stack_findings(resources, {**DEFAULTS, **config})
    return [(resource.name, finding.message) for each, resource, finding in found if each.id == check]


def settings_map(settings: Any, name: str = "notebook-operator") -> Properties:
    """The operator's ConfigMap."""
    text = settings if isinstance(settings, str) else json.dumps(settings)
    return {"metadata": {"name": name, "namespace": "platform"}, "data": {"settings.json": text}}
