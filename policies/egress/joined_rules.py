"""Security groups with all rules that a stack gives them, inside them or as resources of their own, judged as one.

Rules are halved as easily as they are written: 0.0.0.0/1 and 128.0.0.0/1 pass alone and are the world together, and so
do ports 0 to 32767 and 32768 to 65535. A rule may name a prefix list or another group instead of a range: such a rule
opens nothing here, since a prefix list's addresses stand in no rule, and a group's members are judged themselves.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.address_space import PORTS, Network, Opening, Segment, Span, segments
from policies.egress.security_groups import ALL_PROTOCOLS, ANY_PORT, WEB_PORTS, Rule, rules
from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, is_number, items, read
from policies.registry import REGISTRY, StackResource
from policies.resource_types import (
    DEFAULT_SECURITY_GROUP,
    EGRESS_RULE,
    INGRESS_RULE,
    LAUNCH_CONFIGURATION,
    LAUNCH_TEMPLATE,
    SECURITY_GROUP,
    SECURITY_GROUP_RULE,
)

GROUPS = (SECURITY_GROUP, DEFAULT_SECURITY_GROUP)
USERS_HOSTS = (LAUNCH_TEMPLATE, LAUNCH_CONFIGURATION)
"""What hosts of users' code are launched from, by an autoscaling group or by a hub."""

INGRESS, EGRESS = "ingress", "egress"
SEPARATE = {INGRESS_RULE: (INGRESS,), EGRESS_RULE: (EGRESS,), SECURITY_GROUP_RULE: (INGRESS, EGRESS)}
"""Rules that are resources of their own, and the directions that they may have."""

METADATA = ("169.254.0.0/16", "fd00:ec2::/32")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
NEVER_REACHED = {text: ipaddress.ip_network(text) for text in (*METADATA, *PRIVATE)}
"""What no profile opens to users' code; what the platform needs of it is named by security group."""

MOST = 0.5
"""More than this part of all public addresses is the world: it does not help to leave one of them out."""

OTHER = "other protocols"
PROTOCOLS = {"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp"}


@dataclass
class Group:
    """A security group with everything that gives it rules."""

    resource: StackResource
    """The group; of one that another stack made, a rule of this one."""
    inline: bool
    """Whether it has a list of rules inside, be it empty."""
    separate: list[str] = field(default_factory=list[str])
    """Names of its rules that are resources of their own."""
    rules: dict[str, list[Rule]] = field(default_factory=lambda: {INGRESS: [], EGRESS: []})


@dataclass
class Joined:
    """All security groups of a stack, and what could not be told of them."""

    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    """By URN; a group that another stack made by its id."""
    unplaced: dict[str, list[StackResource]] = field(default_factory=lambda: {INGRESS: [], EGRESS: []})
    """Rules of their own with address ranges, whose group is not known."""
    urns: dict[str, str] = field(default_factory=dict[str, str])
    """Each group's URN by its URN and, once it has one, its id."""

    def named(self, resource: StackResource, key: str, values: Sequence[Value]) -> list[str] | None:
        """The groups whose ids a property has: by id or, before there is one, by where the property comes from.

        Args:
            resource: the resource.
            key: the property.
            values: the ids in it, `UNKNOWN` for those that are not known.

        Returns:
            Keys of `groups`, or ids of groups that another stack made; None if they cannot be told.
        """
        known = [self.urns.get(str(value), str(value)) for value in values if value is not UNKNOWN]
        missing = len(values) - len(known)
        sources = [urn for urn in resource.dependencies.get(key, ()) if urn in self.urns and urn not in known]
        # A list that is not known as a whole shows as one value, whatever its length.
        if missing > len(sources):
            return None
        return [*known, *(sources if missing else [])]


def join(resources: Sequence[StackResource]) -> Joined:
    """Gather the rules of each security group of a stack."""
    joined = Joined()
    for resource in resources:
        if resource.type in GROUPS:
            lists = [direction for direction in (INGRESS, EGRESS) if read(resource.inputs, direction) is not None]
            group = Group(resource, inline=resource.given and bool(lists))
            for direction in lists:
                group.rules[direction] += rules(resource.inputs, direction)
            joined.groups[resource.urn] = group
            joined.urns |= {str(key): resource.urn for key in (resource.urn, resource.id) if isinstance(key, str)}
    for resource in resources:
        for direction in SEPARATE.get(resource.type, ()):
            found = list(rules(resource.inputs, direction))
            if found:
                _place(joined, resource, direction, found)
    return joined


def _place(joined: Joined, resource: StackResource, direction: str, found: Sequence[Rule]) -> None:
    named = joined.named(resource, "securityGroupId", [read(resource.inputs, "securityGroupId")])
    if named is None or len(named) != 1:
        if any(rule.ranges for rule in found):
            joined.unplaced[direction].append(resource)
        return
    group = joined.groups.setdefault(named[0], Group(resource, inline=False))
    group.separate.append(resource.name)
    group.rules[direction] += found


def users_groups(joined: Joined, resource: StackResource) -> list[str] | None:
    """Groups of the hosts that are launched from a resource; None if they cannot be told."""
    cards = list(items(resource.inputs, "networkInterfaces"))
    found = [
        joined.named(resource, "vpcSecurityGroupIds", list(items(resource.inputs, "vpcSecurityGroupIds"))),
        joined.named(resource, "securityGroups", list(items(resource.inputs, "securityGroups"))),
        joined.named(
            resource, "networkInterfaces", [group for card in cards for group in items(card, "securityGroups")]
        ),
    ]
    return None if None in found else sorted({key for keys in found for key in keys or ()})


def _network(text: Value) -> Network | None:
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return None


