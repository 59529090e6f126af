"""Networks that users' servers or the platform's insides are on."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.egress_guard import is_egress_guard
from policies.findings import Finding, undecided, violation
from policies.hub_settings import Settings, on_hub_settings
from policies.reader import UNKNOWN, Value, as_mapping, items, label, read
from policies.registry import REGISTRY
from policies.resource_types import BUNDLE, CONFIG, CONTAINER, NETWORK, OPEN_NETWORK, SERVICE

NOT_INTERNAL = frozenset({"front-network"})
"""Roles of networks that may have a way out; every other one is internal, whatever it is called."""

PROFILES = ("closed", "open")


@REGISTRY.check(
    "network-internal",
    family="egress",
    severity="critical",
    types=(NETWORK,),
    remediation="Set internal to true; only the front network, where no user's server is, has a way out.",
)
def network_internal(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A network has no way out unless it is the front network."""
    role, internal = label(properties, "hubstack.role"), read(properties, "internal")
    if role in NOT_INTERNAL and role is not UNKNOWN:
        return
    if internal is UNKNOWN or (role is UNKNOWN and internal is not True):
        yield undecided("internal")
    elif internal is not True:
        yield violation(f"has a way out (internal is {internal!r}, its role {role!r})")


@REGISTRY.check(
    "network-not-attachable",
    family="egress",
    severity="medium",
    types=(NETWORK,),
    remediation="Set attachable to false.",
)
def network_not_attachable(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container that the stack does not know can join a platform network (CIS Docker 5.30)."""
    attachable = read(properties, "attachable")
    if attachable is UNKNOWN:
        yield undecided("attachable")
    elif attachable:
        yield violation("lets any container on the swarm join it (attachable is true)")


@REGISTRY.check(
    "no-host-network",
    family="egress",
    severity="critical",
    types=(SERVICE, CONTAINER),
    remediation="Join networks of the stack instead.",
)
def no_host_network(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Nothing but the egress guard runs on the host's network, and nothing on the default bridge.

    CIS Docker 5.10, 5.30.
    """
    forbidden = ("bridge",) if is_egress_guard(properties) else ("host", "bridge")
    mode = read(properties, "networkMode")
    if mode is UNKNOWN:
        yield undecided("networkMode")
    elif mode in ("host", "bridge", "default") or str(mode).startswith("container:"):
        yield violation(f"runs on network mode {mode!r}")
    networks = [*items(properties, "taskSpec", "networksAdvanceds"), *items(properties, "networksAdvanceds")]
    for network in networks:
        for key in ("id", "name"):
            if read(network, key) in forbidden:
                yield violation(f"joins the network {read(network, key)!r}")


@REGISTRY.check(
    "open-network",
    family="egress",
    severity="critical",
    types=(OPEN_NETWORK,),
    remediation="Set hubstack:egressProfile to closed, or allowOpen in the policy pack's configuration.",
)
def open_network(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A network with a way out for users' servers exists only where it is allowed."""
    if config.get("allowOpen") is not True:
        yield violation(f"opens a way out for users' servers of {read(properties, 'stack')}")


@REGISTRY.check(
    "egress-profile",
    family="egress",
    severity="critical",
    types=(CONFIG, BUNDLE),
    remediation="Set hubstack:egressProfile to closed, or allowOpen in the policy pack's configuration.",
)
@on_hub_settings
def egress_profile(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Users' servers have an egress profile, and an open one only where it is allowed."""
    profile = as_mapping(settings.get("egress")).get("profile")
    if profile not in PROFILES:
        yield violation(f"has no egress profile that this pack knows ({profile!r}; {', '.join(PROFILES)})")
    elif profile == "open" and config.get("allowOpen") is not True:
        yield violation("lets users' servers reach every public address (egress profile open)")
