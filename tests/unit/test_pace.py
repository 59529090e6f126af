"""How launches wait their turn."""

import asyncio
from types import SimpleNamespace

import pytest

from runtime.ec2_spawner import pace as module
from runtime.ec2_spawner.pace import Pace


class Clock:
    """A clock that stands still unless somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=made.sleep))
    return made


def test_a_burst_passes_at_once_and_the_others_one_after_another(clock: Clock):
    pace = Pace(burst=3, a_second=2)

    for _ in range(6):
        asyncio.run(pace.turn())

    assert clock.slept == [0, 0, 0, 0.5, 1.0, 1.5]


def test_after_a_pause_there_is_a_whole_burst_again_and_no_more(clock: Clock):
    pace = Pace(burst=2, a_second=1)
    for _ in range(4):
        asyncio.run(pace.turn())
    clock.now, clock.slept = clock.now + 3600, []

    for _ in range(3):
        asyncio.run(pace.turn())

    assert clock.slept == [0, 0, 1.0]
