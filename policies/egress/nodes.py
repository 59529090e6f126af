"""Nodes of a pool: what their servers are kept from, and by whom."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.address_space import Network, span_of
from policies.container_group import container_properties, containers, prefix
from policies.egress.joined_rules import NEVER_REACHED
from policies.egress_guard import CHECK, COMMAND, PROXY_ROLE, ROLE, guarding_of, is_egress_guard, networks_in
from policies.findings import Finding, undecided, violation
from policies.pool_settings import NODE_SERVICE, pool_services
from policies.programs import arguments
from policies.reader import UNKNOWN, Value, items, read
from policies.registry import REGISTRY
from policies.resource_types import CONTAINER, CONTAINER_GROUP, SERVICE

SERVERS = "servers"
"""Short name of the network of a node's servers."""

GATED_ROLES = ("proxy", NODE_SERVICE)
"""Who reaches every server: what passes visitors on, and what looks after the servers."""

IPV4 = 4
"""Servers have no other address; the guard drops everything else."""

AZURE = "168.63.129.16/32"
FORBIDDEN = {**NEVER_REACHED, AZURE: ipaddress.ip_network(AZURE)}
"""Metadata services and private ranges, which no profile opens."""

GUARD_ARGUMENTS = "what a guard is told to guard"

HTTPS, HIGHEST_PORT = "443", 65535
REFUSED_PORTS = frozenset({25, 53, 853})
"""Mail relays, which abused servers are used for first, and name servers beside the host's own."""


def guards(properties: Value, role: str = ROLE) -> Iterator[tuple[str, Value]]:
    """Containers of a group that are guards by this role and run what guards run, by short name."""
    for name, _ in containers(properties):
        container = container_properties(properties, name)
        if is_egress_guard(container, role) is True:
            yield name, container


def may_hide_a_guard(properties: Value, role: str = ROLE) -> bool:
    """Whether a container may be a guard with this role, or guard more, as soon as all of it is known."""
    if read(properties, "spec", "containers") is UNKNOWN:
        return True
    found = [container_properties(properties, name) for name, _ in containers(properties)]
    verdicts = [(is_egress_guard(container, role), arguments(container)) for container in found]
    return any(UNKNOWN in (verdict, *words) for verdict, words in verdicts if verdict is not False)


