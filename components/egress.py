"""What code that users run may reach, one value for every platform."""

import ipaddress
from collections.abc import Iterable
from enum import Enum

METADATA_RANGES = ("169.254.0.0/16", "168.63.129.16/32", "fd00:ec2::254/128")
"""Metadata services of AWS, Google Cloud, Azure and their container services; design section 3."""

PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
"""Ranges that belong to an organisation's inside (RFC 1918, 6598, 4193, 3927)."""

UNROUTED_RANGES = ("0.0.0.0/8", "127.0.0.0/8", "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")
"""Ranges that nobody owns in public (RFC 6890): this network, loopback, protocols, benchmarks, multicast, reserved."""

NEVER_REACHED = (*METADATA_RANGES, *PRIVATE_RANGES, *UNROUTED_RANGES)
"""What no profile opens."""


class EgressProfile(str, Enum):
    """What a user's server may reach beside its hub."""

    CLOSED = "closed"
    """Nothing."""
    OPEN = "open"
    """Every public address; never `NEVER_REACHED`, another server or the host."""


def public_ranges(excluded: Iterable[str] = NEVER_REACHED) -> tuple[str, ...]:
    """The fewest IPv4 ranges that cover every address outside `excluded`, for platforms whose rules can only allow."""
    left = [ipaddress.IPv4Network("0.0.0.0/0")]
    for text in excluded:
        gone = ipaddress.ip_network(text)
        if not isinstance(gone, ipaddress.IPv4Network):
            continue
        kept: list[ipaddress.IPv4Network] = []
        for network in left:
            if gone.subnet_of(network):
                kept += network.address_exclude(gone)
            elif not network.subnet_of(gone):
                kept.append(network)
        left = kept
    return tuple(str(network) for network in ipaddress.collapse_addresses(left))
