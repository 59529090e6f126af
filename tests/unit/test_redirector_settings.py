"""The redirector's settings file: what is refused, and what happens when it is replaced."""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiohttp.test_utils import RawTestServer

from runtime.redirector.__main__ import is_no_client_error, main, serve
from runtime.redirector.fleet import State
from runtime.redirector.service import Service
from runtime.redirector.settings import SettingsError, SettingsFile, parse_settings
from tests.unit.redirector import (
    PATIENCE_SECONDS,
    StubNodes,
    answer,
    document,
    exchange,
    in_loop,
    node,
    nodes,
    served_node,
    told,
    until,
)

ROOT = Path(__file__).resolve().parents[2]


def test_settings_are_read_as_the_stack_writes_them():
    parsed = parse_settings(document(nodes(2)))

    assert parsed.nodes == tuple(nodes(2))
    assert (parsed.poll_seconds, parsed.visitors.burst, parsed.forwarded_hops) == (3, 1000, 1)


def with_node(**changes: Any) -> dict[str, Any]:
    [first] = document([node()])["nodes"]
    return document(nodes=[{**first, **changes}])


def test_a_node_may_be_asked_elsewhere_than_its_name_leads():
    [asked] = parse_settings(with_node(connect="10.217.0.65")).nodes

    assert asked.connect == "10.217.0.65"
    assert parse_settings(document([node()])).nodes[0].connect is None


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ([], "nodes"),
        (None, "None"),
        ({}, "nodes"),
        (document(prot=1), "prot"),
        ({key: value for key, value in document().items() if key != "port"}, "port"),
        (document(poll_seconds=0), "poll_seconds"),
        (document(poll_seconds=float("nan")), "poll_seconds"),
        (document(deadline_seconds="2"), "deadline_seconds"),
        (document(port=70000), "port"),
        (document(port=True), "port"),
        (document(forwarded_hops=-1), "forwarded_hops"),
        (document(visitors={"burst": 0, "per_minute": 1}), "burst"),
        (document(visitors={"burst": 1, "per_minute": 0}), "per_minute"),
        (document(visitors={"burst": 1}), "per_minute"),
        (document(ca_file=3), "ca_file"),
        (document(stack=None), "stack"),
        (document(nodes=[{"name": "tmp01"}]), "url"),
        (document([node(), node()]), "tmp01"),
        (with_node(name=""), "name"),
        (with_node(name=7), "name"),
        (with_node(url="https://tmp01.example.org/"), "url"),
        (with_node(url="https://tmp01.example.org/base"), "url"),
        (with_node(url="https://tmp01.example.org?x"), "url"),
        (with_node(url="https://user@tmp01.example.org"), "url"),
        (with_node(url="https://tmp01.example.org:"), "url"),
        (with_node(url="https://tmp01.example.org:99999"), "url"),
        (with_node(url="https://"), "url"),
        (with_node(url="//tmp01.example.org"), "url"),
        (with_node(url="ftp://tmp01.example.org"), "url"),
        (with_node(url="javascript:alert(1)//"), "url"),
        (with_node(url="https://tmp01.example.org\r\nSet-Cookie: a=b"), "url"),
        (with_node(url="https://tmp01.example.org\\.evil.example"), "url"),
        (with_node(url="https://tmpé.example.org"), "url"),
        (with_node(stats="tmp01/api/stats"), "stats"),
        (with_node(stats="https://tmp01.example.org/api\r\nHost: a"), "stats"),
        (with_node(connect="tmp01.example.org"), "connect"),
        (with_node(connect="10.217.0.65:8444"), "connect"),
        (with_node(connect=7), "connect"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(broken: Any, named: str):
    with pytest.raises(SettingsError, match=named):
        parse_settings(broken)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SettingsError) as caught:
        parse_settings(document([node(), node()], port=0, poll_seconds=-1))

    assert all(key in str(caught.value) for key in ("port", "poll_seconds", "several nodes have the name 'tmp01'"))


