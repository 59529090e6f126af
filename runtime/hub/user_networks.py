"""One internal overlay network for each user's server, which only the proxy and the hub join.

Swarm has no rule between the containers of one network, so servers on a shared network reach each other's port and
the proxy's API. A container can join networks while it runs, a service cannot: the proxy's container is joined to each
user's network here, and again whenever the proxy was replaced. So is the hub's, which looks whether a server answers.
"""

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, NotFound

ROLE_LABEL = "hubstack.role"
STACK_LABEL = "hubstack.stack"
USER_NETWORK = "user-network"
USER_SERVER = "user-server"
SUBNET_LABEL = "hubstack.subnet"
"""The subnet that a network was made with: the swarm says it otherwise only when it has given the network out, later."""

PREFIX_LENGTH = 28
"""14 addresses a network: the server, the proxy, and one that Swarm takes on each node with a task in it."""

NETWORK_HOLDER = "network-holder"
HOLDER_MEMORY = "8m"
HOLDER_PROCESSES = 4
CONFLICT = 409

ALREADY_JOINED = 403, 409
"""What the engine answers when the container joined in the meantime."""

IN_USE = 400, 403, 409, 500
"""What engines answer, by version, when somebody is still on a network that is to be removed."""

Json = dict[str, Any]

CHANGES = asyncio.Lock()
"""Held by whoever makes a user's network, or removes one that nobody seems to need."""


class NoFreeSubnetError(Exception):
    """Every subnet of the range is in use."""


def free_subnet(pool: str, taken: Iterable[str], prefix_length: int = PREFIX_LENGTH) -> str:
    """The first subnet of `pool` that overlaps none of the subnets `taken`.

    Raises:
        NoFreeSubnetError: there is none.
    """
    used = [ipaddress.ip_network(subnet) for subnet in taken]
    for subnet in ipaddress.ip_network(pool).subnets(new_prefix=prefix_length):
        if not any(subnet.version == other.version and subnet.overlaps(other) for other in used):
            return str(subnet)
    raise NoFreeSubnetError(f"{pool} has no /{prefix_length} left for another user's network")


def neighbour_address(subnet: str, position: int) -> str:
    """The address of a platform service on a user's network, counted from the end; tasks get theirs from the front."""
    return str(ipaddress.IPv4Network(subnet).broadcast_address - 1 - position)


def subnets_of(network: Json) -> list[str]:
    """The subnets of a network as the engine lists it."""
    marked = (network.get("Labels") or {}).get(SUBNET_LABEL)
    if marked:
        return [marked]
    return [pool["Subnet"] for pool in (network.get("IPAM") or {}).get("Config") or [] if pool.get("Subnet")]


