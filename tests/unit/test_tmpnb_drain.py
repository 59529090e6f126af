"""How a tmpnb node is drained beside its service before it is taken away, and how that is taken back."""

from pathlib import Path

import pytest

from runtime.tmpnb_node import farewell
from runtime.tmpnb_node.farewell import FarewellError
from tests.unit.tmpnb_site import ADMIN, Site, play


def test_a_node_that_is_taken_away_waits_for_its_users_and_no_longer_than_it_is_told(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        await site.ask("/")
        admin = str(site.admin.make_url("")).rstrip("/")
        clock = site.world.clock
        begin = clock.seconds()
        left = await farewell.drain("admin-secret", 30, admin, timer=clock.seconds, sleep=clock.sleep)
        assert (left, clock.seconds() - begin) == (1, 30)
        assert site.service.pool.draining

        async def sleep(seconds: float) -> None:
            await site.service.later(14401)

        assert await farewell.drain("admin-secret", 10**6, admin, timer=clock.seconds, sleep=sleep) == 0
        assert clock.seconds() < 20000, "nobody is waited for who is gone"

    play(tmp_path, act)


def test_nobody_is_gone_before_a_service_that_began_anew_knows_its_servers(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        await site.ask("/")
        admin = str(site.admin.make_url("")).rstrip("/")
        clock, begin = site.world.clock, site.world.clock.seconds()
        pool = site.service.pool
        used, pool.adopted = dict(pool.used), False
        pool.used.clear()

        async def sleep(seconds: float) -> None:
            await clock.sleep(seconds)
            if clock.seconds() - begin > 60:
                pool.used.update(used)
                pool.adopted = True

        left = await farewell.drain("admin-secret", 90, admin, timer=clock.seconds, sleep=sleep)
        assert (left, clock.seconds() - begin) == (1, 90)
        pool.adopted = False
        assert await farewell.drain("admin-secret", 0, admin, timer=clock.seconds, sleep=clock.sleep) is None

    play(tmp_path, act)


def test_a_removal_that_did_not_come_to_its_end_is_taken_back(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        admin = str(site.admin.make_url("")).rstrip("/")
        await farewell.stay("admin-secret", admin)
        assert (await site.ask("/")).status == 302, "where there was no removal nothing is taken back"
        await farewell.drain("admin-secret", 0, admin)
        assert (await site.ask("/")).status == 503
        await farewell.stay("admin-secret", admin)
        await site.service.fill()
        assert (await site.ask("/")).status == 302

    play(tmp_path, act)


def test_what_an_administrator_drains_stays_so_when_a_removal_is_taken_back(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        admin = str(site.admin.make_url("")).rstrip("/")
        await site.admin.delete("/api/pool", headers=ADMIN)
        await farewell.drain("admin-secret", 0, admin)
        await farewell.stay("admin-secret", admin)
        assert (await site.ask("/")).status == 503
        await site.admin.post("/api/pool", headers=ADMIN)
        await site.service.fill()
        assert (await site.ask("/")).status == 302

    play(tmp_path, act)


def test_a_service_that_does_not_drain_is_reported(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        with pytest.raises(FarewellError, match="403"):
            await farewell.drain("wrong", 0, str(site.admin.make_url("")).rstrip("/"))
        with pytest.raises(FarewellError, match="does not answer"):
            await farewell.drain("admin-secret", 0, "http://127.0.0.1:1")

    play(tmp_path, act)
