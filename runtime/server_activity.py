"""Whether somebody uses a server: what it says of its kernels, its terminals and itself."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

BUSY = "busy"
"""State of a kernel that works; `starting` is none, in which one stays that no client ever connects to."""

LARGEST_ANSWER_BYTES = 1 << 20
TIMEOUT_SECONDS = 5.0
OK, NOT_FOUND = 200, 404

Get = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, bytes]]]
"""Asks for an address with these headers and returns the status and the body.

It follows no redirect, keeps no cookie, reads no more than `LARGEST_ANSWER_BYTES`, waits no longer than
`TIMEOUT_SECONDS`, and raises `UnreadableError` for all that goes wrong: a user's program answers.
"""


class UnreadableError(Exception):
    """A server does not say whether it is used; the message says why."""


@dataclass(frozen=True)
class Report:
    """What a server answered."""

    kernels: Sequence[Mapping[str, Any]]
    terminals: Sequence[Mapping[str, Any]]
    status: Mapping[str, Any]


def last_used(report: Report, started: datetime, now: datetime) -> datetime:
    """When somebody last used the server: `now` while a kernel is busy or a client is connected to one.

    A connected client counts as Jupyter's own culling counts it; a tab that sleeps has lost its connection. How long a
    server can be held that way is for its greatest age to say.

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
    """How long the server may still go on without activity; zero or less when it is to be stopped."""
    return last + timedelta(seconds=idle_seconds) - now


async def read_report(get: Get, address: str, token: str) -> Report:
    """Ask the server at `address`, which ends in a slash, for its kernels, terminals and status.

    The questions are marked so that the server does not take them for activity.

    Raises:
        UnreadableError: it does not answer, or not as a Jupyter server does.
    """
    headers = {"Authorization": f"token {token}"}
    answers: dict[str, Any] = {}
    for what in ("kernels", "terminals", "status"):
        status, answer = await get(f"{address}api/{what}?no_track_activity=1", headers)
        if status == NOT_FOUND and what == "terminals":
            # A server without terminals.
            answer = b"[]"
        elif status != OK:
            raise UnreadableError(f"it answers {status} to api/{what}")
        try:
            answers[what] = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"its answer to api/{what} is no JSON") from error
    if not isinstance(answers["kernels"], list) or not isinstance(answers["terminals"], list):
        raise UnreadableError("its answers are none of a Jupyter server")
    return Report(**answers)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return moment
