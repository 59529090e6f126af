"""The servers of a node and what each is for; who asks for one gets it from here at once."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from runtime.tmpnb_node.journal import Entries, Journal, JournalError
from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.troubles import Part, Troubles

log = logging.getLogger(__name__)


class Refusal(str, Enum):
    """Why nobody gets a server."""

    FULL = "full"
    """None is ready and unused."""
    DRAINING = "draining"
    """The node is being taken out of service."""
    CLOSED = "closed"
    """Something is wrong that makes it unsafe, or the service has just started."""


class NoServerError(Exception):
    """There is no server to hand out."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True)
class Counts:
    """How many servers there are; `available`, `used` and `starting` together never exceed `capacity`."""

    capacity: int
    """As set, or what there is where it was more when it was set."""
    available: int
    """Ready and unused; 0 while nothing is handed out."""
    used: int
    starting: int
    ending: int
    """Being removed; they count as none of the others, and no other starts in their place before they are gone."""


class Pool:
    """Each server is in exactly one place; it moves by the methods here alone, all of them at once."""

    def __init__(self, capacity: int, spec: str, journal: Journal, troubles: Troubles) -> None:
        """Describe an empty pool.

        Args:
            capacity: most servers.
            spec: digest of what servers are made from now; unused ones of another are outdated.
            journal: where it is noted who was handed out.
            troubles: what is wrong with the node.
        """
        self.capacity, self.spec = capacity, spec
        self._journal, self._troubles = journal, troubles
        self.starting: dict[str, Server] = {}
        self.ready: dict[str, Server] = {}
        self.outdated: dict[str, Server] = {}
        """Unused and ready as well, to be replaced bit by bit; handed out when there is no other."""
        self.used: dict[str, Server] = {}
        self.ending: dict[str, Server] = {}
        self.adopted = False
        """Whether the servers from before the service's start are known."""
        self.draining = False
        self.handed_out_total = 0

    def handed_out(self) -> Entries:
        """When each used server was handed out."""
        return {server.id: server.handed_out for server in self.used.values() if server.handed_out}

    def unused(self) -> Iterator[Server]:
        """Servers that wait for a visitor."""
        yield from self.ready.values()
        yield from self.outdated.values()

    def reachable(self) -> Iterator[Server]:
        """Servers that have a route."""
        yield from self.unused()
        yield from self.used.values()

    def is_unused(self, server_id: str) -> bool:
        """Whether the server waits for a visitor."""
        return server_id in self.ready or server_id in self.outdated

    def knows(self, server_id: str) -> bool:
        """Whether the server is here, whatever it is for."""
        return any(server_id in place for place in self._places())

    def room(self) -> int:
        """How many servers may be started: those that are being removed still take their place."""
        return max(0, self.capacity - sum(len(place) for place in self._places()))

    def refusal(self) -> Refusal | None:
        """Why nobody would get a server now; None if somebody would."""
        if self.draining:
            return Refusal.DRAINING
        if not self.adopted or self._troubles.closing:
            return Refusal.CLOSED
        return None if self.ready or self.outdated else Refusal.FULL

    def counts(self) -> Counts:
        """How many there are."""
        unused, used, starting = len(self.ready) + len(self.outdated), len(self.used), len(self.starting)
        return Counts(
            capacity=max(self.capacity, unused + used + starting),
            available=0 if self.refusal() else unused,
            used=used,
            starting=starting,
            ending=len(self.ending),
        )

    async def hand_out(self, now: datetime) -> Server:
        """Give a server to a visitor: neither the engine nor the proxy is asked.

        Raises:
            NoServerError: nobody gets one.
        """
        refusal = self.refusal()
        if refusal:
            raise NoServerError(refusal)
        place = self.ready or self.outdated
        server = replace(place.pop(next(iter(place))), handed_out=now)
        # From here on nobody else gets it, whatever happens while it is written down.
        self.used[server.id] = server
        try:
            await self._journal.record(server.id, now)
        except JournalError as error:
            self._troubles.note(Part.JOURNAL, str(error))
            if self.used.pop(server.id, None):
                self.make_ready(replace(server, handed_out=None))
            raise NoServerError(Refusal.CLOSED) from error
        self.handed_out_total += 1
        log.info("server %s was handed out", server.id)
        return server

    def begin(self, server: Server) -> None:
        """A server is being started, or looked at after the service's start."""
        self.starting[server.id] = server

    def make_ready(self, server: Server) -> None:
        """A server may be handed out: it answers, and its route is there."""
        self.starting.pop(server.id, None)
        (self.ready if server.spec == self.spec else self.outdated)[server.id] = server

    def take_up(self, server: Server) -> None:
        """A server was handed out before the service's start."""
        self.used[server.id] = server

    def outdate(self, server_id: str) -> None:
        """An unused server is to be replaced bit by bit."""
        if server_id in self.ready:
            self.outdated[server_id] = self.ready.pop(server_id)

    def move(self, server_id: str, address: str) -> None:
        """A server has another address."""
        for place in (self.ready, self.outdated, self.used):
            if server_id in place:
                place[server_id] = replace(place[server_id], address=address)

    def end(self, server: Server) -> None:
        """A server is to be removed, wherever it is; one that nobody knows is, too."""
        for place in (self.starting, self.ready, self.outdated, self.used):
            place.pop(server.id, None)
        self.ending[server.id] = server

    def forget(self, server_id: str) -> None:
        """A server was removed."""
        self.ending.pop(server_id, None)

    def _places(self) -> tuple[dict[str, Server], ...]:
        return self.starting, self.ready, self.outdated, self.used, self.ending
