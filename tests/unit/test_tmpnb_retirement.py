"""Which used and unused servers a tmpnb node ends: what is idle, old or does not answer; engine, proxy, servers and clock are in memory."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.server_activity import UnreadableError
from runtime.tmpnb_node import activity
from tests.unit.tmpnb_node import (
    NOW,
    World,
    filled,
    play,
    take,
)


def idle_report(**changes: Any) -> dict[str, Any]:
    return {"kernels": [], "terminals": [], "status": {"last_activity": NOW.isoformat()}, **changes}


def moment(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("report", "ends"),
    [
        (idle_report(), True),
        (idle_report(kernels=[{"last_activity": moment(0), "execution_state": "busy", "connections": 0}]), False),
        (idle_report(kernels=[{"last_activity": moment(0), "execution_state": "idle", "connections": 1}]), False),
        (idle_report(kernels=[{"last_activity": moment(0), "execution_state": "idle", "connections": 0}]), True),
        (idle_report(kernels=[{"last_activity": moment(300), "execution_state": "idle", "connections": 0}]), False),
        (idle_report(terminals=[{"name": "1", "last_activity": moment(300)}]), False),
        (idle_report(terminals=[{"name": "1", "last_activity": moment(0)}]), True),
        (idle_report(status={"last_activity": moment(300)}), False),
        (idle_report(status={}), False),
        (idle_report(kernels=b"no JSON"), False),
        (idle_report(kernels=b"[" * 100_000), False),
    ],
)
def test_a_used_server_is_ended_when_neither_kernel_terminal_nor_client_used_it(
    tmp_path: Path, report: dict[str, Any], ends: bool
) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        [used] = await take(service, 1)
        world.engine.boxes[used].report = report
        world.clock.pass_by(599)
        await service.check()
        assert used in service.pool.used
        world.clock.pass_by(1)
        await service.check()
        assert (used not in service.pool.used) == ends
        assert service.pool.counts().available == (4 if ends else 3)

    play(tmp_path, act)


def test_idle_time_runs_from_the_hand_out_not_from_the_start(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        world.clock.pass_by(3600)
        [used] = await take(service, 1)
        await service.check()
        assert used in service.pool.used

    play(tmp_path, act)


def test_at_its_greatest_age_a_server_ends_whatever_it_does_or_says(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        used = await take(service, 2)
        busy = {"last_activity": moment(0), "execution_state": "busy", "connections": 9}
        world.engine.boxes[used[0]].report = idle_report(kernels=[busy])
        world.engine.boxes[used[1]].answers = False
        await service.later(14399)
        await service.check()
        assert set(service.pool.used) == set(used)
        await service.later(1)
        assert service.pool.used == {}
        assert service.pool.counts().available == 4

    play(tmp_path, act)


def test_an_unused_server_that_stops_answering_is_replaced_after_several_checks(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        dumb = next(iter(service.pool.ready))
        world.engine.boxes[dumb].answers = False
        for _ in range(activity.MISSES - 1):
            await service.check()
        world.engine.boxes[dumb].answers = True
        await service.check()
        world.engine.boxes[dumb].answers = False
        for _ in range(activity.MISSES - 1):
            await service.check()
        assert dumb in service.pool.ready, "misses count in a row"
        await service.check()
        assert dumb not in world.engine.boxes
        assert service.pool.counts().available == 4

    play(tmp_path, act)


def test_a_server_that_is_handed_out_while_it_is_checked_is_not_replaced(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=1)
        [server_id] = service.pool.ready
        world.engine.boxes[server_id].answers = False
        for _ in range(activity.MISSES - 1):
            await service.node.checks.look(server_id)
        looking = asyncio.create_task(service.node.checks.look(server_id))
        await asyncio.sleep(0)
        assert await take(service, 1) == [server_id]
        await looking
        assert server_id in service.pool.used

    play(tmp_path, act)


def test_a_server_that_ended_while_it_was_asked_is_not_ended_again(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=1)
        [used] = await take(service, 1)
        world.clock.pass_by(600)
        looking = asyncio.create_task(service.node.checks.look(used))
        await asyncio.sleep(0)
        service.keeper.end_everything()
        await service.fill()
        await looking
        assert not service.pool.knows(used)
        assert b'reason="idle"' not in service.node.metrics.text()

    play(tmp_path, act)


def test_servers_are_asked_one_after_the_other_over_the_interval(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=60, starts_at_once=10)
        await take(service, 30)
        moments: list[float] = []
        ask = world.engine.get

        async def get(url: str, headers: Any) -> tuple[int, bytes]:
            moments.append(world.clock.seconds())
            return await ask(url, headers)

        service.node.checks._get = get
        begin = world.clock.seconds()
        await service.node.checks.round()
        await service.settle()
        assert service.node.checks.interval == 60
        assert world.clock.seconds() - begin == pytest.approx(60)
        for second in range(60):
            asked = [each for each in moments if begin + second <= each < begin + second + 1]
            assert len(asked) <= 3 * 4

    play(tmp_path, act)


def test_a_hanging_server_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=3)
        hung = next(iter(service.pool.ready.values()))
        ask, asked, never = world.engine.get, set[str](), asyncio.Event()

        async def get(url: str, headers: Any) -> tuple[int, bytes]:
            asked.add(url)
            if hung.path in url:
                await never.wait()
                raise UnreadableError("it cannot be reached")
            return await ask(url, headers)

        service.node.checks._get = get
        await service.node.checks.round()
        assert len(asked) == 3
        never.set()
        await service.settle()

    play(tmp_path, act)
