"""Asks every node for its load, again and again, and tells the fleet what came of it."""

import asyncio
import logging
import random
import ssl
import time
from asyncio import sslproto
from collections.abc import Callable
from typing import Self

import aiohttp

from runtime.redirector.asking import MissError, ask
from runtime.redirector.fleet import ANSWERING, Fleet, State
from runtime.redirector.metrics import Metrics
from runtime.redirector.settings import Node, Settings

MOST_AT_ONCE = 512
"""Questions under way to nodes that answered before: enough for several hundred that all fall silent at once."""

MOST_OTHERS_AT_ONCE = 64
"""Questions under way to other nodes. A new connection takes processor time for TLS: begun all at once, none of them
would be ready before its deadline; and nodes that never answer must not hold up those that do."""

FIRST_POLLS_PER_SECOND = 300
"""How fast nodes that nothing is known of are asked for the first time, so that visitors need not wait for long."""

JITTER = 0.1
"""Part of the interval by which polls come early or late."""

LATE_ROUNDS = 3
"""Intervals without the end of any poll after which polling is taken for dead."""

KEEP_ALIVE_SECONDS = 60
"""How long a connection to a node is kept unused."""

TLS_BUFFER_BYTES = 1 << 14
"""What a TLS connection reads at once: a record's size. The event loop's own 256 KiB take 250 MB with 1,000 nodes."""

log = logging.getLogger("hubstack-redirector")


def first_pause(nodes: int, poll_seconds: float, chance: float) -> float:
    """Seconds until a node is asked for the first time: at once for a few, spread over the interval for many.

    Args:
        nodes: how many are asked for the first time.
        poll_seconds: the interval.
        chance: drawn evenly from 0 to 1.
    """
    return chance * min(poll_seconds, nodes / FIRST_POLLS_PER_SECOND)


def pause(polls: int, poll_seconds: float, chance: float) -> float:
    """Seconds from the beginning of a poll to the next: after the first, any part of the interval, to spread nodes.

    Args:
        polls: how often the node was asked, at least 1.
        poll_seconds: the interval.
        chance: drawn evenly from 0 to 1.
    """
    return poll_seconds * (chance if polls == 1 else 1 + JITTER * (2 * chance - 1))


def change_sentence(name: str, before: State, after: State, reason: str) -> str | None:
    """What to log of a node after a poll, or None if there is no news.

    Args:
        name: the node's.
        before: its state before the poll.
        after: its state after it.
        reason: why it did not answer, if it did not.
    """
    if after is State.DOWN and before is not State.DOWN:
        return f"{name} is down: {reason}"
    if after is State.DRAINING and before is not State.DRAINING:
        return f"{name} is draining: it gets no new visitors"
    if after in ANSWERING and before is State.DOWN:
        return f"{name} answers again"
    if after in ANSWERING and before is State.UNKNOWN:
        return f"{name} answers"
    if after in ANSWERING and before is State.DRAINING and after is not before:
        return f"{name} takes visitors again"
    return None


class Polling:
    """One task for each node, over one session's connections, which are kept."""

    def __init__(
        self,
        fleet: Fleet,
        metrics: Metrics,
        rng: random.Random | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to ask the nodes of `fleet`; `follow` begins.

        Args:
            fleet: what is told of.
            metrics: what is counted in.
            rng: where chance comes from; the system's by default.
            timer: seconds that only grow.
        """
        self._fleet, self._metrics, self._timer = fleet, metrics, timer
        self._rng = rng or random.SystemRandom()
        self._tasks: dict[Node, asyncio.Task[None]] = {}
        self._slots, self._other_slots = asyncio.Semaphore(MOST_AT_ONCE), asyncio.Semaphore(MOST_OTHERS_AT_ONCE)
        self._last_end = timer()

    async def __aenter__(self) -> Self:
        """Make the session."""
        sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all tasks and close all connections."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        await self._session.close()

    def follow(self, settings: Settings, trust: ssl.SSLContext) -> None:
        """Ask the nodes of these settings from now on; the fleet has them already.

        Args:
            settings: interval, deadline and nodes.
            trust: which certificates are believed.
        """
        self._settings, self._trust = settings, trust
        self._last_end = self._timer()
        kept = frozenset(settings.nodes)
        for node in [node for node in self._tasks if node not in kept]:
            self._tasks.pop(node).cancel()
        fresh = [node for node in settings.nodes if node not in self._tasks]
        for node in fresh:
            wait = first_pause(len(fresh), settings.poll_seconds, self._rng.random())
            self._tasks[node] = asyncio.create_task(self._keep_asking(node, wait), name=node.name)
            self._tasks[node].add_done_callback(_tell_fault)

    def lives(self) -> bool:
        """Whether nodes are being asked, whatever they answer."""
        if any(task.done() for task in self._tasks.values()):
            return False
        allowed = LATE_ROUNDS * (self._settings.poll_seconds + self._settings.deadline_seconds)
        return not self._tasks or self._timer() - self._last_end <= allowed

    async def _keep_asking(self, node: Node, wait: float) -> None:
        polls = 0
        while True:
            await asyncio.sleep(wait)
            began = self._timer()
            async with self._slots if self._fleet.state(node) in ANSWERING else self._other_slots:
                await self._poll(node)
            polls += 1
            due = began + pause(polls, self._settings.poll_seconds, self._rng.random())
            wait = max(0.0, due - self._timer())

    async def _poll(self, node: Node) -> None:
        before, taken = self._fleet.state(node), self._fleet.taken(node)
        began, reason = self._timer(), ""
        try:
            answer = await ask(self._session, node, self._settings.deadline_seconds, self._trust)
        except MissError as error:
            reason = str(error)
            self._fleet.missed(node)
            self._metrics.misses.inc()
        else:
            self._fleet.answered(node, answer, taken)
            self._metrics.answers.inc()
            self._metrics.poll_seconds.observe(self._timer() - began)
        self._last_end = self._timer()
        sentence = change_sentence(node.name, before, self._fleet.state(node), reason)
        if sentence:
            log.log(logging.WARNING if reason else logging.INFO, "%s", sentence)


def _tell_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.error("%s is not asked any more", task.get_name(), exc_info=task.exception())
