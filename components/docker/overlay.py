"""The address plan of a Swarm stack and the check that it meets nothing that is there already."""

import ipaddress
from dataclasses import dataclass

AWS_DEFAULT_VPC = "172.31.0.0/16"
"""Range of the VPC that every AWS account has; the seed's overlay 172.31.0.0/24 lies inside it."""

LARGEST_PREFIX_LENGTH = 20
"""A pool smaller than /20 has no room for the platform's networks beside those of users."""


@dataclass(frozen=True)
class AddressPlan:
    """Subnets cut from a stack's address pool."""

    control: str
    """Hub and proxy: the proxy's API is on this network alone."""
    edge: str
    """TLS proxy and proxy."""
    front: str
    """TLS proxy and the published port."""
    swarm: str
    """Swarm's own networks, such as `ingress`."""
    open: str
    """Servers of an `open` egress profile, on each node's own bridge."""
    idle: str
    """Tasks that talk to nobody, where the engine leaves none without a network."""
    users: str
    """One /28 for each user's server."""


@dataclass(frozen=True)
class RangeInUse:
    """An address range that a stack must stay clear of."""

    subnet: str
    owner: str
    """Who uses it, as an error names it."""


def plan_addresses(pool: str) -> AddressPlan:
    """Cut the pool: its lower half for the platform in sixteenths, its upper half for users' networks.

    Args:
        pool: an IPv4 network of /20 or larger, host bits zero.

    Raises:
        ValueError: it is none.
    """
    network = parse_pool(pool)
    platform, users = network.subnets(prefixlen_diff=1)
    parts = list(platform.subnets(prefixlen_diff=3))
    names = ("control", "edge", "front", None, None, "idle")
    cut = {name: str(next(iter(part.subnets(new_prefix=24)))) for name, part in zip(names, parts, strict=False) if name}
    return AddressPlan(**cut, swarm=str(parts[3]), open=str(parts[4]), users=str(users))


def parse_pool(pool: str) -> ipaddress.IPv4Network:
    """Read the pool's CIDR.

    Raises:
        ValueError: it is no private IPv4 network of /20 or larger with its host bits zero.
    """
    try:
        network = ipaddress.IPv4Network(pool)
    except ValueError as error:
        raise ValueError(f"{pool!r} is not an IPv4 network such as 10.213.0.0/16 ({error})") from error
    if network.prefixlen > LARGEST_PREFIX_LENGTH:
        raise ValueError(f"{pool} is too small; take a /{LARGEST_PREFIX_LENGTH} or larger, such as 10.213.0.0/16")
    if not network.is_private:
        raise ValueError(f"{pool} is not a private range; take one within 10.0.0.0/8")
    return network


def collisions(pool: str, in_use: list[RangeInUse]) -> list[str]:
    """One sentence for every range in use that the pool overlaps, naming both; sorted."""
    network = ipaddress.IPv4Network(pool)
    found: set[str] = set()
    for taken in in_use:
        try:
            other = ipaddress.ip_network(taken.subnet, strict=False)
        except ValueError:
            continue
        if other.version == network.version and network.overlaps(other) and other.prefixlen > 0:
            found.add(f"{pool} overlaps {taken.subnet} of {taken.owner}")
    return sorted(found)
