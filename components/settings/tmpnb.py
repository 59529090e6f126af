"""The section `hubstack:tmpnb`, with its list of nodes."""

import re

from pydantic import Field

from components.settings.ec2 import Ec2Settings
from components.settings.quotas import UserQuotaSettings
from components.settings.strict import Strict


class TmpnbNodeSettings(Strict):
    """One of `hubstack:tmpnb.nodes`."""

    name: str
    engine: str | None = None
    address: str | None = None
    instanceType: str | None = None
    capacity: int | None = None
    image: str | None = None
    userQuota: UserQuotaSettings | None = None
    port: int | None = None


class TmpnbSettings(Strict):
    """`hubstack:tmpnb`: what a pool of temporary notebooks needs beside the common keys; the component checks values."""

    nodes: list[TmpnbNodeSettings] = Field(default_factory=list[TmpnbNodeSettings])
    port: int | None = None
    engine: str | None = None
    address: str | None = None
    capacity: int | None = None
    landing: str | None = None
    visitorBurst: int | None = None
    visitorsPerMinute: float | None = None
    drainSeconds: int | None = None
    startsAtOnce: int | None = None
    nodeImage: str | None = None
    redirectorImage: str | None = None
    egressProxyImage: str | None = None
    email: str | None = None


def tmpnb_key(path: str) -> str:
    """The key of the stack's configuration that an argument of `TmpnbNodePool` comes from."""
    first = re.split(r"[.\[]", path)[0]
    if first in TmpnbSettings.model_fields:
        return f"tmpnb.{path}"
    return f"ec2.{path}" if first in Ec2Settings.model_fields else path
