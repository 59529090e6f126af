"""A node of a pool of temporary notebooks: its addresses and what it is, everything filled in."""

import functools
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.docker.overlay import parse_pool
from components.egress import EgressProfile

NODE_PREFIX_LENGTH = 21
"""Range of a node: a /22 for its servers, and the platform's networks in the other half."""

SERVERS_PREFIX_LENGTH = 22
"""1,022 addresses: a bridge has 1,024 ports (jupyter/tmpnb#46)."""

MOST_SERVERS = 1000
"""What a bridge holds beside the platform's own containers (seed 000: 1,000 users a node)."""

PROXY_PORT, PROXY_API_PORT = 8000, 8001
SERVICE_PORT, ADMIN_PORT = 9999, 10000
NOTEBOOK_PORT = 8888


@dataclass(frozen=True)
class NodePlan:
    """Ranges of a node's networks."""

    servers: str
    """Users' servers, and the addresses by which the platform reaches them."""
    control: str
    """Service and proxy: the proxy's API is on this network alone."""
    edge: str
    """TLS proxy and proxy."""
    front: str
    """TLS proxy and the published ports."""
    egress: str
    """Egress proxy and its way to the outside."""

    @property
    def gates(self) -> tuple[str, str]:
        """Addresses of the proxy and of the service on the servers' network."""
        network = ipaddress.IPv4Network(self.servers)
        return str(network[-2]), str(network[-3])

    @property
    def upstream(self) -> str:
        """Address of the proxy for the TLS proxy. Names would not be resolved while an engine is restarted under users."""
        return str(ipaddress.IPv4Network(self.edge)[-2])

    @property
    def controls(self) -> tuple[str, str]:
        """Addresses of the proxy and of the service on the control network, for each other."""
        network = ipaddress.IPv4Network(self.control)
        return str(network[-2]), str(network[-3])

    @property
    def probe(self) -> str:
        """Address of the probe on the servers' network."""
        return str(ipaddress.IPv4Network(self.servers)[-4])

    @property
    def egress_proxy(self) -> str:
        """Address of the egress proxy on the servers' network."""
        return str(ipaddress.IPv4Network(self.servers)[-5])


def nodes_in(pool: str) -> int:
    """How many nodes have a range of their own in the pool.

    Raises:
        ValueError: it is no private range of /20 or larger.
    """
    return 2 ** max(0, NODE_PREFIX_LENGTH - parse_pool(pool).prefixlen)


@functools.lru_cache(maxsize=64)
def plan_node(pool: str, number: int) -> NodePlan:
    """The ranges of the node with this number; nodes whose numbers differ by `nodes_in(pool)` have the same.

    Raises:
        ValueError: the pool is no private range of /20 or larger.
    """
    place = number % nodes_in(pool)
    base = int(parse_pool(pool).network_address) + (place << (32 - NODE_PREFIX_LENGTH))
    servers, platform = ipaddress.IPv4Network((base, NODE_PREFIX_LENGTH)).subnets(new_prefix=SERVERS_PREFIX_LENGTH)
    control, edge, front, egress, *_ = platform.subnets(new_prefix=26)
    return NodePlan(*map(str, (servers, control, edge, front, egress)))


@dataclass(frozen=True)
class NodeSettings:
    """What a node is, everything filled in."""

    stack: str
    name: str
    number: int
    url: str
    """Where visitors reach it, without a slash at the end."""
    port: int
    """Published TCP port of its TLS proxy."""
    capacity: int
    quota: Mapping[str, float]
    """A server's quota in the service's units, as `user_quota_document` gives it."""
    profile: EgressProfile
    pool: str
    """Range that the node's networks are cut from."""
    landing: str
    """Path that a visitor of `/` ends at."""
    burst: int
    """How many servers one address may get at once."""
    per_minute: float
    """How many servers one address may get in a minute in the long run."""
    drain_seconds: int
    """How long a node that is removed waits for its users."""
    starts_at_once: int
    """Servers that are being started at the same time."""
    redirector: str
    """Address of the redirector."""
    acme_email: str
    """Who hears from Let's Encrypt; empty where the certificate is the stack's own."""
    domains: Sequence[str] = ()
    """What the profile `domains` opens."""
    ports: Sequence[int] = ()
    """TCP ports that the profile `ports` opens."""

    @property
    def has_egress_proxy(self) -> bool:
        """Whether servers reach the outside by way of a proxy."""
        return self.profile is EgressProfile.DOMAINS and bool(self.domains)

    @property
    def lets_out(self) -> bool:
        """Whether servers reach the outside by themselves. A list of ports that names none opens nothing."""
        return self.profile is EgressProfile.OPEN or (self.profile is EgressProfile.PORTS and bool(self.ports))

    @property
    def admin_port(self) -> int:
        """Port of the administration on the host's loopback: apart from others' on one host."""
        return ADMIN_PORT + self.number
