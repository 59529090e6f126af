"""How a tmpnb node replaces what is unused when settings change, and empties itself when it is drained; engine, proxy, servers and clock are in memory."""

import asyncio
from pathlib import Path

from runtime.tmpnb_node.retirement import UNUSED_AGE
from runtime.tmpnb_node.state import Drain
from tests.unit.tmpnb_node import (
    World,
    filled,
    keep_looking,
    play,
    problems,
    quota,
    steps,
    take,
)


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


def test_a_drained_node_keeps_its_users_and_nothing_else_also_after_a_restart(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        used = await take(service, 1)
        service.keeper.drain()
        assert service.pool.counts().available == 0
        await service.fill()
        assert set(world.engine.boxes) == set(used)
        assert await service.visitor() is None
        await service.stop()

        second = await filled(world)
        assert second.pool.draining
        assert set(world.engine.boxes) == set(used)
        second.keeper.resume()
        await second.fill()
        assert second.pool.counts().available == 3
        await second.stop()
        assert not (await filled(world)).pool.draining

    play(tmp_path, act)


def test_a_removal_is_remembered_apart_from_what_an_administrator_drains(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        service.keeper.drain(Drain.FAREWELL)
        await service.stop()
        second = world.service()
        second.keeper.drain()
        second.keeper.resume(frozenset({Drain.FAREWELL}))
        await second.fill()
        assert second.pool.draining, "for the administrator"
        await second.stop()
        third = await filled(world)
        assert third.pool.draining
        third.keeper.resume()
        await third.fill()
        assert third.pool.counts().available == 4

    play(tmp_path, act)


def test_a_node_that_stays_after_all_fills_again_after_a_restart(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        service.keeper.drain(Drain.FAREWELL)
        await service.stop()
        second = await filled(world)
        assert second.pool.draining, "the node is still being removed"
        second.keeper.resume(frozenset({Drain.FAREWELL}))
        await second.stop()
        assert (await filled(world)).pool.counts().available == 4

    play(tmp_path, act)


def test_a_service_that_is_killed_as_it_is_drained_removes_what_is_unused_after_its_restart(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        service = await filled(world)
        used = await take(service, 1)
        service.keeper.drain()
        await service.stop()
        assert len(world.engine.boxes) == 4
        second = await filled(world)
        assert set(world.engine.boxes) == set(second.pool.used) == set(used)

    play(tmp_path, act)


def test_a_server_that_is_being_started_when_the_node_is_drained_is_not_left_behind(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        for late in range(12):
            service = world.service(capacity=2)
            service.keeper.resume()
            await service.keeper.look()
            await steps(late)
            service.keeper.drain()
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
