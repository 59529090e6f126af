"""The hub's settings, which carry the quotas and the egress profile of servers that the hub makes at run time."""

import base64
import binascii
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from policies.reader import UNKNOWN, Value, as_mapping, read
from policies.registry import Finding, Judge, undecided

SUFFIX = "hub-settings"

Settings = Mapping[str, Value]
SettingsJudge = Callable[[Settings, Mapping[str, Any]], Iterator[Finding]]
"""A check's function on a hub's settings: the settings, empty if they cannot be read, and the configuration."""


def on_hub_settings(judge: SettingsJudge) -> Judge:
    """Make a check's function on a hub's settings one on service configurations; others are none of its business."""

    @functools.wraps(judge)
    def on_resource(name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
        if not name.endswith(SUFFIX):
            return
        data = read(properties, "data")
        if data is UNKNOWN:
            yield undecided("data")
        else:
            yield from judge(_decoded(str(data)), config)

    return on_resource


def _decoded(data: str) -> Settings:
    try:
        return as_mapping(json.loads(base64.b64decode(data, validate=True)))
    except (binascii.Error, ValueError):
        return {}
