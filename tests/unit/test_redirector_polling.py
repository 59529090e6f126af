"""How the redirector learns what its nodes' load is, whatever they answer."""

import asyncio
import datetime as dt
import ipaddress
import json
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from runtime.redirector import polling as polling_module
from runtime.redirector.asking import LARGEST_ANSWER_BYTES, MissError, ask, load_trust, parse_answer
from runtime.redirector.fleet import Fleet, State
from runtime.redirector.metrics import Metrics
from runtime.redirector.polling import Polling, change_sentence, first_pause, pause
from runtime.redirector.settings import Node, SettingsError
from tests.unit.redirector import PATIENCE_SECONDS, StubNodes, Timer, in_loop, served_node, settings, told, until

QUICK = {"poll_seconds": 0.01, "deadline_seconds": 0.4}


def test_an_answer_is_read_as_it_was_told():
    parsed = parse_answer(json.dumps(told(20, 64, used=39, starting=5)).encode())

    assert (parsed.available, parsed.used, parsed.capacity, parsed.draining) == (20, 39, 64, False)


def test_a_node_that_drains_has_nothing_to_give_whatever_it_says():
    assert parse_answer(json.dumps(told(20, draining=True)).encode()).available == 0


def test_a_node_that_tells_no_more_than_the_faq_shows_is_understood():
    faq = {key: told(20, 64)[key] for key in ("available", "container_image", "version", "capacity")}

    parsed = parse_answer(json.dumps(faq).encode())

    assert (parsed.available, parsed.used, parsed.draining) == (20, 44, False)


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "<html>",
        "[]",
        "null",
        "[" * 60_000,
        '{"available": NaN}',
        '{"available": 1',
        "1" * 5000,
        told(available=-1),
        told(available=65, capacity=64),
        told(available=1, capacity=100_001),
        told(available=1.5),
        told(available="10"),
        told(available=True),
        told(available=None),
        told(capacity=None),
        told(used=65),
        told(used=-1),
        told(used="3"),
        told(draining="false"),
        told(draining=0),
        told(version=None),
        told(version=1),
        told(version="1" * 501),
        told(container_image=["a"]),
        {"available": 1, "capacity": 2},
    ],
)
def test_nonsense_is_no_answer(nonsense: Any):
    with pytest.raises(MissError):
        parse_answer((nonsense if isinstance(nonsense, str) else json.dumps(nonsense)).encode())


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_whatever_a_node_sends_is_an_answer_or_a_miss(content: Any):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(MissError):
        parse_answer(body)


async def asked(stub: Any, deadline_seconds: float = 5) -> str:
    """Why a node's answer counts for nothing."""
    async with RawTestServer(stub) as server, Polling(fleet := Fleet([]), Metrics(fleet)) as polling:
        with pytest.raises(MissError) as caught:
            await ask(polling._session, served_node(server, "tmp01"), deadline_seconds, load_trust(None))
    return str(caught.value)


@in_loop
async def test_another_status_than_ok_is_a_miss():
    assert await asked(StubNodes({"tmp01": told()}, status=502)) == "it answered with status 502"


@in_loop
async def test_an_answer_that_says_that_it_is_no_json_is_a_miss():
    assert await asked(StubNodes({"tmp01": told()}, content_type="text/html")) == "its answer is no JSON"


@in_loop
async def test_an_endless_answer_is_a_miss_and_is_not_read_on():
    sent = 0

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 10_000)
            sent += 10_000

    assert "larger than" in await asked(endless)
    assert sent < 100 * LARGEST_ANSWER_BYTES


@in_loop
async def test_a_compressed_answer_which_was_not_asked_for_is_not_unpacked():
    async def bomb(_: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text=json.dumps(told()) + " " * 1000, content_type="application/json")
        response.enable_compression(web.ContentCoding.gzip)
        return response

    assert await asked(bomb) == "its answer is no JSON"


@in_loop
async def test_a_redirect_is_not_followed():
    seen: list[str] = []

    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/secret"})

    assert await asked(elsewhere) == "it answered with status 302"
    assert seen == ["/tmp01/api/stats"]


