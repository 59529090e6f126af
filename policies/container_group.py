"""A group of containers on an engine, as the checks of Docker's resources read it.

The group is one resource; its containers and networks are no resources of their own. Each is translated into the
properties that the engine's provider has for one, with what `runtime/container_group.py` grants every container.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any

from policies.parts import Part
from policies.programs import ROLE_LABEL
from policies.reader import UNKNOWN, Value, as_mapping, entries, is_number, items, read
from policies.resource_types import CONTAINER, CONTAINER_GROUP, NETWORK

FILES_FOLDER = "/run/hubstack"
"""Where a container finds its texts and secrets."""
SOCKET = "/var/run/docker.sock"
MEGABYTE = 2**20
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"

Properties = dict[str, Any]

GRANTED: Properties = {
    "capabilities": {"drops": ["ALL"]},
    "logDriver": "json-file",
    "logOpts": {"max-size": "5m", "max-file": "2"},
    "readOnly": True,
    "restart": "unless-stopped",
    "securityOpts": ["no-new-privileges"],
}
"""What every container of a group has, whatever its description says."""


def described(properties: Value) -> Value:
    """A group's properties with its description, which is one JSON text, as an object: empty where it is none.

    A description that is not known stays unknown, and an object one.
    """
    text = read(properties, "spec")
    return {**dict(entries(properties)), "spec": _decoded(text)} if isinstance(text, str) else properties


@functools.lru_cache(maxsize=64)
def _decoded(text: str) -> Properties:
    """The object in a JSON text: every check of a group reads the same one, and changes nothing in it."""
    try:
        return dict(as_mapping(json.loads(text)))
    except ValueError:
        return {}


def prefix(properties: Value) -> Value:
    """Start of the name of everything in the group; `UNKNOWN` while its names are not known."""
    names = read(properties, "spec", "stack"), read(properties, "spec", "group")
    return UNKNOWN if UNKNOWN in names else f"{names[0]}-{names[1]}"


def containers(properties: Value) -> Iterator[tuple[str, Value]]:
    """The group's containers as it describes them, by short name."""
    yield from entries(properties, "spec", "containers")


def carried(type_: str, properties: Value) -> Iterator[Part]:
    """Containers and networks of a group; nothing for other resources."""
    if type_ != CONTAINER_GROUP:
        return
    for name, _ in containers(properties):
        yield Part(CONTAINER, f"container {name}", container_properties(properties, name))
    for name, network in entries(properties, "spec", "networks"):
        yield Part(NETWORK, f"network {name}", network_properties(name, network))


def container_properties(properties: Value, name: str) -> Properties:
    """What the provider of the engine calls the parts of a container.

    Args:
        properties: the group's.
        name: the container's short name.
    """
    container = read(properties, "spec", "containers", name)
    memory, socket = _megabytes(read(container, "memory_bytes")), read(container, "engine_socket")
    health = list(items(container, "health"))
    return {
        **GRANTED,
        "name": _joined(prefix(properties), name),
        "image": _image(properties, read(container, "image")),
        "labels": [{"label": ROLE_LABEL, "value": read(container, "role")}],
        "command": list(items(container, "command")),
        "envs": list(_variables(properties, container)),
        "cpus": read(container, "cpu"),
        "memory": memory,
        "memorySwap": memory,
        "capabilities": {**GRANTED["capabilities"], "adds": list(items(container, "cap_add"))},
        "networkMode": _network_mode(properties, container),
        "networksAdvanced": [{"name": network} for network in _networks(properties, container)],
        "ports": [_port(port) for port in items(container, "ports")],
        "mounts": [*_volumes(properties, container), *([_socket(socket)] if socket else [])],
        "healthcheck": {"tests": ["CMD", *health]} if health else None,
        "user": read(container, "user"),
    }


def network_properties(name: str, network: Value) -> Properties:
    """What the provider of the engine calls the parts of a network; its short name tells its role."""
    apart = read(network, "apart")
    off = UNKNOWN if apart is UNKNOWN else "false"
    return {
        "labels": [{"label": ROLE_LABEL, "value": f"{name}-network"}],
        "driver": "bridge",
        "internal": read(network, "internal"),
        "options": {ICC: off, MASQUERADE: off} if apart else {},
        "ipamConfigs": [{"subnet": read(network, "subnet")}],
    }


def _joined(start: Value, name: Value) -> Value:
    return UNKNOWN if UNKNOWN in (start, name) else f"{start}-{name}"


def _image(properties: Value, short: Value) -> Value:
    return UNKNOWN if short is UNKNOWN else read(properties, "images", str(short))


def _variables(properties: Value, container: Value) -> Iterator[Value]:
    """Variables as `NAME=value`, without the value where that is not known."""
    if UNKNOWN in (read(container, "environment"), read(container, "image_variables")):
        yield UNKNOWN
    given = list(entries(container, "environment"))
    given += [(name, _image(properties, short)) for name, short in entries(container, "image_variables")]
    for name, value in given:
        yield f"{name}={'' if value is UNKNOWN else value}"


def _megabytes(size: Value) -> Value:
    return size / MEGABYTE if is_number(size) else size


def _networks(properties: Value, container: Value) -> list[Value]:
    """Names of the networks that a container joins."""
    if read(container, "networks") is UNKNOWN:
        return [UNKNOWN]
    return [_joined(prefix(properties), name) for name, _ in sorted(entries(container, "networks"))]


def _network_mode(properties: Value, container: Value) -> Value:
    host = read(container, "host_network")
    if host is UNKNOWN:
        return UNKNOWN
    return "host" if host else next(iter(_networks(properties, container)), None)


def _port(port: Value) -> Properties:
    return {"internal": read(port, "target"), "external": read(port, "published"), "ip": read(port, "address")}


def _volumes(properties: Value, container: Value) -> Iterator[Properties]:
    """Mounts of volumes: a name that begins with a slash would be a folder of the host."""
    if read(container, "volumes") is UNKNOWN:
        yield {"type": UNKNOWN, "source": UNKNOWN}
    for volume, path in entries(container, "volumes"):
        source = _joined(prefix(properties), volume)
        kind = UNKNOWN if source is UNKNOWN else "bind" if source.startswith("/") else "volume"
        yield {"type": kind, "source": source, "target": path}


def _socket(granted: Value) -> Properties:
    return {"type": "bind", "source": UNKNOWN if granted is UNKNOWN else SOCKET, "target": SOCKET}