@pytest.mark.parametrize("url", ["https://tmp01.example.org", "http://127.0.0.1:8000", "https://[::1]:8443"])
def test_an_origin_is_a_scheme_a_host_and_perhaps_a_port(url: str):
    assert parse_settings(with_node(url=url)).nodes[0].url == url


def test_a_file_is_read_again_once_for_each_content(tmp_path: Path):
    path = tmp_path / "redirector.json"
    file = SettingsFile(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        file.read()
    assert file.changed() is None

    path.write_text(json.dumps(document([node()])))
    changed = file.changed()
    assert changed is not None
    assert changed.nodes == (node(),)
    assert file.changed() is None

    path.write_text("{")
    with pytest.raises(SettingsError, match="no JSON"):
        file.changed()
    assert file.changed() is None, "a broken file is refused once"

    path.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        file.changed()
    assert file.changed() is None


class Running:
    """A redirector's parts on a settings file, of which no node is there."""

    def __init__(self, path: Path, service: Service) -> None:
        self.path, self.service = path, service

    def replace(self, text: str) -> None:
        self.path.write_text(text)
        self.service.reload()

    @property
    def names(self) -> list[str]:
        return [row["name"] for row in self.service.fleet.rows()]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    path = folder / "redirector.json"
    path.write_text(json.dumps(document(nodes(2), poll_seconds=600)))
    async with Service(SettingsFile(path)) as service:
        yield Running(path, service)


@in_loop
async def test_nodes_that_stay_keep_their_state_when_the_file_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "hubstack-redirector")
    async with running(tmp_path) as now:
        now.service.fleet.answered(node("tmp02"), answer(7), 0)
        now.replace(json.dumps(document([node("tmp02"), node("tmp03")], poll_seconds=600)))

        assert now.names == ["tmp02", "tmp03"]
        assert now.service.fleet.choose(takes=True) == node("tmp02")
        assert "new settings are in force, with 2 nodes; new: tmp03; gone: tmp01" in caplog.messages


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", json.dumps(document(port="x")), json.dumps(document(ca_file="/nowhere/ca.pem"))]
)
@in_loop
async def test_a_broken_file_is_refused_and_the_old_one_stays_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
):
    async with running(tmp_path) as now:
        before = now.service.settings
        for _ in range(3):
            now.replace(broken)

        assert now.names == ["tmp01", "tmp02"]
        assert now.service.settings == before
        [refusal] = [message for message in caplog.messages if "refused" in message]
        assert "stay in force" in refusal
        assert 'redirector_reloads_total{outcome="refused"} 1.0' in now.service.metrics.exposition().decode()

        now.replace(json.dumps(document([node("tmp03")])))
        assert now.names == ["tmp03"]


@in_loop
async def test_who_asks_for_it_gets_the_same_file_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "hubstack-redirector")
    async with running(tmp_path) as now:
        now.service.reload()
        assert not caplog.messages
        now.service.reload(again=True)
        assert caplog.messages == ["new settings are in force, with 2 nodes"]


@contextlib.asynccontextmanager
async def redirecting(path: Path) -> AsyncIterator[tuple[Service, int]]:
    """A redirector with a settings file, and its port; it is there when all its nodes have answered."""
    async with Service(SettingsFile(path)) as service, RawTestServer(service.redirector) as server:
        await until(lambda: not service.fleet.states[State.UNKNOWN])
        assert server.port
        yield service, server.port


async def sent(port: int, visitors: int) -> Counter[str]:
    """Where a redirector sends so many visitors; those who have to wait are under an empty address."""
    replies = [await exchange(port, "GET / HTTP/1.1\r\nHost: tmpnb.example.org\r\n\r\n") for _ in range(visitors)]
    return Counter(reply.headers.get("location", "") for reply in replies)


