"""What code that users run may reach, one value for every platform."""

from enum import Enum


class EgressProfile(str, Enum):
    """What a user's server may reach beside its hub."""

    CLOSED = "closed"
    """Nothing."""
    OPEN = "open"
    """Public addresses; never the metadata services or a private range."""


FORBIDDEN_RANGES = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""IPv4 ranges that no profile opens: private (RFC 1918, RFC 6598), loopback, link-local with the metadata services of
AWS, Google Cloud and Azure (168.63.129.16 is Azure's), benchmarking, multicast and reserved (IANA's registry of
special-purpose addresses)."""
