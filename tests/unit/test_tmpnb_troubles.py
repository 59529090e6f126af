"""What a tmpnb node does when something fails: starts, the guard, the disk; and what it logs; engine, proxy, servers and clock are in memory."""

import asyncio
import errno
import itertools
import json
import logging
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tmpnb_node import journal
from runtime.tmpnb_node.engine import ContainerState
from runtime.tmpnb_node.keeper import GUARD_TRUSTED_SECONDS, guard_fault
from runtime.tmpnb_node.starts import LONGEST_WAIT_SECONDS, wait_seconds
from runtime.tmpnb_node.troubles import Part
from tests.unit.tmpnb_node import (
    GUARD,
    WELL,
    World,
    filled,
    play,
    problems,
    take,
)


def test_failed_starts_are_tried_ever_more_seldom_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(world: World) -> None:
        world.engine.faults["start"] = "image notebook@sha256:1 is not on this engine"
        service = world.service()
        moments: list[float] = []
        tried: list[int] = []
        for _ in range(400):
            before = world.engine.asked.count("start")
            await service.look()
            if world.engine.asked.count("start") > before:
                moments.append(world.clock.seconds())
                tried.append(world.engine.asked.count("start") - before)
            world.clock.pass_by(1)
        waits = [after - before for before, after in itertools.pairwise(moments)]
        assert waits == sorted(waits)
        assert waits[-1] <= LONGEST_WAIT_SECONDS + 1
        assert len(moments) < 15
        assert set(tried[1:]) == {1}, "one at a time until it works again"
        assert problems(service) == {"starts": "image notebook@sha256:1 is not on this engine"}
        told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert told == ["starts: image notebook@sha256:1 is not on this engine"]

        world.engine.faults.clear()
        await service.later(LONGEST_WAIT_SECONDS)
        assert service.pool.counts().available == 4
        assert problems(service) == {}

    play(tmp_path, act)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_waits_double_up_to_a_minute_and_scatter(failures: int, chance: float) -> None:
    longest = wait_seconds(failures, 0)
    assert longest / 2 <= wait_seconds(failures, chance) <= longest <= LONGEST_WAIT_SECONDS
    assert longest == min(LONGEST_WAIT_SECONDS, 2.0 ** min(failures - 1, 10))


def test_a_server_that_never_answers_is_removed_after_a_minute(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.engine.silent = True
        service = world.service(capacity=1)
        await service.look()
        assert world.clock.seconds() == pytest.approx(60, abs=1)
        assert problems(service) == {"starts": "a server did not answer within 60 s of its start"}
        world.engine.listening = True
        service.keeper.decide()
        await service.settle()
        assert world.engine.boxes == {}

    play(tmp_path, act)


def test_a_server_that_ends_instead_of_coming_up_is_noticed_early(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.engine.silent = True
        service = world.service(capacity=1)
        await service.keeper.look()
        while not world.engine.boxes:
            await asyncio.sleep(0)
        next(iter(world.engine.boxes.values())).running = False
        await service.settle()
        assert world.clock.seconds() < 10
        assert problems(service) == {"starts": "a server ended with exit code 7 instead of coming up"}

    play(tmp_path, act)


@pytest.mark.parametrize("silent", [True, False])
def test_servers_that_nobody_wants_any_more_are_no_failed_starts_and_tell_nothing_of_kernels(
    tmp_path: Path, silent: bool
) -> None:
    async def act(world: World) -> None:
        world.engine.warm = {"wanted": 1, "ready": 0}
        service = world.service(capacity=2)
        await service.look()
        late = problems(service)
        assert set(late) == {"kernels"}

        world.engine.silent = silent
        service.keeper.end_everything()
        await service.look()
        world.engine.asked.clear()
        await service.keeper.look()
        while "server_state" not in world.engine.asked:
            await asyncio.sleep(0)
        assert service.pool.counts().starting == 2
        service.keeper.drain()
        with mock.patch.object(service.keeper, "wake") as wake:
            await service.settle()
        assert wake.call_count == 2, "each is removed at once"
        await service.fill()

        assert world.engine.boxes == {}
        assert "hubstack_tmpnb_failed_starts_total 0.0" in service.node.metrics.text().decode()
        assert problems(service) == late

    play(tmp_path, act)


def test_an_engine_that_does_not_answer_is_told_once_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(world: World) -> None:
        world.engine.faults["all"] = "the engine does not answer"
        service = world.service()
        await service.fill()
        assert problems(service)["engine"] == "the engine does not answer"
        assert [record.message for record in caplog.records].count("engine: the engine does not answer") == 1
        world.engine.faults.clear()
        await service.fill()
        assert service.pool.counts().available == 4

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "is not there"),
        (ContainerState(running=False, exit_code=1, health="healthy"), "does not run"),
        (ContainerState(running=True, exit_code=0, health="starting"), "is starting instead of healthy"),
        (ContainerState(running=True, exit_code=0, health="unhealthy"), "is unhealthy instead of healthy"),
        (ContainerState(running=True, exit_code=0, health=""), "is not checked instead of healthy"),
    ],
)
def test_a_guard_must_run_and_be_healthy(state: ContainerState | None, words: str) -> None:
    assert words in (guard_fault(GUARD, state) or "")
    assert guard_fault(GUARD, WELL) is None


