"""The loop that looks after a pool: what ended is removed and replaced, and the proxy leads where it should."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from runtime.tmpnb_node.adoption import adopt
from runtime.tmpnb_node.engine import HEALTHY, ContainerState, EngineError, Found
from runtime.tmpnb_node.journal import JournalError
from runtime.tmpnb_node.parts import Parts
from runtime.tmpnb_node.removals import Removals
from runtime.tmpnb_node.retirement import Ended, excess, replaceable, stale, too_old
from runtime.tmpnb_node.routes import DEFAULT_ROUTE, ProxyError
from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.settings import Settings
from runtime.tmpnb_node.state import Drain, StateError
from runtime.tmpnb_node.surroundings import Surroundings
from runtime.tmpnb_node.troubles import Part

LOOK_SECONDS = 2.0
"""How often guard, engine and proxy are looked at."""

LIST_SECONDS = 20.0
"""How often containers are listed while the engine tells of those that end; else it is at each look."""

REST_SECONDS = 0.05
"""Between two decisions that something asks for."""

HEARD_REST_SECONDS = 0.5
"""Between hearing of a container that ended and the list: one seldom ends alone."""

GUARD_TRUSTED_SECONDS = 60.0
"""How long a guard that was well counts as such while the engine does not answer."""

ALIVE_SECONDS = 60.0
"""The loop counts as stuck after this long: longer than any one call takes."""

log = logging.getLogger(__name__)


class Keeper:
    """Looks, decides, and looks again."""

    def __init__(self, settings: Settings, parts: Parts, around: Surroundings, ended: Callable[[Ended], None]) -> None:
        """Describe the loop.

        Args:
            settings: the node's settings.
            parts: what it works with.
            around: time and tasks.
            ended: called for each server that is ended, with the reason.
        """
        self._settings, self._around, self._ended = settings, around, ended
        self._pool, self._engine, self._routes = parts.pool, parts.engine, parts.routes
        self._journal, self._state = parts.journal, parts.state
        self._starter, self._troubles = parts.starter, parts.troubles
        self._wake = asyncio.Event()
        self._heard = False
        self._engine_answers = True
        self._looked = False
        self._listed = self._guard_seen = self._beat = float("-inf")
        self._removals = Removals(parts, around, settings.starts_at_once, self.wake)
        self._drains: frozenset[Drain] = frozenset()

    @property
    def alive(self) -> bool:
        """Whether the loop goes round, and has been round once."""
        return self._looked and self._around.timer() - self._beat <= ALIVE_SECONDS

    def wake(self) -> None:
        """Have it decide soon."""
        self._wake.set()

    def heard(self) -> None:
        """Have it list containers soon."""
        self._heard = True
        self._wake.set()

    async def run(self) -> None:
        """Look until cancelled."""
        self._engine.listen(self.heard)
        while True:
            await self.look()
            await self._rest()

    async def look(self) -> None:
        """Look at everything once, and decide."""
        self._engine_answers = True
        for step in (
            self._hold_state,
            self._look_at_guard,
            self._adopt,
            self._look_at_containers,
            self._look_at_routes,
        ):
            self._beat = self._around.timer()
            await step()
        self._beat = self._around.timer()
        if self._engine_answers:
            self._troubles.clear(Part.ENGINE)
        if self._pool.adopted:
            await self._keep_journal()
            self.decide()
        self._looked = True

    def decide(self) -> None:
        """End what is due, and begin to remove and to start."""
        if not self._pool.adopted:
            return
        now = self._around.clock()
        for server in too_old(self._pool.used.values(), self._settings.quota.max_age_seconds, now):
            self.end(server, Ended.AGE)
        for server in stale(self._pool.ready.values(), now):
            self._pool.outdate(server.id)
        for server in excess(self._pool):
            self.end(server, Ended.EXCESS)
        if self._starter.may_start:
            for server in replaceable(self._pool):
                self.end(server, Ended.ROLLED_OVER)
        self._removals.begin()
        self._starter.start_missing()

    def end(self, server: Server, reason: Ended) -> None:
        """Have a server removed."""
        log.info("server %s is ended (%s)", server.id, reason.value)
        self._pool.end(server)
        self._ended(reason)
        self.wake()

    def drain(self, drain: Drain = Drain.ADMINISTRATOR) -> None:
        """Hand out nothing any more and remove what is unused; a restart does not change it.

        Raises:
            StateError: it holds, but not beyond a restart.
        """
        self._end_all([*self._pool.unused(), *self._pool.starting.values()])
        self._set_drains(self._known_drains() | {drain})

    def resume(self, drains: frozenset[Drain] = frozenset(Drain)) -> None:
        """Take `drain` back.

        Args:
            drains: what is taken back; the node stays drained for any other. Default: all.

        Raises:
            StateError: it holds, but not beyond a restart.
        """
        self._set_drains(self._known_drains() - drains)

    def _known_drains(self) -> frozenset[Drain]:
        """For whom the node is drained, from before the service's start as well, where that is not taken up yet."""
        return self._drains if self._pool.adopted else self._drains | self._state.drains

    def _set_drains(self, drains: frozenset[Drain]) -> None:
        self._drains, self._pool.draining = drains, bool(drains)
        log.info("the node is drained for: %s", ", ".join(sorted(drains)) or "nobody")
        self.wake()
        self._state.set_drains(drains)

    def end_everything(self) -> int:
        """Have every server removed, used ones too; how many there are."""
        servers = [*self._pool.reachable(), *self._pool.starting.values()]
        self._end_all(servers)
        return len(servers)

    def _end_all(self, servers: Sequence[Server]) -> None:
        for server in servers:
            self.end(server, Ended.ASKED)

    async def _rest(self) -> None:
        until = self._around.timer() + LOOK_SECONDS
        while (left := until - self._around.timer()) > 0:
            if self._heard:
                await self._around.sleep(HEARD_REST_SECONDS)
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()
            await self._around.sleep(REST_SECONDS)
            self.decide()

    async def _hold_state(self) -> None:
        try:
            self._state.lock()
        except StateError as error:
            self._troubles.note(Part.STATE, str(error))
        else:
            self._troubles.clear(Part.STATE)

    def _engine_fails(self, error: EngineError) -> None:
        self._engine_answers = False
        self._troubles.note(Part.ENGINE, str(error))

    async def _look_at_guard(self) -> None:
        try:
            state = await self._engine.state(self._settings.guard)
        except EngineError as error:
            self._engine_fails(error)
            if self._around.timer() - self._guard_seen > GUARD_TRUSTED_SECONDS:
                unknown = f"the engine does not say whether {self._settings.guard} is well: nothing is handed out"
                self._troubles.note(Part.GUARD, unknown)
            return
        fault = guard_fault(self._settings.guard, state)
        if fault:
            self._troubles.note(Part.GUARD, fault)
        else:
            self._guard_seen = self._around.timer()
            self._troubles.clear(Part.GUARD)

    async def _adopt(self) -> None:
        if self._pool.adopted or self._troubles.has(Part.STATE):
            return
        try:
            past = await self._journal.read()
            self._drains = self._known_drains()
            self._pool.draining = bool(self._drains)
            await adopt(self._engine, self._pool, past, self._starter.confirm, self._around.clock())
        except EngineError as error:
            self._engine_fails(error)
        except JournalError as error:
            self._troubles.note(Part.JOURNAL, str(error))
        else:
            await self._keep_journal()
            self._pool.adopted = True

    async def _look_at_containers(self) -> None:
        due = self._heard or not self._engine.listening or self._around.timer() - self._listed >= LIST_SECONDS
        if not self._pool.adopted or not due:
            return
        self._heard = False
        # One that is started while the engine makes its list is not missing.
        settled = list(self._pool.reachable())
        try:
            found = {each.id: each for each in await self._engine.servers()}
        except EngineError as error:
            self._listed = float("-inf")
            self._engine_fails(error)
            return
        self._listed = self._around.timer()
        for server in settled:
            if server.id not in found or not found[server.id].running:
                self._ended_by_itself(server)
            elif found[server.id].address not in {"", server.address}:
                self._pool.move(server.id, found[server.id].address)
        for each in found.values():
            if not self._pool.knows(each.id):
                # It was made for somebody who wanted it no more: it was never handed out.
                self._pool.end(_unknown(each))

    def _ended_by_itself(self, server: Server) -> None:
        # It may have been handed out while the list was made.
        if self._pool.is_unused(server.id) or server.id in self._pool.used:
            self.end(server, Ended.ITSELF)

    async def _look_at_routes(self) -> None:
        if not self._pool.adopted:
            return
        try:
            repaired = await self._routes.repair(self._wanted_routes, self._starting_paths)
        except ProxyError as error:
            self._troubles.note(Part.PROXY, str(error))
            return
        self._troubles.clear(Part.PROXY)
        if repaired:
            log.info("put %d routes into the proxy that it did not have", repaired)

    def _wanted_routes(self) -> dict[str, str]:
        wanted = {server.path: server.target for server in self._pool.reachable() if server.address}
        return {**wanted, DEFAULT_ROUTE: self._settings.service_address}

    def _starting_paths(self) -> frozenset[str]:
        return frozenset(server.path for server in self._pool.starting.values())

    async def _keep_journal(self) -> None:
        try:
            await self._journal.maintain(self._pool.handed_out())
        except JournalError as error:
            self._troubles.note(Part.JOURNAL, str(error))
        else:
            self._troubles.clear(Part.JOURNAL)


def guard_fault(name: str, state: ContainerState | None) -> str | None:
    """What is wrong with the guard; None if it is well."""
    if state is None:
        return f"container {name} is not there: no server is started or handed out"
    if not state.running:
        return f"container {name} does not run: no server is started or handed out"
    if state.health != HEALTHY:
        return f"container {name} is {state.health or 'not checked'} instead of healthy: no server is started or handed out"
    return None


def _unknown(found: Found) -> Server:
    return Server(id=found.id, token="", spec=found.spec, created=found.created)
