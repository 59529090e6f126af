"""Draining a node before it is taken away: its users may finish, for as long as they are given."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aiohttp

ADMIN = "http://127.0.0.1:10000"
"""The listener for administrators, asked from beside the service."""

LOOK_SECONDS = 2.0
CALL_SECONDS = 10.0

log = logging.getLogger(__name__)


class FarewellError(Exception):
    """The service does not drain; the message says why."""


async def drain(
    token: str,
    seconds: float,
    admin: str = ADMIN,
    *,
    timer: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Drain the node and wait until nobody is left; how many users are.

    Args:
        token: the administrators' token.
        seconds: how long to wait for users at most; 0 for not at all.
        admin: address of the listener for administrators.
        timer: seconds that only grow.
        sleep: waits.

    Raises:
        FarewellError: the service does not answer, or refuses.
    """
    until = timer() + seconds
    headers = {"Authorization": f"token {token}"}
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False) as session:
        used = await _used(session, "DELETE", admin)
        log.info("the node is drained: %d users have %.0f s to finish", used, seconds)
        while used and timer() < until:
            await sleep(min(LOOK_SECONDS, until - timer()))
            used = await _used(session, "GET", admin)
    log.info("%d users are left", used)
    return used


async def _used(session: aiohttp.ClientSession, method: str, admin: str) -> int:
    try:
        async with session.request(method, f"{admin}/api/pool") as answer:
            if answer.status != HTTPStatus.OK:
                raise FarewellError(f"the service answers {answer.status}")
            return int((await answer.json())["used"])
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FarewellError(f"the service does not answer ({type(error).__name__})") from error
