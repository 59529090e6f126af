"""A node of a tmpnb pool whose engine, proxy, servers and clock are in memory."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime.server_activity import UnreadableError
from runtime.tmpnb_node.engine import ContainerState, EngineError, Found
from runtime.tmpnb_node.node import Node, Outside
from runtime.tmpnb_node.pool import NoServerError
from runtime.tmpnb_node.routes import ProxyError, Routes
from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.settings import Secrets, Settings, parse_settings
from runtime.tmpnb_node.surroundings import Surroundings

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
GUARD = "tmpnb-tmp01-egress-guard"
SERVICE = "http://service:9999"
SECRETS = Secrets(proxy="proxy-secret", admin="admin-secret", api=None)
WELL = ContainerState(running=True, exit_code=0, health="healthy")


def quota(**changes: Any) -> dict[str, Any]:
    """What one server may use, as the stack writes it."""
    return {
        "cpu": 1.5,
        "memory_bytes": 512 << 20,
        "processes": 256,
        "home_bytes": 128 << 20,
        "tmp_bytes": 64 << 20,
        "open_files": 4096,
        "idle_seconds": 600,
        "max_age_seconds": 14400,
        **changes,
    }


def document(**changes: Any) -> dict[str, Any]:
    """The settings as the stack writes them."""
    return {
        "stack": "tmpnb",
        "node": "tmp01",
        "url": "https://tmp01.example.org",
        "redirector": "https://example.org",
        "image": "notebook@sha256:1",
        "capacity": 4,
        "quota": quota(),
        "network": "tmpnb-tmp01-servers",
        "guard": GUARD,
        "egress_proxy": None,
        "resolver": False,
        "landing": "/lab",
        "visitors": {"burst": 1000, "per_minute": 10},
        "starts_at_once": 2,
        "proxy_api": "http://proxy:8001",
        "service_address": SERVICE,
        "public_port": 9999,
        "admin_address": "0.0.0.0",
        "admin_port": 10000,
        "forwarded_hops": 2,
        **changes,
    }


def settings(**changes: Any) -> Settings:
    """The settings, with top-level keys changed."""
    return parse_settings(document(**changes), {})


class Clock:
    """Time that passes when a test says so, and while something sleeps."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return (self.now - NOW).total_seconds()

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.pass_by(seconds)
        await asyncio.sleep(0)


@dataclass
class Box:
    """A container, and the notebook server in it."""

    server: Server
    address: str
    running: bool = True
    answers: bool = True
    report: dict[str, Any] = field(default_factory=dict)
    warm: dict[str, Any] | bytes | None = None
    """What it says of the kernels that it starts ahead; None for an image that starts none."""


class MemoryEngine:
    """An engine that remembers what it was asked; what it holds outlives the services that ask it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.boxes: dict[str, Box] = {}
        self.guard: ContainerState | None = WELL
        self.faults: dict[str, str] = {}
        self.asked: list[str] = []
        self.listening = False
        self.started = 0
        self.silent = False
        """Whether servers that are started from now on never answer."""
        self.warm: dict[str, Any] | bytes | None = None
        """What servers that are started from now on say of the kernels that they start ahead."""
        self.starting = self.most_starting = 0
        self.removing = self.most_removing = 0
        self.making: set[str] = set()

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await asyncio.sleep(0)
        if what in self.faults or "all" in self.faults:
            raise EngineError(self.faults.get(what) or self.faults["all"])

    async def servers(self) -> list[Found]:
        await self._ask("servers")
        return [
            Found(server_id, box.running, box.server.spec, box.address if box.running else "", box.server.created)
            for server_id, box in self.boxes.items()
        ]

    async def token(self, server_id: str) -> str | None:
        await self._ask("token")
        return self.boxes[server_id].server.token if server_id in self.boxes else None

    async def state(self, name: str) -> ContainerState | None:
        await self._ask("state")
        assert name == GUARD
        return self.guard

    async def server_state(self, server_id: str) -> ContainerState | None:
        await self._ask("server_state")
        box = self.boxes.get(server_id)
        return box and ContainerState(running=box.running, exit_code=0 if box.running else 7, health="")

    async def start(self, server: Server) -> str:
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        try:
            self.making.add(server.id)
            await self._ask("start")
            self.started += 1
            address = f"10.0.{self.started // 250}.{self.started % 250 + 1}"
            self.boxes[server.id] = Box(server, address, answers=not self.silent, warm=self.warm)
            await asyncio.sleep(0)
            return address
        finally:
            self.starting -= 1
            self.making.discard(server.id)

    async def remove(self, server_id: str) -> None:
        assert server_id not in self.making, "what is removed too early is made after all"
        self.removing += 1
        self.most_removing = max(self.most_removing, self.removing)
        try:
            await self._ask("remove")
            self.boxes.pop(server_id, None)
        finally:
            self.removing -= 1

    def listen(self, heard: object) -> None:
        self.listening = True

    async def get(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """What the server at an address answers, as `server_activity.Get`."""
        await asyncio.sleep(0)
        parts = urlsplit(url)
        box = next((each for each in self.boxes.values() if each.address == parts.hostname), None)
        if box is None or not box.running or not box.answers:
            raise UnreadableError("it cannot be reached")
        if headers["Authorization"] != f"token {box.server.token}" or not parts.path.startswith(box.server.path):
            return 403, b""
        what = parts.path.rsplit("/", 1)[1]
        if what == "warm-kernels" and box.warm is None:
            return 404, b""
        empty: dict[str, Any] = {"kernels": [], "terminals": [], "status": {"last_activity": NOW.isoformat()}}
        given = {**empty, "warm-kernels": box.warm, **box.report}
        return 200, given[what] if isinstance(given[what], bytes) else json.dumps(given[what]).encode()


class MemoryRoutes(Routes):
    """A proxy that is a table."""

    def __init__(self) -> None:
        self.table: dict[str, str] = {}
        self.fault: str | None = None
        self.asked: list[str] = []

    async def all(self) -> Mapping[str, str]:
        await self._answer("all")
        return dict(self.table)

    async def put(self, path: str, target: str) -> None:
        await self._answer(f"put {path}")
        self.table[path] = target

    async def delete(self, path: str) -> None:
        await self._answer(f"delete {path}")
        self.table.pop(path, None)

    async def _answer(self, what: str) -> None:
        self.asked.append(what)
        await asyncio.sleep(0)
        if self.fault:
            raise ProxyError(self.fault)


class World:
    """What outlives a service: engine, proxy, state folder and time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.engine, self.routes = MemoryEngine(self.clock), MemoryRoutes()

    def service(self, secrets: Secrets = SECRETS, **changes: Any) -> "Service":
        """A service as it starts."""
        return Service(self, secrets, **changes)


