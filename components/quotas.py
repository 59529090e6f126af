"""What a user and a fleet may use, and the translation of sizes and limits."""

import re
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

SMALLEST_HOME_BYTES = 16 * 2**20
"""A home is an ext4 file system, which needs at least this."""

SMALLEST_MEMORY_BYTES = 128 * 2**20
"""JupyterLab's server alone takes about 100 MB."""


class UserQuota(TypedDict):
    """What one user's server may use."""

    cpu: NotRequired[float]
    """Processors, 0.1 to 128. Default 1."""
    memory: NotRequired[str]
    """Memory such as `1G`, at least `128M`; no swap is granted beyond it. Default `1G`."""
    processes: NotRequired[int]
    """Processes and threads together, 16 to 32768. Default 256 (a kernel with numpy takes about 40)."""
    home: NotRequired[str]
    """Size of the home, at least `16M`; kept between servers. Default `2G`."""
    tmp: NotRequired[str]
    """Size of `/tmp`, which lives in the server's memory and counts towards it. Default `256M`."""
    idle: NotRequired[int]
    """Seconds without activity after which a server is stopped, at least 60. Default 3600."""
    maxAge: NotRequired[int]
    """Seconds after which a server is stopped whatever it does, at least `idle`. Default 28800 (a working day)."""


class FleetQuota(TypedDict):
    """What all users together may use."""

    servers: NotRequired[int]
    """Most servers at once, 1 to 1000. Default 20."""


USER_QUOTA_DEFAULTS: UserQuota = {
    "cpu": 1.0,
    "memory": "1G",
    "processes": 256,
    "home": "2G",
    "tmp": "256M",
    "idle": 3600,
    "maxAge": 8 * 3600,
}
FLEET_QUOTA_DEFAULTS: FleetQuota = {"servers": 20}


def parse_size(text: str) -> int:
    """Translate a size such as `512M`, `1.5G` or `2GiB` to bytes, units of 1024.

    Raises:
        ValueError: the text is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write a number and a unit such as 512M or 2G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def user_quota_document(quota: UserQuota) -> Mapping[str, float]:
    """The quota in the hub's units: processors, bytes and seconds; defaults filled in.

    Raises:
        ValueError: a size is not a size; call `check_user_quota` first to gather every mistake.
    """
    filled: UserQuota = {**USER_QUOTA_DEFAULTS, **quota}
    return {
        "cpu": float(filled.get("cpu", 0)),
        "memory_bytes": parse_size(filled.get("memory", "")),
        "processes": int(filled.get("processes", 0)),
        "home_bytes": parse_size(filled.get("home", "")),
        "tmp_bytes": parse_size(filled.get("tmp", "")),
        "idle_seconds": int(filled.get("idle", 0)),
        "max_age_seconds": int(filled.get("maxAge", 0)),
    }


def check_user_quota(quota: UserQuota, path: str = "userQuota") -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the quota, with the property's path; empty when it can be enforced."""
    filled: UserQuota = {**USER_QUOTA_DEFAULTS, **quota}
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(field: str, reason: str) -> None:
        errors.append({"property_path": f"{path}.{field}", "reason": reason})

    def size(field: str, text: str, smallest: int) -> int | None:
        try:
            value = parse_size(text)
        except ValueError as error:
            wrong(field, str(error))
            return None
        if value < smallest:
            wrong(field, f"{text} is too small; at least {smallest // 2**20}M")
            return None
        return value

    cpu, processes = filled.get("cpu", 0), filled.get("processes", 0)
    idle, age = filled.get("idle", 0), filled.get("maxAge", 0)
    if not 0.1 <= cpu <= 128:  # noqa: PLR2004  (named in the argument's docstring)
        wrong("cpu", f"{cpu} is not between 0.1 and 128 processors")
    if not 16 <= processes <= 32768:  # noqa: PLR2004
        wrong("processes", f"{processes} is not between 16 and 32768")
    memory = size("memory", filled.get("memory", ""), SMALLEST_MEMORY_BYTES)
    size("home", filled.get("home", ""), SMALLEST_HOME_BYTES)
    tmp = size("tmp", filled.get("tmp", ""), 2**20)
    if memory is not None and tmp is not None and tmp >= memory:
        wrong("tmp", f"{filled.get('tmp')} does not fit the memory of {filled.get('memory')}, where /tmp lives")
    if idle < 60:  # noqa: PLR2004
        wrong("idle", f"{idle} is below 60 seconds, the culler's shortest interval")
    if age < idle:
        wrong("maxAge", f"{age} seconds is below idle, {idle} seconds; a server would never be seen as idle")
    return errors


def check_fleet_quota(quota: FleetQuota, path: str = "fleetQuota") -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the quota, with the property's path."""
    filled: FleetQuota = {**FLEET_QUOTA_DEFAULTS, **quota}
    servers = filled.get("servers", 0)
    if not 1 <= servers <= 1000:  # noqa: PLR2004  (named in the argument's docstring)
        return [{"property_path": f"{path}.servers", "reason": f"{servers} is not between 1 and 1000"}]
    return []
