"""What a host knows of itself, from its user data, and of what it runs, from the bundle that it fetches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from runtime.container_group import GroupSpec, faces

HOST_FILE = "/etc/hubstack/host.json"
"""Where the host's user data writes what it is."""

GROUP_FILE, FETCHED_FILE, REGISTRY_FILE = "group.json", "fetched.json", "registry.json"
"""Files of the bundle's folder: the containers, what S3 said of the bundle, and the engine's registries."""

REFUSED_FILE = "/var/lib/hubstack/refused"
"""Where the host remembers which bundle it lets nobody in to."""


@dataclass(frozen=True)
class Host:
    """One host."""

    bucket: str
    """Bucket that holds its bundle."""
    key: str
    secret: str
    """ARN of the secret with what its containers must know; empty where they need none."""
    region: str


@dataclass(frozen=True)
class Group:
    """What the host runs."""

    spec: GroupSpec
    images: Mapping[str, str]
    """Images by digest, by their short names."""
    etag: str
    """What S3 calls this version of the bundle."""


def load_host(path: Path) -> Host:
    """Read what the host's user data wrote.

    Raises:
        OSError, TypeError, ValueError: there is no such file, or it is none of a host.
    """
    return Host(**json.loads(path.read_text()))


def load_group(folder: Path) -> Group:
    """Read the bundle in `folder`.

    Raises:
        OSError, KeyError, ValueError: it is no bundle of a host.
    """
    document: Mapping[str, Any] = json.loads((folder / GROUP_FILE).read_text())
    fetched: Mapping[str, Any] = json.loads((folder / FETCHED_FILE).read_text())
    return Group(proved_first(cast("GroupSpec", document["spec"])), document["images"], fetched["ETag"])


def proved_first(spec: GroupSpec) -> GroupSpec:
    """The group as a host runs it: what visitors reach is started by the host's program alone.

    The engine would start it after a reboot, before anything is proved. A group that nothing is proved of stays as it is.
    """
    if "probe" not in spec:
        return spec
    front = faces(spec)
    containers = {
        name: {**container, "restarts": False} if name in front else container
        for name, container in spec["containers"].items()
    }
    return {**spec, "containers": containers}  # pyright: ignore[reportReturnType]  (it takes a changed copy for a dict)
