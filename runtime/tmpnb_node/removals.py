"""Removing servers: a few at a time, and again until the engine has done it."""

import logging
from collections.abc import Callable
from itertools import islice

from runtime.tmpnb_node.engine import EngineError, removed_at_once
from runtime.tmpnb_node.parts import Parts
from runtime.tmpnb_node.routes import ProxyError
from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.surroundings import Surroundings
from runtime.tmpnb_node.troubles import Part

AGAIN_SECONDS = 2.0
"""After this the engine is asked again for what it refused."""

log = logging.getLogger(__name__)


class Removals:
    """Removes the pool's ending servers."""

    def __init__(self, parts: Parts, around: Surroundings, starts_at_once: int, done: Callable[[], None]) -> None:
        """Describe them.

        Args:
            parts: where servers are.
            around: time and tasks.
            starts_at_once: most servers that are being started at the same time.
            done: called after each removal, or attempt at one.
        """
        self._pool, self._engine, self._routes = parts.pool, parts.engine, parts.routes
        self._starter, self._troubles = parts.starter, parts.troubles
        self._around, self._done = around, done
        self._at_once = removed_at_once(starts_at_once)
        self._removing: set[str] = set()
        self._refused: dict[str, float] = {}

    def begin(self) -> None:
        """Begin to remove as many as may be removed at once."""
        now = self._around.timer()
        due = (
            server
            for server in self._pool.ending.values()
            if server.id not in self._removing
            and server.id not in self._starter.creating
            and self._refused.get(server.id, now) <= now
        )
        for server in list(islice(due, self._at_once - len(self._removing))):
            self._removing.add(server.id)
            self._around.spawn(self._remove(server))

    async def _remove(self, server: Server) -> None:
        try:
            # First, so that its visitor is told instead of waiting; a proxy that does not answer loses it later.
            await self._routes.delete(server.path)
        except ProxyError as error:
            log.debug("the route of %s is left for now: %s", server.id, error)
        try:
            await self._engine.remove(server.id)
        except EngineError as error:
            self._refused[server.id] = self._around.timer() + AGAIN_SECONDS
            self._troubles.note(Part.REMOVALS, str(error))
        else:
            self._refused.pop(server.id, None)
            self._pool.forget(server.id)
            if not self._refused:
                self._troubles.clear(Part.REMOVALS)
        self._removing.discard(server.id)
        self._done()
