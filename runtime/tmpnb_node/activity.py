"""Asking servers whether they are well and whether somebody uses them, one after the other instead of all at once."""

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime

import aiohttp

from runtime.hub.culling import activity_interval_seconds
from runtime.server_activity import (
    LARGEST_ANSWER_BYTES,
    OK,
    TIMEOUT_SECONDS,
    Get,
    UnreadableError,
    idle_since,
    last_used,
    read_report,
)
from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.retirement import Ended
from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.surroundings import Surroundings

ASKED_AT_ONCE = 64
"""Most servers that are being asked: one that hangs takes seconds."""

CHUNK_BYTES = 1 << 16
MISSES = 3
"""Checks in a row that an unused server may miss before it is replaced."""

NOBODY_SECONDS = 1.0
"""How long to wait when there is no server to ask."""

log = logging.getLogger(__name__)


def session() -> aiohttp.ClientSession:
    """What asks servers, which are users' programs.

    No proxy of the environment, since they are on this node's own network; no cookie that the next server at an
    address would get; and nothing that a few bytes unpack to.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=2 * ASKED_AT_ONCE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        trust_env=False,
        auto_decompress=False,
    )


def getter(client: aiohttp.ClientSession) -> Get:
    """Asks with this session, as `server_activity.Get` says."""

    async def get(url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        answer = b""
        try:
            plain = {"Accept-Encoding": "identity", **headers}
            async with client.get(url, headers=plain, allow_redirects=False) as response:
                async for part in response.content.iter_chunked(CHUNK_BYTES):
                    answer += part
                    if len(answer) > LARGEST_ANSWER_BYTES:
                        raise UnreadableError("its answer has no end")
                return response.status, answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreadableError(f"it cannot be reached: {type(error).__name__}") from error

    return get


async def answers(get: Get, server: Server) -> bool:
    """Whether the server answers its own token."""
    headers = {"Authorization": f"token {server.token}"}
    try:
        status, _ = await get(f"{server.base}api/status?no_track_activity=1", headers)
    except UnreadableError:
        return False
    return status == OK


async def has_warm_kernel(get: Get, server: Server) -> bool:
    """Whether the kernels that the server starts ahead of its visitor are idle; True of an image that starts none."""
    headers = {"Authorization": f"token {server.token}"}
    try:
        status, answer = await get(f"{server.base}api/warm-kernels?no_track_activity=1", headers)
    except UnreadableError:
        return False
    if status != OK:
        return True
    try:
        told = json.loads(answer)
        return bool(told["ready"] >= told["wanted"])
    except (ValueError, KeyError, TypeError, RecursionError):
        # Another image's, which means something else by it.
        return True


async def idle(get: Get, server: Server, idle_seconds: int, clock: Callable[[], datetime]) -> bool:
    """Whether nobody has used a server for `idle_seconds`, neither since it was handed out; False if it does not say."""
    if server.handed_out is None:
        return False
    try:
        report = await read_report(get, server.base, server.token)
        now = clock()
        left = idle_since(last_used(report, server.handed_out, now), idle_seconds, now)
    except UnreadableError as error:
        # A user's program answers; one that nests its answer too deeply to be read does not say either.
        log.debug("server %s does not say whether it is used: %s", server.id, type(error).__name__)
        return False
    return left.total_seconds() <= 0


class Checks:
    """Looks at every server at the same interval, each at a moment of its own."""

    def __init__(
        self,
        pool: Pool,
        get: Get,
        idle_seconds: int,
        *,
        end: Callable[[Server, Ended], None],
        around: Surroundings,
    ) -> None:
        """Describe the checks.

        Args:
            pool: the servers.
            get: asks a server.
            idle_seconds: a used server without activity for this long is ended.
            end: has a server ended.
            around: time and tasks.
        """
        self._pool, self._get, self._idle_seconds = pool, get, idle_seconds
        self._end, self._around = end, around
        self._slots = asyncio.Semaphore(ASKED_AT_ONCE)
        self._missed: dict[str, int] = {}
        self.interval = activity_interval_seconds(idle_seconds)
        """Seconds in which every server is asked once."""

    async def run(self) -> None:
        """Look at servers until cancelled."""
        while True:
            await self.round()

    async def round(self) -> None:
        """Look at every server once, spread over the interval."""
        servers = list(self._pool.reachable())
        self._missed = {server.id: self._missed[server.id] for server in servers if server.id in self._missed}
        if not servers:
            await self._around.sleep(NOBODY_SECONDS)
        # The order says nothing about who came when.
        random.shuffle(servers)
        for server in servers:
            await self._slots.acquire()
            self._around.spawn(self._look(server.id))
            await self._around.sleep(self.interval / len(servers))

    async def _look(self, server_id: str) -> None:
        try:
            await self.look(server_id)
        finally:
            self._slots.release()

    async def look(self, server_id: str) -> None:
        """Look at one server, which may have ended or been handed out since it was chosen."""
        used = self._pool.used.get(server_id)
        if used:
            if await idle(self._get, used, self._idle_seconds, self._around.clock) and server_id in self._pool.used:
                self._end(used, Ended.IDLE)
            return
        unused = self._pool.ready.get(server_id) or self._pool.outdated.get(server_id)
        if unused is None or await answers(self._get, unused):
            self._missed.pop(server_id, None)
            return
        self._missed[server_id] = self._missed.get(server_id, 0) + 1
        if self._missed[server_id] >= MISSES and self._pool.is_unused(server_id):
            self._end(unused, Ended.SILENT)