def _ports(rule: Rule) -> Span:
    # ICMP counts types instead of ports; -1 is all of them.
    return ANY_PORT if -1 in rule.ports else rule.ports


def _is_known(rule: Rule) -> bool:
    numbers = all(part is None or is_number(part) for part in (rule.first, rule.last))
    return not rule.ranges or (rule.is_known and numbers and all(_network(text) for text in rule.ranges))


def _opened(given: Sequence[Rule]) -> Iterator[tuple[str, Segment]]:
    """What known rules open together, for each kind of protocol."""
    opened: dict[str, list[Opening]] = {"tcp": [], "udp": [], OTHER: []}
    for rule in filter(_is_known, given):
        protocol = str(rule.protocol).lower()
        for kind in opened if protocol in ALL_PROTOCOLS else (PROTOCOLS.get(protocol, OTHER),):
            opened[kind] += [Opening(_ports(rule), net) for text in rule.ranges if (net := _network(text))]
    for kind, openings in opened.items():
        yield from ((kind, segment) for segment in segments(openings))


def _unknown(group: Group, direction: str) -> Iterator[tuple[StackResource, Finding]]:
    if not all(_is_known(rule) for rule in group.rules[direction]):
        yield group.resource, undecided(f"an {direction} rule of the group")


def _unplaced(joined: Joined, direction: str) -> Iterator[tuple[StackResource, Finding]]:
    for rule in joined.unplaced[direction]:
        yield rule, undecided("securityGroupId, which tells the rules that this one counts with,")


def _by_kind(found: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """The kinds of protocols of each thing that was found, so that a rule for all of them is told once."""
    kinds: dict[str, list[str]] = {}
    for what, kind in found:
        kinds.setdefault(what, []).append(kind)
    return {what: ", ".join(given) for what, given in kinds.items()}


def _written(ports: Span) -> str:
    return f"{ports[0]} to {ports[1]}"


def _is_web(ports: Span) -> bool:
    return ports[0] == ports[1] and ports[0] in WEB_PORTS


@REGISTRY.stack_check(
    "joined-egress",
    severity="critical",
    remediation="Name the ports and ranges that are needed, or set allowOpen in the policy pack's configuration.",
)
def joined_egress(
    resources: Sequence[StackResource], config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """A group's rules together do not let everything out: most public addresses on most ports."""
    if config.get("allowOpen"):
        return
    joined = join(resources)
    yield from _unplaced(joined, EGRESS)
    for group in joined.groups.values():
        yield from _unknown(group, EGRESS)
        parts: dict[tuple[int, str], float] = {}
        for kind, segment in _opened(group.rules[EGRESS]):
            ports = segment.ports[1] - segment.ports[0] + 1
            key = segment.version, kind
            parts[key] = parts.get(key, 0) + segment.share * ports / PORTS
        found = (
            (f"{part:.0%} of all IPv{key[0]} addresses and ports", key[1]) for key, part in parts.items() if part > MOST
        )
        for what, kinds in _by_kind(found).items():
            yield group.resource, violation(f"lets out, by all its rules, to {what} ({kinds})")


@REGISTRY.stack_check(
    "joined-private-egress",
    severity="critical",
    remediation="Name what the platform needs by its security group, and the world's web ports as a whole or not at all.",
)
def joined_private_egress(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """Hosts of users' code get to no metadata service and no private range by address, HTTP and HTTPS to all aside."""
    joined = join(resources)
    used: set[str] = set()
    for hosts in (resource for resource in resources if resource.type in USERS_HOSTS):
        named = users_groups(joined, hosts)
        used |= set(named or ())
        if named is None:
            yield hosts, undecided("a security group of the hosts that are launched from it")
        for key in set(named or ()) - set(joined.groups):
            yield hosts, undecided(f"what {key}, a group of another stack, lets out")
    if used:
        yield from _unplaced(joined, EGRESS)
    for group in (joined.groups[key] for key in sorted(used & set(joined.groups))):
        yield from _unknown(group, EGRESS)
        for what, kinds in _by_kind(_never_reached(group.rules[EGRESS])).items():
            yield group.resource, violation(f"lets users' code out to {what} ({kinds})")


def _never_reached(given: Sequence[Rule]) -> Iterator[tuple[str, str]]:
    for kind, segment in _opened(given):
        reached = [text for text, network in NEVER_REACHED.items() if segment.overlaps(network)]
        if reached and not (kind == "tcp" and _is_web(segment.ports) and segment.is_everything):
            yield f"{', '.join(reached)} on ports {_written(segment.ports)}", kind


@REGISTRY.stack_check(
    "joined-ingress",
    severity="critical",
    remediation="Let the world in on 80 and 443 alone; name a security group for everything else.",
)
def joined_ingress(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """A group's rules together let the world in on HTTP and HTTPS alone."""
    joined = join(resources)
    yield from _unplaced(joined, INGRESS)
    for group in joined.groups.values():
        yield from _unknown(group, INGRESS)
        found = (
            (f"{segment.share:.0%} of all IPv{segment.version} addresses in on ports {_written(segment.ports)}", kind)
            for kind, segment in _opened(group.rules[INGRESS])
            if segment.share > MOST and not _is_web(segment.ports)
        )
        for what, kinds in _by_kind(found).items():
            yield group.resource, violation(f"lets, by all its rules, {what} ({kinds})")


@REGISTRY.stack_check(
    "one-kind-of-rules",
    severity="high",
    remediation="Make every rule a resource of its own, and leave ingress and egress out of the group.",
)
def one_kind_of_rules(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """A group's rules stand inside it or are resources of their own: either kind takes the other away."""
    for group in join(resources).groups.values():
        if group.inline and group.separate:
            names = ", ".join(sorted(group.separate))
            yield group.resource, violation(f"has rules inside it beside those of their own ({names})")
