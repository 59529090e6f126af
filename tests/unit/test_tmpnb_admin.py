"""What administrators ask of a tmpnb node on its admin listener."""

from pathlib import Path

import pytest

from tests.unit.tmpnb_site import ADMIN, Site, play, server_in


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
        assert (answer.status, await answer.json()) == (200, {"status": "draining", "known": True, "used": 1})
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