def test_without_its_guard_a_node_starts_and_hands_out_nothing(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.engine.guard = None
        service = await filled(world)
        assert world.engine.boxes == {}
        assert "is not there" in problems(service)["guard"]

        world.engine.guard = WELL
        await service.fill()
        assert service.pool.counts().available == 4

        world.engine.guard = ContainerState(running=True, exit_code=0, health="unhealthy")
        await service.look()
        assert await service.visitor() is None
        assert service.pool.counts().available == 0
        assert len(service.pool.ready) == 4, "what is there stays"

        world.engine.guard = WELL
        await service.look()
        assert await service.visitor()

    play(tmp_path, act)


def test_a_guard_that_was_well_is_trusted_for_a_minute_while_the_engine_is_silent(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        world.engine.faults["all"] = "the engine does not answer"
        await service.later(GUARD_TRUSTED_SECONDS - 10)
        assert await service.visitor()
        await service.later(20)
        assert await service.visitor() is None
        assert "does not say" in problems(service)["guard"]

    play(tmp_path, act)


def test_a_journal_that_cannot_be_written_hands_out_nothing_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        used = await take(service, 1)
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_write", full)
            assert await service.visitor() is None
            assert len(service.pool.ready) == 3, "what nobody got is unused"
            assert problems(service) == {"journal": "it cannot be written: No space left on device"}
            assert service.pool.counts().available == 0
            await service.fill()
            assert await service.visitor() is None
            assert len(service.pool.ready) == 3
        await service.look()
        assert problems(service) == {}
        used += await take(service, 1)
        await service.stop()
        assert set((await filled(world)).pool.used) == set(used)

    def full(descriptor: int, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    play(tmp_path, act)


def test_no_token_is_ever_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def act(world: World) -> None:
        service = await filled(world)
        await take(service, 2)
        world.engine.faults["start"] = "the engine refuses"
        service.keeper.end_everything()
        tokens = [box.server.token for box in world.engine.boxes.values()]
        await service.later(100)
        await service.check()
        text = "\n".join(record.getMessage() for record in caplog.records)
        assert "was handed out" in text
        for token in [*tokens, "proxy-secret", "admin-secret"]:
            assert token not in text
        assert not [each for each in tokens if each in json.dumps(problems(service))]
        assert not [each for each in service.pool.reachable() if each.token in repr(each)]

    play(tmp_path, act)


def test_the_loop_counts_as_alive_only_while_it_goes_round(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = world.service()
        assert not service.keeper.alive
        looking = asyncio.create_task(service.keeper.look())
        await asyncio.sleep(0)
        assert not service.keeper.alive, "it does not know yet whether the engine answers"
        await looking
        assert service.keeper.alive
        world.clock.pass_by(61)
        assert not service.keeper.alive
        await service.settle()

    play(tmp_path, act)


def test_a_trouble_is_no_trouble_once_it_is_over(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        service.troubles.note(Part.GUARD, "x")
        assert service.troubles.closing
        service.troubles.clear(Part.GUARD)
        service.troubles.note(Part.ENGINE, "x")
        assert not service.troubles.closing

    play(tmp_path, act)
