"""Why servers are ended, and which are due, by age and by number."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import Enum
from itertools import islice

from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.servers import Server

UNUSED_AGE = timedelta(hours=24)
"""An unused server as old as this is replaced."""

SHARE = 4
"""Of the unused servers at most one in so many is away because it is being replaced, but always one may be."""


class Ended(str, Enum):
    """Why a server was ended."""

    IDLE = "idle"
    AGE = "age"
    SILENT = "silent"
    """It was unused and stopped answering."""
    ROLLED_OVER = "rolled-over"
    """It was unused, and made from something else than servers are made from now, or old."""
    EXCESS = "excess"
    """It was unused, and there are more than there should be."""
    ITSELF = "itself"
    """Its container ended."""
    ASKED = "asked"
    """An administrator asked for it."""


def too_old(used: Iterable[Server], max_age_seconds: int, now: datetime) -> list[Server]:
    """Used servers whose time is up."""
    limit = timedelta(seconds=max_age_seconds)
    return [server for server in used if server.handed_out and now - server.handed_out >= limit]


def stale(ready: Iterable[Server], now: datetime) -> list[Server]:
    """Unused servers that have waited for too long."""
    return [server for server in ready if now - server.created >= UNUSED_AGE]


def excess(pool: Pool) -> list[Server]:
    """Unused servers beyond the pool's capacity, the outdated ones first."""
    many = len(pool.used) + len(pool.ready) + len(pool.outdated) + len(pool.starting) - pool.capacity
    return _first(pool.outdated.values(), pool.ready.values(), many)


def replaceable(pool: Pool) -> list[Server]:
    """Outdated servers that may be ended now: those that are away already count, whatever the reason."""
    wanted = max(0, pool.capacity - len(pool.used))
    away = wanted - len(pool.ready) - len(pool.outdated)
    return _first(pool.outdated.values(), (), max(1, wanted // SHARE) - max(0, away))


def _first(before: Iterable[Server], after: Iterable[Server], many: int) -> list[Server]:
    def each() -> Iterator[Server]:
        yield from before
        yield from after

    return list(islice(each(), max(0, many)))