@in_loop
async def test_silence_is_a_miss_at_the_deadline():
    stub = StubNodes()
    async with stub.serving() as server, Polling(fleet := Fleet([]), Metrics(fleet)) as polling:
        with pytest.raises(MissError, match=r"within 0\.02 s"):
            await ask(polling._session, served_node(server, "tmp01"), 0.02, load_trust(None))


@in_loop
async def test_a_question_that_is_taken_back_at_its_deadline_ends_like_any_other():
    stub = StubNodes()
    async with stub.serving() as server, Polling(fleet := Fleet([]), Metrics(fleet)) as polling:
        question = asyncio.create_task(ask(polling._session, served_node(server, "tmp01"), 0.2, load_trust(None)))
        await until(lambda: stub.at_once == 1)
        asyncio.get_running_loop().call_later(0.21, question.cancel)
        # Both moments pass while the loop is busy, and both are noticed in its next round.
        time.sleep(0.25)
        with pytest.raises(asyncio.CancelledError):
            await question


@in_loop
async def test_a_node_that_is_not_there_is_a_miss():
    async with StubNodes().serving() as server:
        node = served_node(server, "tmp01")
    async with Polling(fleet := Fleet([]), Metrics(fleet)) as polling:
        with pytest.raises(MissError, match="Cannot connect"):
            await ask(polling._session, node, 5, load_trust(None))


