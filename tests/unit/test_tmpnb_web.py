"""What a tmpnb node answers to visitors, programs, monitoring and administrators."""

import asyncio
import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from aiohttp import ClientResponse, DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from runtime.tmpnb_node import VERSION, farewell, pages
from runtime.tmpnb_node.farewell import FarewellError
from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.visitors import COOKIE, Cookies, location, split_target
from tests.stacks import ROOT
from tests.unit.tmpnb_node import NOW, SECRETS, WELL, Service, World, document

ADMIN = {"Authorization": "token admin-secret"}


class Site:
    """A filled node, and what asks it."""

    def __init__(self, service: Service, public: Any, admin: Any) -> None:
        self.service, self.world = service, service.world
        self.public, self.admin = public, admin

    async def ask(self, path: str, method: str = "GET", **headers: str) -> ClientResponse:
        """Ask as a visitor whose browser does not follow redirects."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.public.request(method, path, headers=named, allow_redirects=False)

    async def raw(self, target: bytes) -> tuple[int, dict[str, str]]:
        """Ask for exactly this target; status and headers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.public.server.port)
        writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: tmp01.example.org\r\nConnection: close\r\n\r\n")
        head = (await reader.read()).split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        writer.close()
        return int(head[0].split()[1]), {
            name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:])
        }

    async def stats(self) -> dict[str, Any]:
        return await (await self.ask("/api/stats")).json()


def play(
    folder: Path, act: Callable[[Site], Awaitable[None]], api: str | None = None, *, fill: bool = True, **changes: Any
) -> None:
    async def run() -> None:
        service = World(folder).service(replace(SECRETS, api=api), **changes)
        if fill:
            await service.fill()
        node = service.node
        async with (
            TestClient(TestServer(node.public), cookie_jar=DummyCookieJar()) as public,
            TestClient(TestServer(node.admin)) as admin,
        ):
            await act(Site(service, public, admin))
        await service.stop()

    asyncio.run(run())


def cookie_of(answer: ClientResponse) -> str:
    return answer.cookies[COOKIE].value


def server_in(where: str) -> str:
    return where.split("/")[2]


# Visitors.


def test_a_visitor_is_sent_to_a_server_with_its_token(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        answer = await site.ask("/")
        assert answer.status == 302
        where = urlsplit(answer.headers["Location"])
        server = site.service.pool.used[server_in(where.path)]
        assert where.path == f"/user/{server.id}/lab"
        assert parse_qs(where.query) == {"token": [server.token]}
        assert answer.headers["Cache-Control"] == "no-store"
        assert await answer.text() == "", "the token is in no page"

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("asked", "path", "query"),
    [
        ("/git-pull?repo=https%3A%2F%2Fx.org%2Fr&urlpath=lab%2Ftree%2Fr%2Fa.ipynb", None, None),
        ("/lab/tree/a%20b%2Fc.ipynb", None, ""),
        ("/lab/tree/%E2%82%AC.ipynb?x=%26&y=a+b", None, None),
        ("/?next=1", "/lab", "next=1"),
        ("/lab?token=evil", "/lab", "token=evil"),
        ("/a?b?c", "/a", "b?c"),
        ("/a;b=1,2/@x:~-._!$&'()*", None, ""),
        ("/%zz/%", None, ""),
        ("/a?", "/a", ""),
    ],
)
def test_path_and_query_are_kept_as_they_were_encoded(
    tmp_path: Path, asked: str, path: str | None, query: str | None
) -> None:
    async def act(site: Site) -> None:
        status, headers = await site.raw(asked.encode())
        assert status == 302
        [server] = site.service.pool.used.values()
        wanted_path = asked.partition("?")[0] if path is None else path
        wanted_query = asked.partition("?")[2] if query is None else query
        pairs = f"{wanted_query}&" if wanted_query else ""
        assert headers["location"] == f"/user/{server.id}{wanted_path}?{pairs}token={server.token}"

    play(tmp_path, act)


