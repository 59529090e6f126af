"""How the chart `jupyterhub` writes values: joined as Helm does it, amounts in the hub's units, every switch named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from components.kubernetes.quantities import cpu_quantity, parse_quantity, size_quantity
from components.kubernetes.tenancy import Room
from components.quotas import parse_size

Values = dict[str, Any]
"""A part of the chart's values."""

RUNTIME_HUB = Path(__file__).parents[2] / "runtime" / "hub"


def egress_rules(*, dns: bool) -> dict[str, bool]:
    """The chart's switches, every one named: those left out would be on."""
    return {
        "cloudMetadataServer": False,
        "dnsPortsCloudMetadataServer": False,
        "dnsPortsKubeSystemNamespace": dns,
        "dnsPortsPrivateIPs": False,
        "nonPrivateIPs": False,
        "privateIPs": False,
    }


def resources(room: Room, *, cpu: str, memory: str) -> Values:
    """Requests and limits of a container of the system that takes all of its pod's room."""
    scratch = size_quantity(parse_size(room.get("scratch", "")))
    limits = {
        "cpu": cpu_quantity(room.get("cpu", 0)),
        "memory": size_quantity(parse_size(room.get("memory", ""))),
        "ephemeral-storage": scratch,
    }
    return {"requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": scratch}, "limits": limits}


def hub_size(quantity: str) -> str:
    """Kubernetes' amount in the hub's notation: it knows K, M, G and T, all powers of 1024, and refuses Mi and Gi."""
    return f"{int(parse_quantity(quantity)) // 2**20}M"


def hub_source(name: str) -> str:
    """A file that the hub runs, as text."""
    return (RUNTIME_HUB / name).read_text()


def major(version: str) -> int:
    """First number of a version."""
    return int(version.split(".", maxsplit=1)[0])


def merged(*parts: Mapping[str, Any]) -> Values:
    """The parts laid over each other as Helm does it: objects are joined, of anything else the last counts."""
    whole: Values = {}
    for part in parts:
        for key, value in part.items():
            below: Any = whole.get(key)
            joined = isinstance(below, dict) and isinstance(value, Mapping)
            whole[key] = merged(cast("Values", below), cast("Values", value)) if joined else value
    return whole
