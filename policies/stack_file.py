"""The stack file of a bundle, as the checks of Docker's resources read what it declares.

Hosts on AWS deploy it themselves (`docker stack deploy`), so that no resource of the stack shows its services. Each is
translated into the properties that a service of the engine's provider has, in the long and short forms of the format.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from policies.bundle import bundled_file
from policies.iam_documents import as_list
from policies.parts import Part
from policies.reader import UNKNOWN, Value, as_mapping, is_number, read
from policies.resource_types import BUNDLE, NETWORK, SERVICE

STACK_FILE = "stack.json"
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

Properties = dict[str, Any]


def stack_file(properties: Value) -> Value:
    """The stack file of a bundle: decoded JSON, `UNKNOWN` where it cannot be read, None where there is none."""
    content = read(properties, "contentBase64")
    text = bundled_file(content, STACK_FILE) if isinstance(content, str) else None
    if text is None:
        return None
    try:
        document = as_mapping(json.loads(text))
    except ValueError:
        return UNKNOWN
    return document or UNKNOWN


def carried(type_: str, properties: Value) -> Iterator[Part]:
    """Services and networks in the stack file of a bundle; nothing for other resources."""
    if type_ != BUNDLE:
        return
    document = as_mapping(stack_file(properties))
    networks = as_mapping(document.get("networks"))
    for name, service in as_mapping(document.get("services")).items():
        yield Part(SERVICE, f"service {name}", service_properties(as_mapping(service), networks), "stack file")
    for name, network in networks.items():
        # An external one is not made by the file; who joins the host's is judged with the services.
        if not as_mapping(network).get("external"):
            yield Part(NETWORK, f"network {name}", network_properties(name, as_mapping(network)), "stack file")


def service_properties(service: Mapping[str, Value], networks: Mapping[str, Value]) -> Properties:
    """What the provider of the engine calls the parts of a service."""
    deploy = as_mapping(service.get("deploy"))
    limits = as_mapping(as_mapping(deploy.get("resources")).get("limits"))
    return {
        "labels": [{"label": key, "value": value} for key, value in _pairs(deploy.get("labels"))],
        "taskSpec": {
            "containerSpec": {
                "image": service.get("image", ""),
                "commands": _words(service.get("entrypoint")),
                "args": _words(service.get("command")),
                "env": dict(_pairs(service.get("environment"))),
                "readOnly": service.get("read_only"),
                "capDrops": as_list(service.get("cap_drop")),
                "capAdds": as_list(service.get("cap_add")),
                "mounts": [_mount(volume) for volume in as_list(service.get("volumes"))],
            },
            "networksAdvanceds": [
                {"name": as_mapping(networks.get(str(name))).get("name", name)}
                for name in _names(service.get("networks"))
            ],
            "resources": {
                "limits": {"memoryBytes": _bytes(limits.get("memory")), "nanoCpus": _billionths(limits.get("cpus"))}
            },
        },
        "endpointSpec": {"ports": [{"publishedPort": _published(port)} for port in as_list(service.get("ports"))]},
        "privileged": service.get("privileged"),
        "pidMode": service.get("pid"),
        "ipcMode": service.get("ipc"),
        "usernsMode": service.get("userns_mode"),
        "networkMode": service.get("network_mode"),
        "devices": as_list(service.get("devices")),
    }


def network_properties(name: str, network: Mapping[str, Value]) -> Properties:
    """What the provider of the engine calls the parts of a network; its name in the file tells its role."""
    return {
        "labels": [{"label": "hubstack.role", "value": f"{name}-network"}],
        "internal": network.get("internal"),
        "attachable": network.get("attachable"),
    }


def _pairs(value: Value) -> Iterator[tuple[str, Value]]:
    """Keys and values of an object, or of a list of `key=value`."""
    for entry in as_list(value) if isinstance(value, list) else ():
        key, _, text = str(entry).partition("=")
        yield key, text
    yield from as_mapping(value).items()


def _names(value: Value) -> list[Value]:
    return list(as_mapping(value)) or as_list(value)


def _words(value: Value) -> list[Value]:
    try:
        return shlex.split(value) if isinstance(value, str) else as_list(value)
    except ValueError:
        return [value]


def _mount(volume: Value) -> Properties:
    """A mount in its long form, or from `source:target:mode`, where a source with a slash is a folder of the host."""
    if isinstance(volume, str):
        source = volume.partition(":")[0] if ":" in volume else ""
        return {"type": "bind" if source.startswith(("/", ".", "~")) else "volume", "source": source}
    mount = as_mapping(volume)
    return {"type": mount.get("type"), "source": mount.get("source")}


def _published(port: Value) -> Value:
    if isinstance(port, dict):
        return as_mapping(port).get("published")
    return str(port).rpartition(":")[0].rpartition(":")[2] or port


def _bytes(size: Value) -> Value:
    if is_number(size):
        return size
    found = SIZE.fullmatch(str(size).strip())
    return float(found[1]) * UNITS[found[2].lower()] if found else None


def _billionths(cpus: Value) -> Value:
    try:
        return float(cpus) * 1e9
    except (TypeError, ValueError):
        return None