def write_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, or for these names alone, that no system knows, and its key."""
    certified = [x509.DNSName(name) for name in names] or [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tmp01")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(certified), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "ca.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@in_loop
async def test_a_certificate_that_the_stack_names_is_believed_and_no_other(tmp_path: Path):
    certificate, key = write_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    stub = StubNodes({"tmp01": told(7)})
    server = RawTestServer(stub)
    await server.start_server(ssl=context)
    async with server, Polling(fleet := Fleet([]), Metrics(fleet)) as polling:
        node = served_node(server, "tmp01")

        with pytest.raises(MissError, match=r"(?i)certificate"):
            await ask(polling._session, node, 5, load_trust(None))
        assert (await ask(polling._session, node, 5, load_trust(str(certificate)))).available == 7


@in_loop
async def test_a_node_that_is_asked_at_an_address_is_known_by_its_name_all_the_same(tmp_path: Path):
    certificate, key = write_certificate(tmp_path, "tmp01.example.org")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    indicated: list[str | None] = []
    hosts: list[str] = []
    context.sni_callback = lambda _socket, name, _context: indicated.append(name)

    async def answers(request: web.BaseRequest) -> web.Response:
        hosts.append(request.host)
        return web.json_response(told(7))

    server = RawTestServer(answers)
    await server.start_server(ssl=context)
    port = server.port
    async with server, Polling(fleet := Fleet([]), Metrics(fleet)) as polling:

        def there(name: str) -> Node:
            origin = f"https://{name}.example.org:{port}"
            return Node(name, origin, f"{origin}/api/stats", "127.0.0.1")

        answer = await ask(polling._session, there("tmp01"), 5, load_trust(str(certificate)))
        assert answer.available == 7
        with pytest.raises(MissError, match=r"(?i)certificate"):
            await ask(polling._session, there("tmp02"), 5, load_trust(str(certificate)))

    assert indicated == ["tmp01.example.org", "tmp02.example.org"]
    assert hosts == [f"tmp01.example.org:{port}"]


def test_a_certificate_file_that_cannot_be_used_is_named(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match=file.name):
            load_trust(str(file))


def test_first_questions_come_at_once_for_a_few_nodes_and_spread_for_many():
    assert first_pause(2, 3, 1.0) < 0.01
    assert first_pause(1000, 3, 1.0) == 3


@given(st.integers(2, 50), st.floats(0.1, 60), st.floats(0, 1))
def test_questions_come_at_the_interval_with_some_jitter(polls: int, poll_seconds: float, chance: float):
    assert 0.9 * poll_seconds - 1e-6 <= pause(polls, poll_seconds, chance) <= 1.1 * poll_seconds + 1e-6
    assert pause(polls, poll_seconds, 0) < poll_seconds < pause(polls, poll_seconds, 1)


def test_questions_to_many_nodes_are_spread_over_the_interval():
    rng = random.Random(3)
    asked_at = [first_pause(200, 3, rng.random()) + pause(1, 3, rng.random()) for _ in range(1000)]
    for polls in range(2, 30):
        asked_at = [moment + pause(polls, 3, rng.random()) for moment in asked_at]

    in_tenths = [0] * 10
    for moment in asked_at:
        in_tenths[int(moment % 3 / 0.3)] += 1
    assert max(in_tenths) < 160, "of a thousand, evenly spread, a hundred each"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("unknown", "up", "tmp01 answers"),
        ("unknown", "down", "tmp01 is down: it answered with status 502"),
        ("unknown", "draining", "tmp01 is draining: it gets no new visitors"),
        ("up", "down", "tmp01 is down: it answered with status 502"),
        ("down", "up", "tmp01 answers again"),
        ("down", "full", "tmp01 answers again"),
        ("up", "draining", "tmp01 is draining: it gets no new visitors"),
        ("draining", "up", "tmp01 takes visitors again"),
        ("up", "full", None),
        ("full", "up", None),
        ("up", "up", None),
        ("down", "down", None),
        ("draining", "draining", None),
        ("unknown", "unknown", None),
    ],
)
def test_changes_are_told_in_a_sentence_and_nothing_else_is(before: str, after: str, sentence: str | None):
    assert change_sentence("tmp01", State(before), State(after), "it answered with status 502") == sentence


class Asking:
    """Nodes on loopback that are asked all the time, in quick succession."""

    def __init__(self, polling: Polling, fleet: Fleet, present: list[Node]) -> None:
        self.polling, self.fleet, self.present = polling, fleet, present

    def follow(self, *names: str, **changes: Any) -> None:
        kept = [one for one in self.present if one.name in names]
        self.fleet.replace(kept)
        self.polling.follow(settings(kept, **{**QUICK, **changes}), load_trust(None))

    def state(self, name: str) -> str:
        return next(self.fleet.state(one).value for one in self.present if one.name == name)


@asynccontextmanager
async def asking(stub: StubNodes, *names: str, timer: Timer | None = None, **changes: Any) -> AsyncIterator[Asking]:
    async with stub.serving() as server:
        fleet = Fleet([])
        polling = Polling(fleet, Metrics(fleet), timer=timer) if timer else Polling(fleet, Metrics(fleet))
        async with polling:
            under_way = Asking(polling, fleet, [served_node(server, name) for name in names])
            under_way.follow(*names, **changes)
            yield under_way


@in_loop
async def test_nodes_are_asked_again_and_again_over_one_connection():
    stub = StubNodes({"tmp01": told(7)})
    async with asking(stub, "tmp01") as under_way:
        await until(lambda: len(stub.asked) >= 5)
        stub.answers["tmp01"] = told(3)
        await until(lambda: under_way.fleet.totals().available == 3)

    assert len(stub.connections) == 1


@in_loop
async def test_another_list_of_thousands_of_nodes_holds_visitors_up_for_no_time():
    many = [
        Node(f"tmp{n}", f"https://tmp{n}.example.org", f"https://tmp{n}.example.org/api/stats") for n in range(4000)
    ]
    fleet = Fleet([])
    async with Polling(fleet, Metrics(fleet)) as polling:
        trust = load_trust(None)
        fleet.replace(many)
        polling.follow(settings(many), trust)
        less = settings(many[1:])
        fleet.replace(less.nodes)
        began = time.thread_time()
        polling.follow(less, trust)
        took = time.thread_time() - began

    assert took < 0.3, "a set of all nodes for each of them takes two seconds"


@in_loop
async def test_a_node_that_falls_silent_is_down_and_answers_again_at_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "hubstack-redirector")
    stub = StubNodes({"tmp01": told(), "tmp02": told()})
    async with asking(stub, "tmp01", "tmp02") as under_way:
        await until(lambda: under_way.state("tmp01") == under_way.state("tmp02") == "up")
        del stub.answers["tmp01"]
        await until(lambda: under_way.state("tmp01") == "down")
        assert under_way.state("tmp02") == "up"
        stub.answers["tmp01"] = told(0)
        await until(lambda: under_way.state("tmp01") == "full")

    assert [message for message in caplog.messages if message.startswith("tmp01")] == [
        "tmp01 answers",
        "tmp01 is down: it did not answer within 0.4 s",
        "tmp01 answers again",
    ]


@in_loop
async def test_nonsense_twice_in_a_row_takes_a_node_down():
    stub = StubNodes({"tmp01": told()})
    async with asking(stub, "tmp01") as under_way:
        await until(lambda: under_way.state("tmp01") == "up")
        stub.answers["tmp01"] = told(available=1_000_000)
        await until(lambda: under_way.state("tmp01") == "down")


@in_loop
async def test_a_node_that_went_is_not_asked_any_more_and_one_that_came_is():
    stub = StubNodes({"tmp01": told(1), "tmp02": told(2), "tmp03": told(3)})
    async with asking(stub, "tmp01", "tmp02", "tmp03") as under_way:
        await until(lambda: under_way.fleet.totals().available == 6)
        under_way.follow("tmp02")
        assert under_way.fleet.totals().available == 2
        for _ in range(2):
            # Only then are questions that were under way answered.
            stub.asked.clear()
            await until(lambda: len(stub.asked) >= 5)
        assert set(stub.asked) == {"tmp02"}

        under_way.follow("tmp01", "tmp02")
        await until(lambda: under_way.fleet.totals().available == 3)


@in_loop
async def test_a_crowd_of_silent_nodes_is_asked_a_few_at_once_and_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(polling_module, "MOST_OTHERS_AT_ONCE", 3)
    silent = [f"silent{number}" for number in range(20)]
    stub = StubNodes({"tmp01": told()})
    async with asking(stub, "tmp01") as under_way:
        await until(lambda: under_way.state("tmp01") == "up")
        async with stub.serving() as server:
            under_way.present += [served_node(server, name) for name in silent]
            under_way.follow("tmp01", *silent, deadline_seconds=PATIENCE_SECONDS)
            await until(lambda: len([name for name in stub.asked if name in silent]) >= 3)
            stub.asked.clear()
            await until(lambda: len(stub.asked) >= 20)

            assert set(stub.asked) == {"tmp01"}
            assert stub.most_at_once <= 4


@in_loop
async def test_polling_lives_whether_or_not_nodes_answer():
    async with asking(StubNodes(), "tmp01") as under_way:
        await until(lambda: under_way.state("tmp01") == "down")
        assert under_way.polling.lives()


@in_loop
async def test_polling_lives_without_nodes():
    timer = Timer()
    async with asking(StubNodes(), timer=timer) as under_way:
        timer.now += 3600
        assert under_way.polling.lives()


@in_loop
async def test_polling_that_came_to_nothing_for_several_rounds_is_dead():
    timer = Timer()
    async with asking(StubNodes(), "tmp01", timer=timer, deadline_seconds=PATIENCE_SECONDS) as under_way:
        timer.now += 3 * (PATIENCE_SECONDS + 0.01) - 1
        assert under_way.polling.lives()
        timer.now += 2
        assert not under_way.polling.lives()


@in_loop
async def test_polling_of_which_a_task_ended_is_dead(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    stub = StubNodes({"tmp01": told()})
    async with asking(stub, "tmp01", deadline_seconds=PATIENCE_SECONDS) as under_way:
        await until(lambda: under_way.state("tmp01") == "up")
        monkeypatch.setattr(under_way.fleet, "answered", broken)
        await until(lambda: not under_way.polling.lives())
        await until(lambda: "tmp01 is not asked any more" in caplog.messages)
