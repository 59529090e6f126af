"""Property values of the engine's protocol as plain Python data, with the places of secrets beside them."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from google.protobuf import struct_pb2

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
ASSET = "c44067f5952c0a294b673a41bacd8c17"
UNKNOWNS = {
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
}
"""The protocol's stand-ins for a value that is not known yet, one for each type of value."""

Path = tuple[str | int, ...]
"""Where a value is: keys and indexes from the top."""

Object = dict[str, Any]
"""A JSON object, such as the inputs of a resource."""


class Unknown(Enum):
    """A value that the engine does not know yet, in a preview."""

    VALUE = "unknown"


UNKNOWN = Unknown.VALUE


def decode(properties: struct_pb2.Struct) -> tuple[Object, frozenset[Path]]:
    """Plain data, and the paths of what was secret in it."""
    secrets: set[Path] = set()
    return {key: _plain(value, (key,), secrets) for key, value in properties.fields.items()}, frozenset(secrets)


def encode(data: Mapping[str, Any], secrets: Iterable[Path] = ()) -> struct_pb2.Struct:
    """The protocol's form of `data`; what is at the paths `secrets` becomes secret."""
    hidden = frozenset(secrets)
    return struct_pb2.Struct(fields={key: _value(value, (key,), hidden) for key, value in data.items()})


def has_unknown(data: object) -> bool:
    """Whether a value in `data` is not known yet."""
    if isinstance(data, Mapping):
        return any(has_unknown(value) for value in data.values())
    if isinstance(data, list):
        return any(has_unknown(value) for value in data)
    return data is UNKNOWN


def known_part(data: Any) -> Any:
    """`data` without the values that are not known yet."""
    if isinstance(data, Mapping):
        return {key: known_part(value) for key, value in data.items() if value is not UNKNOWN}
    if isinstance(data, list):
        return [known_part(value) for value in data if value is not UNKNOWN]
    return data


def without_nulls(data: Any) -> Any:
    """`data` without keys whose value is null: to Kubernetes they are absent."""
    if isinstance(data, Mapping):
        return {key: without_nulls(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [without_nulls(value) for value in data]
    return data


def secrets_within(outputs: Mapping[str, Any], inputs: Iterable[Path]) -> frozenset[Path]:
    """The paths in `outputs` that must be secret because they are in the inputs; a list with a secret is one."""
    found: set[Path] = set()
    for path in inputs:
        keys = tuple(_keys_before_lists(path))
        if keys and _is_there(outputs, keys):
            found.add(keys)
    return frozenset(found)


def _keys_before_lists(path: Path) -> Iterator[str]:
    for part in path:
        if isinstance(part, int):
            return
        yield part


def _is_there(data: Any, keys: Path) -> bool:
    for key in keys:
        if not isinstance(data, Mapping) or key not in data:
            return False
        data = data[key]
    return True


def _plain(value: struct_pb2.Value, path: Path, secrets: set[Path]) -> Any:  # noqa: PLR0911 - one for each type
    match value.WhichOneof("kind"):
        case "struct_value":
            fields = value.struct_value.fields
            if SIGNATURE in fields and fields[SIGNATURE].string_value == SECRET:
                secrets.add(path)
                return _plain(fields["value"], path, secrets)
            return {key: _plain(item, (*path, key), secrets) for key, item in fields.items()}
        case "list_value":
            return [_plain(item, (*path, index), secrets) for index, item in enumerate(value.list_value.values)]
        case "string_value":
            return UNKNOWN if value.string_value in UNKNOWNS else value.string_value
        case "number_value":
            return int(value.number_value) if value.number_value.is_integer() else value.number_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _value(data: Any, path: Path, secrets: frozenset[Path]) -> struct_pb2.Value:
    plain = _plain_value(data, path, secrets)
    if path not in secrets:
        return plain
    fields = {SIGNATURE: struct_pb2.Value(string_value=SECRET), "value": plain}
    return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))


def _plain_value(data: Any, path: Path, secrets: frozenset[Path]) -> struct_pb2.Value:  # noqa: PLR0911 - as above
    match data:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case Unknown():
            return struct_pb2.Value(string_value="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
        case bool():
            return struct_pb2.Value(bool_value=data)
        case int() | float():
            return struct_pb2.Value(number_value=data)
        case str():
            return struct_pb2.Value(string_value=data)
        case Mapping():
            fields = {key: _value(item, (*path, key), secrets) for key, item in data.items()}
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
        case _:
            items = [_value(item, (*path, index), secrets) for index, item in enumerate(data)]
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
