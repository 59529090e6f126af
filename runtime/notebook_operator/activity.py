"""Asking a notebook's server whether somebody uses it."""

import asyncio
from collections.abc import Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy

import httpx2

from runtime import server_activity
from runtime.server_activity import LARGEST_ANSWER_BYTES, TIMEOUT_SECONDS, Report, UnreadableError


def browser(transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """What asks notebooks' servers, which are users' programs.

    No proxy of the environment, since they are in the cluster; no redirect, and no cookie that the next server at an
    address would get.
    """
    client = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False, transport=transport)
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


async def read_report(client: httpx2.AsyncClient, address: str, token: str) -> Report:
    """Ask the server at `address`, which ends in a slash, as `server_activity.read_report` does.

    Raises:
        UnreadableError: it does not answer, or not as a Jupyter server does.
    """
    return await server_activity.read_report(partial(_get, client), address, token)


async def _get(client: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """A user's program answers: it may send anything, as much as it likes, and as slowly."""
    answer = b""
    try:
        # The client's own limit is for each byte that comes.
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            client.stream("GET", url, headers=dict(headers)) as response,
        ):
            async for part in response.aiter_bytes():
                answer += part
                if len(answer) > LARGEST_ANSWER_BYTES:
                    raise UnreadableError("its answer has no end")
            return response.status_code, answer
    except TimeoutError as error:
        raise UnreadableError(f"its answer takes longer than {TIMEOUT_SECONDS:.0f} s") from error
    except httpx2.HTTPError as error:
        raise UnreadableError(f"it cannot be reached: {type(error).__name__}") from error
