"""What a tmpnb node does with its servers, with engine, proxy, servers and clock in memory."""

import asyncio
import errno
import itertools
import json
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.server_activity import UnreadableError
from runtime.tmpnb_node import activity, journal
from runtime.tmpnb_node.engine import ContainerState, Found
from runtime.tmpnb_node.journal import JOURNAL_FILE
from runtime.tmpnb_node.keeper import GUARD_TRUSTED_SECONDS, LIST_SECONDS, LOOK_SECONDS, guard_fault
from runtime.tmpnb_node.pool import Refusal
from runtime.tmpnb_node.retirement import UNUSED_AGE, Ended
from runtime.tmpnb_node.routes import stray
from runtime.tmpnb_node.starts import KERNEL_SECONDS, LONGEST_WAIT_SECONDS, wait_seconds
from runtime.tmpnb_node.troubles import Part
from tests.unit.tmpnb_node import GUARD, NOW, SERVICE, WELL, Box, Service, World, quota

Act = Callable[[World], Coroutine[Any, Any, None]]


def play(folder: Path, act: Act) -> None:
    asyncio.run(act(World(folder)))


async def filled(world: World, **changes: Any) -> Service:
    return await world.service(**changes).fill()


async def take(service: Service, many: int) -> list[str]:
    servers = [await service.visitor() for _ in range(many)]
    return [server.id for server in servers if server]


def problems(service: Service) -> dict[str, str]:
    return dict(service.troubles.texts())


# Filling and handing out.


def test_the_pool_fills_to_its_capacity_a_few_at_a_time(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=7, starts_at_once=3)
        assert service.pool.counts().available == 7
        assert len(world.engine.boxes) == 7
        assert world.engine.most_starting == 3
        assert problems(service) == {}

    play(tmp_path, act)


def test_a_server_is_ready_when_it_answers_its_token_and_has_a_route(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=2)
        for server in service.pool.ready.values():
            assert world.routes.table[server.path] == f"http://{world.engine.boxes[server.id].address}:8888"
        assert world.routes.table["/"] == SERVICE

        other = World(tmp_path / "other")
        other.folder.mkdir()
        other.routes.fault = "the proxy does not answer"
        waiting = other.service(capacity=1)
        await waiting.keeper.look()
        await steps(50)
        assert waiting.pool.counts().starting == 1
        assert await waiting.visitor() is None
        other.routes.fault = None
        await waiting.settle()
        assert waiting.pool.counts().available == 1

    play(tmp_path, act)


