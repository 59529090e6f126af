"""What is to be looked at, and when."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from runtime.notebook_operator.store import Key

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_LOOK_SECONDS = 60.0
"""Longest that a look may take: several times what one takes of an API server that is busy. A worker is never lost for
good to one that hangs."""

log = logging.getLogger(__name__)


class WorkQueue:
    """Keys, each looked at by one worker at a time, and again if it was named meanwhile.

    A key whose look failed or took too long comes again after a pause that doubles; one that asks for a later look comes
    then.
    """

    def __init__(
        self, look: Callable[[Key], Awaitable[float | None]], workers: int, longest: float = LONGEST_LOOK_SECONDS
    ) -> None:
        """Describe the queue.

        Args:
            look: brings what a key names nearer to what it should be; returns the seconds until it wants to be called again
                without a cause, None for never.
            workers: how many keys are looked at at once.
            longest: seconds after which a look is given up, to be repeated.
        """
        self._look = look
        self._workers = workers
        self._longest = longest
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._busy)

    def add(self, key: Key) -> None:
        """Have a key looked at, as soon as a worker is free."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_later(self, key: Key, seconds: float) -> None:
        """Have a key looked at after some time, unless it was to be looked at sooner already."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer and timer.when() <= loop.time() + seconds:
            return
        self.cancel(key)
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def cancel(self, key: Key) -> None:
        """Have a key no longer looked at without a cause."""
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                await self._step(key)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _step(self, key: Key) -> None:
        limit = asyncio.timeout(self._longest)
        try:
            async with limit:
                later = await self._look(key)
        except Exception as error:  # noqa: BLE001  (whatever it is, the other keys go on)
            what = f"not done after {self._longest:.0f} s" if limit.expired() else str(error) or repr(error)
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            later = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (failures - 1))
            log.warning("%s %s/%s: %s; again in %.1f s", *key, what, later)
        else:
            self._failures.pop(key, None)
        if later is None:
            self.cancel(key)
        else:
            self.add_later(key, later)
