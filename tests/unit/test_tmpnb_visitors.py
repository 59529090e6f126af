"""How a tmpnb node sends visitors to servers of their own, whatever they ask for."""

import asyncio
import re
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.visitors import location, split_target
from tests.unit.tmpnb_node import NOW
from tests.unit.tmpnb_site import Site, play, server_in


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


def test_who_asks_for_no_page_ends_at_the_landing_of_the_stack(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        where = urlsplit((await site.ask("/")).headers["Location"])
        assert where.path == f"/user/{server_in(where.path)}/tree"

    play(tmp_path, act, landing="/tree")


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
        status, headers, _ = await site.raw(asked.encode())
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
        status, headers, _ = await site.raw(target)
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
