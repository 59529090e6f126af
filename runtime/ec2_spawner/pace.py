"""Asking no more often than is allowed, by waiting one's turn instead of being refused."""

import asyncio
import time
from dataclasses import dataclass


@dataclass
class Pace:
    """Lets `burst` pass at once and `a_second` each second after that, in the order in which they come."""

    burst: int
    """At least 1."""
    a_second: float
    """Above 0."""
    _full: float = -1e9
    """When all of the burst is there again, if nobody else comes."""

    async def turn(self) -> None:
        """Wait for one's turn; it is used up even if the caller goes away meanwhile."""
        interval = 1 / self.a_second
        now = time.monotonic()
        self._full = max(self._full, now) + interval
        await asyncio.sleep(max(0.0, self._full - now - self.burst * interval))
