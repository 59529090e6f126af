"""What the deployment tells the manager: one JSON file in its bundle, read once when the hub starts."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTINGS_FILE = Path("/opt/hubstack/hub-settings.json")
SECRETS_FOLDER = Path("/run/hubstack-secrets")


@dataclass(frozen=True)
class Quota:
    """What one user's host may use."""

    cpu: float
    """Processors."""
    memory_bytes: int
    """Memory of the server."""
    processes: int
    """Processes and threads."""
    home_bytes: int
    """Size of the home volume, which is kept; EBS sells whole GiB."""
    tmp_bytes: int
    """Size of /tmp, which lives in memory."""
    idle_seconds: int
    """A server without activity for this long is stopped; its host is kept, stopped."""
    max_age_seconds: int
    """A host this old is terminated, whatever it does; its home is kept."""

    @property
    def home_gigabytes(self) -> int:
        """Size of the home volume as EBS sells it."""
        return max(1, -(-self.home_bytes // 2**30))


@dataclass(frozen=True)
class User:
    """Somebody who may log in."""

    name: str
    admin: bool


@dataclass(frozen=True)
class Ec2HubSettings:
    """The manager's part of a stack."""

    cluster: str
    """Value of the tag that everything of this cluster carries."""
    users: tuple[User, ...]
    quota: Quota
    servers: int
    """Most servers at once, all users together."""
    login: Mapping[str, str]
    """Who says that somebody is who they claim to be; `runtime/hub/login.py` describes it."""
    egress_profile: str
    """`closed` or `open`; the workers' security group has its rules."""
    launch_template: str
    """Id of the template of users' hosts."""
    subnets: Mapping[str, str]
    """Ids of the private subnets by availability zone."""


def parse_settings(document: Mapping[str, Any], environment: Mapping[str, str]) -> Ec2HubSettings:
    """Read the stack's JSON document, and from the environment what is known only when it is made.

    `LAUNCH_TEMPLATE` is an id, `SUBNETS` a list such as `us-east-1a=subnet-1,us-east-1b=subnet-2`.

    Raises:
        KeyError, TypeError: a key is missing or unknown; the message names it.
    """
    fields = dict(document)
    quota = Quota(**fields.pop("quota"))
    servers = fields.pop("fleet")["servers"]
    users = tuple(User(**user) for user in fields.pop("users"))
    egress = fields.pop("egress")["profile"]
    subnets = dict(pair.split("=", 1) for pair in environment["SUBNETS"].split(","))
    return Ec2HubSettings(
        quota=quota,
        servers=servers,
        users=users,
        egress_profile=egress,
        launch_template=environment["LAUNCH_TEMPLATE"],
        subnets=subnets,
        **fields,
    )


def load_settings(path: Path = SETTINGS_FILE) -> Ec2HubSettings:
    """Read the settings of the bundle."""
    return parse_settings(json.loads(path.read_text()), os.environ)


def read_secret(name: str, folder: Path = SECRETS_FOLDER) -> str:
    """Read a secret that the boot script fetched."""
    return (folder / name).read_text().strip()