@REGISTRY.check(
    "node-network",
    family="egress",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation=f'Give the group a network "{SERVERS}" and name it, with its prefix, as network in the service\'s settings.',
)
def node_network(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A node's servers are on the network that this pack judges as theirs, and on none of the platform's."""
    start, wanted = prefix(properties), read(properties, "spec", "networks", SERVERS)
    for service in pool_services(properties, NODE_SERVICE):
        if UNKNOWN in (start, service.settings, wanted):
            yield undecided("the network of a node's servers")
            continue
        network = read(service.settings, "network")
        if wanted is None or network != f"{start}-{SERVERS}":
            yield violation(f"puts users' servers on {network!r}, which is no network {SERVERS!r} of the group")


@REGISTRY.check(
    "node-guard",
    family="egress",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation="Give the group an egress guard whose arguments name the bridge and the subnet of its servers' network.",
)
def node_guard(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The network of users' servers is guarded: servers there reach what the guard's rules leave, and not the host.

    The engine's own options keep servers from each other alone (tmpnb issue 187).
    """
    network = read(properties, "spec", "networks", SERVERS)
    if network is None:
        return
    bridge, subnet = read(network, "bridge"), read(network, "subnet")
    told = [found for _, guard in guards(properties) if (found := guarding_of(guard))]
    if any((found.bridge, found.subnet) == (bridge, subnet) for found in told):
        return
    if UNKNOWN in (network, bridge, subnet) or may_hide_a_guard(properties):
        yield undecided("the guard of the servers' network")
    else:
        yield violation(f"has no egress guard of the bridge {bridge!r} and the subnet {subnet!r} of its servers")


@REGISTRY.check(
    "node-guard-awaited",
    family="egress",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Name the group's guard in the service's settings, and let the guard's health command be its own with "
    f"{CHECK} before its arguments.",
)
def node_guard_awaited(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A node starts no server before the rules of its guard are in place, which the guard's health tells."""
    found = dict(guards(properties))
    for service in pool_services(properties, NODE_SERVICE):
        awaited = read(service.settings, "guard")
        name = next((name for name in found if awaited == f"{prefix(properties)}-{name}"), None)
        if UNKNOWN in (prefix(properties), service.settings) or (name is None and may_hide_a_guard(properties)):
            yield undecided("the guard that the service waits for")
        elif name is None:
            yield violation(f"waits for the guard {awaited!r}, which the group does not have")
        else:
            yield from _proves_its_rules(properties, name)


def _proves_its_rules(properties: Value, name: str) -> Iterator[Finding]:
    """What to say of a guard that is healthy without its rules."""
    command = list(items(properties, "spec", "containers", name, "command"))
    health = list(items(properties, "spec", "containers", name, "health"))
    if UNKNOWN in (*command, *health):
        yield undecided(f"the health command of the container {name}")
    elif health != [*COMMAND, CHECK, *command[len(COMMAND) :]]:
        yield violation(f"container {name}: is healthy without its rules (health is {health!r})")


@REGISTRY.check(
    "guard-ranges",
    family="egress",
    severity="critical",
    types=(SERVICE, CONTAINER),
    remediation=f"Let the guard forbid 0.0.0.0/0 and ::/0, or name ports and forbid {', '.join(FORBIDDEN)}; without ports, "
    "set allowOpen in the policy pack's configuration.",
)
def guard_ranges(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A guard forbids everything, and where it opens more still every metadata service and private range.

    Where everything is forbidden by its two words, the guard forbids the host's name servers as well.
    """
    guard, told = is_egress_guard(properties), guarding_of(properties)
    if guard is False:
        return
    if guard is UNKNOWN or UNKNOWN in arguments(properties):
        yield undecided(GUARD_ARGUMENTS)
    elif told is None:
        yield violation("names no bridge and no subnet that it guards")
    elif not told.is_closed:
        if not told.ports and config.get("allowOpen") is not True:
            yield violation(f"lets users' servers out to everything but {len(told.forbidden)} ranges")
        left = [text for text, network in FORBIDDEN.items() if not told.forbids(network)]
        if left:
            yield violation(f"lets users' servers reach {', '.join(left)}")


@REGISTRY.check(
    "guard-ports",
    family="egress",
    severity="high",
    types=(SERVICE, CONTAINER),
    remediation="Name other TCP ports: names are asked of the host's name servers, and mail is handed in on 465 or 587.",
)
def guard_ports(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A guard that knows ports opens none of mail relays or of name servers, and an egress proxy's HTTPS alone."""
    told = guarding_of(properties)
    if told is None or is_egress_guard(properties) is not True:
        return
    for port in told.ports:
        if not port.isdecimal() or not 1 <= int(port) <= HIGHEST_PORT or int(port) in REFUSED_PORTS:
            yield violation(f"lets users' servers out on the port {port}")
    if is_egress_guard(properties, PROXY_ROLE) is True and set(told.ports) != {HTTPS}:
        yield violation(f"lets an egress proxy out on more than HTTPS ({', '.join(told.ports) or 'every port'})")


@REGISTRY.check(
    "node-gates",
    family="egress",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation="Let only the fixed addresses of the proxy and of the service on the servers' network be gates.",
)
def node_gates(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Only the proxy and the service of a node reach every server; any other gate is a way from server to server."""
    known = [
        read(container, "networks", SERVERS, "address")
        for _, container in containers(properties)
        if read(container, "role") in (*GATED_ROLES, UNKNOWN)
    ]
    for name, guard in guards(properties):
        told = guarding_of(guard)
        if told is None:
            if UNKNOWN in items(guard, "command"):
                yield undecided(GUARD_ARGUMENTS)
            continue
        for gate in sorted(set(told.gates) - {str(address) for address in known}):
            yield (
                undecided("an address on the servers' network")
                if UNKNOWN in known
                else violation(
                    f"container {name}: opens the gate {gate}, which is no address of the proxy or the service"
                )
            )


@REGISTRY.check(
    "node-resolver",
    family="egress",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Set resolver to false in the service's settings, or open the egress profile.",
)
def node_resolver(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Servers that reach nothing resolve no names either: a name carries data to whoever answers it (CVE-2024-29018)."""
    told = [guarding_of(guard) for _, guard in guards(properties)]
    for service in pool_services(properties, NODE_SERVICE):
        resolver = read(service.settings, "resolver")
        if resolver is False:
            continue
        if service.settings is UNKNOWN or may_hide_a_guard(properties):
            yield undecided("whether servers may resolve names")
        elif all(found is None or found.is_closed for found in told):
            yield violation(f"lets servers resolve names, though they reach nothing (resolver is {resolver!r})")


@REGISTRY.check(
    "node-proof",
    family="egress",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation=f'Give the group a probe on its network "{SERVERS}" that tries an address of each of these ranges.',
)
def node_proof(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """An update tries, in a server's place, what servers must not reach: what nobody tries is only believed."""
    servers, network = read(properties, "spec", "networks", SERVERS), read(properties, "spec", "probe", "network")
    if servers is None:
        return
    hosts = [read(tried, "host") for tried in items(properties, "spec", "probe", "forbidden")]
    left = [text for text, range_ in FORBIDDEN.items() if range_.version == IPV4 and not _any_in(hosts, range_)]
    if UNKNOWN in (servers, network) or (left and UNKNOWN in hosts):
        yield undecided("what is tried from the servers' network")
    elif network != SERVERS:
        yield violation(f"tries nothing from its servers' network (probe.network is {network!r})")
    elif left:
        yield violation(f"does not try whether servers reach {', '.join(left)}")


def _any_in(hosts: Sequence[Value], network: Network) -> bool:
    """Whether one of the addresses lies in the network; names do not."""
    first, last = span_of(network)
    spans = [span_of(found) for host in hosts for found in networks_in(str(host), network.version)]
    return any(first <= start and end <= last for start, end in spans)