class Service:
    """A node's parts in a world, which look when they are told to."""

    def __init__(self, world: World, secrets: Secrets, **changes: Any) -> None:
        self.world, self.settings = world, settings(**changes)
        self.tasks: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []
        around = Surroundings(
            spawn=self._spawn,
            clock=world.clock,
            timer=world.clock.seconds,
            sleep=world.clock.sleep,
            chance=lambda: 0.0,
        )
        outside = Outside(world.engine, world.routes, world.engine.get)  # pyright: ignore[reportArgumentType]
        self.node = Node(self.settings, secrets, world.folder, outside, around)
        self.pool, self.keeper, self.troubles = self.node.pool, self.node.keeper, self.node.troubles

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failures.append(error)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self.tasks:
            await asyncio.wait(self.tasks)
        assert not self.failures, self.failures

    async def look(self, times: int = 1) -> None:
        """Let the loop look, and what it began come to its end."""
        for _ in range(times):
            await self.keeper.look()
            await self.settle()

    async def fill(self) -> "Service":
        """Look until nothing changes any more."""
        for _ in range(2 * self.settings.capacity + 2):
            await self.look()
        return self

    async def later(self, seconds: float) -> None:
        """Let time pass, and look until nothing changes any more."""
        self.world.clock.pass_by(seconds)
        await self.fill()

    async def check(self) -> None:
        """Look at every server whether it is used, and end those that are not."""
        for server in list(self.pool.reachable()):
            await self.node.checks.look(server.id)
        await self.fill()

    async def visitor(self) -> Server | None:
        """Somebody who gets a server, or not."""
        try:
            return await self.pool.hand_out(self.world.clock())
        except NoServerError:
            return None

    async def stop(self) -> None:
        """End as the service does when it is told to."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.node.journal.close()
        self.node.state.release()

    def adds_up(self) -> None:
        """Fail unless the counts make sense and every server is in one place."""
        pool, counts = self.pool, self.pool.counts()
        assert counts.available + counts.used + counts.starting <= counts.capacity
        places = [pool.starting, pool.ready, pool.outdated, pool.used, pool.ending]
        names = [name for place in places for name in place]
        assert len(names) == len(set(names))
        assert counts.available in {0, len(pool.ready) + len(pool.outdated)}


Act = Callable[[World], Coroutine[Any, Any, None]]
"""What a test does."""


def play(folder: Path, act: Act) -> None:
    """Run what a test does with a world of its own, whose files are in `folder`."""
    asyncio.run(act(World(folder)))


async def filled(world: World, **changes: Any) -> Service:
    """A service whose pool is full."""
    return await world.service(**changes).fill()


async def take(service: Service, many: int) -> list[str]:
    """So many visitors who come one after the other; the ids of their servers."""
    servers = [await service.visitor() for _ in range(many)]
    return [server.id for server in servers if server]


def problems(service: Service) -> dict[str, str]:
    """What the service says is wrong, by part."""
    return dict(service.troubles.texts())


async def keep_looking(service: Service) -> None:
    """Look after the pool until this is cancelled."""
    while True:
        await service.keeper.look()


async def steps(many: int) -> None:
    """Let others run for so many turns of the event loop."""
    for _ in range(many):
        await asyncio.sleep(0)
