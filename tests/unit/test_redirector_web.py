"""What visitors, programs and people get from the redirector."""

import asyncio
import base64
import hashlib
import json
import random
import re
import string
from collections import Counter
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.redirector import pages
from runtime.redirector.fleet import State
from runtime.redirector.web import Held, origin_form
from tests.unit.redirector import Reply, Timer, Web, answer, exchange, in_loop, node, nodes, web_of
from tests.unit.redirector import settings as redirector_settings

NODE = "https://tmp01.example.org"

ODD_TARGETS = [
    "/",
    "/lab",
    "/git-pull?repo=https%3A%2F%2Fgithub.com%2Fexample%2Fcourse&urlpath=lab%2Ftree%2Fcourse%2Findex.ipynb&branch=main",
    "/?",
    "/a?b?c=d&e==&&",
    "//evil.example/",
    "///evil.example",
    "/\\evil.example",
    "/%2f/evil.example",
    "/%2F%2Fevil.example",
    "/%5cevil.example",
    "/@evil.example",
    "/.evil.example",
    "/:80@evil.example/",
    "/../../..//evil.example",
    "/./stats",
    "/%66leet",
    "/stats/",
    "/lab/tree/%C3%A9t%C3%A9%20%25%2B.ipynb?x=%0d%0aSet-Cookie:%20a=b",
    "/a;b=c/~d/!e$f&'g()*+,",
    "/<script>\"'`{}|^[]",
    "/with#fragment",
    "/user/x/api?token=a%00b",
]


def where(reply: Reply) -> str:
    return reply.headers["location"]


@in_loop
async def test_path_and_query_are_kept_as_they_came():
    async with web_of([node()], free=len(ODD_TARGETS)) as web:
        for target in ODD_TARGETS:
            reply = await web.get(target)
            assert (reply.status, where(reply)) == (302, NODE + target)
            assert reply.headers["cache-control"] == "no-store"


@in_loop
async def test_no_target_leads_anywhere_but_to_the_node():
    async with web_of([node()], free=len(ODD_TARGETS)) as web:
        for target in ODD_TARGETS:
            found = urljoin("https://redirector.example.org/", where(await web.get(target)).replace("\\", "/"))
            assert urlsplit(found)[:2] == ("https", "tmp01.example.org")


@in_loop
async def test_a_target_with_an_origin_of_its_own_loses_it():
    async with web_of([node()]) as web:
        for target, path in (
            ("http://evil.example/lab?a=b", "/lab?a=b"),
            ("http://evil.example", "/"),
            ("http://evil.example?a=b", "/?a=b"),
            ("http://evil.example//evil.example/", "//evil.example/"),
        ):
            assert where(await web.get(target)) == NODE + path


TEXT = st.text(string.printable + "äß€\u2028\\@:%", max_size=80)
BYTES = st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.sampled_from(["/", "//", "/\\", "http://evil.example", "http://evil.example/", ""]), TEXT | BYTES)
def test_what_stands_behind_an_origin_is_a_path_of_visible_characters(beginning: str, rest: str):
    found = origin_form(beginning + rest)

    assert found.startswith("/")
    assert all("!" <= character <= "~" for character in found)
    assert urlsplit(NODE + found)[:2] == ("https", "tmp01.example.org")


@given(st.text([chr(code) for code in range(0x21, 0x7F)], max_size=80))
def test_visible_characters_of_a_path_stay_as_they_are(path: str):
    assert origin_form("/" + path) == "/" + path


@settings(max_examples=15, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=10))
def test_no_request_makes_a_header_of_its_own(targets: list[bytes]):
    async def ask() -> None:
        async with web_of([node()]) as web:
            for target in targets:
                reply = await exchange(
                    web.port, b"GET /" + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                )
                assert reply.status in {302, 400, 404, 405}
                if reply.status == 302:
                    assert where(reply).startswith(NODE + "/")
                    assert set(reply.headers) == {
                        "location", "cache-control", "content-length", "date", "server", "connection",
                    }  # fmt: skip

    asyncio.run(ask())


@in_loop
async def test_visitors_are_sent_to_nodes_with_room_alone():
    async with web_of(nodes(4)) as web:
        web.fleet.answered(node("tmp01"), answer(0), 0)
        web.fleet.answered(node("tmp02"), answer(9, draining=True), 0)
        web.fleet.missed(node("tmp03"))
        web.fleet.missed(node("tmp03"))

        sent = Counter([urlsplit(where(await web.get("/lab"))).hostname for _ in range(10)])

        assert sent == {"tmp04.example.org": 10}
        assert (await web.get("/lab")).status == 503


