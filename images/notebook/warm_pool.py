"""Kernels that are started before anybody asks for one: how many there are, and which requests they can serve.

Nothing of Jupyter is imported here: `warm_kernels` joins this to a server.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

Kernel = TypeVar("Kernel")

PAUSE_SECONDS = 10.0
"""Between looks at the kernels, and after a hand-out: a replacement shall not compete with somebody's first cells."""

SESSION_VARIABLE = "JPY_SESSION_NAME"
"""Path of the notebook that a kernel belongs to."""

# What ipykernel and IPython derive from the folder and the session's name when they start.
_PLACING = f"""
import os, pathlib
os.chdir(folder)
os.environ.update(variables)
names.get("_dh", [])[:] = [pathlib.Path.cwd()]
if "{SESSION_VARIABLE}" in variables:
    names["__session__"] = variables["{SESSION_VARIABLE}"]
"""


class WarmPool(Generic[Kernel]):
    """A few kernels that run and are nobody's yet."""

    def __init__(
        self,
        size: int,
        *,
        start: Callable[[], Awaitable[Kernel]],
        alive: Callable[[Kernel], Awaitable[bool]],
        end: Callable[[Kernel], Awaitable[None]],
        log: logging.Logger,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Say how kernels are started and ended; none is before `open`.

        Args:
            size: how many are kept, 0 or more.
            start: starts one and returns when it answers. It may raise; if it is cancelled, it leaves nothing behind.
            alive: whether one still runs.
            end: ends one, which may be dead, and frees what it held.
            log: where kernels that could not be started or ended are reported.
            pause_seconds: from one look at the kernels to the next, and the least from a hand-out to its replacement.
        """
        self._size, self._start, self._alive, self._end = size, start, alive, end
        self._log = log
        self._pause_seconds = pause_seconds
        self._warm: list[asyncio.Task[Kernel | None]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._quiet_until = 0.0

    @property
    def size(self) -> int:
        """How many kernels are kept."""
        return self._size

    @property
    def ready(self) -> int:
        """How many of them answer by now; one that has died since counts until it is looked at."""
        return sum(task.done() and task.result() is not None for task in self._warm)

    def open(self) -> None:
        """Start the kernels and look after them from now on, in the event loop that runs."""
        self._keeper = asyncio.create_task(self._keep())

    async def take(self) -> Kernel | None:
        """A kernel that is alive and the caller's from now on, or None. The next one is started after a pause.

        One that is still starting is waited for: it is ahead of any that would be started now.
        """
        for _ in range(self._size):
            if not self._warm:
                break
            self._quiet_until = asyncio.get_running_loop().time() + self._pause_seconds
            task = next((task for task in self._warm if task.done()), self._warm[0])
            self._warm.remove(task)
            kernel = await task
            if kernel is not None and await self._alive(kernel):
                return kernel
            if kernel is not None:
                await self.discard(kernel)
        return None

    async def discard(self, kernel: Kernel) -> None:
        """End a kernel that was taken or is dead. What goes wrong is only logged."""
        try:
            await self._end(kernel)
        except Exception:  # noqa: BLE001  (whatever it is, requests and the other kernels go on)
            self._log.exception("A kernel that was started ahead could not be ended")

    async def close(self) -> None:
        """End every kernel that was not taken; no other is started."""
        if self._keeper is not None:
            self._keeper.cancel()
        tasks, self._warm = self._warm, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        kernels = [task.result() for task in tasks if not task.cancelled()]
        await asyncio.gather(*(self.discard(kernel) for kernel in kernels if kernel is not None))

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._drop_dead()
            missing = self._size - len(self._warm)
            self._warm += [asyncio.create_task(self._start_one()) for _ in range(missing)]
            await asyncio.sleep(self._pause_seconds)
            while (rest := self._quiet_until - loop.time()) > 0:
                await asyncio.sleep(rest)

    async def _drop_dead(self) -> None:
        for task in [task for task in self._warm if task.done()]:
            kernel = task.result()
            dead = kernel is None or not await self._alive(kernel)
            # Somebody may have taken it in the meantime.
            if dead and task in self._warm:
                self._warm.remove(task)
                if kernel is not None:
                    await self.discard(kernel)

    async def _start_one(self) -> Kernel | None:
        try:
            return await self._start()
        except Exception:  # noqa: BLE001  (whatever it is, requests get ordinary starts)
            self._log.exception("A kernel could not be started ahead")
            return None


def late_variables(wanted: Mapping[str, str], launched: Mapping[str, str]) -> dict[str, str] | None:
    """Environment variables to set in a running kernel for a request; None if they take a start of their own.

    The session's name is all that can be set late: a kernel may have read anything else as it started.

    Args:
        wanted: the environment that the request asks for.
        launched: the environment that the kernel was launched with.
    """
    if {**wanted, SESSION_VARIABLE: ""} != {**launched, SESSION_VARIABLE: ""}:
        return None
    return {name: value for name, value in wanted.items() if name == SESSION_VARIABLE}


def placing_code(folder: str, variables: Mapping[str, str]) -> str:
    """Python that makes a running kernel one that was started in `folder` with `variables`; it leaves no name behind.

    Args:
        folder: absolute path; the code raises `OSError` if the kernel cannot enter it.
        variables: environment variables that are added.
    """
    return f"exec({_PLACING!r}, {{'names': globals(), 'folder': {folder!r}, 'variables': {dict(variables)!r}}})"
