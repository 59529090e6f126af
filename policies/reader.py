"""Reading properties that may be unknown at preview, without giving up on the rest of the resource.

`pulumi_policy` hands properties over as a proxy that raises on an unknown value, and turns the error into an advisory
message: a mandatory policy that reads one lets the preview pass. Here an unknown is a value that a check can see.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard, cast

from pulumi_policy.proxy import UnknownValueError


class _Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = _Unknown()
"""A value that is not known before the update."""

Value = Any
"""JSON as the engine hands it over; `None` where a property is missing."""


def read(properties: Value, *path: str | int) -> Value:
    """The value at `path`, `None` if something on the way is missing, `UNKNOWN` if something is not known yet."""
    value = properties
    try:
        for step in path:
            if value is None or value is UNKNOWN:
                return value
            value = value[step]
    except UnknownValueError:
        return UNKNOWN
    except (KeyError, IndexError, TypeError):
        return None
    return value


def items(properties: Value, *path: str | int) -> Iterator[Value]:
    """Each element of the list at `path`, `UNKNOWN` for those that are not known; one `UNKNOWN` for an unknown list."""
    found = read(properties, *path)
    if found is UNKNOWN:
        yield UNKNOWN
        return
    try:
        length = 0 if found is None else len(found)
    except (TypeError, UnknownValueError):
        return
    for number in range(length):
        yield read(found, number)


def entries(properties: Value, *path: str | int) -> Iterator[tuple[str, Value]]:
    """Each key and value of the object at `path`; unknown values as `UNKNOWN`."""
    found = read(properties, *path)
    if found is None or found is UNKNOWN:
        return
    try:
        keys = [str(key) for key in found]
    except (TypeError, UnknownValueError):
        return
    for key in keys:
        yield key, read(found, key)


def label(properties: Value, name: str) -> Value:
    """The value of a Docker label, `None` without it, `UNKNOWN` if the labels are not known."""
    for mark in items(properties, "labels"):
        if mark is UNKNOWN:
            return UNKNOWN
        key = read(mark, "label")
        if key is UNKNOWN:
            return UNKNOWN
        if key == name:
            return read(mark, "value")
    return None


def is_number(value: Value) -> TypeGuard[float]:
    """Whether the value is a number; the engine hands integers over as floats."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_mapping(value: Value) -> Mapping[str, Value]:
    """A decoded JSON object; empty for anything else."""
    return cast("Mapping[str, Value]", value) if isinstance(value, dict) else {}


class Partial(dict[str, Value]):
    """An object of which only a part is at hand: what is missing may be there all the same, so it is not known."""

    def __missing__(self, _key: str) -> Value:
        return UNKNOWN


def partial(value: Value) -> Value:
    """The same value, with what objects in it lack taken for unknown."""
    if isinstance(value, dict):
        return Partial({str(key): partial(inner) for key, inner in as_mapping(value).items()})
    if isinstance(value, list):
        return [partial(inner) for inner in cast("list[Value]", value)]
    return value


def plain(value: Value) -> Value:
    """Copies of the objects and lists that the engine hands over, in which a value that is not known is `UNKNOWN`."""
    if isinstance(value, Partial):
        return value
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in entries(cast("Value", value))}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(inner) for inner in items(cast("Value", value))]
    return value


def holds_unknown(value: Value) -> bool:
    """Whether anything in a value that `plain` made is not known."""
    if isinstance(value, dict):
        return any(holds_unknown(inner) for inner in as_mapping(value).values())
    if isinstance(value, list):
        return any(holds_unknown(inner) for inner in cast("list[Value]", value))
    return value is UNKNOWN