@in_loop
async def test_a_head_request_is_answered_alike_and_takes_nothing():
    async with web_of([node()]) as web:
        for _ in range(3):
            reply = await web.get("/lab", method="HEAD")
            assert (reply.status, where(reply)) == (302, NODE + "/lab")

        assert web.fleet.totals().available == 10
        await web.get("/lab")
        assert web.fleet.totals().available == 9


@in_loop
async def test_programs_that_spawn_are_sent_on_with_their_method():
    async with web_of([node()]) as web:
        reply = await web.get("/api/spawn?image=x", method="POST")

        assert (reply.status, where(reply)) == (307, NODE + "/api/spawn?image=x")
        assert web.fleet.totals().available == 9


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", "/api/spawn", "POST"),
        ("DELETE", "/api/spawn", "POST"),
        ("POST", "/lab", "GET, HEAD"),
        ("PUT", "/stats", "GET, HEAD"),
        ("OPTIONS", "*", "GET, HEAD"),
        ("DELETE", "/api/pool", "GET, HEAD"),
        ("POST", "/hosts", "GET, HEAD"),
        ("DELETE", "/hosts", "GET, HEAD"),
    ],
)
@in_loop
async def test_other_methods_are_refused(method: str, target: str, allowed: str):
    async with web_of([node()]) as web:
        reply = await web.get(target, method=method)

        assert (reply.status, reply.headers["allow"]) == (405, allowed)
        assert web.fleet.totals().available == 10


@in_loop
async def test_websockets_are_refused_with_a_sentence():
    async with web_of([node()]) as web:
        for target in ("/user/x/api/kernels/1/channels", "/stats", "/api/spawn"):
            reply = await web.get(
                target, headers="Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: a\r\n"
            )
            assert reply.status == 400
            assert b"do not pass through here" in reply.body
        assert web.fleet.totals().available == 10


@in_loop
async def test_when_all_is_full_a_page_waits_and_tries_again():
    async with web_of([node()]) as web:
        web.fleet.answered(node(), answer(0), 0)
        replies = [await web.get("/git-pull?repo=<script>") for _ in range(30)]

    for reply in replies:
        page = reply.body.decode()
        wait = int(reply.headers["retry-after"])
        assert reply.status == 503
        assert 5 <= wait <= 15
        assert f'<meta http-equiv="refresh" content="{wait}">' in page, "an address-less refresh keeps path and query"
        assert "All notebooks are in use" in page
        assert "repo=" not in page, "what visitors send does not come back"
        assert reply.headers["cache-control"] == "no-store"
    assert len({reply.headers["retry-after"] for reply in replies}) > 3, "not all come back at once"


@in_loop
async def test_a_program_that_spawns_is_told_that_all_is_full():
    async with web_of([node()]) as web:
        web.fleet.answered(node(), answer(0), 0)
        reply = await web.get("/api/spawn", method="POST")

    assert (reply.status, reply.json) == (429, {"status": "full"})
    assert int(reply.headers["retry-after"]) >= 5


@in_loop
async def test_a_redirector_that_just_started_asks_for_a_moment():
    async with web_of([node()]) as web:
        web.fleet.replace([node("tmp02")])
        reply = await web.get("/lab")
        assert (reply.status, "One moment" in reply.body.decode()) == (503, True)
        assert int(reply.headers["retry-after"]) <= 3

        web.fleet.answered(node("tmp02"), answer(), 0)
        assert (await web.get("/lab")).status == 302


@pytest.mark.parametrize(
    ("states", "waiting"),
    [
        ({State.FULL: 1, State.DOWN: 5, State.UNKNOWN: 1}, pages.FULL),
        ({State.UNKNOWN: 1, State.DOWN: 1}, pages.STARTING),
        ({State.DOWN: 1, State.DRAINING: 1}, pages.UNREACHABLE),
        ({}, pages.UNREACHABLE),
    ],
)
def test_visitors_are_told_why_they_wait(states: dict[State, int], waiting: pages.Waiting):
    assert pages.reason_without_room({**dict.fromkeys(State, 0), **states}) is waiting


FROM_ONE = "X-Forwarded-For: 192.0.2.1\r\n"
FROM_ANOTHER = "X-Forwarded-For: 192.0.2.2\r\n"
LIMIT = {"burst": 3, "per_minute": 6}


