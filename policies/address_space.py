"""What rules reach together: unions of address ranges on ports, in whole numbers. Needs no Pulumi."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Span = tuple[int, int]
"""First and last of consecutive numbers."""

PORTS = 65536

UNIVERSES = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("2000::/3")}
"""What counts as everything of each version of IP: of version 6 an eighth is given to public addresses at all."""


@dataclass(frozen=True)
class Opening:
    """Addresses on ports: what one range of one rule opens."""

    ports: Span
    network: Network


@dataclass(frozen=True)
class Segment:
    """Ports on which the same addresses are open."""

    ports: Span
    addresses: tuple[Span, ...]
    """Apart from each other, in order."""
    version: int
    """4 or 6."""

    @property
    def share(self) -> float:
        """Part of all public addresses that is open, 0 to 1."""
        universe = UNIVERSES[self.version]
        return _size(_common(self.addresses, span_of(universe))) / universe.num_addresses

    @property
    def is_everything(self) -> bool:
        """Whether not one address of this version is left out."""
        return self.addresses == ((0, (1 << (32 if self.version == 4 else 128)) - 1),)  # noqa: PLR2004

    def overlaps(self, network: Network) -> bool:
        """Whether an address of `network` is open."""
        return network.version == self.version and bool(_common(self.addresses, span_of(network)))


def span_of(network: Network) -> Span:
    """The network's first and last address."""
    return int(network.network_address), int(network.broadcast_address)


def segments(openings: Iterable[Opening]) -> Iterator[Segment]:
    """The union of openings, cut where the open addresses change from one port to the next."""
    given = list(openings)
    for version in UNIVERSES:
        of_version = [opening for opening in given if opening.network.version == version]
        cuts = sorted({edge for o in of_version for edge in (o.ports[0], o.ports[1] + 1)})
        for first, after in pairwise(cuts):
            spans = [span_of(o.network) for o in of_version if o.ports[0] <= first <= o.ports[1]]
            if spans:
                yield Segment((first, after - 1), tuple(merged(spans)), version)


def merged(spans: Iterable[Span]) -> Iterator[Span]:
    """The same numbers in the fewest spans, in order."""
    current: Span | None = None
    for first, last in sorted(spans):
        if current is None:
            current = first, last
        elif first <= current[1] + 1:
            current = current[0], max(current[1], last)
        else:
            yield current
            current = first, last
    if current is not None:
        yield current


def _common(spans: Sequence[Span], other: Span) -> list[Span]:
    both = [(max(first, other[0]), min(last, other[1])) for first, last in spans]
    return [(first, last) for first, last in both if first <= last]


def _size(spans: Iterable[Span]) -> int:
    return sum(last - first + 1 for first, last in spans)
