"""Time, chance and tasks, which tests bring their own of."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Surroundings:
    """What the service depends on besides its parts."""

    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    """Starts a task, keeps it while it runs, and does not let its failure go unnoticed."""
    clock: Callable[[], datetime]
    """Tells the time."""
    timer: Callable[[], float]
    """Seconds that only grow."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits."""
    chance: Callable[[], float] = random.random
    """A number from 0 to 1."""