@in_loop
async def test_an_address_that_asks_too_often_waits_and_others_do_not():
    async with web_of([node()], visitors=LIMIT) as web:
        statuses = [(await web.get("/lab", headers=FROM_ONE)).status for _ in range(3)]
        limited = await web.get("/lab", headers=FROM_ONE)

        assert [*statuses, limited.status] == [302, 302, 302, 429]
        assert 10 <= int(limited.headers["retry-after"]) <= 15
        assert "Too many notebooks" in limited.body.decode()
        assert web.fleet.totals().available == 7, "who is refused takes nothing"
        assert (await web.get("/lab", headers=FROM_ANOTHER)).status == 302
        web.timer.now += 10
        assert (await web.get("/lab", headers=FROM_ONE)).status == 302


@in_loop
async def test_spawning_counts_like_visiting():
    async with web_of([node()], visitors=LIMIT) as web:
        for _ in range(3):
            await web.get("/lab", headers=FROM_ONE)
        limited = await web.get("/api/spawn", method="POST", headers=FROM_ONE)

    assert (limited.status, limited.json) == (429, {"status": "limited"})
    assert limited.headers["retry-after"] == "10"


@in_loop
async def test_who_waits_for_room_is_not_limited_for_it():
    async with web_of([node()], visitors=LIMIT) as web:
        web.fleet.answered(node(), answer(0), 0)
        assert {(await web.get("/lab", headers=FROM_ONE)).status for _ in range(10)} == {503}
        web.fleet.answered(node(), answer(5), 0)
        assert (await web.get("/lab", headers=FROM_ONE)).status == 302


@in_loop
async def test_an_address_cannot_get_around_its_limit_by_what_it_sends():
    async with web_of([node()], visitors=LIMIT) as web:
        forged = [f"X-Forwarded-For: 198.51.100.{number}\r\n{FROM_ONE}" for number in range(5)]
        statuses = [(await web.get("/lab", headers=headers)).status for headers in forged]

    assert statuses == [302, 302, 302, 429, 429]


@in_loop
async def test_what_machines_watch_is_never_limited():
    async with web_of([node()], visitors=LIMIT) as web:
        for _ in range(4):
            await web.get("/lab", headers=FROM_ONE)
        for target in ("/stats", "/api/stats", "/fleet", "/api/fleet", "/health", "/metrics"):
            assert {(await web.get(target, headers=FROM_ONE)).status for _ in range(5)} == {200}


@in_loop
async def test_another_limit_begins_anew_and_the_same_goes_on():
    async with web_of([node()], visitors=LIMIT) as web:
        for _ in range(3):
            await web.get("/lab", headers=FROM_ONE)
        web.redirector.apply(redirector_settings([node()], visitors=LIMIT, poll_seconds=5))
        assert (await web.get("/lab", headers=FROM_ONE)).status == 429
        web.redirector.apply(redirector_settings([node()], visitors={"burst": 4, "per_minute": 6}))
        assert (await web.get("/lab", headers=FROM_ONE)).status == 302


@in_loop
async def test_stats_have_the_keys_of_the_faq_and_follow_redirects():
    async with web_of(nodes(2)) as web:
        web.fleet.missed(node("tmp02"))
        web.fleet.missed(node("tmp02"))
        await web.get("/lab")
        for target in ("/stats", "/api/stats"):
            reply = await web.get(target)
            assert reply.headers["content-type"].startswith("application/json")
            assert reply.json["available"] == 9
            assert reply.json["capacity"] == 64
            assert set(reply.json) == {"available", "capacity", "version", "hosts", "down"}
            assert set(reply.json["hosts"]) == {NODE}
            assert set(reply.json["hosts"][NODE]) == {"available", "container_image", "version", "capacity"}
            assert reply.json["down"] == ["https://tmp02.example.org"]


@in_loop
async def test_totals_are_what_nodes_told_last_less_the_visitors_sent_to_them_since():
    fleet, rng = nodes(5), random.Random(5)
    free, misses = {one.url: 10 for one in fleet}, dict.fromkeys([one.url for one in fleet], 0)
    async with web_of(fleet) as web:
        for _ in range(300):
            one = rng.choice(fleet)
            happens = rng.randrange(4)
            if happens == 0:
                free[one.url], misses[one.url] = rng.randint(0, 9), 0
                web.fleet.answered(one, answer(free[one.url]), web.fleet.taken(one))
            elif happens == 1:
                misses[one.url] += 1
                web.fleet.missed(one)
            else:
                reply = await web.get("/lab")
                assert reply.status in {302, 503}
                if reply.status == 302:
                    free[where(reply).removesuffix("/lab")] -= 1
            web.timer.now += 1

            told = (await web.get("/stats")).json

            there = {url for url, missed in misses.items() if missed < 2}
            assert {url: host["available"] for url, host in told["hosts"].items()} == {url: free[url] for url in there}
            assert told["available"] == sum(free[url] for url in there)
            assert told["capacity"] == 64 * len(there)
            assert set(told["down"]) == set(free) - there


