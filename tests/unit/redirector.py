"""A redirector's surroundings for its tests: nodes on loopback, a clock, settings, and requests byte by byte."""

import asyncio
import functools
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec

from aiohttp import web
from aiohttp.test_utils import BaseTestServer, RawTestServer

from runtime.redirector.fleet import Answer, Fleet
from runtime.redirector.metrics import Metrics
from runtime.redirector.settings import Node, Settings, parse_settings
from runtime.redirector.web import Redirector

IMAGE = "example.org/notebook@sha256:" + "0" * 64
PATIENCE_SECONDS = 30.0

P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what is about to happen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.002)


class Timer:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def node(name: str = "tmp01") -> Node:
    """A node that nobody asks."""
    return Node(name, f"https://{name}.example.org", f"https://{name}.example.org/api/stats")


def nodes(count: int) -> list[Node]:
    return [node(f"tmp{number:02}") for number in range(1, count + 1)]


def answer(available: int = 10, capacity: int = 64, *, used: int = 0, draining: bool = False) -> Answer:
    """What a node tells."""
    return Answer(0 if draining else available, used, capacity, "0.1.0", IMAGE, draining)


def told(available: Any = 10, capacity: Any = 64, **changes: Any) -> dict[str, Any]:
    """The same as its JSON document."""
    return {
        "available": available,
        "capacity": capacity,
        "version": "0.1.0",
        "container_image": IMAGE,
        "node": "tmp01",
        "used": 0,
        "starting": 0,
        "draining": False,
        **changes,
    }


def document(of: Sequence[Node] = (), **changes: Any) -> dict[str, Any]:
    """The settings file, with top-level keys changed."""
    return {
        "stack": "tmpnb",
        "nodes": [{"name": n.name, "url": n.url, "stats": n.stats} for n in of],
        "ca_file": None,
        "poll_seconds": 3,
        "deadline_seconds": 2,
        "port": 9998,
        "visitors": {"burst": 1000, "per_minute": 60},
        "forwarded_hops": 1,
        **changes,
    }


def settings(of: Sequence[Node] = (), **changes: Any) -> Settings:
    return parse_settings(document(of, **changes))


@dataclass
class StubNodes:
    """Nodes that answer what they are told to; one without an answer never answers."""

    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    """By name: a document, or text that is sent as it is."""
    status: int = 200
    content_type: str = "application/json"
    asked: list[str] = field(default_factory=list[str])
    connections: set[Any] = field(default_factory=set[Any])
    at_once: int = 0
    most_at_once: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the silence of those that never answer."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.split("/")[1]
        self.asked.append(name)
        self.connections.add(request.transport.get_extra_info("peername") if request.transport else None)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if name not in self.answers:
                await self.released.wait()
                return web.Response(status=503)
            content = self.answers[name]
            text = content if isinstance(content, str) else json.dumps(content)
            return web.Response(status=self.status, text=text, content_type=self.content_type)
        finally:
            self.at_once -= 1

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[BaseTestServer]:
        async with RawTestServer(self) as server:
            try:
                yield server
            finally:
                self.released.set()


def served_node(server: BaseTestServer, name: str) -> Node:
    """A node that `StubNodes` on this server answer for."""
    return Node(name, f"https://{name}.example.org", str(server.make_url(f"/{name}/api/stats")))


@dataclass
class Web:
    """A redirector's handler with a fleet that tests speak for."""

    fleet: Fleet
    metrics: Metrics
    redirector: Redirector
    timer: Timer
    living: list[bool]
    port: int = 0

    async def get(self, target: str, method: str = "GET", headers: str = "") -> "Reply":
        """Ask with a request whose target is sent as it is."""
        return await exchange(self.port, f"{method} {target} HTTP/1.1\r\nHost: tmpnb.example.org\r\n{headers}\r\n")


@asynccontextmanager
async def web_of(of: Sequence[Node], free: int = 10, **changes: Any) -> AsyncIterator[Web]:
    """A redirector of these nodes, each of which has told that it has so many free servers."""
    timer, living = Timer(), [True]
    fleet = Fleet(of, random.Random(1), timer)
    for one in of:
        fleet.answered(one, answer(free), 0)
    metrics = Metrics(fleet, timer)
    redirector = Redirector(fleet, metrics, settings(of, **changes), lambda: living[0], random.Random(1), timer)
    async with RawTestServer(redirector) as server:
        assert server.port
        yield Web(fleet, metrics, redirector, timer, living, server.port)


@dataclass(frozen=True)
class Reply:
    """An HTTP response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def exchange(port: int, request: str | bytes) -> Reply:
    """Send bytes to a server on loopback, and read one response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode("latin-1") if isinstance(request, str) else request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        names = [line.partition(":")[0].lower() for line in lines]
        headers = {name: line.partition(":")[2].strip() for name, line in zip(names, lines, strict=True)}
        assert len(headers) == len(lines), f"a header came twice: {head}"
        method = request[:4] if isinstance(request, str) else request[:4].decode()
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        return Reply(int(first.split()[1]), headers, await reader.readexactly(length))
    finally:
        writer.close()
        await writer.wait_closed()
