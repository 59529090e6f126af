"""Starting servers: a few at a time, and more slowly while it fails."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from runtime.server_activity import Get
from runtime.tmpnb_node.activity import answers, has_warm_kernel
from runtime.tmpnb_node.engine import Engine, EngineError
from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.routes import ProxyError, Routes
from runtime.tmpnb_node.servers import Server, new_server
from runtime.tmpnb_node.surroundings import Surroundings
from runtime.tmpnb_node.troubles import Part, Troubles

READY_SECONDS = 60.0
"""How long a server may take until it answers."""

KERNEL_SECONDS = 30.0
"""How long a server that answers may take until its kernel is idle; after that it counts without: it works all the same."""

ASK_SECONDS = 0.25
"""How often one that is being started is asked."""

LOOK_EVERY = 8
"""After how many questions its container is looked at: one that has ended never answers."""

ROUTE_SECONDS = 1.0
"""How often the proxy is asked for a route while it does not answer."""

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0

log = logging.getLogger(__name__)


class StartError(Exception):
    """A server did not come up; the message says why, the same for each one."""


def wait_seconds(failures: int, chance: float) -> float:
    """How long to wait after this many failures in a row: doubling from a second to a minute, less up to half of it.

    Args:
        failures: at least 1.
        chance: 0 to 1.
    """
    # A bound on the exponent, since a float has one.
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 16))
    return longest * (1 - chance / 2)


class Starter:
    """Starts servers until the pool has as many as it should."""

    def __init__(
        self,
        pool: Pool,
        engine: Engine,
        routes: Routes,
        get: Get,
        troubles: Troubles,
        around: Surroundings,
        *,
        at_once: int,
        tell: Callable[[float | None], None],
        done: Callable[[], None],
    ) -> None:
        """Describe the starter.

        Args:
            pool: where servers are to be.
            engine: makes containers.
            routes: leads visitors to them.
            get: asks them.
            troubles: where it is noted what is wrong.
            around: time, chance and tasks.
            at_once: most servers that are being started.
            tell: called with the seconds that a start took, or None for one that failed; not for that of a server which
                nobody wanted any more.
            done: called after each start, whatever became of it.
        """
        self._pool, self._engine, self._routes, self._get, self._troubles = pool, engine, routes, get, troubles
        self._around, self._at_once, self._tell, self._done = around, at_once, tell, done
        self._running = 0
        self._failures = 0
        self._not_before = 0.0
        self.creating: set[str] = set()
        """Servers whose container the engine makes, or is about to: they cannot be removed yet."""

    @property
    def may_start(self) -> bool:
        """Whether a server could be started now, if there is room."""
        return (
            self._pool.adopted
            and not self._pool.draining
            and not self._troubles.has(Part.GUARD)
            and self._around.timer() >= self._not_before
        )

    def start_missing(self) -> None:
        """Begin to start as many as lack, and may be started at once; only one while the last one failed."""
        most = 1 if self._failures else self._at_once
        while self.may_start and self._running < most and self._pool.room():
            server = new_server(self._pool.spec, self._around.clock())
            self._pool.begin(server)
            self.creating.add(server.id)
            self._running += 1
            self._around.spawn(self._start(server))

    def confirm(self, server: Server) -> None:
        """Look whether a server from before the service's start is ready; it is removed if it is not."""
        self._pool.begin(server)
        self._around.spawn(self._confirm(server))

    async def _start(self, server: Server) -> None:
        began = self._around.timer()
        try:
            try:
                address = await self._engine.start(server)
            finally:
                self.creating.discard(server.id)
            if await self._come_up(replace(server, address=address)):
                took = self._around.timer() - began
                self._succeeded()
                log.info("server %s is ready after %.1f s", server.id, took)
                self._tell(took)
        except (EngineError, StartError) as error:
            self._failed(error)
            self._pool.end(server)
            self._tell(None)
        self._running -= 1
        self._done()

    async def _confirm(self, server: Server) -> None:
        try:
            await self._come_up(server)
        except (EngineError, StartError) as error:
            log.info("server %s from before is not used: %s", server.id, error)
            self._pool.end(server)

    async def _come_up(self, server: Server) -> bool:
        """Wait until the server answers, its kernel is idle and it has a route; False if it is not wanted any more."""
        answered = await self._in_time(server, answers, READY_SECONDS)
        if not self._wanted(server):
            return False
        if not answered:
            raise StartError(f"a server did not answer within {READY_SECONDS:.0f} s of its start")
        warm = await self._in_time(server, has_warm_kernel, KERNEL_SECONDS)
        if not self._wanted(server):
            return False
        if warm:
            self._troubles.clear(Part.KERNELS)
        else:
            late = f"a server's kernel was not idle within {KERNEL_SECONDS:.0f} s: its visitor will wait for one"
            self._troubles.note(Part.KERNELS, late)
        while not await self._routed(server):
            await self._around.sleep(ROUTE_SECONDS)
        if not self._wanted(server):
            return False
        self._pool.make_ready(server)
        return True

    def _wanted(self, server: Server) -> bool:
        """Whether the server is still to come up: nobody wants one of a node that is drained meanwhile."""
        return server.id in self._pool.starting

    async def _in_time(self, server: Server, there: Callable[[Get, Server], Awaitable[bool]], seconds: float) -> bool:
        """Ask until it is so, or the server is not wanted any more; False if it takes longer.

        Raises:
            StartError: the server has ended.
            EngineError: the engine does not say whether it has.
        """
        deadline = self._around.timer() + seconds
        looks = 0
        while self._wanted(server) and not await there(self._get, server):
            looks += 1
            if self._around.timer() >= deadline:
                return False
            if looks % LOOK_EVERY == 0:
                state = await self._engine.server_state(server.id)
                if self._wanted(server) and (state is None or not state.running):
                    code = "" if state is None else f" with exit code {state.exit_code}"
                    raise StartError(f"a server ended{code} instead of coming up")
            await self._around.sleep(ASK_SECONDS)
        return True

    async def _routed(self, server: Server) -> bool:
        """Whether the server's route is there, or is not needed any more."""
        if not self._wanted(server):
            return True
        try:
            await self._routes.put(server.path, server.target)
        except ProxyError as error:
            self._troubles.note(Part.PROXY, str(error))
            return False
        return True

    def _succeeded(self) -> None:
        self._failures, self._not_before = 0, 0.0
        self._troubles.clear(Part.STARTS)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._not_before = self._around.timer() + wait_seconds(self._failures, self._around.chance())
        self._troubles.note(Part.STARTS, str(error))