def test_a_server_is_ready_when_its_kernel_is_idle(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.engine.warm = {"wanted": 1, "ready": 0}
        service = world.service(capacity=1)
        await service.keeper.look()
        await steps(50)
        assert service.pool.counts().starting == 1
        assert await service.visitor() is None
        [box] = world.engine.boxes.values()
        box.warm = {"wanted": 1, "ready": 1}
        await service.settle()
        assert service.pool.counts().available == 1
        assert problems(service) == {}

    play(tmp_path, act)


def test_a_server_whose_kernel_does_not_come_counts_without_it_and_it_is_told(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.engine.warm = {"wanted": 1, "ready": 0}
        service = world.service(capacity=1)
        await service.look()
        assert service.pool.counts().available == 1
        assert world.clock.seconds() == pytest.approx(KERNEL_SECONDS, abs=1)
        late = "a server's kernel was not idle within 30 s: its visitor will wait for one"
        assert problems(service) == {"kernels": late}
        assert service.pool.refusal() is None

        [used] = await take(service, 1)
        world.engine.warm = {"wanted": 1, "ready": 1}
        world.engine.boxes[used].running = False
        await service.later(LIST_SECONDS)
        assert service.pool.counts().available == 1
        assert problems(service) == {}

    play(tmp_path, act)


@pytest.mark.parametrize("told", [{}, [], 1, {"wanted": "1", "ready": None}, b"[", b"[" * 10_000])
def test_an_image_that_means_something_else_by_warm_kernels_is_not_waited_for(tmp_path: Path, told: Any) -> None:
    async def act(world: World) -> None:
        world.engine.warm = told
        service = world.service(capacity=1)
        await service.look()
        assert service.pool.counts().available == 1
        assert world.clock.seconds() < 1

    play(tmp_path, act)


def test_a_server_that_ends_while_its_kernel_starts_is_replaced(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.engine.warm = {"wanted": 1, "ready": 0}
        service = world.service(capacity=1)
        await service.keeper.look()
        await steps(50)
        next(iter(world.engine.boxes.values())).running = False
        await service.settle()
        assert world.clock.seconds() < KERNEL_SECONDS / 2
        assert problems(service) == {"starts": "a server ended with exit code 7 instead of coming up"}

    play(tmp_path, act)


def test_visitors_who_come_at_once_never_get_the_same_server(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=20)
        got = await asyncio.gather(*(service.visitor() for _ in range(50)))
        ids = [server.id for server in got if server]
        assert len(ids) == len(set(ids)) == 20
        assert service.pool.refusal() is Refusal.FULL

    play(tmp_path, act)


def test_a_visitor_waits_for_neither_the_engine_nor_the_proxy(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=2)
        world.engine.faults["all"], world.routes.fault = "the engine is away", "the proxy is away"
        asked = len(world.engine.asked), len(world.routes.asked)
        assert await service.visitor()
        assert (len(world.engine.asked), len(world.routes.asked)) == asked

    play(tmp_path, act)


def test_a_used_server_that_ended_is_removed_and_replaced(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=2)
        [used] = await take(service, 1)
        world.engine.boxes[used].running = False
        await service.later(LIST_SECONDS)
        assert used not in world.engine.boxes
        assert f"/user/{used}" not in world.routes.table
        assert not service.pool.knows(used)
        assert service.pool.counts().available == 2

    play(tmp_path, act)


def test_another_server_starts_only_when_the_one_before_is_gone(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=2)
        [used] = await take(service, 1)
        world.engine.faults["remove"] = "the engine refuses: device busy"
        service.world.clock.pass_by(14401)
        await service.fill()
        assert service.pool.counts().ending == 1
        assert world.engine.asked.count("remove") == 1, "it is asked again after a while"
        assert len(world.engine.boxes) == 2
        assert problems(service) == {"removals": "the engine refuses: device busy"}
        world.engine.faults.clear()
        await service.later(3)
        assert used not in world.engine.boxes
        assert service.pool.counts().available == 2
        assert problems(service) == {}

    play(tmp_path, act)


def test_a_server_loses_its_route_before_its_container(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        [used] = await take(service, 1)
        remove = world.engine.remove

        async def removing(server_id: str) -> None:
            assert f"/user/{server_id}" not in world.routes.table, "its address may soon be another's"
            await remove(server_id)

        world.engine.remove = removing
        service.keeper.end(service.pool.used[used], Ended.ASKED)
        service.keeper.decide()
        await service.settle()
        assert used not in world.engine.boxes

    play(tmp_path, act)


def test_a_server_that_comes_up_while_containers_are_listed_is_not_taken_for_gone(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = world.service(capacity=1)

        async def slowly() -> list[Found]:
            while service.pool.starting:
                await asyncio.sleep(0)
            return []

        await service.keeper.look()
        world.engine.servers = slowly
        await service.keeper.look()
        assert service.pool.counts().available == 1
        assert service.pool.counts().ending == 0

    play(tmp_path, act)


def test_the_engine_is_asked_for_little_while_nothing_happens(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        world.engine.listening = True
        await service.later(LIST_SECONDS)
        world.engine.asked.clear()
        for _ in range(9):
            await service.look()
            world.clock.pass_by(2)
        assert set(world.engine.asked) == {"state"}
        service.keeper.heard()
        await service.look()
        assert world.engine.asked.count("servers") == 1

    play(tmp_path, act)


def test_a_container_that_nobody_wanted_any_more_is_removed(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=1)
        [box] = world.engine.boxes.values()
        world.engine.boxes["stray"] = Box(box.server, "10.0.9.9")
        await service.later(LIST_SECONDS)
        assert "stray" not in world.engine.boxes

    play(tmp_path, act)


async def keep_looking(service: Service) -> None:
    while True:
        await service.keeper.look()


async def steps(many: int) -> None:
    for _ in range(many):
        await asyncio.sleep(0)


def something_ends(service: Service, chance: random.Random) -> None:
    boxes = service.world.engine.boxes
    if boxes:
        boxes[chance.choice(sorted(boxes))].running = False
        service.keeper.heard()


def somebody_comes(service: Service, chance: random.Random) -> None:
    service._spawn(a_visit(service, chance.randrange(5)))


async def a_visit(service: Service, late: int) -> None:
    await steps(late)
    await service.visitor()


def the_engine_fails_or_works_again(service: Service, chance: random.Random) -> None:
    service.world.engine.faults = chance.choice([{}, {}, {"start": "x"}, {"remove": "x"}, {"all": "x"}])


def the_guard_goes_or_comes(service: Service, chance: random.Random) -> None:
    service.world.engine.guard = chance.choice([WELL, WELL, None])


def an_administrator_drains_or_not(service: Service, chance: random.Random) -> None:
    service.keeper.drain(draining=chance.random() < 0.3)


def an_administrator_ends_everything(service: Service, chance: random.Random) -> None:
    if chance.random() < 0.2:
        service.keeper.end_everything()


def time_passes(service: Service, chance: random.Random) -> None:
    service.world.clock.pass_by(chance.choice([1, 30, 3600]))


EVENTS = [
    somebody_comes,
    somebody_comes,
    somebody_comes,
    something_ends,
    the_engine_fails_or_works_again,
    the_guard_goes_or_comes,
    an_administrator_drains_or_not,
    an_administrator_ends_everything,
    time_passes,
]


@pytest.mark.parametrize("seed", range(12))
def test_the_counts_add_up_whatever_happens(tmp_path: Path, seed: int) -> None:
    async def act(world: World) -> None:
        chance = random.Random(seed)
        service = world.service(capacity=6)
        looking = asyncio.create_task(keep_looking(service))
        for _ in range(150):
            chance.choice(EVENTS)(service, chance)
            for _ in range(chance.randrange(20)):
                service.adds_up()
                await asyncio.sleep(0)
        looking.cancel()
        world.engine.faults, world.engine.guard = {}, WELL
        service.keeper.drain(draining=False)
        await service.later(120)
        await service.later(120)
        service.adds_up()
        assert len(world.engine.boxes) == 6
        await service.stop()

    play(tmp_path, act)


def test_the_loop_goes_round_by_itself_and_at_once_when_a_server_ends(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = world.service(capacity=2)
        running = asyncio.create_task(service.keeper.run())
        async with asyncio.timeout(60):
            while service.pool.counts().available < 2:
                await asyncio.sleep(0)
            [first, _] = world.engine.boxes
            world.engine.boxes[first].running = False
            service.keeper.heard()
            before = world.clock.seconds()
            while first in world.engine.boxes or service.pool.counts().available < 2:
                await asyncio.sleep(0)
        assert world.engine.listening
        assert world.clock.seconds() - before < LOOK_SECONDS
        running.cancel()
        await service.stop()

    play(tmp_path, act)


# Starts that fail.


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


# Guard.


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


# Restarts.


def test_a_restarted_service_takes_up_used_and_unused_servers(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        used = await first.visitor()
        assert used
        unused = set(first.pool.ready)
        await first.stop()
        world.clock.pass_by(100)

        second = await filled(world)
        assert second.pool.used == {used.id: second.pool.used[used.id]}
        assert second.pool.used[used.id].handed_out == used.handed_out
        assert second.pool.used[used.id].token == used.token
        assert set(second.pool.ready) == unused
        assert world.engine.started == 4

    play(tmp_path, act)


def test_a_stopped_service_has_ended_no_server(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        await take(service, 2)
        world.engine.asked.clear()
        await service.stop()
        assert "remove" not in world.engine.asked
        assert len(world.engine.boxes) == 4

    play(tmp_path, act)


def test_without_a_journal_every_server_counts_as_used(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        await take(first, 1)
        await first.stop()
        (tmp_path / JOURNAL_FILE).unlink()
        world.clock.pass_by(100)

        second = await filled(world)
        assert second.pool.counts().used == 4
        assert await second.visitor() is None
        assert {server.handed_out for server in second.pool.used.values()} == {NOW + timedelta(seconds=100)}
        await second.stop()
        third = await filled(world)
        assert third.pool.counts().used == 4, "it is written down"

    play(tmp_path, act)


def test_a_damaged_journal_hands_nobodys_server_out_again(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        await take(first, 2)
        await first.stop()
        path = tmp_path / JOURNAL_FILE
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"\0\0\0\n" + b"".join(lines[1:]))
        assert (await filled(world)).pool.counts().used == 4

    play(tmp_path, act)


def test_a_line_that_was_cut_off_was_told_to_nobody(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        [used] = await take(first, 1)
        other = next(iter(first.pool.ready))
        await first.stop()
        path = tmp_path / JOURNAL_FILE
        path.write_bytes(path.read_bytes() + b'{"server": "' + other.encode()[:7])
        second = await filled(world)
        assert set(second.pool.used) == {used}
        assert other in second.pool.ready
        assert await take(second, 1)
        await second.stop()
        assert len((await filled(world)).pool.used) == 2

    play(tmp_path, act)


def test_what_ended_while_nobody_looked_is_removed_at_the_start(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        [used] = await take(first, 1)
        await first.stop()
        world.engine.boxes[used].running = False
        dumb = next(server_id for server_id in world.engine.boxes if server_id != used)
        world.engine.boxes[dumb].answers = False
        second = world.service()
        await second.keeper.look()
        assert not second.pool.used
        await second.fill()
        assert used not in world.engine.boxes
        assert dumb not in world.engine.boxes, "an unused server that does not answer is none"
        assert second.pool.counts().available == 4

    play(tmp_path, act)


def test_an_engine_that_fails_half_way_leaves_nothing_half_taken_up(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        used = await take(first, 2)
        await first.stop()
        world.engine.faults["token"] = "the engine does not answer"
        second = world.service()
        await second.fill()
        assert not second.pool.adopted
        assert not second.pool.starting
        assert len(world.engine.boxes) == 4
        world.engine.faults.clear()
        await second.fill()
        assert set(second.pool.used) == set(used)

    play(tmp_path, act)


def test_the_first_visitor_after_a_restart_gets_a_server(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        await (await filled(world)).stop()
        second = world.service()
        looking = asyncio.create_task(second.keeper.look())
        while not (second.pool.adopted and second.pool.ready):
            await asyncio.sleep(0)
        assert await second.visitor()
        await looking
        assert problems(second) == {}

    play(tmp_path, act)


def test_routes_of_users_stay_while_a_restarted_service_has_not_looked_yet(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        [used] = await take(first, 1)
        await first.stop()
        world.engine.faults["servers"] = "the engine does not answer"
        second = world.service()
        await second.fill()
        assert f"/user/{used}" in world.routes.table

    play(tmp_path, act)


def test_two_services_never_hold_one_pool(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        second = await filled(world)
        assert not second.pool.adopted
        assert await second.visitor() is None
        assert problems(second) == {"state": "another service of this node still runs"}
        assert set(first.pool.ready) == set(world.engine.boxes)
        await first.stop()
        await second.fill()
        assert second.pool.counts().available == 4

    play(tmp_path, act)


async def one_life(service: Service, chance: random.Random) -> list[str]:
    """Visitors come until the service is killed; whom they were told of."""

    async def visit(late: int) -> str:
        await steps(late)
        server = await service.visitor()
        return server.id if server else ""

    visits = [asyncio.create_task(visit(chance.randrange(60))) for _ in range(chance.randrange(8))]
    looking = asyncio.create_task(keep_looking(service))
    await steps(chance.randrange(150))
    told = [task.result() for task in visits if task.done() and task.result()]
    for task in (looking, *visits):
        task.cancel()
    await asyncio.gather(looking, *visits, return_exceptions=True)
    await service.stop()
    return told


def after_a_kill(world: World, chance: random.Random) -> None:
    """What may be found then: a line that was cut off, and a server that ended meanwhile."""
    if chance.random() < 0.3:
        with (world.folder / JOURNAL_FILE).open("ab") as file:
            file.write(b'{"server": "ab')
    if world.engine.boxes and chance.random() < 0.3:
        world.engine.boxes[chance.choice(sorted(world.engine.boxes))].running = False


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_a_service_that_is_killed_at_any_moment_hands_out_nothing_twice_and_forgets_nobody(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    async def act(world: World) -> None:
        chance = random.Random(seed)
        told: list[str] = []
        for _ in range(5):
            told += await one_life(world.service(capacity=8), chance)
            after_a_kill(world, chance)
        assert len(told) == len(set(told))
        last = await filled(world, capacity=8)
        assert {server_id for server_id in told if server_id in world.engine.boxes} <= set(last.pool.used)
        assert set(world.engine.boxes) == set(last.pool.used) | set(last.pool.ready)
        assert len(world.engine.boxes) == 8
        await last.stop()

    play(tmp_path_factory.mktemp("state"), act)


# Full disk.


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


# Ending what is idle or old.


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


# Roll over.


def test_other_quotas_or_another_image_replace_unused_servers_a_few_at_a_time(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world, capacity=12)
        used = await take(first, 4)
        await first.stop()

        second = world.service(capacity=12, image="notebook@sha256:2")
        fewest = 8
        looking = asyncio.create_task(keep_looking(second))
        for _ in range(3000):
            await asyncio.sleep(0)
            # At the service's start they are looked at first.
            if second.pool.adopted and second.pool.ready:
                fewest = min(fewest, len(second.pool.outdated) + len(second.pool.ready))
        looking.cancel()
        await second.fill()
        assert fewest >= 6, "a quarter of eight at once"
        assert second.pool.outdated == {}
        assert {box.server.spec for box in world.engine.boxes.values()} == {
            second.pool.spec,
            next(iter(second.pool.used.values())).spec,
        }
        assert set(second.pool.used) == set(used), "used ones live on"
        assert second.pool.counts().available == 8

    play(tmp_path, act)


def test_an_outdated_server_is_handed_out_rather_than_none(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        await first.stop()
        world.engine.faults["start"] = "the engine refuses"
        second = await filled(world, quota=quota(memory_bytes=1 << 30))
        assert second.pool.counts().available == 3, "no more are given up while none comes up"
        assert len(await take(second, 4)) == 3

    play(tmp_path, act)


def test_nothing_is_replaced_while_nothing_could_be_started(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        await (await filled(world)).stop()
        world.engine.guard = None
        second = await filled(world, image="notebook@sha256:2")
        assert len(second.pool.outdated) == 4
        assert len(world.engine.boxes) == 4

    play(tmp_path, act)


def test_other_time_limits_replace_nothing(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world)
        await first.stop()
        second = await filled(world, quota=quota(idle_seconds=60, max_age_seconds=120))
        assert len(second.pool.ready) == 4
        assert world.engine.started == 4

    play(tmp_path, act)


def test_unused_servers_are_renewed_every_day_without_emptying_the_pool(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=8)
        before = set(service.pool.ready)
        world.clock.pass_by(UNUSED_AGE.total_seconds())
        while before & set(world.engine.boxes):
            await service.keeper.look()
            assert len(service.pool.ready) + len(service.pool.outdated) >= 6
            await service.settle()
        assert service.pool.counts().capacity == 8

    play(tmp_path, act)


def test_less_capacity_ends_unused_servers_and_no_used_one(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        first = await filled(world, capacity=8)
        used = await take(first, 5)
        await first.stop()
        second = await filled(world, capacity=4)
        assert set(second.pool.used) == set(used)
        counts = second.pool.counts()
        assert (counts.available, counts.used, counts.capacity) == (0, 5, 5)
        assert len(world.engine.boxes) == 5

    play(tmp_path, act)


# Drain.


def test_a_drained_node_keeps_its_users_and_nothing_else_also_after_a_restart(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        used = await take(service, 1)
        service.keeper.drain(draining=True)
        assert service.pool.counts().available == 0
        await service.fill()
        assert set(world.engine.boxes) == set(used)
        assert await service.visitor() is None
        await service.stop()

        second = await filled(world)
        assert second.pool.draining
        assert set(world.engine.boxes) == set(used)
        second.keeper.drain(draining=False)
        await second.fill()
        assert second.pool.counts().available == 3
        await second.stop()
        assert not (await filled(world)).pool.draining

    play(tmp_path, act)


def test_a_service_that_is_killed_as_it_is_drained_removes_what_is_unused_after_its_restart(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        used = await take(service, 1)
        service.keeper.drain(draining=True)
        await service.stop()
        assert len(world.engine.boxes) == 4
        second = await filled(world)
        assert set(world.engine.boxes) == set(second.pool.used) == set(used)

    play(tmp_path, act)


def test_a_server_that_is_being_started_when_the_node_is_drained_is_not_left_behind(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        for late in range(12):
            service = world.service(capacity=2)
            service.keeper.drain(draining=False)
            await service.keeper.look()
            await steps(late)
            service.keeper.drain(draining=True)
            service.keeper.decide()
            await service.fill()
            assert world.engine.boxes == {}
            assert service.pool.counts().starting == 0
            assert problems(service) == {}
            await service.stop()

    play(tmp_path, act)


def test_all_servers_can_be_ended(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        await take(service, 2)
        before = set(world.engine.boxes)
        assert service.keeper.end_everything() == 4
        await service.fill()
        assert not before & set(world.engine.boxes)
        assert service.pool.counts().available == 4

    play(tmp_path, act)


# The proxy.


def test_routes_that_a_replaced_proxy_lost_are_put_back_the_default_one_last(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        await take(service, 2)
        before = dict(world.routes.table)
        world.routes.table.clear()
        world.routes.asked.clear()
        await service.look()
        assert world.routes.table == before
        assert world.routes.asked.index("put /") == len(world.routes.asked) - 1
        world.routes.asked.clear()
        await service.look()
        assert world.routes.asked == ["all"], "nothing is put that is there"

    play(tmp_path, act)


def test_routes_of_servers_that_are_gone_are_deleted_and_no_others(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        world.routes.table |= {"/user/gone": "http://10.0.0.9:8888", "/docs": "http://docs", "/users": "http://x"}
        world.routes.table["/"] = "http://elsewhere"
        await service.look()
        assert "/user/gone" not in world.routes.table
        assert world.routes.table["/docs"] == "http://docs"
        assert world.routes.table["/users"] == "http://x"
        assert world.routes.table["/"] == SERVICE

    play(tmp_path, act)


def test_the_route_of_a_server_that_is_about_to_be_ready_stays() -> None:
    assert stray({}, {"/user/a": "x", "/user/b": "x"}, frozenset({"/user/b"})) == ["/user/a"]


def test_a_proxy_that_does_not_answer_ends_no_server_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        world.routes.fault = "the proxy's API does not answer"
        await service.later(100)
        assert service.pool.counts().available == 4
        assert problems(service) == {"proxy": "the proxy's API does not answer"}
        assert [record.message for record in caplog.records].count("proxy: the proxy's API does not answer") == 1
        world.routes.fault = None
        await service.look()
        assert problems(service) == {}

    play(tmp_path, act)


def test_a_server_with_another_address_gets_another_route(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        [used] = await take(service, 1)
        world.engine.boxes[used].address = "10.0.7.7"
        await service.later(LIST_SECONDS)
        assert world.routes.table[f"/user/{used}"] == "http://10.0.7.7:8888"

    play(tmp_path, act)


# Logs.


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
