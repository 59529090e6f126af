"""Draining a node before it is taken away: its users may finish, for as long as they are given; and taking that back."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aiohttp

from runtime.tmpnb_node.admin import FAREWELL

ADMIN = "http://127.0.0.1:10000"
"""The listener for administrators, asked from beside the service."""

LOOK_SECONDS = 2.0
TELL_SECONDS = 30.0
"""How often it is told how many users are left: networks forget a connection on which nobody says anything."""

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
) -> int | None:
    """Drain the node and wait until nobody is left; how many users are, None if nobody knows.

    A service that has just started does not know its servers yet, and one that does not answer may have many: nobody is
    gone before it says so.

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
    async with _session(token) as session:
        used = await _used(session, "DELETE", admin)
        log.info("the node is drained: %s users have %.0f s to finish", _number(used), seconds)
        told = timer()
        while used != 0 and timer() < until:
            await sleep(min(LOOK_SECONDS, until - timer()))
            try:
                used = await _used(session, "GET", admin)
            except FarewellError as error:
                used = None
                log.warning("%s", error)
            if timer() - told >= TELL_SECONDS:
                log.info("%s users are left", _number(used))
                told = timer()
    log.info("%s users are left", _number(used))
    return used


async def stay(token: str, admin: str = ADMIN) -> None:
    """Take `drain` back, of a node that is not taken away after all; an administrator's own drain stays.

    Args:
        token: the administrators' token.
        admin: address of the listener for administrators.

    Raises:
        FarewellError: the service does not answer, or refuses.
    """
    async with _session(token) as session:
        await _used(session, "POST", admin)


def _session(token: str) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    return aiohttp.ClientSession(headers={"Authorization": f"token {token}"}, timeout=timeout, trust_env=False)


def _number(used: int | None) -> str:
    return "an unknown number of" if used is None else str(used)


async def _used(session: aiohttp.ClientSession, method: str, admin: str) -> int | None:
    try:
        async with session.request(method, f"{admin}/api/pool?{FAREWELL}") as answer:
            if answer.status != HTTPStatus.OK:
                raise FarewellError(f"the service answers {answer.status}")
            told = await answer.json()
            return int(told["used"]) if told.get("known", True) else None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FarewellError(f"the service does not answer ({type(error).__name__})") from error