@in_loop
async def test_redirectors_behind_one_name_share_nothing_and_one_that_ends_changes_nothing_for_another(tmp_path: Path):
    stub = StubNodes({"tmp01": told(6), "tmp02": told(4), "tmp03": told(5)})
    path = tmp_path / "redirector.json"
    async with stub.serving() as server:
        listed = [served_node(server, name) for name in ("tmp01", "tmp02", "tmp03")]
        # So that each asks its nodes once in the test's time.
        path.write_text(json.dumps(document(listed[:2], poll_seconds=10**6)))
        async with redirecting(path) as (other, other_port):
            async with redirecting(path) as (_, port):
                all_of_it = {"https://tmp01.example.org/": 6, "https://tmp02.example.org/": 4, "": 2}
                assert await sent(port, 12) == all_of_it
                assert other.fleet.totals().available == 10, "it knows of none whom another one has sent"
                before = await sent(other_port, 3)
            assert other.fleet.totals().available == 7
            assert before + await sent(other_port, 9) == all_of_it
            assert other.polling.lives()

            path.write_text(json.dumps(document(listed, poll_seconds=10**6)))
            other.reload()
            await until(lambda: other.fleet.totals().available == 5)
            assert await sent(other_port, 1) == {"https://tmp03.example.org/": 1}


def test_settings_that_cannot_be_used_end_the_program(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert main([str(tmp_path / "missing.json")]) == 1
    assert "cannot be read" in caplog.text


def test_requests_that_are_no_http_do_not_fill_the_log_and_faults_do_get_in():
    from aiohttp.http_exceptions import BadStatusLine

    def record(error: Exception) -> logging.LogRecord:
        return logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "", None, (type(error), error, None))

    assert not is_no_client_error(record(BadStatusLine("x")))
    assert is_no_client_error(record(RuntimeError("broken")))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def eventually(port: int, path: str, fits: Callable[[int, str], bool]) -> None:
    """Ask until status and location fit."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(OSError):
                reply = await exchange(port, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
                if fits(reply.status, reply.headers.get("location", "")):
                    return
            await asyncio.sleep(0.02)


@in_loop
async def test_a_fault_of_the_program_tells_its_visitor_nothing_of_it(tmp_path: Path):
    path, port = tmp_path / "redirector.json", free_port()
    path.write_text(json.dumps(document([node()], port=port, poll_seconds=600)))
    service = Service(SettingsFile(path))
    service.fleet.answered(node(), answer(1), 0)
    serving = asyncio.create_task(serve(service))
    try:
        await eventually(port, "/health", lambda status, _: status == 200)
        with mock.patch.object(service.fleet, "choose", side_effect=RuntimeError("what went wrong")):
            reply = await exchange(port, "GET /lab HTTP/1.1\r\nHost: a\r\n\r\n")
    finally:
        signal.raise_signal(signal.SIGTERM)
        await serving

    assert reply.status == 500
    for inside in (b"what went wrong", b"RuntimeError", b"Traceback", b".py"):
        assert inside not in reply.body


@in_loop
async def test_the_program_redirects_reloads_and_ends_when_told(tmp_path: Path):
    path, port = tmp_path / "redirector.json", free_port()
    stub = StubNodes({"tmp01": told(1000, 1000), "tmp02": told(1000, 1000)})
    async with stub.serving() as server:
        first, second = served_node(server, "tmp01"), served_node(server, "tmp02")
        quick = {"port": port, "poll_seconds": 0.1}
        path.write_text(json.dumps(document([first], **quick)))
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runtime.redirector", str(path), cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        try:
            await eventually(port, "/lab?a=b", lambda status, to: (status, to) == (302, f"{first.url}/lab?a=b"))

            (tmp_path / "new.json").write_text(json.dumps(document([second], **quick)))
            (tmp_path / "new.json").replace(path)
            await eventually(port, "/", lambda _, to: to == f"{second.url}/")

            path.write_text("{")
            program.send_signal(signal.SIGHUP)
            await eventually(port, "/", lambda _, to: to == f"{second.url}/")
        finally:
            program.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(program.communicate(), PATIENCE_SECONDS)
    assert program.returncode == 0, log.decode()
    assert "refused" in log.decode()
    assert "Traceback" not in log.decode()
    assert log.decode().strip().endswith("ended")
