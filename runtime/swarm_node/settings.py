"""What a host knows of itself, from its user data, and of the stack, from the bundle that it fetches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

DEPLOYMENT_FILE = "deployment.json"
STACK_FILE = "stack.json"


class NodeRole(str, Enum):
    """What a host is in the swarm."""

    MANAGER = "manager"
    WORKER = "worker"


@dataclass(frozen=True)
class Node:
    """One host."""

    stack: str
    role: NodeRole
    founder: bool
    """Whether it makes the swarm if there is none; one manager only, or there would be two swarms."""
    invitations: Mapping[NodeRole, str]
    """Secrets that hold how to join, by role; a worker knows its own alone."""
    hub_secret: str
    """Secret that holds the hub's secrets; empty on a worker."""
    group: str
    """Auto Scaling group that the host belongs to; empty outside one."""
    lifecycle_hook: str
    """Hook of the group that waits until the host has left the swarm; empty outside one."""


@dataclass(frozen=True)
class Deployment:
    """What the stack runs."""

    images: Mapping[NodeRole, tuple[str, ...]]
    """Images by digest that a host of each role holds before it works."""
    swarm_pool: str
    """Range of Swarm's own networks."""
    home_driver: str
    """Name of the volume driver of homes."""
    home_image: str
    """Image that the driver is made from."""
    home_pool: str
    """Folder of the hosts that keeps the homes."""
    home_bytes: int
    """Size of a home; one that is smaller grows when it is mounted next."""
    hub_data: str
    """Folder of the hosts that keeps the hub's database."""
    open_subnet: str
    """Range of servers on a node's bridge to the outside; empty for a closed profile."""


def parse_node(document: Mapping[str, Any]) -> Node:
    """Read a host's own settings.

    Raises:
        KeyError, TypeError, ValueError: a key is missing, unknown or no role; the message names it.
    """
    fields = dict(document)
    role = NodeRole(fields.pop("role"))
    invitations = {NodeRole(name): secret for name, secret in fields.pop("invitations").items()}
    return Node(role=role, invitations=invitations, **fields)


def parse_deployment(document: Mapping[str, Any]) -> Deployment:
    """Read the stack's part.

    Raises:
        KeyError, TypeError, ValueError: a key is missing, unknown or no role; the message names it.
    """
    fields = dict(document)
    images = {NodeRole(name): tuple(images) for name, images in fields.pop("images").items()}
    return Deployment(images=images, **fields)


def load_node(path: Path) -> Node:
    """Read what the host's user data wrote."""
    return parse_node(json.loads(path.read_text()))


def load_deployment(folder: Path) -> Deployment:
    """Read the bundle in `folder`."""
    return parse_deployment(json.loads((folder / DEPLOYMENT_FILE).read_text()))
