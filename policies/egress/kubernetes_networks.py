"""What the NetworkPolicies of a namespace let its pods reach together: each may pass alone and all be the world."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.address_space import PORTS
from policies.egress.joined_rules import METADATA as AWS_METADATA
from policies.egress.joined_rules import MOST, NEVER_REACHED
from policies.findings import Finding, undecided, violation
from policies.kubernetes.spaces import Pods, Space, Spaces, gather
from policies.network_policies import EGRESS, INGRESS, PROTOCOLS, Union
from policies.registry import REGISTRY, StackResource
from policies.resource_types import CHART, NETWORK_POLICY, NOTEBOOK, RELEASE

AZURE_METADATA = "168.63.129.16/32"
"""Azure's, whose address is a public one."""

METADATA = {
    **{text: NEVER_REACHED[text] for text in AWS_METADATA},
    AZURE_METADATA: ipaddress.ip_network(AZURE_METADATA),
}
"""What no pod reaches: who does has the node's rights in its cloud."""


def _pods(spaces: Spaces) -> Iterator[tuple[Space, Pods, Union]]:
    """Pods of each kind once, those of users before others."""
    for space in spaces.found.values():
        seen: set[frozenset[tuple[str, str]]] = set()
        users = [pods.labels.items() for pods in space.pods if pods.users]
        for pods in sorted(space.pods, key=lambda each: not each.users):
            labels = frozenset(pods.labels.items())
            # Users' pods with these labels and more are held by the same policies, and by others.
            covered = pods.sampled and bool(labels) and any(labels <= given for given in users)
            if labels not in seen and not covered:
                seen.add(labels)
                yield space, pods, space.union(pods.labels, EGRESS)


def _unsettled(spaces: Spaces, *, users: bool) -> Iterator[tuple[StackResource, Finding]]:
    for resource in spaces.unknown(NETWORK_POLICY, NOTEBOOK, RELEASE, CHART):
        yield resource, undecided("the namespace, which tells the policies that this counts with,")
    for space in spaces.found.values():
        if space.has_users or not users:
            for policy in space.policies:
                if not (policy.selects and policy.complete):
                    what = "a rule" if policy.selects else "which pods are selected by a rule"
                    yield policy.resource, undecided(f"{what} of a NetworkPolicy in the namespace {space.name}")


@REGISTRY.stack_check(
    "pods-never-reached",
    severity="critical",
    remediation="List the ranges that are needed; a rule for the world leaves out 169.254.0.0/16 and the private ranges.",
)
def pods_never_reached(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """Pods reach no metadata service, and users' pods no private range by address (NSA guide: network policies).

    All NetworkPolicies of a namespace count together, with those that a hub's chart makes of its values. Policies that
    another engine reads, such as Cilium's, Calico's or AdminNetworkPolicy, may open more, which this cannot say.
    """
    spaces = gather(resources)
    yield from _unsettled(spaces, users=False)
    for resource, kind in spaces.other_policies:
        yield resource, undecided(f"what a {kind} opens, where this reads Kubernetes' own NetworkPolicy alone,")
    for space, pods, union in _pods(spaces):
        if not union.isolated:
            if pods.users and all(policy.selects for policy in space.policies):
                yield pods.resource, violation(f"no NetworkPolicy holds {pods.what} in the namespace {space.name}")
            continue
        ranges = {**METADATA, **NEVER_REACHED} if pods.users else METADATA
        for what, kinds in _reached(union, ranges).items():
            where = f"{pods.what} in the namespace {space.name}"
            yield pods.resource, violation(f"lets {where} out to {what} ({', '.join(kinds)})")


def _reached(union: Union, ranges: Mapping[str, Any]) -> dict[str, list[str]]:
    """Ranges that are reached, with their ports, and the protocols of each."""
    found: dict[str, list[str]] = {}
    for protocol in PROTOCOLS:
        for segment in union.segments(protocol):
            reached = [text for text, network in ranges.items() if segment.overlaps(network)]
            if reached:
                ports = f"{segment.ports[0]} to {segment.ports[1]}"
                found.setdefault(f"{', '.join(reached)} on ports {ports}", []).append(protocol)
    return found


@REGISTRY.stack_check(
    "pods-open-egress",
    severity="critical",
    remediation="Name the ports and ranges that are needed, or set allowOpen in the policy pack's configuration.",
)
def pods_open_egress(
    resources: Sequence[StackResource], config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """The NetworkPolicies of a namespace together let no pod out to most public addresses on most ports."""
    if config.get("allowOpen"):
        return
    for space, pods, union in _pods(gather(resources)):
        parts: dict[tuple[int, str], float] = {}
        for protocol in PROTOCOLS if union.isolated else ():
            for segment in union.segments(protocol):
                key = segment.version, protocol
                ports = segment.ports[1] - segment.ports[0] + 1
                parts[key] = parts.get(key, 0) + segment.share * ports / PORTS
        for version in (4, 6):
            most = {protocol: part for (of, protocol), part in parts.items() if of == version and part > MOST}
            if most:
                what = f"{max(most.values()):.0%} of all IPv{version} addresses and ports ({', '.join(most)})"
                yield pods.resource, violation(f"lets {pods.what} in the namespace {space.name} out to {what}")


@REGISTRY.stack_check(
    "namespace-default-deny",
    severity="high",
    remediation="Add a NetworkPolicy with an empty podSelector and policyTypes Ingress and Egress.",
)
def namespace_default_deny(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """A namespace that the stack makes for users' code lets nothing in or out by itself (CIS Kubernetes 5.3.2)."""
    spaces = gather(resources)
    yield from _unsettled(spaces, users=True)
    for space in spaces.found.values():
        if space.made is None or not space.has_users:
            continue
        for direction in (INGRESS, EGRESS):
            if any(policy.selects and _is_for_all(policy.spec, direction) for policy in space.policies):
                continue
            if all(policy.selects for policy in space.policies):
                yield space.made, violation(f"has no default-deny NetworkPolicy for {direction.lower()}")


def _is_for_all(spec: Mapping[str, Any], direction: str) -> bool:
    selector: Mapping[str, Any] = spec.get("podSelector") or {}
    return direction in spec["policyTypes"] and not selector.get("matchLabels") and not selector.get("matchExpressions")
