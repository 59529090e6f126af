"""The hub's settings, which carry the quotas and the egress profile of servers that the hub makes at run time."""

import base64
import binascii
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from policies.bundle import bundled_file
from policies.findings import Finding, Judge, undecided
from policies.pool_bundle import bundled_group
from policies.reader import UNKNOWN, Value, as_mapping, read

SUFFIX = "hub-settings"
SETTINGS_FILE = "hub-settings.json"
"""Where a bundle for a host has them."""

Settings = Mapping[str, Value]
SettingsJudge = Callable[[Settings, Mapping[str, Any]], Iterator[Finding]]
"""A check's function on a hub's settings: the settings, empty if they cannot be read, and the configuration."""


def on_hub_settings(judge: SettingsJudge) -> Judge:
    """Make a check's function on a hub's settings one on the resources that carry them.

    Those are Docker's service configurations with the suffix, and bundles in a bucket; others are none of its business, nor
    are bundles of a pool's hosts, which hold a group of containers instead.
    """

    @functools.wraps(judge)
    def on_resource(name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
        bundle = read(properties, "contentBase64")
        if bundle is UNKNOWN:
            yield undecided("contentBase64")
        elif bundle is not None:
            text = bundled_file(str(bundle), SETTINGS_FILE)
            if text is not None or bundled_group(properties) is None:
                yield from judge(_settings(text), config)
        elif name.endswith(SUFFIX):
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


def _settings(text: bytes | None) -> Settings:
    try:
        return as_mapping(json.loads(text or b""))
    except ValueError:
        return {}
