"""The table of nodes: what each told last, who may get visitors, and which one the next visitor gets."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from runtime.redirector.settings import Node
from runtime.redirector.weighted_choice import WeightedChoice

MISSES_UNTIL_DOWN = 2
"""Polls in a row that a node may not answer before it is taken for down."""


class State(str, Enum):
    """What a node is to new visitors."""

    UP = "up"
    """It has room."""
    FULL = "full"
    """It answers, and has none."""
    DRAINING = "draining"
    """It answers, and takes nobody any more."""
    DOWN = "down"
    """It does not answer."""
    UNKNOWN = "unknown"
    """It was not heard of yet."""


ANSWERING = frozenset({State.UP, State.FULL, State.DRAINING})
"""States of a node that is there."""


@dataclass(frozen=True)
class Answer:
    """What a node tells of itself."""

    available: int
    """Servers that are ready and unused; 0 while it drains."""
    used: int
    """Servers that somebody has."""
    capacity: int
    """Servers in all."""
    version: str
    """Version of its service."""
    container_image: str
    """Image of its servers."""
    draining: bool
    """Whether it takes no new visitors."""


@dataclass(frozen=True)
class Totals:
    """What the nodes that answer have together."""

    available: int
    """Estimated free servers."""
    used: int
    """Servers that somebody has."""
    capacity: int
    """Servers in all."""


@dataclass(slots=True)
class _Entry:
    node: Node
    answer: Answer | None = None
    available: int = 0
    misses: int = 0
    heard: float = 0.0
    taken: int = 0
    state: State = State.UNKNOWN


def _state(entry: _Entry) -> State:
    if entry.misses >= MISSES_UNTIL_DOWN:
        return State.DOWN
    if entry.answer is None:
        return State.UNKNOWN
    if entry.answer.draining:
        return State.DRAINING
    return State.UP if entry.available else State.FULL


def _weight(entry: _Entry) -> int:
    return entry.available if entry.state is State.UP else 0


class Fleet:
    """The nodes, with an estimate of each one's free servers that goes down with every visitor sent to it."""

    def __init__(
        self,
        nodes: Sequence[Node],
        rng: random.Random | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nodes of which nothing is known.

        Args:
            nodes: the nodes, no two alike.
            rng: where chance comes from; the system's by default.
            timer: seconds that only grow.
        """
        self._rng = rng or random.SystemRandom()
        self._timer = timer
        self._entries: list[_Entry] = []
        self._places: dict[Node, int] = {}
        self.replace(nodes)

    def replace(self, nodes: Sequence[Node]) -> None:
        """Have these nodes from now on; those that were here before keep what is known of them."""
        known = {entry.node: entry for entry in self._entries}
        self._entries = [known.get(node) or _Entry(node) for node in nodes]
        self._places = {node: place for place, node in enumerate(nodes)}
        self._choice = WeightedChoice([_weight(entry) for entry in self._entries])
        self._states = dict.fromkeys(State, 0)
        for entry in self._entries:
            self._states[entry.state] += 1

    @property
    def room(self) -> bool:
        """Whether some node has a free server for a new visitor."""
        return self._choice.total > 0

    @property
    def states(self) -> Mapping[State, int]:
        """Nodes by state, every state named."""
        return dict(self._states)

    def choose(self, *, takes: bool) -> Node:
        """A node drawn by chance in proportion to free servers.

        Args:
            takes: whether the visitor will take a server, which lowers the estimate.

        Raises:
            LookupError: there is no room.
        """
        if not self.room:
            raise LookupError("no node has room")
        place = self._choice.at(self._rng.randrange(self._choice.total))
        entry = self._entries[place]
        if takes:
            entry.taken += 1
            entry.available -= 1
            self._settle(place)
        return entry.node

    def taken(self, node: Node) -> int:
        """How many visitors that take a server were sent to a node since it is known."""
        return self._entries[self._places[node]].taken

    def state(self, node: Node) -> State:
        """What a node is to new visitors.

        Raises:
            KeyError: there is no such node.
        """
        return self._entries[self._places[node]].state

    def answered(self, node: Node, answer: Answer, taken_before: int) -> None:
        """Note what a node told.

        Args:
            node: one of the nodes.
            answer: what it told.
            taken_before: `taken` when it was asked: who was sent to it since may not be in its counts yet.
        """
        place = self._places[node]
        entry = self._entries[place]
        entry.answer, entry.misses, entry.heard = answer, 0, self._timer()
        under_way = entry.taken - taken_before
        entry.available = max(0, answer.available - under_way)
        self._settle(place)

    def missed(self, node: Node) -> None:
        """Note that a node did not answer, or not sensibly."""
        place = self._places[node]
        self._entries[place].misses += 1
        self._settle(place)

    def totals(self) -> Totals:
        """The sums over the nodes that answer."""
        answering = [(entry, entry.answer) for entry in self._entries if entry.state in ANSWERING and entry.answer]
        return Totals(
            available=sum(entry.available for entry, _ in answering),
            used=sum(answer.used for _, answer in answering),
            capacity=sum(answer.capacity for _, answer in answering),
        )

    def stats(self, version: str) -> dict[str, Any]:
        """What `/stats` tells, its totals the sums over its `hosts`.

        Args:
            version: the redirector's.
        """
        hosts = {
            entry.node.url: {
                "available": entry.available,
                "container_image": entry.answer.container_image,
                "version": entry.answer.version,
                "capacity": entry.answer.capacity,
            }
            for entry in self._entries
            if entry.state in ANSWERING and entry.answer
        }
        return {
            "available": sum(host["available"] for host in hosts.values()),
            "capacity": sum(host["capacity"] for host in hosts.values()),
            "version": version,
            "hosts": hosts,
            "down": [entry.node.url for entry in self._entries if entry.node.url not in hosts],
        }

    def rows(self) -> Iterable[dict[str, Any]]:
        """What the fleet page shows of each node; None where a node did not tell."""
        now = self._timer()
        for entry in self._entries:
            answers = entry.state in ANSWERING
            answer = entry.answer
            yield {
                "name": entry.node.name,
                "url": entry.node.url,
                "state": entry.state.value,
                "available": entry.available if answers else 0,
                "used": answer.used if answer and answers else None,
                "capacity": answer.capacity if answer and answers else None,
                "version": answer.version if answer else None,
                "container_image": answer.container_image if answer else None,
                "heard_seconds": round(now - entry.heard, 1) if answer else None,
            }

    def _settle(self, place: int) -> None:
        entry = self._entries[place]
        state = _state(entry)
        if state is not entry.state:
            self._states[entry.state] -= 1
            self._states[state] += 1
            entry.state = state
        self._choice.change(place, _weight(entry))
