"""Networks that users' servers or the platform's insides are on."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.container_group import ICC, MASQUERADE
from policies.egress_guard import is_egress_guard
from policies.findings import Finding, undecided, violation
from policies.hub_settings import Settings, on_hub_settings
from policies.reader import UNKNOWN, Value, as_mapping, items, label, read
from policies.registry import REGISTRY
from policies.resource_types import BUNDLE, CONFIG, CONTAINER, NETWORK, OPEN_NETWORK, SERVICE

NOT_INTERNAL = frozenset({"front-network"})
"""Roles of networks that may have a way out; every other one is internal, whatever it is called."""

SERVERS, EGRESS = "servers-network", "egress-network"
"""Roles of the bridges that servers of a pool's node share, and that its egress proxy leaves by."""

DEFAULT_BRIDGE = ("bridge", "default")
PROFILES = ("closed", "open")


@REGISTRY.check(
    "network-internal",
    family="egress",
    severity="critical",
    types=(NETWORK,),
    remediation="Set internal to true; only the front network, where no user's server is, has a way out by itself, and one "
    f'that a guard opens has "{MASQUERADE}" set to "false" (`apart` in a group of containers).',
)
def network_internal(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A network has no way out unless it is the front network, or one that leads nowhere without its guard.

    What a guard opens is judged with the guard (`guard-ranges`, `node-way-out`).
    """
    role, internal = label(properties, "hubstack.role"), read(properties, "internal")
    if internal is True or (role in NOT_INTERNAL and role is not UNKNOWN):
        return
    # The masquerade counts for these two alone: others have no guard.
    translated = read(properties, "options", MASQUERADE) if role in (SERVERS, EGRESS) else None
    if str(translated).lower() == "false":
        return
    if UNKNOWN in (internal, role, translated):
        yield undecided("internal")
    else:
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
    networks = [*items(properties, "taskSpec", "networksAdvanceds"), *items(properties, "networksAdvanced")]
    joined = [read(network, key) for network in networks for key in ("id", "name")]
    mode, guard = read(properties, "networkMode"), is_egress_guard(properties)
    if mode is UNKNOWN:
        yield undecided("networkMode")
    if "host" in (mode, *joined) and guard is UNKNOWN:
        yield undecided("its role or command")
    forbidden = DEFAULT_BRIDGE if guard in (True, UNKNOWN) else ("host", *DEFAULT_BRIDGE)
    if mode in forbidden or str(mode).startswith("container:"):
        yield violation(f"runs on network mode {mode!r}")
    for name in joined:
        if name in forbidden:
            yield violation(f"joins the network {name!r}")


@REGISTRY.check(
    "container-default-bridge",
    family="egress",
    severity="high",
    types=(CONTAINER,),
    remediation="Name a network of the stack in networksAdvanced.",
)
def container_default_bridge(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container is on the engine's default bridge, where every container reaches every other (CIS Docker 5.30).

    That is where one ends that names no network at all.
    """
    mode, networks = read(properties, "networkMode"), list(items(properties, "networksAdvanced"))
    names = [read(network, "name") for network in networks]
    bad = [name for name in (mode, *names) if name in DEFAULT_BRIDGE]
    if bad:
        yield violation(f"joins the engine's default bridge ({bad[0]!r})")
    elif UNKNOWN in (mode, *names):
        yield undecided("a network that it joins")
    elif not mode and not networks:
        yield violation("names no network and ends on the engine's default bridge")


def _switched_off(properties: Value, option: str, sentence: str) -> Iterator[Finding]:
    """What to say where the option of a bridge that servers share is not "false"."""
    role, value = label(properties, "hubstack.role"), read(properties, "options", option)
    if role not in (SERVERS, UNKNOWN) or str(value).lower() == "false":
        return
    if UNKNOWN in (role, value):
        yield undecided(f"options.{option}")
    else:
        yield violation(f"{sentence} ({option} is {value!r})")


@REGISTRY.check(
    "network-icc",
    family="egress",
    severity="critical",
    types=(NETWORK,),
    remediation=f'Set options["{ICC}"] to "false" (`apart` in a group of containers).',
)
def network_icc(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Servers that share a bridge cannot reach each other on it (seed 000; tmpnb issue 187; CIS Docker 2.2)."""
    yield from _switched_off(properties, ICC, "lets users' servers reach each other")


@REGISTRY.check(
    "network-masquerade",
    family="egress",
    severity="critical",
    types=(NETWORK,),
    remediation=f'Set options["{MASQUERADE}"] to "false" (`apart` in a group of containers).',
)
def network_masquerade(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No answer finds a way back to servers unless their guard, which filters first, translates (tmpnb issue 187)."""
    yield from _switched_off(properties, MASQUERADE, "translates servers' addresses without their guard")


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
