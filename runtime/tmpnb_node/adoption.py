"""Taking up the servers that a service before this one started."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from runtime.tmpnb_node.engine import Engine, Found
from runtime.tmpnb_node.journal import Past
from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.servers import Server

log = logging.getLogger(__name__)


def as_server(found: Found, token: str, past: Past, now: datetime) -> Server:
    """A container as a server: handed out when the journal says; now, if the journal cannot say that it was not."""
    return Server(
        id=found.id,
        token=token,
        spec=found.spec,
        created=found.created,
        address=found.address,
        handed_out=past.entries.get(found.id) or (None if past.complete else now),
    )


async def adopt(engine: Engine, pool: Pool, past: Past, confirm: Callable[[Server], None], now: datetime) -> None:
    """Take up what runs: all of it or, with an error, nothing.

    Args:
        engine: where containers are.
        pool: where they are to be.
        past: who was handed out.
        confirm: looks whether an unused server is ready.
        now: the present.

    Raises:
        EngineError: the engine does not say.
    """
    found = await engine.servers()
    tokens = await asyncio.gather(*(_token(engine, each) for each in found))
    servers = [as_server(each, token, past, now) for each, token in zip(found, tokens, strict=True)]
    for server in servers:
        # One that has ended, or that no service of this node has made, is nobody's.
        if not server.token:
            pool.end(server)
        elif server.handed_out:
            pool.take_up(server)
        elif pool.draining:
            pool.end(server)
        else:
            confirm(server)
    _tell(servers, past)


async def _token(engine: Engine, found: Found) -> str:
    return (await engine.token(found.id) or "") if found.running else ""


def _tell(servers: Sequence[Server], past: Past) -> None:
    used = sum(1 for server in servers if server.handed_out and server.token)
    log.info("found %d servers from before, %d of them used", len(servers), used)
    if used and not past.complete:
        log.warning("the journal is missing or damaged: servers that it does not name count as used")
