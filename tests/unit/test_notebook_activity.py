"""Whether somebody uses a notebook, by what its server says."""

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.notebook_operator import activity
from runtime.notebook_operator.activity import browser, read_report
from runtime.server_activity import LARGEST_ANSWER_BYTES, Report, UnreadableError, idle_since, last_used
from tests.unit.notebooks import NOW

STARTED = NOW - timedelta(hours=1)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def kernel(seconds: float, state: str = "idle", connections: int = 0) -> dict[str, Any]:
    return {"last_activity": ago(seconds), "execution_state": state, "connections": connections}


def report(*kernels: Mapping[str, Any], terminals: tuple[float, ...] = (), status: float = 3000) -> Report:
    return Report(
        kernels=kernels,
        terminals=[{"name": "1", "last_activity": ago(seconds)} for seconds in terminals],
        status={"last_activity": ago(status)},
    )


def seconds_ago(what: Report) -> float:
    return (NOW - last_used(what, STARTED, NOW)).total_seconds()


def test_the_latest_of_kernels_terminals_and_server_counts() -> None:
    assert seconds_ago(report(kernel(500), kernel(200))) == 200
    assert seconds_ago(report(kernel(500), terminals=(100,))) == 100
    assert seconds_ago(report(kernel(500), terminals=(400,), status=50)) == 50


def test_a_kernel_that_works_is_in_use() -> None:
    assert seconds_ago(report(kernel(5000), kernel(5000, "busy"))) == 0


def test_a_kernel_that_no_client_ever_connected_to_is_not_in_use() -> None:
    assert seconds_ago(report(kernel(500, "starting"), status=500)) == 500


def test_a_connected_client_is_in_use() -> None:
    assert seconds_ago(report(kernel(5000, connections=1))) == 0


def test_a_server_that_nobody_opened_is_idle_since_its_start() -> None:
    assert seconds_ago(report(status=9000)) == 3600


def test_a_server_cannot_claim_to_be_used_in_the_future() -> None:
    assert seconds_ago(report(kernel(-9000))) == 0


@pytest.mark.parametrize(
    "answer",
    [
        Report(kernels=[{}], terminals=[], status={"last_activity": ago(1)}),
        Report(kernels=[kernel(1) | {"last_activity": 5}], terminals=[], status={"last_activity": ago(1)}),
        Report(kernels=[kernel(1) | {"last_activity": "soon"}], terminals=[], status={"last_activity": ago(1)}),
        Report(kernels=[kernel(1) | {"last_activity": "2026-01-01"}], terminals=[], status={"last_activity": ago(1)}),
        Report(kernels=[kernel(1) | {"connections": None}], terminals=[], status={"last_activity": ago(1)}),
        Report(kernels=[], terminals=["x"], status={}),  # pyright: ignore[reportArgumentType]
    ],
)
def test_answers_of_something_else_are_not_taken_for_activity(answer: Report) -> None:
    with pytest.raises(UnreadableError):
        last_used(answer, STARTED, NOW)


@given(st.integers(0, 7200), st.integers(1, 7200))
def test_the_idle_time_runs_from_the_last_use(since: int, limit: int) -> None:
    last = NOW - timedelta(seconds=since)
    assert idle_since(last, limit, NOW).total_seconds() == limit - since


def ask(answers: Mapping[str, tuple[int, bytes]]) -> tuple[Report, list[httpx2.Request]]:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        status, content = answers[request.url.path.rsplit("/", 1)[1]]
        return httpx2.Response(status, content=content)

    async def run() -> Report:
        async with browser(httpx2.MockTransport(answer)) as client:
            return await read_report(client, "http://10.0.0.1:8888/notebook/alice/training/", "t0ken")

    return asyncio.run(run()), seen


def answers(**changes: tuple[int, bytes]) -> dict[str, tuple[int, bytes]]:
    status = json.dumps({"last_activity": ago(1)}).encode()
    return {"kernels": (200, b"[]"), "terminals": (200, b"[]"), "status": (200, status), **changes}


def test_the_server_is_asked_under_its_base_url_with_its_token_and_without_waking_it() -> None:
    _, seen = ask(answers())
    assert [request.url.path for request in seen] == [
        f"/notebook/alice/training/api/{what}" for what in ("kernels", "terminals", "status")
    ]
    for request in seen:
        assert request.headers["authorization"] == "token t0ken"
        assert request.url.params["no_track_activity"] == "1", "Jupyter would take the question for activity"


def test_a_servers_cookie_is_not_kept_for_the_next_one_at_its_address() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        content = json.dumps({"last_activity": ago(1)}) if request.url.path.endswith("status") else "[]"
        return httpx2.Response(200, content=content, headers={"Set-Cookie": "username=x; Path=/"})

    async def run() -> None:
        async with browser(httpx2.MockTransport(answer)) as client:
            for token in ("first", "second"):
                await read_report(client, "http://10.0.0.1:8888/", token)

    asyncio.run(run())
    assert len(seen) == 6
    assert not [request for request in seen if "cookie" in request.headers]


def test_a_server_without_terminals_is_read() -> None:
    found, _ = ask(answers(terminals=(404, b"not found")))
    assert found.terminals == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernels": (403, b"")}, "403"),
        ({"kernels": (404, b"")}, "404"),
        ({"status": (302, b"")}, "302"),
        ({"kernels": (200, b"<html>")}, "no JSON"),
        ({"kernels": (200, b"[" * 100_000)}, "no JSON"),
        ({"kernels": (200, b"{}")}, "none of a Jupyter server"),
        ({"status": (200, b"[" * (LARGEST_ANSWER_BYTES + 1))}, "no end"),
    ],
)
def test_a_server_that_does_not_say_is_reported_as_such(changes: dict[str, tuple[int, bytes]], words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        ask(answers(**changes))


def test_a_server_that_is_not_there_is_reported_as_such() -> None:
    async def run() -> None:
        def fail(_: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("no route")

        async with browser(httpx2.MockTransport(fail)) as client:
            await read_report(client, "http://10.0.0.1:8888/", "t")

    with pytest.raises(UnreadableError, match="ConnectError"):
        asyncio.run(run())


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b""])
def test_a_server_that_answers_byte_by_byte_holds_nobody_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "TIMEOUT_SECONDS", 0.3)

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async def run() -> float:
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, browser() as client:
            start = asyncio.get_running_loop().time()
            with pytest.raises(UnreadableError, match="longer than"):
                await asyncio.wait_for(read_report(client, f"http://127.0.0.1:{port}/", "t"), 5)
            return asyncio.get_running_loop().time() - start

    assert asyncio.run(run()) < 3
