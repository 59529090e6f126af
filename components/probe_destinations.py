"""What `runtime/egress_probe` tries on every platform, and its source."""

from pathlib import Path
from typing import NotRequired, TypedDict

PROBE_SOURCE = Path(__file__).parents[1] / "runtime" / "egress_probe" / "__main__.py"
"""One file that any Python from 3.9 on runs."""


class Destination(TypedDict):
    """Somewhere that the probe tries to reach; see `runtime/egress_probe`."""

    kind: str
    """`tcp`, `udp`, `dns` or `proxy`."""
    host: str
    """Name or address; it may name a variable of the probe's environment, such as `$NODE_ADDRESS`."""
    port: int
    """Port, which a `dns` destination does not use."""
    why: str
    """What it is, in words."""
    refusal: bool
    """Whether a refused connection is no answer: the neighbour itself is one that may be reached."""
    target: NotRequired[str]
    """What a `proxy` is asked for, a name and a port."""
    status: NotRequired[int]
    """The only answer of a `proxy` that counts."""


def destination(kind: str, host: str, port: int, why: str, *, refusal: bool = False) -> Destination:
    """A destination; `refusal` says that a refused connection is fine."""
    return {"kind": kind, "host": host, "port": port, "why": why, "refusal": refusal}


METADATA_SERVICES = (
    destination("tcp", "169.254.169.254", 80, "metadata service (AWS, Google Cloud, Azure)"),
    destination("tcp", "169.254.170.2", 80, "container credentials (Amazon ECS)"),
    destination("tcp", "169.254.170.23", 80, "pod identity (Amazon EKS)"),
    destination("tcp", "fd00:ec2::254", 80, "metadata service (AWS, IPv6)"),
    destination("tcp", "168.63.129.16", 80, "platform service (Azure)"),
)
"""What hands out credentials of machines; see `components.egress.METADATA_RANGES`."""

PRIVATE_NEIGHBOURS = (
    destination("tcp", "10.0.0.1", 443, "private range 10.0.0.0/8"),
    destination("tcp", "172.31.0.1", 443, "private range 172.16.0.0/12"),
    destination("tcp", "192.168.0.1", 443, "private range 192.168.0.0/16"),
    destination("tcp", "100.64.0.1", 443, "shared range 100.64.0.0/10"),
)
"""The address of each private range that a router most often has."""

OUTSIDE = (
    destination("tcp", "1.1.1.1", 443, "a public address, HTTPS"),
    destination("tcp", "8.8.8.8", 22, "a public address, SSH"),
    destination("udp", "9.9.9.9", 53, "a public resolver"),
    destination("tcp", "2606:4700:4700::1111", 443, "a public IPv6 address"),
    destination("dns", "example.org", 53, "a public name, through the platform's resolver"),
)
"""What a closed profile forbids beside."""

PUBLIC_PORTS = (
    destination("tcp", "1.1.1.1", 443, "a public address, HTTPS"),
    destination("tcp", "1.1.1.1", 80, "a public address, HTTP"),
    destination("tcp", "1.1.1.1", 53, "a public resolver"),
    destination("tcp", "8.8.8.8", 853, "a public resolver over TLS"),
    destination("tcp", "8.8.8.8", 22, "a public address, SSH"),
    destination("udp", "9.9.9.9", 53, "a public resolver"),
    destination("udp", "208.67.222.222", 5353, "a public resolver on another port"),
)
"""Public addresses that answer on ports of all kinds."""

PUBLIC_IPV6 = destination("tcp", "2606:4700:4700::1111", 443, "a public IPv6 address")
"""No profile opens IPv6."""

NOT_LISTED = "hubstack-is-not-listed.invalid:443"
"""A name that no list holds and nobody owns (RFC 6761)."""


def proxy_refusals(host: str, port: int) -> list[Destination]:
    """Requests that an egress proxy must answer, with a refusal, where it is the way out."""
    asked = ((NOT_LISTED, "a domain that is not listed"), ("169.254.169.254:443", "an address in place of a name"))
    return [
        {**destination("proxy", host, port, f"the egress proxy refuses {what}"), "target": target, "status": 403}
        for target, what in asked
    ]
