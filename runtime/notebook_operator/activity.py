"""Whether somebody uses a notebook: what its server says of its kernels, its terminals and itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx2

BUSY = "busy"
"""State of a kernel that works; `starting` is none, in which one stays that no client ever connects to."""

LARGEST_ANSWER_BYTES = 1 << 20
TIMEOUT_SECONDS = 5.0
OK, NOT_FOUND = 200, 404


def browser(transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """What asks notebooks' servers, which are users' programs.

    No proxy of the environment, since they are in the cluster; no redirect, and no cookie that the next server at an
    address would get.
    """
    client = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False, transport=transport)
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


class UnreadableError(Exception):
    """A server does not say whether it is used; the message says why."""


@dataclass(frozen=True)
class Report:
    """What a server answered."""

    kernels: Sequence[Mapping[str, Any]]
    terminals: Sequence[Mapping[str, Any]]
    status: Mapping[str, Any]


def last_used(report: Report, started: datetime, now: datetime) -> datetime:
    """When somebody last used the notebook: `now` while a kernel is busy or a client is connected to one.

    A connected client counts as Jupyter's own culling counts it; a tab that sleeps has lost its connection. How long a
    notebook can be held that way is for its greatest age to say.

    Args:
        report: the server's answers.
        started: since when it runs; the least that is returned.
        now: the present, the most that is returned.

    Raises:
        UnreadableError: the answers are none of a Jupyter server.
    """
    try:
        if any(kernel["execution_state"] == BUSY or kernel["connections"] > 0 for kernel in report.kernels):
            return now
        moments = [_moment(thing["last_activity"]) for thing in (*report.kernels, *report.terminals, report.status)]
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError(f"its answers are none of a Jupyter server: {error!r}") from error
    return min(now, max(started, *moments))


def idle_since(last: datetime, idle_seconds: int, now: datetime) -> timedelta:
    """How long the notebook may still go on without activity; zero or less when it is to be stopped."""
    return last + timedelta(seconds=idle_seconds) - now


async def read_report(client: httpx2.AsyncClient, address: str, token: str) -> Report:
    """Ask the server at `address`, which ends in a slash, for its kernels, terminals and status.

    The questions are marked so that the server does not take them for activity.

    Raises:
        UnreadableError: it does not answer, or not as a Jupyter server does.
    """
    headers = {"Authorization": f"token {token}"}
    answers: dict[str, Any] = {}
    for what in ("kernels", "terminals", "status"):
        status, answer = await _get(client, f"{address}api/{what}?no_track_activity=1", headers)
        if status == NOT_FOUND and what == "terminals":
            # A server without terminals.
            answer = b"[]"
        elif status != OK:
            raise UnreadableError(f"it answers {status} to api/{what}")
        try:
            answers[what] = json.loads(answer)
        except ValueError as error:
            raise UnreadableError(f"its answer to api/{what} is no JSON") from error
    if not isinstance(answers["kernels"], list) or not isinstance(answers["terminals"], list):
        raise UnreadableError("its answers are none of a Jupyter server")
    return Report(**answers)


async def _get(client: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """A user's program answers: it may send anything, and as much as it likes."""
    answer = b""
    try:
        async with client.stream("GET", url, headers=dict(headers)) as response:
            async for part in response.aiter_bytes():
                answer += part
                if len(answer) > LARGEST_ANSWER_BYTES:
                    raise UnreadableError("its answer has no end")
            return response.status_code, answer
    except httpx2.HTTPError as error:
        raise UnreadableError(f"it cannot be reached: {type(error).__name__}") from error


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return moment