@dataclass
class UserNetworks:
    """The user networks of one stack on the engine that runs its hub and proxy."""

    client: docker.APIClient
    stack: str
    pool: str
    proxy_service: str
    hub_service: str
    encrypted: bool = False
    """Whether what goes from node to node is encrypted."""
    apart: bool = False
    """Whether servers run on other nodes than proxy and hub, to which a network must be brought."""

    def name_for(self, server: str) -> str:
        """The network of the server with this service name."""
        return f"{server}-net"

    def ensure(self, server: str) -> str:
        """Make the server's network unless it is there, and return its name."""
        name = self.name_for(server)
        if name not in self._mine():
            taken = [subnet for network in self.client.networks() for subnet in subnets_of(network)]
            subnet = free_subnet(self.pool, taken)
            self.client.create_network(
                name,
                driver="overlay",
                internal=True,
                attachable=True,
                scope="swarm",
                options={"encrypted": "true"} if self.encrypted else None,
                labels={STACK_LABEL: self.stack, ROLE_LABEL: USER_NETWORK, SUBNET_LABEL: subnet},
                ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)]),
            )
        return name

    def proxy_address(self, server: str) -> str:
        """Address of the proxy on the server's network."""
        return neighbour_address(self._subnet(self.name_for(server)), 0)

    def join(self, server: str) -> None:
        """Join proxy and hub to the server's network."""
        for position, container in enumerate(self._neighbours()):
            if container is not None:
                self._join(container, self.name_for(server), position)

    def join_all(self, servers: Iterable[str]) -> list[str]:
        """Join proxy and hub to the networks of these servers that they miss, and return the names of those."""
        networks = self._mine() & {self.name_for(server) for server in servers}
        missing: set[str] = set()
        for position, container in enumerate(self._neighbours()):
            if container is not None:
                for name in sorted(networks - set(_networks_of(container))):
                    self._join(container, name, position)
                    missing.add(name)
        return sorted(missing)

    def started(self) -> set[str]:
        """Service names of servers, of those that have ended by themselves and of failed starts as well."""
        filters = {"label": [f"{STACK_LABEL}={self.stack}", f"{ROLE_LABEL}={USER_SERVER}"]}
        return {service["Spec"]["Name"] for service in self.client.services(filters=filters)}

    def end(self, server: str) -> None:
        """Remove a server's service; its network goes when the task has ended (`remove`)."""
        self.leave(server)
        try:
            self.client.remove_service(server)
        except NotFound:
            return

    def leave(self, server: str) -> None:
        """Take proxy and hub off the server's network, before its service is removed.

        A node gives up its part of a network once, two seconds after the server's task has ended, and keeps it for ever if
        anybody is on it then.
        """
        name = self.name_for(server)
        for container in self._neighbours():
            if container is not None and name in _networks_of(container):
                self.client.disconnect_container_from_network(container["Id"], name, force=True)
        self._release(name)

    def remove(self, server: str) -> bool:
        """Remove the server's network; False while a container, on whatever node, still holds it, or this node lists it.

        Swarm forgets a network as soon as its service is gone, though a container of it is still ending. That container's
        node then keeps its part of the network, and with it the name, until its engine starts again: the user could start no
        server. So the swarm is asked only when the server's task has ended and nobody is on the network any more.
        """
        name = self.name_for(server)
        if self.client.tasks(filters={"name": f"{server}."}):
            return False
        try:
            self.leave(server)
            if not self._is_left(name):
                return False
            self.client.remove_network(name)
        except NotFound:
            # Gone, or what the swarm has forgotten and the node has not yet: its name is taken as long.
            pass
        except APIError as error:
            if error.status_code not in IN_USE:
                raise
        return name not in self._mine()

    def _is_left(self, network: str) -> bool:
        """Whether nobody is on the network but the node's own load balancer, which goes with it."""
        members = self.client.inspect_network(network)["Containers"] or {}
        others = {member: endpoint for member, endpoint in members.items() if not member.startswith("lb-")}
        for member, endpoint in others.items():
            # What a killed container left behind has no container's id; its endpoint is known by its name.
            if member.startswith("ep-"):
                self.client.disconnect_container_from_network(endpoint["Name"], network, force=True)
        return not others

    def servers(self) -> list[str]:
        """Service names of the servers whose network is there."""
        return sorted(name.removesuffix("-net") for name in self._mine())

    def proxy_container(self) -> Json | None:
        """The proxy's running container on this node, newest first, or None."""
        return self._container(self.proxy_service)

    def _neighbours(self) -> tuple[Json | None, Json | None]:
        return self.proxy_container(), self._container(self.hub_service)

    def _container(self, service: str) -> Json | None:
        filters = {"label": f"com.docker.swarm.service.name={service}", "status": "running"}
        found = self.client.containers(filters=filters)
        if not found:
            return None
        newest = max(found, key=lambda container: container["Created"])
        try:
            return self.client.inspect_container(newest["Id"])
        except NotFound:
            return None

    def _mine(self) -> set[str]:
        filters = {"label": [f"{STACK_LABEL}={self.stack}", f"{ROLE_LABEL}={USER_NETWORK}"]}
        return {network["Name"] for network in self.client.networks(filters=filters)}

    def _subnet(self, network: str) -> str:
        return subnets_of(self.client.inspect_network(network))[0]

    def _join(self, container: Json, network: str, position: int) -> None:
        if network in _networks_of(container):
            return
        # An address of its own choice: the node does not know which ones Swarm's manager has given to tasks.
        address = neighbour_address(self._subnet(network), position)
        for _ in range(2):
            try:
                self.client.connect_container_to_network(container["Id"], network, ipv4_address=address)
            except NotFound:
                # A task of a service can join only a network that is on its own node.
                if not self.apart:
                    return
                self._hold(network)
                continue
            except APIError as error:
                if error.status_code not in ALREADY_JOINED:
                    raise
            return

    def _hold(self, network: str) -> None:
        """Bring the network to this node with a container that does nothing else; any container may ask for it."""
        hub = self._container(self.hub_service)
        if hub is None:
            return
        name = self._holder(network)
        try:
            self.client.create_container(
                hub["Image"],
                command=["sleep", "infinity"],
                name=name,
                user="65534:65534",
                labels={STACK_LABEL: self.stack, ROLE_LABEL: NETWORK_HOLDER},
                host_config=self.client.create_host_config(
                    network_mode=network,
                    mem_limit=HOLDER_MEMORY,
                    pids_limit=HOLDER_PROCESSES,
                    cap_drop=["ALL"],
                    read_only=True,
                    restart_policy={"Name": "always"},
                ),
            )
        except APIError as error:
            if error.status_code != CONFLICT:
                raise
        self.client.start(name)

    def _release(self, network: str) -> None:
        try:
            self.client.remove_container(self._holder(network), force=True)
        except NotFound:
            return

    @staticmethod
    def _holder(network: str) -> str:
        return f"{network}-holder"


def _networks_of(container: Json) -> Json:
    return container["NetworkSettings"]["Networks"]
