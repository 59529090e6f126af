"""One internal overlay network for each user's server, which only the proxy joins.

Swarm has no rule between the containers of one network, so servers on a shared network reach each other's port and
the proxy's API. A container can join networks while it runs, a service cannot: the proxy's container is joined to each
user's network here, and again whenever the proxy was replaced.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, NotFound

ROLE_LABEL = "hubstack.role"
STACK_LABEL = "hubstack.stack"
USER_NETWORK = "user-network"

PREFIX_LENGTH = 28
"""14 addresses a network: the server, the proxy, and one that Swarm takes on each node with a task in it."""

_CONFLICT = 403, 409
Json = dict[str, Any]


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


def last_host(subnet: str) -> str:
    """The last address of the subnet that a host can have; tasks get theirs from the front."""
    return str(ipaddress.IPv4Network(subnet).broadcast_address - 1)


def subnets_of(network: Json) -> list[str]:
    """The subnets of a network as the engine lists it."""
    return [pool["Subnet"] for pool in (network.get("IPAM") or {}).get("Config") or [] if pool.get("Subnet")]


@dataclass
class UserNetworks:
    """The user networks of one stack on the engine that runs its proxy."""

    client: docker.APIClient
    stack: str
    pool: str
    proxy_service: str

    def name_for(self, server: str) -> str:
        """The network of the server with this service name."""
        return f"{server}-net"

    def ensure(self, server: str) -> str:
        """Make the server's network unless it is there, and return its name."""
        name = self.name_for(server)
        existing = {network["Name"] for network in self._mine()}
        if name not in existing:
            taken = [subnet for network in self.client.networks() for subnet in subnets_of(network)]
            subnet = free_subnet(self.pool, taken)
            self.client.create_network(
                name,
                driver="overlay",
                internal=True,
                attachable=True,
                scope="swarm",
                labels={STACK_LABEL: self.stack, ROLE_LABEL: USER_NETWORK},
                ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)]),
            )
        return name

    def proxy_address(self, server: str) -> str:
        """Address of the proxy on the server's network."""
        return self._proxy_address(self.name_for(server))

    def join(self, server: str) -> None:
        """Join the proxy to the server's network, which is on this node once a task on it runs here."""
        proxy = self.proxy_container()
        if proxy is not None:
            self._join(proxy, self.name_for(server))

    def remove(self, server: str) -> bool:
        """Remove the server's network; False while a container that is shutting down still holds it."""
        name = self.name_for(server)
        proxy = self.proxy_container()
        try:
            if proxy is not None and name in proxy["NetworkSettings"]["Networks"]:
                self.client.disconnect_container_from_network(proxy["Id"], name, force=True)
            self.client.remove_network(name)
        except NotFound:
            return True
        except APIError as error:
            if error.status_code in (*_CONFLICT, 400, 500):
                return False
            raise
        return True

    def join_all(self, servers: Iterable[str]) -> list[str]:
        """Join the proxy to the networks of `servers` that it misses and return the names of those."""
        proxy = self.proxy_container()
        if proxy is None:
            return []
        wanted = {self.name_for(server) for server in servers}
        missing = sorted(wanted & {network["Name"] for network in self._mine()} - set(_networks_of(proxy)))
        for name in missing:
            self._join(proxy, name)
        return missing

    def orphans(self, servers: Iterable[str]) -> list[str]:
        """Names of servers whose network is there although they are not among the running `servers`."""
        running = {self.name_for(server) for server in servers}
        return sorted(name.removesuffix("-net") for name in {n["Name"] for n in self._mine()} - running)

    def proxy_container(self) -> Json | None:
        """The proxy's running container on this node, newest first, or None."""
        found = self.client.containers(
            filters={"label": f"com.docker.swarm.service.name={self.proxy_service}", "status": "running"}
        )
        if not found:
            return None
        newest = max(found, key=lambda container: container["Created"])
        try:
            return self.client.inspect_container(newest["Id"])
        except NotFound:
            return None

    def _mine(self) -> list[Json]:
        filters = {"label": [f"{STACK_LABEL}={self.stack}", f"{ROLE_LABEL}={USER_NETWORK}"]}
        return self.client.networks(filters=filters)

    def _proxy_address(self, network: str) -> str:
        return last_host(subnets_of(self.client.inspect_network(network))[0])

    def _join(self, container: Json, network: str) -> None:
        if network in _networks_of(container):
            return
        try:
            # An address of its own choice: the node does not know which ones Swarm's manager has given to tasks.
            address = self._proxy_address(network)
            self.client.connect_container_to_network(container["Id"], network, ipv4_address=address)
        except APIError as error:
            # Docker answers 403 when the container joined in the meantime.
            if error.status_code not in _CONFLICT:
                raise


def _networks_of(container: Json) -> Json:
    return container["NetworkSettings"]["Networks"]