@pytest.mark.parametrize(
    "target",
    [
        b"//evil.example",
        b"//evil.example/%2e",
        b"///evil.example",
        b"/\\evil.example",
        b"/\\/evil.example",
        b"\\\\evil.example",
        b"https://evil.example/",
        b"https:evil.example",
        b"/%5cevil.example",
        b"/%2f%2fevil.example",
        b"/..//evil.example",
        b"/../../user/other/",
        b"/%2e%2e/%2E%2e/user/other/",
        b"/..%5c../user/other/",
        b"/..\\..\\user\\other",
        b"/lab/..;/x",
        b"/\xe2\x82\xac",
        b"/\xff\xfe",
        b"/x#//evil.example",
        b"@evil.example",
        b"*",
    ],
)
def test_no_path_leads_to_another_host_or_another_server(tmp_path: Path, target: bytes) -> None:
    async def act(site: Site) -> None:
        status, headers = await site.raw(target)
        assert status in {302, 400}
        if status == 400:
            assert "location" not in headers
            return
        [server] = site.service.pool.used.values()
        where = headers["location"]
        assert where.startswith(f"/user/{server.id}/")
        assert "\\" not in where
        assert where.isascii()
        seen = urlsplit(urljoin("https://tmp01.example.org/", where))
        assert seen.netloc == "tmp01.example.org"
        assert seen.path.startswith(f"/user/{server.id}/")

    play(tmp_path, act)


@given(st.text(max_size=40), st.text(max_size=20))
def test_whatever_is_asked_for_the_answer_stays_below_the_visitors_server(path: str, query: str) -> None:
    server = Server(id="abc", token="t0ken", spec="", created=NOW)
    target = split_target(f"/{path}?{query}")
    if target is None:
        return
    where = location(server, *target, "/lab", token=True)
    assert re.fullmatch(r"/user/abc/[!-~]*", where)
    seen = urlsplit(urljoin("https://tmp01.example.org/", where))
    assert (seen.scheme, seen.netloc) == ("https", "tmp01.example.org")
    assert seen.path.startswith("/user/abc/")
    assert where.endswith("token=t0ken"), "of several tokens Jupyter takes the last"


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


