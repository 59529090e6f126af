"""What a check is tried on, for each way in which it can end."""

from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime.rpc import UNKNOWN as UNKNOWN_SENTINEL

UNKNOWN = UNKNOWN_SENTINEL
CONFIGURATION = {
    "maxCpu": 8,
    "maxMemoryBytes": 32 * 2**30,
    "maxServers": 100,
    "maxNodeMemoryBytes": 2**40,
    "maxAgeSeconds": 86400,
    "maxRecordSeconds": 60,
    "allowOpen": False,
}


@dataclass
class Rows:
    """What a check says to each kind of resource."""

    type: str
    good: list[dict[str, Any]]
    bad: list[dict[str, Any]]
    missing: dict[str, Any] | None
    """With the property left out; None where that is fine and stands among the good ones."""
    unknown: dict[str, Any] | None
    """With the property unknown; None where an unknown is allowed and stands among the good ones."""
    name: str = "x"
    config: dict[str, Any] = field(default_factory=dict)
