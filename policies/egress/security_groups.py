"""Security groups, whether their rules stand inside them or are resources of their own."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, items, read
from policies.registry import REGISTRY
from policies.resource_types import (
    DEFAULT_SECURITY_GROUP,
    EGRESS_RULE,
    INGRESS_RULE,
    SECURITY_GROUP,
    SECURITY_GROUP_RULE,
)

EVERYWHERE = frozenset({"0.0.0.0/0", "::/0"})
LINK_LOCAL = ipaddress.ip_network("169.254.0.0/16")
WEB_PORTS = frozenset({80, 443})
SHELL_PORTS = (22, 3389)
ALL_PROTOCOLS = frozenset({"-1", "all"})
ANY_PORT = (0, 65535)


@dataclass(frozen=True)
class Rule:
    """One rule, wherever it stands; `UNKNOWN` where a part is not known."""

    protocol: Value
    first: Value
    last: Value
    ranges: tuple[Value, ...]

    @property
    def ports(self) -> tuple[int, int]:
        """First and last port of a rule that is known."""
        if self.protocol in ALL_PROTOCOLS or self.first is None or self.last is None:
            return ANY_PORT
        return int(self.first), int(self.last)

    @property
    def is_known(self) -> bool:
        """Whether nothing of it is unknown."""
        return UNKNOWN not in (self.protocol, self.first, self.last, *self.ranges)


def rules(properties: Value, direction: str) -> Iterator[Rule]:
    """Rules of a resource in a direction (`ingress` or `egress`), in all the ways that AWS's resources write them."""
    for inline in items(properties, direction):
        ranges = (*items(inline, "cidrBlocks"), *items(inline, "ipv6CidrBlocks"))
        yield Rule(read(inline, "protocol"), read(inline, "fromPort"), read(inline, "toPort"), ranges)
    if read(properties, "type") == direction:
        ranges = (*items(properties, "cidrBlocks"), *items(properties, "ipv6CidrBlocks"))
        yield Rule(read(properties, "protocol"), read(properties, "fromPort"), read(properties, "toPort"), ranges)
    if read(properties, "ipProtocol") is not None:
        # A rule of its own has one direction, which its type tells.
        ranges = tuple(r for r in (read(properties, "cidrIpv4"), read(properties, "cidrIpv6")) if r is not None)
        yield Rule(read(properties, "ipProtocol"), read(properties, "fromPort"), read(properties, "toPort"), ranges)


@REGISTRY.check(
    "security-group-ingress",
    family="exposure",
    severity="critical",
    types=(SECURITY_GROUP, SECURITY_GROUP_RULE, INGRESS_RULE),
    remediation="Let the world in on 80 and 443 alone; name a security group for everything else.",
)
def security_group_ingress(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The world gets in on HTTP and HTTPS alone (CIS AWS 5.2, 5.3)."""
    for rule in rules(properties, "ingress"):
        if not rule.is_known:
            yield undecided("an ingress rule")
        elif EVERYWHERE & set(rule.ranges) and not (rule.ports[0] == rule.ports[1] and rule.ports[0] in WEB_PORTS):
            yield violation(f"lets the world in on ports {rule.ports[0]} to {rule.ports[1]} ({rule.protocol})")


@REGISTRY.check(
    "no-shell-port",
    family="exposure",
    severity="critical",
    types=(SECURITY_GROUP, SECURITY_GROUP_RULE, INGRESS_RULE),
    remediation="Remove the rule; Session Manager gives a shell without an open port.",
)
def no_shell_port(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No host is reached by SSH or RDP, from anywhere."""
    for rule in rules(properties, "ingress"):
        if not rule.is_known:
            yield undecided("an ingress rule")
            continue
        for port in SHELL_PORTS:
            if rule.ranges and rule.ports[0] <= port <= rule.ports[1]:
                yield violation(f"lets {', '.join(map(str, rule.ranges))} in on port {port}")


@REGISTRY.check(
    "security-group-egress",
    family="egress",
    severity="critical",
    types=(SECURITY_GROUP, SECURITY_GROUP_RULE, EGRESS_RULE),
    remediation="Name the ports and ranges that are needed; the stack's egress profile sets them for users' hosts.",
)
def security_group_egress(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Nothing leaves to everywhere on every port; AWS gives a new group such a rule unless all of them are named."""
    for rule in rules(properties, "egress"):
        if not rule.is_known:
            yield undecided("an egress rule")
        elif EVERYWHERE & set(rule.ranges) and rule.ports == ANY_PORT and not config.get("allowOpen"):
            yield violation("lets everything out to everywhere")


@REGISTRY.check(
    "metadata-egress",
    family="egress",
    severity="critical",
    types=(SECURITY_GROUP, SECURITY_GROUP_RULE, EGRESS_RULE),
    remediation="Remove the rule: link-local addresses are the cloud's own services.",
)
def metadata_egress(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No rule names the metadata services' range."""
    for rule in rules(properties, "egress"):
        for text in rule.ranges:
            if text is UNKNOWN:
                yield undecided("an egress rule's range")
            elif text not in EVERYWHERE and LINK_LOCAL.overlaps(ipaddress.ip_network(text, strict=False)):
                yield violation(f"lets traffic out to {text}")


@REGISTRY.check(
    "default-security-group-closed",
    family="egress",
    severity="high",
    types=(DEFAULT_SECURITY_GROUP,),
    remediation="Set ingress and egress to empty lists.",
)
def default_security_group_closed(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The group that a VPC comes with has no rules (CIS AWS 5.4)."""
    for direction in ("ingress", "egress"):
        found = list(items(properties, direction))
        if UNKNOWN in found:
            yield undecided(direction)
        elif found:
            yield violation(f"has {len(found)} rule(s) ({direction})")
