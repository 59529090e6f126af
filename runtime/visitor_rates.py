"""How often one visitor may ask for something: a token bucket for each address, in bounded memory."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

IPV6_NETWORK_BITS = 64
"""What one customer of a provider has at least: the addresses within are one visitor's."""

MOST_ADDRESSES = 100_000
"""Buckets that are kept; the one that was used longest ago goes first, which by then is full again or as good as."""


def visitor_key(address: str) -> str:
    """Whom an address stands for: itself, or with IPv6 its /64.

    A text that is no address stands for itself, so that who forges one shares it with nobody.
    """
    try:
        parsed = ipaddress.ip_address(address.strip().partition("%")[0])
    except ValueError:
        return address.strip()
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))


def forwarded_address(header: str | None, hops: int, peer: str) -> str:
    """The visitor's address, of which only trusted proxies told.

    Args:
        header: `X-Forwarded-For`, to whose end each proxy adds the address that it was asked from.
        hops: trusted proxies before this service; 0 for none.
        peer: address of who is connected.
    """
    told = [part.strip() for part in (header or "").split(",") if part.strip()]
    return told[-hops] if 0 < hops <= len(told) else peer


class VisitorRates:
    """Token buckets by address."""

    def __init__(
        self,
        burst: int,
        per_minute: float,
        timer: Callable[[], float] = time.monotonic,
        most: int = MOST_ADDRESSES,
    ) -> None:
        """Describe the limit.

        Args:
            burst: how often an address may ask at once, at least 1.
            per_minute: how often it may ask in the long run, above 0.
            timer: seconds that only grow.
            most: addresses that are remembered.
        """
        self._burst, self._per_second = burst, per_minute / 60
        self._timer, self._most = timer, most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_seconds(self, address: str) -> float:
        """Count a request of this address: 0 if it may pass, else seconds until the next may; then it is not counted."""
        key, now = visitor_key(address), self._timer()
        tokens, since = self._buckets.pop(key, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - since) * self._per_second)
        passes = tokens >= 1
        self._buckets[key] = (tokens - 1 if passes else tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - tokens) / self._per_second
