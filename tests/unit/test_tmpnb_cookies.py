"""How a tmpnb node knows visitors again: its cookie, and what a stolen or forged one is worth."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tmpnb_node.visitors import COOKIE, Cookies
from tests.unit.tmpnb_site import Site, cookie_of, play, server_in


def test_who_comes_again_gets_the_server_that_they_have(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        first = await site.ask("/")
        cookie = f"{COOKIE}={cookie_of(first)}"
        again = await site.ask("/lab/tree/x.ipynb", Cookie=cookie)
        assert server_in(again.headers["Location"]) == server_in(first.headers["Location"])
        assert site.service.pool.counts().used == 1
        assert server_in((await site.ask("/")).headers["Location"]) != server_in(first.headers["Location"])

        await site.service.later(14401)
        after = await site.ask("/", Cookie=cookie)
        assert after.status == 302
        assert server_in(after.headers["Location"]) != server_in(first.headers["Location"])

    play(tmp_path, act)


def test_a_cookie_that_another_server_saw_does_not_tell_the_token(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        cookie = f"{COOKIE}={cookie_of(await site.ask('/'))}"
        [server] = site.service.pool.used.values()
        site.world.clock.pass_by(60)
        soon = await site.ask("/", Cookie=cookie)
        assert soon.headers["Location"] == f"/user/{server.id}/lab?token={server.token}", (
            "the first time may have failed"
        )
        site.world.clock.pass_by(1)
        assert (await site.ask("/", Cookie=cookie)).headers["Location"] == f"/user/{server.id}/lab"
        later = await site.ask("/git-pull?repo=x", Cookie=cookie)
        assert later.headers["Location"] == f"/user/{server.id}/git-pull?repo=x"

    play(tmp_path, act)


def test_a_cookie_is_for_this_host_and_no_script(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        morsel = (await site.ask("/")).cookies[COOKIE]
        assert morsel["path"] == "/"
        assert morsel["secure"]
        assert morsel["httponly"]
        assert morsel["samesite"] == "Lax"
        assert morsel["domain"] == ""
        assert int(morsel["max-age"]) == 14400
        [server] = site.service.pool.used.values()
        assert server.token not in morsel.value

    play(tmp_path, act)

    async def plain(site: Site) -> None:
        assert not (await site.ask("/")).cookies[COOKIE]["secure"]

    play(tmp_path, plain, url="http://localhost:8000")


@pytest.mark.parametrize("forge", [lambda text: text[:-1] + "x", lambda text: text.partition(".")[0], lambda _: "."])
def test_a_forged_cookie_leads_to_nobodys_server(tmp_path: Path, forge: Callable[[str], str]) -> None:
    async def act(site: Site) -> None:
        first = await site.ask("/")
        forged = await site.ask("/", Cookie=f"{COOKIE}={forge(cookie_of(first))}")
        assert server_in(forged.headers["Location"]) != server_in(first.headers["Location"])

    play(tmp_path, act)


@given(st.text(), st.text())
def test_only_its_own_key_signs_a_cookie(server_id: str, key: str) -> None:
    ours, theirs = Cookies("proxy-secret"), Cookies(key)
    plain = server_id.replace(".", "")
    assert ours.server_id(ours.value(plain)) == plain
    assert ours.server_id(theirs.value(plain)) is None
    assert ours.server_id(server_id) is None
