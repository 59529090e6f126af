"""How a tmpnb node keeps the routes of its proxy; engine, proxy, servers and clock are in memory."""

from pathlib import Path

import pytest

from runtime.tmpnb_node.keeper import LIST_SECONDS
from runtime.tmpnb_node.routes import stray
from tests.unit.tmpnb_node import SERVICE, World, filled, play, problems, take


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