def test_what_is_told_of_a_large_fleet_is_put_together_now_and_then():
    timer, made = Timer(), iter(range(10))
    held = Held(lambda: next(made), timer)

    def after(seconds: float) -> str:
        timer.now += seconds
        return held.text(0.1)

    texts = [after(seconds) for seconds in (0, 0.05, 0.06, 0.01, 0.2)]

    assert texts == ["0", "0", "1", "1", "2"]


@in_loop
async def test_the_fleets_data_adds_up_and_says_what_each_node_told():
    async with web_of(nodes(3)) as web:
        web.fleet.answered(node("tmp02"), answer(0, used=64), 0)
        web.fleet.missed(node("tmp03"))
        web.fleet.missed(node("tmp03"))
        await web.get("/lab")
        await web.get("/lab", method="HEAD")
        web.timer.now += 3

        told = (await web.get("/api/fleet")).json

    assert told["stack"] == "tmpnb"
    assert told["redirects_per_minute"] == 1
    assert told["totals"] == {
        "available": 9,
        "used": 64,
        "capacity": 128,
        "states": {"up": 1, "full": 1, "draining": 0, "down": 1, "unknown": 0},
    }
    first = told["nodes"][0]
    assert first == {
        "name": "tmp01",
        "url": NODE,
        "state": "up",
        "available": 9,
        "used": 0,
        "capacity": 64,
        "version": "0.1.0",
        "container_image": first["container_image"],
        "heard_seconds": 3.0,
    }


@in_loop
async def test_health_follows_polling_and_not_the_nodes():
    async with web_of([node()]) as web:
        web.fleet.missed(node())
        web.fleet.missed(node())
        assert (await web.get("/health")).status == 200
        web.living[0] = False
        assert (await web.get("/health")).status == 503


@in_loop
async def test_metrics_count_what_became_of_visitors():
    async with web_of([node()], visitors=LIMIT) as web:
        for _ in range(4):
            await web.get("/lab")
        await web.get("/lab", headers="Connection: Upgrade\r\nUpgrade: websocket\r\n")
        lines = (await web.get("/metrics")).body.decode().splitlines()

    assert 'redirector_redirects_total{by="visit"} 3.0' in lines
    assert 'redirector_refusals_total{because="limited"} 1.0' in lines
    assert 'redirector_refusals_total{because="websocket"} 1.0' in lines


@in_loop
async def test_browsers_icons_and_crawlers_take_no_server():
    async with web_of([node()]) as web:
        assert (await web.get("/favicon.ico")).status == 404
        assert b"Disallow: /" in (await web.get("/robots.txt")).body
        assert web.fleet.totals().available == 10


def directives(reply: Reply) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in reply.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


async def served_pages(web: Web) -> list[Reply]:
    fleet = await web.get("/fleet")
    web.fleet.answered(node(), answer(0), 0)
    return [fleet, await web.get("/lab")]


@in_loop
async def test_pages_run_their_own_styles_and_scripts_and_nothing_else():
    async with web_of([node()]) as web:
        for reply in await served_pages(web):
            policy, page = directives(reply), reply.body.decode()
            assert policy["default-src"] == "'none'"
            assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
            assert "unsafe" not in reply.headers["content-security-policy"]
            for element in ("style", "script"):
                for content in re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL):
                    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
                    assert policy[f"{element}-src"] == f"'sha256-{digest}'"
            assert not re.search(r"\s(style|on\w+)=", page.partition("<script>")[0]), "no inline attributes"
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page), "nothing from elsewhere"
            assert '<link rel="icon" href="data:,">' in page, "a browser that asks for an icon is no visitor"


@in_loop
async def test_a_large_fleets_data_is_sent_compressed_to_who_takes_it():
    many = nodes(60)
    async with web_of(many) as web:
        plain = await web.get("/api/fleet")
        packed = await web.get("/api/fleet", headers="Accept-Encoding: gzip\r\n")

    assert len(json.loads(plain.body)["nodes"]) == 60
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 5
