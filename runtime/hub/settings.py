"""What the deployment tells the hub: one JSON file, written by the stack, read once when the hub starts."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTINGS_FILE = Path("/run/hub-settings.json")
SECRETS_FOLDER = Path("/run/secrets")


@dataclass(frozen=True)
class Quota:
    """What one user's server may use."""

    cpu: float
    """Processors."""
    memory_bytes: int
    """Memory; there is no swap beyond it."""
    processes: int
    """Processes and threads."""
    home_bytes: int
    """Size of the home, which is kept between servers."""
    tmp_bytes: int
    """Size of /tmp, which lives in memory."""
    idle_seconds: int
    """A server without activity for this long is stopped."""
    max_age_seconds: int
    """A server this old is stopped, whatever it does."""


@dataclass(frozen=True)
class User:
    """Somebody who may log in."""

    name: str
    admin: bool


@dataclass(frozen=True)
class ServerNodes:
    """Which nodes servers run on, and how networks reach them."""

    constraints: tuple[str, ...] = ()
    """Placement constraints as Swarm takes them, such as `node.role==worker`."""
    reserve_memory: bool = False
    """Whether a node must have a server's whole memory free; one that finds none waits for its start's time limit."""
    encrypted: bool = False
    """Whether what goes from node to node on users' networks is encrypted (IPsec)."""
    start_seconds: int = 120
    """How long a server may take to start."""

    @property
    def apart(self) -> bool:
        """Whether servers run on other nodes than the hub."""
        return bool(self.constraints)


@dataclass(frozen=True)
class HubSettings:
    """The hub's part of a stack."""

    stack: str
    """Prefix of everything that the hub makes, and the value of the label `hubstack.stack`."""
    image: str
    """Image of the single-user server, by id or by digest."""
    users: tuple[User, ...]
    quota: Quota
    servers: int
    """Most servers at once, all users together."""
    egress_profile: str
    """`closed`: servers reach nothing but the proxy; `open`: public addresses too."""
    open_network: str | None
    """Network that servers of an `open` profile leave by; None for `closed`."""
    user_subnets: str
    """Range that each user's network is cut from."""
    login: Mapping[str, str]
    """Who says that somebody is who they claim to be; `runtime/hub/login.py` describes it."""
    nodes: ServerNodes
    """Which nodes servers run on."""
    proxy_service: str
    """Name of the proxy's service."""
    hub_service: str
    """Name of the hub's service."""
    home_driver: str
    """Docker volume driver of the homes."""


def parse_settings(document: Mapping[str, Any], environment: Mapping[str, str]) -> HubSettings:
    """Read the stack's JSON document, and the image and driver from the environment.

    Raises:
        KeyError, TypeError: a key is missing or unknown; the message names it.
    """
    fields = {**document, "image": environment["NOTEBOOK_IMAGE"], "home_driver": environment["HOME_DRIVER"]}
    quota = Quota(**fields.pop("quota"))
    fleet = fields.pop("fleet")
    egress = fields.pop("egress")
    users = tuple(User(**user) for user in fields.pop("users"))
    nodes = dict(fields.pop("nodes"))
    constraints = tuple(nodes.pop("constraints"))
    return HubSettings(
        quota=quota,
        servers=fleet["servers"],
        egress_profile=egress["profile"],
        open_network=egress.get("network"),
        users=users,
        nodes=ServerNodes(constraints=constraints, **nodes),
        **fields,
    )


def load_settings(path: Path = SETTINGS_FILE) -> HubSettings:
    """Read the settings that the stack mounted."""
    return parse_settings(json.loads(path.read_text()), os.environ)


def read_secret(name: str, folder: Path = SECRETS_FOLDER) -> str:
    """Read a Docker secret."""
    return (folder / name).read_text().strip()
