"""How many servers of a tmpnb node one address gets, and what who has had too many sees."""

import asyncio
from pathlib import Path

from runtime.tmpnb_node.visitors import COOKIE
from tests.unit.tmpnb_site import Site, cookie_of, play


def test_an_address_gets_so_many_servers_and_others_as_before(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        evil, other = "203.0.113.9, 10.0.0.2", "203.0.113.10, 10.0.0.2"
        first = await site.ask("/", X_Forwarded_For=evil)
        answers = [await site.ask("/", X_Forwarded_For=f"198.51.100.{n}, {evil}") for n in range(20)]
        assert [answer.status for answer in answers[:1]] == [302]
        assert {answer.status for answer in answers[1:]} == {429}, "what a visitor claims does not count"
        assert "as many notebooks as it may have" in await answers[-1].text()
        assert (await site.ask("/", X_Forwarded_For=other)).status == 302
        cookie = f"{COOKIE}={cookie_of(first)}"
        assert (await site.ask("/", X_Forwarded_For=evil, Cookie=cookie)).status == 302
        program = await site.ask("/api/spawn", "POST", X_Forwarded_For=evil)
        assert (program.status, await program.json()) == (429, {"status": "limited"})

    play(tmp_path, act, capacity=10, visitors={"burst": 2, "per_minute": 10})


def test_an_address_holds_so_many_servers_at_most_however_slowly_it_asks(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        evil, other = "203.0.113.9, 10.0.0.2", "203.0.113.10, 10.0.0.2"
        held = [await site.ask("/", X_Forwarded_For=evil) for _ in range(2)]
        assert [answer.status for answer in held] == [302, 302]
        for _ in range(10):
            await site.service.later(60)
            refused = await site.ask("/", X_Forwarded_For=evil)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "30")
            assert "as many notebooks as it may have" in await refused.text()
        assert (await site.ask("/api/spawn", "POST", X_Forwarded_For=evil)).status == 429
        answers = await asyncio.gather(*(site.ask("/", X_Forwarded_For=other) for _ in range(5)))
        assert sorted(answer.status for answer in answers) == [302, 302, 429, 429, 429], "asked for all at once as well"

        await site.service.later(14401)
        await site.service.fill()
        assert (await site.ask("/", X_Forwarded_For=evil)).status == 302

    play(tmp_path, act, capacity=10, visitors={"burst": 2, "per_minute": 1000})


def test_who_has_had_too_many_servers_of_a_node_waits_there_and_is_led_to_no_other(tmp_path: Path) -> None:
    async def act(site: Site) -> None:
        await site.ask("/")
        answer = await site.ask("/lab?x=1")
        text = await answer.text()
        assert answer.status == 429
        assert f'<meta http-equiv="refresh" content="{answer.headers["Retry-After"]}">' in text
        assert "https://example.org" not in text
        await site.service.later(14401)
        await site.service.fill()
        assert (await site.ask("/lab?x=1")).status == 302

    play(tmp_path, act, capacity=3, visitors={"burst": 1, "per_minute": 1})
