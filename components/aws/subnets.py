"""How a VPC's range is divided: a small public subnet and a large private one in each zone."""

import ipaddress
from dataclasses import dataclass

MOST_ZONES = 4
PUBLIC_PREFIX = 24
"""A public subnet holds managers, load balancers and NAT gateways: 251 addresses."""

SMALLEST_VPC_PREFIX = 20
LARGEST_VPC_PREFIX = 16
"""AWS's own limit for a VPC's range."""

NATIVE_RESERVED = 5
"""Addresses that AWS keeps in each subnet."""


@dataclass(frozen=True)
class SubnetPlan:
    """Ranges of a VPC's subnets, one of each kind for each zone."""

    vpc: str
    public: tuple[str, ...]
    """Ranges that reach the internet gateway."""
    private: tuple[str, ...]
    """Ranges of the hosts that users' code runs on, large because every user has a host (seed 004)."""

    @property
    def private_addresses(self) -> int:
        """Hosts that fit into the private subnets."""
        return sum(ipaddress.IPv4Network(subnet).num_addresses - NATIVE_RESERVED for subnet in self.private)


def plan_subnets(cidr: str, zones: int) -> SubnetPlan:
    """Divide `cidr`: its upper half is private, the public subnets (/24, smaller in a small VPC) start its lower half.

    For 10.10.0.0/16 and one zone that is 10.10.0.0/24 and 10.10.128.0/17, as in the seed.

    Raises:
        ValueError: the range is no private IPv4 network between /16 and /20, or there are too few or too many zones.
    """
    try:
        vpc = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise ValueError(f"{cidr} is no IPv4 network ({error}); write it like 10.10.0.0/16") from error
    if not LARGEST_VPC_PREFIX <= vpc.prefixlen <= SMALLEST_VPC_PREFIX or not vpc.is_private:
        raise ValueError(f"{cidr} is no private range from /{LARGEST_VPC_PREFIX} to /{SMALLEST_VPC_PREFIX}")
    if not 1 <= zones <= MOST_ZONES:
        raise ValueError(f"{zones} zones; 1 to {MOST_ZONES}")
    lower, upper = vpc.subnets(prefixlen_diff=1)
    # As many equal parts as the next power of two: a zone that is added later moves no other.
    parts = (zones - 1).bit_length()
    public = max(PUBLIC_PREFIX, lower.prefixlen + parts)
    return SubnetPlan(
        vpc=str(vpc),
        public=tuple(str(s) for s, _ in zip(lower.subnets(new_prefix=public), range(zones), strict=False)),
        private=tuple(str(s) for s, _ in zip(upper.subnets(prefixlen_diff=parts), range(zones), strict=False)),
    )
