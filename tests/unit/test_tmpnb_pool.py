"""What a tmpnb node does with its servers: filling and handing out; engine, proxy, servers and clock are in memory."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from runtime.tmpnb_node.engine import Found
from runtime.tmpnb_node.keeper import LIST_SECONDS, LOOK_SECONDS
from runtime.tmpnb_node.pool import Refusal
from runtime.tmpnb_node.retirement import Ended
from runtime.tmpnb_node.starts import KERNEL_SECONDS
from tests.unit.tmpnb_node import (
    SERVICE,
    WELL,
    Box,
    Service,
    World,
    filled,
    keep_looking,
    play,
    problems,
    steps,
    take,
)


def test_the_pool_fills_to_its_capacity_a_few_at_a_time(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=7, starts_at_once=3)
        assert service.pool.counts().available == 7
        assert len(world.engine.boxes) == 7
        assert world.engine.most_starting == 3
        assert problems(service) == {}

    play(tmp_path, act)


@pytest.mark.parametrize(("starts_at_once", "removed_at_once"), [(2, 4), (16, 16)])
def test_servers_are_removed_as_fast_as_they_are_started_and_a_few_at_a_time_at_least(
    tmp_path: Path, starts_at_once: int, removed_at_once: int
) -> None:
    async def act(world: World) -> None:
        service = await filled(world, capacity=32, starts_at_once=starts_at_once)
        service.keeper.end_everything()
        await service.fill()
        assert world.engine.most_removing == removed_at_once

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
    chance.choice([service.keeper.drain, service.keeper.resume, service.keeper.resume])()


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
        service.keeper.resume()
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