def test_an_address_gets_so_many_servers_and_others_as_before(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        evil, other = "203.0.113.9, 10.0.0.2", "203.0.113.10, 10.0.0.2"
        first = await site.ask("/", X_Forwarded_For=evil)
        answers = [await site.ask("/", X_Forwarded_For=f"198.51.100.{n}, {evil}") for n in range(20)]
        assert [answer.status for answer in answers[:1]] == [302]
        assert {answer.status for answer in answers[1:]} == {429}, "what a visitor claims does not count"
        assert answers[-1].headers["Retry-After"] == "6"
        assert "Too many notebooks" in await answers[-1].text()
        assert (await site.ask("/", X_Forwarded_For=other)).status == 302
        cookie = f"{COOKIE}={cookie_of(first)}"
        assert (await site.ask("/", X_Forwarded_For=evil, Cookie=cookie)).status == 302
        program = await site.ask("/api/spawn", "POST", X_Forwarded_For=evil)
        assert (program.status, await program.json()) == (429, {"status": "limited"})

    play(tmp_path, act, capacity=10, visitors={"burst": 2, "per_minute": 10})


def test_a_full_pool_says_so_on_a_page_that_asks_again_and_counts_for_nobody(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        await site.ask("/")
        for _ in range(50):
            answer = await site.ask("/lab?x=1")
            assert answer.status == 503
        assert answer.headers["Retry-After"] == "10"
        assert "Location" not in answer.headers
        text = await answer.text()
        assert '<meta http-equiv="refresh" content="10">' in text, "without an address it is the same one again"
        program = await site.ask("/api/spawn", "POST")
        assert (program.status, await program.json()) == (429, {"status": "full"})
        assert int(program.headers["Retry-After"]) > 0
        await site.service.later(14401)
        assert (await site.ask("/lab?x=1")).status == 302

    play(tmp_path, act, capacity=1, visitors={"burst": 2, "per_minute": 1})


def test_many_visitors_at_once_get_a_server_each_until_there_is_none(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        answers = await asyncio.gather(*(site.ask("/") for _ in range(40)))
        given_out = [server_in(answer.headers["Location"]) for answer in answers if answer.status == 302]
        assert len(given_out) == len(set(given_out)) == 15
        assert sum(answer.status == 503 for answer in answers) == 25

    play(tmp_path, act, capacity=15, starts_at_once=5)


def test_looking_without_asking_takes_no_server(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        assert (await site.ask("/", "HEAD")).status == 200
        assert (await site.ask("/lab/tree/x", "HEAD")).status == 200
        assert (await site.ask("/favicon.ico")).status == 404
        assert "Disallow: /" in await (await site.ask("/robots.txt")).text()
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await site.ask("/lab", method)).status == 405
        assert (await site.ask("/api/spawn")).status == 405
        assert site.service.pool.counts().used == 0

    play(tmp_path, act)


def test_a_server_that_is_gone_has_a_page_with_a_way_to_a_new_one(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        for path in ("/user/gone", "/user/gone/", "/user/gone/lab/tree/x.ipynb?token=t", "/user/"):
            answer = await site.ask(path)
            assert answer.status == 410
            assert '<a href="/">' in await answer.text()
        assert (await site.ask("/user/gone/api/kernels", "POST")).status == 410
        assert site.service.pool.counts().used == 0

    play(tmp_path, act)


def test_a_server_whose_route_is_not_back_yet_is_not_called_gone(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        where = (await site.ask("/")).headers["Location"]
        answer = await site.ask(where)
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "2"
        await site.service.look()
        site.service.keeper.end_everything()
        assert (await site.ask(where)).status == 410

    play(tmp_path, act)


def test_what_the_proxy_shows_for_a_server_that_it_does_not_reach(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        where = (await site.ask("/")).headers["Location"]
        coming = await site.public.get("/proxy-error/503", params={"url": where})
        assert "is being connected" in await coming.text()
        gone = await site.public.get("/proxy-error/503", params={"url": "/user/gone/lab?token=t"})
        assert "has ended" in await gone.text()
        assert (await site.ask("/proxy-error/404")).status == 410
        assert site.service.pool.counts().used == 1, "an error takes no server"

    play(tmp_path, act)


def test_a_service_that_has_not_looked_yet_calls_no_server_gone(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        assert (await site.ask("/user/somebody/lab")).status == 503
        answer = await site.ask("/")
        assert answer.status == 503
        assert "not available at the moment" in await answer.text()
        assert (await site.stats())["available"] == 0

    play(tmp_path, act, fill=False)


def test_every_page_is_complete_in_itself_and_may_load_nothing(tmp_path: Path) -> None:
    everything = [pages.FULL, pages.DRAINING, pages.CLOSED, pages.COMING, pages.GONE, pages.BAD_ADDRESS]
    for page in [*everything, pages.too_many(3)]:
        text = page.html()
        assert "width=device-width" in text
        assert not re.search(r"\s(src|action|on\w+)=|url\(|<script|https?://", text)
        [style] = re.findall(r"<style>(.*?)</style>", text)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in pages.HEADERS["Content-Security-Policy"]

    async def act(site: Site) -> None:
        for path in ("/user/gone", "/../x"):
            headers: Mapping[str, str] = (await site.raw(path.encode()))[1]
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; ")
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"

    play(tmp_path, act)


# Programs and monitoring.


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


# Administrators.


@pytest.mark.parametrize("header", [{}, {"Authorization": "token wrong"}, {"Authorization": "token proxy-secret"}])
def test_without_its_token_the_admin_listener_does_nothing(tmp_path: Path, header: dict[str, str]) -> None:
    async def act(site: Site) -> None:
        for method, path in (
            ("GET", "/api/pool"),
            ("DELETE", "/api/pool"),
            ("POST", "/api/pool"),
            ("DELETE", "/api/servers"),
            ("GET", "/other"),
        ):
            answer = await site.admin.request(method, path, headers=header)
            assert answer.status == 403
        await site.service.fill()
        assert site.service.pool.counts().available == 4

    play(tmp_path, act)


def test_an_administrator_drains_a_node_and_takes_it_back(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        where = (await site.ask("/")).headers["Location"]
        answer = await site.admin.delete("/api/pool", headers=ADMIN)
        assert (answer.status, await answer.json()) == (200, {"status": "draining", "used": 1})
        refused = await site.ask("/")
        assert refused.status == 503
        assert "takes no new visitors" in await refused.text()
        stats = await site.stats()
        assert (stats["available"], stats["used"], stats["draining"]) == (0, 1, True)
        await site.service.fill()
        assert set(site.world.engine.boxes) == {server_in(where)}
        state = await (await site.admin.get("/api/pool", headers=ADMIN)).json()
        assert (state["draining"], state["used"], state["ending"]) == (True, 1, 0)

        await site.admin.post("/api/pool", headers=ADMIN)
        await site.service.fill()
        assert (await site.ask("/")).status == 302

    play(tmp_path, act)


def test_a_node_is_drained_even_if_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(site: Site) -> None:
        monkeypatch.setattr(site.service.node.state, "path", tmp_path / "missing")
        answer = await (await site.admin.delete("/api/pool", headers=ADMIN)).json()
        assert answer["status"] == "draining"
        assert "a restart forgets it" in answer["warning"]
        assert (await site.ask("/")).status == 503

    play(tmp_path, act)


def test_an_administrator_ends_every_server(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        where = (await site.ask("/")).headers["Location"]
        answer = await site.admin.delete("/api/servers", headers=ADMIN)
        assert (answer.status, await answer.json()) == (200, {"status": "ending", "servers": 4})
        await site.service.fill()
        assert server_in(where) not in site.world.engine.boxes

    play(tmp_path, act)


def test_the_public_listener_has_none_of_the_administrators_paths(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        for method in ("DELETE", "POST"):
            assert (await site.ask("/api/pool", method, **ADMIN)).status == 405
        assert (await site.ask("/api/servers", "DELETE", **ADMIN)).status == 405
        assert not site.service.pool.draining

    play(tmp_path, act)


# Draining beside the service.


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


def test_a_service_that_does_not_drain_is_reported(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        with pytest.raises(FarewellError, match="403"):
            await farewell.drain("wrong", 0, str(site.admin.make_url("")).rstrip("/"))
        with pytest.raises(FarewellError, match="does not answer"):
            await farewell.drain("admin-secret", 0, "http://127.0.0.1:1")

    play(tmp_path, act)


# The program.


def free_ports() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return [first.getsockname()[1], second.getsockname()[1]]


def program(folder: Path, **changes: Any) -> subprocess.Popen[str]:
    """The service as it is started, without an engine or a proxy."""
    (folder / "settings.json").write_text(json.dumps(document(proxy_api="http://127.0.0.1:1", **changes)))
    for name, text in (("proxy-token", "proxy-secret"), ("admin-token", "admin-secret")):
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "runtime.tmpnb_node", str(folder / "settings.json"), str(folder), str(folder)]
    environment = {**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_the_program_answers_without_an_engine_and_ends_when_told_to(tmp_path: Path) -> None:
    public, admin = free_ports()
    started = program(tmp_path, public_port=public, admin_address="127.0.0.1", admin_port=admin)
    try:
        problems: dict[str, str] = {}
        while "engine" not in problems and started.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{public}/health") as answer:
                    raise AssertionError(answer.status)
            except urllib.error.HTTPError as error:
                problems = json.load(error)["problems"]
            except urllib.error.URLError:
                continue
        assert "does not answer" in problems["engine"]
        started.terminate()
        _, told = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 0
    assert "told to stop" in told
    assert "secret" not in told


def test_the_program_says_what_is_wrong_with_its_settings(tmp_path: Path) -> None:
    started = program(tmp_path, capacity=0)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 2
    assert "capacity must be 1 to 1000, not 0" in told
