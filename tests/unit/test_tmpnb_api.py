"""What a tmpnb node answers to programs and to monitoring: servers, stats, health and metrics."""

from pathlib import Path

import pytest

from runtime.tmpnb_node import VERSION
from tests.unit.tmpnb_node import WELL
from tests.unit.tmpnb_site import Site, play


def test_stats_are_those_of_the_original_and_add_up(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        await site.ask("/")
        expected = {
            "available": 3,
            "capacity": 4,
            "version": VERSION,
            "container_image": "notebook@sha256:1",
            "node": "tmp01",
            "used": 1,
            "starting": 0,
            "draining": False,
        }
        assert await site.stats() == expected
        assert await (await site.ask("/stats")).json() == expected

    play(tmp_path, act)


def test_a_program_gets_an_address_with_a_token(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        answer = await site.ask("/api/spawn", "POST")
        body = await answer.json()
        [server] = site.service.pool.used.values()
        assert (answer.status, body["status"]) == (200, "spawned")
        assert body["url"] == f"/user/{server.id}/lab?token={server.token}"

    play(tmp_path, act)


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "token wrong"}, {"Authorization": "api-secret"}, {"Authorization": "token \xff"}]
)
def test_with_an_api_token_only_who_has_it_gets_a_server(tmp_path: Path, header: dict[str, str]) -> None:
    async def act(site: Site) -> None:
        assert (await site.ask("/api/spawn", "POST", **header)).status == 403
        assert site.service.pool.counts().used == 0
        for _ in range(4):
            assert (await site.ask("/api/spawn", "POST", Authorization="token api-secret")).status == 200
        assert (await site.ask("/api/spawn", "POST", Authorization="token api-secret")).status == 429

    # Who has it is not limited by address: all its visitors come from one.
    play(tmp_path, act, api="api-secret", visitors={"burst": 1, "per_minute": 1})


def test_with_an_api_token_there_are_no_pages_for_people(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        for path in ("/", "/lab", "/git-pull?repo=x"):
            assert (await site.ask(path)).status == 404
        assert (await site.stats())["used"] == 0
        assert (await site.ask("/health")).status == 200

    play(tmp_path, act, api="api-secret")


def test_a_node_is_healthy_while_its_loop_goes_round_and_its_engine_answers(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        well = await site.ask("/health")
        assert (well.status, await well.json()) == (200, {"status": "ok", "problems": {}})

        site.world.engine.faults["all"] = "the engine does not answer"
        await site.service.look()
        ill = await site.ask("/health")
        assert ill.status == 503
        assert (await ill.json())["problems"] == {"engine": "the engine does not answer"}

        site.world.engine.faults.clear()
        await site.service.look()
        assert (await site.ask("/health")).status == 200
        site.world.clock.pass_by(61)
        assert (await site.ask("/health")).status == 503

    play(tmp_path, act)


def test_a_node_that_hands_out_nothing_but_has_users_stays_healthy_and_says_why(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        site.world.engine.guard = None
        await site.service.look()
        answer = await site.ask("/health")
        assert answer.status == 200
        assert "is not there" in (await answer.json())["problems"]["guard"]
        assert (await site.ask("/")).status == 503
        assert (await site.stats())["available"] == 0
        site.world.engine.guard = WELL

    play(tmp_path, act)


def test_metrics_tell_of_servers_starts_refusals_and_troubles(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        for _ in range(3):
            await site.ask("/")
        site.world.engine.faults["start"] = "the engine refuses"
        await site.service.later(14401)
        answer = await site.ask("/metrics")
        assert answer.content_type == "text/plain"
        text = await answer.text()
        for line in (
            'hubstack_tmpnb_servers{state="available"} 0.0',
            'hubstack_tmpnb_servers{state="used"} 0.0',
            "hubstack_tmpnb_capacity 2.0",
            "hubstack_tmpnb_start_seconds_count 2.0",
            "hubstack_tmpnb_failed_starts_total 2.0",
            "hubstack_tmpnb_hand_out_seconds_count 2.0",
            'hubstack_tmpnb_refusals_total{reason="full"} 1.0',
            'hubstack_tmpnb_ended_total{reason="age"} 2.0',
            'hubstack_tmpnb_trouble{part="starts"} 1.0',
        ):
            assert line in text.splitlines()

    play(tmp_path, act, capacity=2)
