"""Names and annotations: what an object is called, and what its annotations ask of the provider."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from tests.engine.kubernetes_provider.values import UNKNOWN, Object

AUTONAMED = "pulumi.com/autonamed"
SKIP_AWAIT = "pulumi.com/skipAwait"
WAIT_FOR = "pulumi.com/waitFor"
TIMEOUT = "pulumi.com/timeoutSeconds"
PROPAGATION = "pulumi.com/deletionPropagationPolicy"
REPLACE_UNREADY = "pulumi.com/replaceUnready"
PATCH_FORCE = "pulumi.com/patchForce"

DEFAULT_TIMEOUT_SECONDS = 600.0
"""How long the official provider waits when nothing says otherwise."""

RANDOM_DIGITS = 7


def metadata(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's metadata; empty if there is none or it is not known yet."""
    found = inputs.get("metadata")
    return found if isinstance(found, Mapping) else {}


def annotation(inputs: Mapping[str, Any], name: str) -> str:
    """An annotation's value, empty if the object has none."""
    annotations = metadata(inputs).get("annotations")
    value = annotations.get(name) if isinstance(annotations, Mapping) else None
    return value if isinstance(value, str) else ""


def is_set(inputs: Mapping[str, Any], name: str) -> bool:
    """Whether an annotation is "true"."""
    return annotation(inputs, name) == "true"


def named(inputs: Object, old: Mapping[str, Any], name: str, seed: bytes, proposed: str | None = None) -> Object:
    """`inputs` with a name: its own, else the old object's if that was chosen for it, else `name` with 7 hex digits.

    Args:
        inputs: What the program asks for.
        old: The inputs of the object that is there, empty if there is none.
        name: The resource's name in the program.
        seed: Randomness that the engine repeats for the same change.
        proposed: The name by the stack's own rules, if it has any.
    """
    own = metadata(inputs)
    if own.get("name") or own.get("name") is UNKNOWN or inputs.get("metadata") is UNKNOWN:
        return inputs
    if is_set(old, AUTONAMED):
        chosen = metadata(old)["name"]
    elif old:
        return inputs
    else:
        digits = hashlib.sha256(seed).hexdigest() if seed else secrets.token_hex()
        chosen = proposed or f"{name}-{digits[:RANDOM_DIGITS]}"
    annotations = own.get("annotations")
    marked = {**(annotations if isinstance(annotations, Mapping) else {}), AUTONAMED: "true"}
    return {**inputs, "metadata": {**own, "name": chosen, "annotations": marked}}


def in_namespace(inputs: Object, namespace: str | None) -> Object:
    """`inputs` in `namespace`, or in none."""
    rest = {key: value for key, value in metadata(inputs).items() if key != "namespace"}
    return {**inputs, "metadata": {**rest, "namespace": namespace} if namespace else rest}


def timeout_seconds(inputs: Mapping[str, Any], option: float) -> float:
    """How long to wait: the resource's `customTimeouts`, else its annotation, else ten minutes."""
    told = annotation(inputs, TIMEOUT)
    if option:
        return option
    return float(told) if told.isdecimal() else DEFAULT_TIMEOUT_SECONDS


def propagation(inputs: Mapping[str, Any]) -> str:
    """How a deletion treats what depends on the object: foreground unless its annotation says otherwise."""
    policy = annotation(inputs, PROPAGATION).capitalize()
    return policy if policy in {"Orphan", "Background"} else "Foreground"


def wait_expressions(inputs: Mapping[str, Any]) -> list[str]:
    """What the annotation `pulumi.com/waitFor` names: one expression, or a JSON list of them."""
    told = annotation(inputs, WAIT_FOR)
    if not told:
        return []
    try:
        several = json.loads(told)
    except json.JSONDecodeError:
        return [told]
    return several if isinstance(several, list) else [told]


def field_manager(urn: str) -> str:
    """Who owns the fields of a resource, to the API: a name of its own for each resource."""
    return f"pulumi-kubernetes-{hashlib.sha256(urn.encode()).hexdigest()[:8]}"
