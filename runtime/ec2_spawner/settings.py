"""What the deployment tells the manager: one JSON file in its bundle, read once when the hub starts."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.hub.settings import Quota, User

SETTINGS_FILE = Path("/opt/hubstack/hub-settings.json")
SECRETS_FOLDER = Path("/run/hubstack-secrets")


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

    @property
    def home_gigabytes(self) -> int:
        """Size of a home volume: whole GiB, as EBS sells them."""
        return max(1, math.ceil(self.quota.home_bytes / 2**30))


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
