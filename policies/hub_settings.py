"""The hub's settings, which carry the quotas and the egress profile of servers that the hub makes at run time."""

import base64
import binascii
import json
from collections.abc import Mapping

from policies.reader import UNKNOWN, Value, as_mapping, read

SUFFIX = "hub-settings"


def is_hub_settings(name: str) -> bool:
    """Whether a service configuration of this name holds a hub's settings."""
    return name.endswith(SUFFIX)


def hub_settings(properties: Value) -> Mapping[str, Value] | None:
    """The settings; None while they are unknown; an empty object if they cannot be read."""
    data = read(properties, "data")
    if data is UNKNOWN:
        return None
    try:
        return as_mapping(json.loads(base64.b64decode(str(data), validate=True)))
    except (binascii.Error, ValueError):
        return {}
