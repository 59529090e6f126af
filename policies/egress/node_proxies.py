"""Nodes of a pool whose servers leave by an egress proxy, or by themselves: what each way leads to."""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from policies.container_group import FILES_FOLDER, container_properties, containers
from policies.egress.nodes import FORBIDDEN, GUARD_ARGUMENTS, SERVERS, guards, may_hide_a_guard
from policies.egress_guard import PROXY_ROLE, guarding_of
from policies.findings import Finding, undecided, violation
from policies.programs import begins, runs_as
from policies.reader import UNKNOWN, Value, as_mapping, entries, holds_unknown, is_number, items, plain, read
from policies.registry import REGISTRY
from policies.resource_types import CONTAINER_GROUP
from policies.squid import PORT, squid_mistakes

EGRESS = "egress"
"""Short name of the network that an egress proxy leaves by."""

ROLE = "egress-proxy"
COMMAND = ("squid", "-N", "-f")
"""What an egress proxy runs; the next word is the path of its configuration."""

REFUSED = 403


@REGISTRY.check(
    "node-way-out",
    family="egress",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation=f'Set internal of the network "{SERVERS}" to true, or open the egress profile.',
)
def node_way_out(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Servers whose guard lets nobody out are on an internal network: a guard that fails opens nothing then."""
    internal = read(properties, "spec", "networks", SERVERS, "internal")
    if internal is True or read(properties, "spec", "networks", SERVERS) is None:
        return
    told = [found for _, guard in guards(properties) if (found := guarding_of(guard))]
    if internal is UNKNOWN or may_hide_a_guard(properties):
        yield undecided("whether servers have a way out")
    elif not told or any(found.is_closed for found in told):
        yield violation(
            f"has servers on a network with a way out that their guard does not open (internal is {internal!r})"
        )


@REGISTRY.check(
    "node-egress-proxy",
    family="egress",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation="Let servers reach the fixed address of the group's egress proxy alone, whose configuration is written by "
    "components/egress_proxy.py.",
)
def node_egress_proxy(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What servers reach as a way out is an egress proxy that knows HTTPS to named domains and nothing else."""
    known: list[Value] = []
    for name, container in _proxies(properties):
        known.append(read(container, "networks", SERVERS, "address"))
        yield from _configured(properties, name, container)
    for name, guard in guards(properties):
        told = guarding_of(guard)
        if told is None and UNKNOWN in items(guard, "command"):
            yield undecided(GUARD_ARGUMENTS)
        for proxy in sorted(set(told.proxies) - {f"{address}:{PORT}" for address in known}) if told else ():
            if UNKNOWN in known or _may_hide_a_proxy(properties):
                yield undecided("the address of an egress proxy")
            else:
                yield violation(f"container {name}: lets servers reach {proxy}, which is no egress proxy of the group")


def _proxies(properties: Value) -> Iterator[tuple[str, Value]]:
    """Containers of a group that are egress proxies by their role or by what they run, by short name."""
    for name, container in containers(properties):
        if read(container, "role") == ROLE or begins(list(items(container, "command")), COMMAND[:1]) is True:
            yield name, container


def _may_hide_a_proxy(properties: Value) -> bool:
    """Whether a container may be an egress proxy as soon as all of it is known."""
    found = [container for _, container in containers(properties)]
    return read(properties, "spec", "containers") is UNKNOWN or any(
        UNKNOWN in (read(container, "role"), *items(container, "command")) for container in found
    )


def _configured(properties: Value, name: str, container: Value) -> Iterator[Finding]:
    """What to say of an egress proxy's configuration, and of a proxy that runs something else."""
    words, texts = list(items(container, "command")), list(items(container, "texts"))
    verdict = runs_as(container_properties(properties, name), ROLE, COMMAND)
    if verdict is UNKNOWN or UNKNOWN in (*words, *texts):
        yield undecided(f"the configuration of the container {name}")
        return
    folder, file = posixpath.split(str(words[-1])) if words else ("", "")
    text = read(properties, "spec", "texts", file) if folder == FILES_FOLDER and file in texts else None
    if text is UNKNOWN:
        yield undecided(f"the configuration of the container {name}")
    elif not verdict or len(words) != len(COMMAND) + 1 or not isinstance(text, str):
        yield violation(f"container {name}: runs no squid with a configuration of the group (command is {words!r})")
    else:
        for mistake in squid_mistakes(text, FORBIDDEN.values()):
            yield violation(f"container {name}: {mistake}")


@REGISTRY.check(
    "node-egress-network",
    family="egress",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation=f'Let the egress proxy alone be on the network "{EGRESS}", and give the group an egress proxy\'s guard whose '
    "arguments name that network's bridge and subnet.",
)
def node_egress_network(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """An egress proxy leaves by a network of its own, whose guard holds it to HTTPS and public addresses.

    A name may lead elsewhere a moment after the proxy asked for it; packets are judged where they go.
    """
    network = read(properties, "spec", "networks", EGRESS)
    bridge, subnet = read(network, "bridge"), read(network, "subnet")
    members = {name: read(container, "role") for name, container in containers(properties) if _joins(container, EGRESS)}
    for name, role in members.items():
        if role is not UNKNOWN and role != ROLE:
            yield violation(f"container {name}: is on the network of the egress proxy")
    for name, container in _proxies(properties):
        strange = [network for network, _ in entries(container, "networks") if network not in (SERVERS, EGRESS)]
        if strange:
            yield violation(f"container {name}: leaves by the network {strange[0]!r}, which no guard is on")
    told = [found for _, guard in guards(properties, PROXY_ROLE) if (found := guarding_of(guard))]
    elsewhere = [found.bridge for found in told if found.bridge != bridge]
    guarded = any((found.bridge, found.subnet) == (bridge, subnet) for found in told)
    if UNKNOWN in (network, bridge, subnet, *members.values()) or may_hide_a_guard(properties, PROXY_ROLE):
        yield undecided("the guard of an egress proxy's network")
        return
    if elsewhere:
        yield violation(f"has an egress proxy's guard of the bridge {elsewhere[0]!r}, which is another network's")
    if network is not None and not guarded:
        yield violation(f"has no guard of the bridge {bridge!r} and the subnet {subnet!r} of its egress proxy")


def _joins(container: Value, network: str) -> bool:
    return any(name == network for name, _ in entries(container, "networks"))


@REGISTRY.check(
    "node-proxy-proof",
    family="egress",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Give the group's probe a request to the egress proxy that must be refused (kind proxy, status 403).",
)
def node_proxy_proof(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """An update asks an egress proxy, in a server's place, for something that it must refuse."""
    required = plain(read(properties, "spec", "probe", "required"))
    asked = [as_mapping(plain(one)) for one in items(properties, "spec", "probe", "required")]
    refusals = {_place(one) for one in asked if one.get("kind") == "proxy" and one.get("status") == REFUSED}
    for _, guard in guards(properties):
        told = guarding_of(guard)
        for proxy in sorted(set(told.proxies) - refusals) if told else ():
            if holds_unknown(required):
                yield undecided("what an egress proxy is asked for")
            else:
                yield violation(f"does not try whether the egress proxy {proxy} refuses what is not named")


def _place(asked: Mapping[str, Value]) -> str:
    port = asked.get("port")
    return f"{asked.get('host')}:{int(port) if is_number(port) else port}"
