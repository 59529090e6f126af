"""A tmpnb node's listeners, asked over HTTP, for its tests; engine, proxy, servers and clock are in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from runtime.tmpnb_node.visitors import COOKIE
from tests.unit.tmpnb_node import SECRETS, Service, World

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

    async def raw(self, target: bytes) -> tuple[int, dict[str, str], str]:
        """Ask for exactly this target; status, headers and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.public.server.port)
        writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: tmp01.example.org\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).decode("latin-1").partition("\r\n\r\n")
        writer.close()
        first, *lines = head.split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers, body

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
