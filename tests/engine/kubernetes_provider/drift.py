"""What the inputs of a resource are, judged by the object that is really there."""

import base64
from collections.abc import Mapping
from typing import Any

from tests.engine.kubernetes_provider.values import Object

SERVERS_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CONTROLLERS_ANNOTATIONS = ("deployment.kubernetes.io/revision", LAST_APPLIED)


def drifted(inputs: Any, applied: Any, live: Any) -> Any:
    """`inputs` with the live value wherever applying them again would change the object.

    Args:
        inputs: What the program asked for.
        applied: The object as it would be if that were applied now (defaults filled in, quantities rewritten).
        live: The object as it is.
    """
    if applied == live:
        return inputs
    if isinstance(inputs, Mapping) and isinstance(applied, Mapping) and isinstance(live, Mapping):
        return {
            key: drifted(value, applied.get(key), live[key]) if key in live else value
            for key, value in inputs.items()
            if key in live or key not in applied
        }
    both = isinstance(inputs, list) and isinstance(applied, list) and isinstance(live, list)
    if both and len(inputs) == len(applied) == len(live):
        return [drifted(*items) for items in zip(inputs, applied, live, strict=True)]
    return live


def inputs_of(live: Object) -> Object:
    """Inputs for an object that is imported: all of it but what the server writes."""
    metadata = {key: value for key, value in live["metadata"].items() if key not in SERVERS_METADATA}
    annotations: Mapping[str, Any] = metadata.pop("annotations", {})
    kept = {key: value for key, value in annotations.items() if key not in CONTROLLERS_ANNOTATIONS}
    if kept:
        metadata["annotations"] = kept
    return {key: value for key, value in live.items() if key not in {"metadata", "status"}} | {"metadata": metadata}


def outputs_of(live: Object) -> Object:
    """Outputs for an object: all of it, but for who owns which field, and a copy that would show a Secret's data."""
    metadata = {key: value for key, value in live["metadata"].items() if key != "managedFields"}
    if LAST_APPLIED in metadata.get("annotations", {}):
        metadata["annotations"] = {key: text for key, text in metadata["annotations"].items() if key != LAST_APPLIED}
    return {**live, "metadata": metadata}


def secret_inputs(inputs: Object, found: Object) -> Object:
    """A Secret's inputs in the form in which the program wrote them, from inputs whose data is all encoded."""
    text: Mapping[str, Any] = inputs.get("stringData") or {}
    if not text:
        return found
    data = dict(found.get("data") or {})
    plain = {key: _decoded(data.pop(key)) for key in text if key in data}
    rest = {key: value for key, value in found.items() if key != "data"}
    return {**rest, **({"data": data} if data or "data" in inputs else {}), "stringData": plain}


def _decoded(data: str) -> str:
    return base64.b64decode(data).decode(errors="replace")
