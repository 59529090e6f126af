"""What a host knows of itself, from its user data, and of what it runs, from the bundle that it fetches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from runtime.container_group import GroupSpec

HOST_FILE = "/etc/hubstack/host.json"
"""Where the host's user data writes what it is."""

GROUP_FILE, FETCHED_FILE, REGISTRY_FILE = "group.json", "fetched.json", "registry.json"
"""Files of the bundle's folder: the containers, what S3 said of the bundle, and the engine's registries."""


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
    return Group(cast("GroupSpec", document["spec"]), document["images"], fetched["ETag"])
