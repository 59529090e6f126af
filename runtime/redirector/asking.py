"""Asks one node for its load, and believes nothing that makes no sense."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from runtime.redirector.fleet import Answer
from runtime.redirector.settings import Node, SettingsError

LARGEST_ANSWER_BYTES = 1 << 16
LARGEST_CAPACITY = 100_000
LONGEST_TEXT = 500
LONGEST_REASON = 300
NO_TIMEOUT = aiohttp.ClientTimeout()


class MissError(Exception):
    """A node did not answer, or not sensibly; the message says how."""


def parse_answer(body: bytes) -> Answer:
    """Read what a node told.

    Raises:
        MissError: it makes no sense.
    """
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MissError("its answer is no JSON") from error
    if not isinstance(told, dict):
        raise MissError("its answer is no JSON object")
    available, capacity = _count(told, "available"), _count(told, "capacity")
    if not available <= capacity <= LARGEST_CAPACITY:
        raise MissError(f"its counts make no sense: {available} available of {capacity}")
    used = _count(told, "used") if "used" in told else capacity - available
    if used > capacity:
        raise MissError(f"its counts make no sense: {used} used of {capacity}")
    draining: Any = told.get("draining", False)
    if not isinstance(draining, bool):
        raise MissError("its 'draining' is neither true nor false")
    return Answer(
        available=0 if draining else available,
        used=used,
        capacity=capacity,
        version=_text(told, "version"),
        container_image=_text(told, "container_image"),
        draining=draining,
    )


def _count(told: dict[str, Any], key: str) -> int:
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MissError(f"its {key!r} is no count")
    return value


def _text(told: dict[str, Any], key: str) -> str:
    value = told.get(key)
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise MissError(f"its {key!r} is no short text")
    return value


async def ask(session: aiohttp.ClientSession, node: Node, deadline_seconds: float, trust: ssl.SSLContext) -> Answer:
    """Ask a node for its load.

    Args:
        session: connections to nodes.
        node: whom to ask.
        deadline_seconds: how long it may take.
        trust: which certificates are believed.

    Raises:
        MissError: it did not answer in time, or not sensibly.
    """
    url = URL(node.stats)
    # The request and the certificate are those of the name, wherever it is asked.
    where = url if node.connect is None else url.with_host(node.connect)
    try:
        # The client's own total timeout at times swallows that the task is cancelled when both happen at once.
        async with (
            asyncio.timeout(deadline_seconds),
            session.get(
                where,
                timeout=NO_TIMEOUT,
                ssl=trust,
                server_hostname=url.host,
                headers={"Host": url.authority},
                allow_redirects=False,
            ) as response,
        ):
            if response.status != 200:  # noqa: PLR2004
                raise MissError(f"it answered with status {response.status}")
            if response.content_type != "application/json":
                raise MissError("its answer is no JSON")
            return parse_answer(await _read(response))
    except TimeoutError as error:
        raise MissError(f"it did not answer within {deadline_seconds:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # On one line, and no longer than a log line should be.
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise MissError(reason or type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LARGEST_ANSWER_BYTES:
            raise MissError(f"its answer is larger than {LARGEST_ANSWER_BYTES} bytes")
    return bytes(body)


def load_trust(ca_file: str | None) -> ssl.SSLContext:
    """Certificates that are believed: those that the system believes, and those signed with one in `ca_file`.

    Raises:
        SettingsError: the file cannot be used.
    """
    trust = ssl.create_default_context()
    if ca_file is not None:
        try:
            trust.load_verify_locations(cadata=Path(ca_file).read_text(encoding="ascii"))
        except (OSError, ValueError, ssl.SSLError) as error:
            raise SettingsError(f"ca_file {ca_file} cannot be used: {error}") from error
    return trust
