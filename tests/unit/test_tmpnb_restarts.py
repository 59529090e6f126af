"""What a tmpnb node knows of its servers after it is started anew or killed; engine, proxy, servers and clock are in memory."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.tmpnb_node.journal import JOURNAL_FILE
from tests.unit.tmpnb_node import (
    NOW,
    Service,
    World,
    filled,
    keep_looking,
    play,
    problems,
    steps,
    take,
)


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
