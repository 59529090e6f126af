"""The pages that a tmpnb node shows to visitors whom it sends to no server."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from runtime.tmpnb_node import pages
from tests.unit.tmpnb_site import Site, play


def test_a_full_node_says_so_on_a_page_that_leads_to_a_node_with_room_and_counts_for_nobody(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        await site.ask("/")
        for _ in range(50):
            answer = await site.ask("/lab?x=1")
            assert answer.status == 503
        assert answer.headers["Retry-After"] == "10"
        assert "Location" not in answer.headers
        assert '<meta http-equiv="refresh" content="10;url=https://example.org/lab?x=1">' in await answer.text()
        program = await site.ask("/api/spawn", "POST")
        assert (program.status, await program.json()) == (429, {"status": "full"})
        assert int(program.headers["Retry-After"]) > 0
        await site.service.later(14401)
        assert (await site.ask("/lab?x=1")).status == 302

    play(tmp_path, act, capacity=1, visitors={"burst": 2, "per_minute": 1})


def test_a_server_that_is_gone_has_a_page_with_a_way_to_a_new_one(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        for path in ("/user/gone", "/user/gone/", "/user/gone/lab/tree/x.ipynb?token=t", "/user/"):
            answer = await site.ask(path)
            assert answer.status == 410
            assert '<a href="https://example.org/">' in await answer.text()
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


@pytest.mark.parametrize(
    ("target", "again"),
    [
        ("/", "https://example.org/"),
        ("//elsewhere.example/", "https://example.org//elsewhere.example/"),
        ('/"><script>?a=1&b=%22', "https://example.org/%22%3E%3Cscript%3E?a=1&amp;b=%22"),
    ],
)
def test_who_is_sent_on_from_a_node_stays_with_the_pool_and_keeps_their_link(
    tmp_path: Path, target: str, again: str
) -> None:
    async def act(site: Site) -> None:
        site.service.keeper.drain()
        _, _, text = await site.raw(target.encode())
        assert f'<meta http-equiv="refresh" content="5;url={again}">' in text
        assert "takes no new visitors" in text

    play(tmp_path, act)


def test_who_waits_for_a_server_of_their_own_stays_on_its_node(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        where = (await site.ask("/")).headers["Location"]
        assert '<meta http-equiv="refresh" content="2">' in await (await site.ask(where)).text()

    play(tmp_path, act)


def test_what_the_proxy_shows_for_a_server_that_it_does_not_reach(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        where = (await site.ask("/")).headers["Location"]
        coming = await site.public.get("/proxy-error/503", params={"url": where})
        assert "is being connected" in await coming.text()
        gone = await (await site.public.get("/proxy-error/503", params={"url": "/user/gone/lab?token=t"})).text()
        assert "has ended" in gone
        assert 'href="https://example.org/"' in gone
        for address in ("/", "/git-pull?repo=x", ""):
            newcomer = await site.ask("/proxy-error/404", url=address)
            assert newcomer.status == 503, "a proxy that was started anew has no routes for a moment"
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
        text = page.html("//pool.example")
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
