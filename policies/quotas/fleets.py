"""How large fleets and hosts on AWS may get."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, is_number, read
from policies.registry import REGISTRY
from policies.resource_types import AUTO_SCALING_GROUP, INSTANCE, LAUNCH_TEMPLATE, RECORD

GPU = re.compile(r"^(p|g|inf|trn|dl|vt|f)\d")
SIZES = {"nano": 0.25, "micro": 0.25, "small": 0.5, "medium": 1, "large": 2, "xlarge": 4}
LONGEST_RECORD_SECONDS = 300
ADDRESSES = ("A", "AAAA")
"""Types of records that say where a host is."""


@REGISTRY.check(
    "instance-size",
    family="quotas",
    severity="high",
    types=(INSTANCE, LAUNCH_TEMPLATE),
    remediation="Choose a smaller type, or raise maxInstanceCpu in the policy pack's configuration.",
)
def instance_size(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A host is no larger than the stack may grant, and has no accelerator, which miners look for."""
    kind = read(properties, "instanceType")
    if kind is UNKNOWN:
        yield undecided("instanceType")
        return
    family, _, size = str(kind).partition(".")
    multiple = re.fullmatch(r"(\d+)xlarge", size)
    processors = 4 * int(multiple.group(1)) if multiple else SIZES.get(size)
    most = config.get("maxInstanceCpu", 16)
    if GPU.match(family):
        yield violation(f"{kind} has an accelerator")
    elif processors is None or processors > most:
        yield violation(f"{kind} is larger than {most:g} processors")


@REGISTRY.check(
    "fleet-size",
    family="quotas",
    severity="high",
    types=(AUTO_SCALING_GROUP,),
    remediation="Lower maxSize, or raise maxServers in the policy pack's configuration.",
)
def fleet_size(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A group of hosts has an upper end within the stack's cap."""
    size = read(properties, "maxSize")
    if size is UNKNOWN:
        yield undecided("maxSize")
    elif not is_number(size) or size > config.get("maxServers", 1000):
        yield violation(f"may grow to {size!r} hosts")


@REGISTRY.check(
    "record-lifetime",
    family="quotas",
    severity="low",
    types=(RECORD,),
    remediation=f"Set ttl to {LONGEST_RECORD_SECONDS} seconds or less.",
)
def record_lifetime(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A name's address can be changed within minutes."""
    seconds = read(properties, "ttl")
    if seconds is UNKNOWN:
        yield undecided("ttl")
    elif is_number(seconds) and seconds > LONGEST_RECORD_SECONDS:
        yield violation(f"is remembered for {seconds:g} s")


@REGISTRY.check(
    "record-ttl",
    family="quotas",
    severity="medium",
    types=(RECORD,),
    remediation="Lower ttl, or raise maxRecordSeconds in the policy pack's configuration.",
)
def record_ttl(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A host's address is forgotten as fast as a node is taken away (seed 000; tmpnb's own lived for 300 s).

    Records that are an alias have no time of their own.
    """
    kind, seconds, aliases = (read(properties, key) for key in ("type", "ttl", "aliases"))
    most = config.get("maxRecordSeconds")
    if kind not in (*ADDRESSES, UNKNOWN) or (aliases and aliases is not UNKNOWN):
        return
    if is_number(seconds) and (not is_number(most) or seconds <= most):
        return
    if UNKNOWN in (kind, seconds, aliases):
        yield undecided("ttl" if seconds is UNKNOWN else "type" if kind is UNKNOWN else "aliases")
    else:
        yield violation(f"is remembered for {seconds!r} s; at most {most} (maxRecordSeconds)")
