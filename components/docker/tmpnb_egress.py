"""What servers of a node reach: the guards, the egress proxy, and what an update tries in a server's place."""

import ipaddress
from collections.abc import Sequence

from components.docker.hub_services import GUARD_COMMAND
from components.docker.labels import Role
from components.docker.tmpnb_plan import (
    ADMIN_PORT,
    NOTEBOOK_PORT,
    PROXY_API_PORT,
    PROXY_PORT,
    SERVICE_PORT,
    NodePlan,
    NodeSettings,
    plan_node,
)
from components.egress import NEVER_REACHED, EgressProfile
from components.egress_proxy import HTTPS_PORT, squid_configuration
from components.egress_proxy import PROXY_PORT as EGRESS_PORT
from components.probe_destinations import (
    METADATA_SERVICES,
    OUTSIDE,
    PRIVATE_NEIGHBOURS,
    PUBLIC_IPV6,
    PUBLIC_PORTS,
    Destination,
    destination,
    proxy_refusals,
)
from components.quotas import parse_size
from runtime.container_group import FILES_FOLDER, ContainerSpec, GroupSpec, NetworkSpec
from runtime.open_network import bridge_name

NEIGHBOURS = range(2, 8)
"""Where the engine puts the first servers, counted from the start of their range."""

DNS_PORT = 53
EVERYWHERE = ("0.0.0.0/0", "::/0")

EGRESS_COMMAND = ("squid", "-N", "-f")
EGRESS_USER = "13:13"
"""Debian's user `proxy`."""


def bridges(group: str) -> tuple[str, str]:
    """Names of the interfaces of a node's networks that have guards: its servers' and its egress proxy's.

    Args:
        group: prefix of everything of the node, `<stack>-<node>`.
    """
    return bridge_name(group), bridge_name(f"{group}-egress")


def destinations(node: NodeSettings, plan: NodePlan) -> list[Destination]:
    """What code on the servers' network must not reach: neighbours, the platform, the host, and what the profile closes."""
    found = [*METADATA_SERVICES, *PRIVATE_NEIGHBOURS]
    proxy, service = plan.gates
    platform = (
        (proxy, PROXY_PORT, "the proxy"),
        (proxy, PROXY_API_PORT, "the proxy's API"),
        (service, SERVICE_PORT, "the node's service"),
        (service, ADMIN_PORT, "the node's administration"),
    )
    found += [destination("tcp", address, port, why) for address, port, why in platform]
    servers = ipaddress.IPv4Network(plan.servers)
    found += [destination("tcp", str(servers[number]), NOTEBOOK_PORT, "a neighbour's server") for number in NEIGHBOURS]
    hosts = [(str(servers[1]), "the host")]
    networks = (plan.control, plan.edge, plan.front, *((plan.egress,) if node.has_egress_proxy else ()))
    hosts += [(str(ipaddress.IPv4Network(subnet)[1]), "the host") for subnet in networks]
    hosts += [("172.17.0.1", "the host on the engine's own bridge")]
    for address, why in hosts:
        found += [destination("tcp", address, port, why) for port in (22, 2375, 2376, node.port)]
    if node.has_egress_proxy:
        found.append(destination("tcp", plan.egress_proxy, HTTPS_PORT, "another port of the egress proxy"))
    return found + outside_destinations(node)


def outside_destinations(node: NodeSettings) -> list[Destination]:
    """What is outside and does not answer under the node's egress profile.

    Public resolvers are not tried where names are resolved: one of them may be the host's own.
    """
    if not node.lets_out:
        return list(OUTSIDE)
    if node.profile is EgressProfile.OPEN:
        return [PUBLIC_IPV6]
    opened = {("tcp", port) for port in node.ports}
    tried = [one for one in PUBLIC_PORTS if one["port"] != DNS_PORT]
    return [PUBLIC_IPV6, *(one for one in tried if (one["kind"], one["port"]) not in opened)]


def egress_proxy_url(node: NodeSettings) -> str | None:
    """Where servers find the egress proxy, by address: without a way out they resolve no names."""
    if not node.has_egress_proxy:
        return None
    return f"http://{plan_node(node.pool, node.number).egress_proxy}:{EGRESS_PORT}"


def guard(node: NodeSettings, plan: NodePlan) -> ContainerSpec:
    """The guard of the servers' bridge."""
    options = [f"--gate={address}" for address in plan.gates]
    if node.has_egress_proxy:
        options.append(f"--egress-proxy={plan.egress_proxy}:{EGRESS_PORT}")
    if node.profile is EgressProfile.PORTS:
        options += [f"--port={port}" for port in node.ports]
    forbidden = NEVER_REACHED if node.lets_out else EVERYWHERE
    bridge, _ = bridges(f"{node.stack}-{node.name}")
    return _guarding(Role.EGRESS_GUARD, [*options, bridge, plan.servers, *forbidden])


def with_egress_proxy(group: GroupSpec, node: NodeSettings, plan: NodePlan) -> GroupSpec:
    """The node's containers with an egress proxy, on a network of its own that is guarded like the servers'.

    The guard holds it to public addresses and HTTPS, should a name resolve otherwise a moment after the proxy asked.
    """
    _, bridge = bridges(f"{node.stack}-{node.name}")
    network: NetworkSpec = {"subnet": plan.egress, "internal": False, "bridge": bridge, "apart": True}
    arguments = [f"--port={HTTPS_PORT}", bridge, plan.egress, *NEVER_REACHED]
    more = {"egress-proxy-guard": _guarding(Role.EGRESS_PROXY_GUARD, arguments), "egress-proxy": _egress_proxy(plan)}
    first, *others = group["order"]
    result: GroupSpec = {
        **group,
        "networks": {**group["networks"], "egress": network},
        "containers": {**group["containers"], **more},
        "order": [first, *more, *others],
        "texts": {**group["texts"], "squid.conf": squid_configuration(node.domains)},
    }
    if "probe" in group:
        result["probe"] = {**group["probe"], "required": proxy_refusals(plan.egress_proxy, EGRESS_PORT)}
    return result


def _guarding(role: Role, arguments: Sequence[str]) -> ContainerSpec:
    return {
        "role": role.value,
        "image": "node",
        "command": [*GUARD_COMMAND, *arguments],
        "cpu": 0.25,
        "memory_bytes": parse_size("64M"),
        "processes": 32,
        "host_network": True,
        "cap_add": ["NET_ADMIN"],
        "health": [*GUARD_COMMAND, "--check", *arguments],
    }


def _egress_proxy(plan: NodePlan) -> ContainerSpec:
    return {
        "role": Role.EGRESS_PROXY.value,
        "image": "egress-proxy",
        "command": [*EGRESS_COMMAND, f"{FILES_FOLDER}/squid.conf"],
        "cpu": 0.5,
        "memory_bytes": parse_size("256M"),
        "processes": 64,
        "user": EGRESS_USER,
        "networks": {"egress": {}, "servers": {"address": plan.egress_proxy}},
        "texts": ["squid.conf"],
        # The image has no Python.
        "health": ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{EGRESS_PORT}"],
    }
