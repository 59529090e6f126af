"""Disks, file systems, buckets, logs and secrets on AWS."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, items, read
from policies.registry import REGISTRY
from policies.resource_types import (
    AWS_SECRET,
    BUCKET_ACCESS,
    DISK,
    FILE_SYSTEM,
    INSTANCE,
    LAUNCH_TEMPLATE,
    LOG_GROUP,
)

TRUE = frozenset({True, "true"})
ACCESS_KEYS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
SHORTEST_LOG_DAYS = 14


@REGISTRY.check(
    "disk-encrypted",
    family="data",
    severity="high",
    types=(DISK, INSTANCE, LAUNCH_TEMPLATE, FILE_SYSTEM),
    remediation="Set encrypted to true.",
)
def disk_encrypted(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every disk and file system is encrypted (CIS AWS 2.2.1, 2.3.1)."""
    root = read(properties, "rootBlockDevice")
    mapped = [read(device, "ebs") for device in items(properties, "blockDeviceMappings")]
    disks = [*([root] if root is not None else []), *mapped, *items(properties, "ebsBlockDevices")]
    if not disks:
        disks = [properties]
    for disk in disks:
        encrypted = read(disk, "encrypted")
        if encrypted is UNKNOWN:
            yield undecided("encrypted")
        elif encrypted not in TRUE:
            yield violation(f"has a disk that is not encrypted (encrypted is {encrypted!r})")


@REGISTRY.check(
    "bucket-private",
    family="data",
    severity="critical",
    types=(BUCKET_ACCESS,),
    remediation="Set all four to true.",
)
def bucket_private(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No bucket can be made public (CIS AWS 2.1.4)."""
    for key in ACCESS_KEYS:
        value = read(properties, key)
        if value is UNKNOWN:
            yield undecided(key)
        elif value is not True:
            yield violation(f"can become public ({key} is {value!r})")


@REGISTRY.check(
    "log-retention",
    family="data",
    severity="low",
    types=(LOG_GROUP,),
    remediation=f"Set retentionInDays to {SHORTEST_LOG_DAYS} or more.",
)
def log_retention(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Logs are kept for long enough to look into abuse, and not for ever."""
    days = read(properties, "retentionInDays")
    if days is UNKNOWN:
        yield undecided("retentionInDays")
    elif not days or days < SHORTEST_LOG_DAYS:
        yield violation(f"keeps logs for {days or 'ever'} days" if days else "keeps logs for ever")


@REGISTRY.check(
    "secret-recovery",
    family="data",
    severity="medium",
    types=(AWS_SECRET,),
    remediation="Leave recoveryWindowInDays at 7 or more.",
)
def secret_recovery(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A deleted secret can be had back for a week."""
    days = read(properties, "recoveryWindowInDays")
    if days is UNKNOWN:
        yield undecided("recoveryWindowInDays")
    elif days is not None and days < 7:  # noqa: PLR2004  (AWS's shortest window)
        yield violation(f"is gone at once when it is deleted (recoveryWindowInDays is {days:g})")
