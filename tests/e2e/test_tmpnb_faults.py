"""A node whose engine is restarted, whose disk runs full, whose image is gone, that is flooded, and that goes away."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import docker
import pytest

from runtime.tmpnb_node.journal import JOURNAL_FILE, format_entry
from runtime.tmpnb_node.visitors import COOKIE
from tests.e2e.tmpnb_lab import (
    BLOCK_BYTES,
    HOST,
    Certificate,
    Node,
    NodeHost,
    Visitor,
    Watch,
    node_host,
    node_settings,
)
from tests.e2e.tmpnb_pool import new_session, until
from tests.engine.project_images import image, notebook_image
from tests.stacks import ROOT

pytestmark = [pytest.mark.docker]

PORT, OTHER_PORT, REDIRECTOR_PORT = 9601, 9602, 9610
REQUESTS, AT_ONCE = 10_000, 64
START_SECONDS = 240
"""Most that three servers take to come up on a machine that does much else."""


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    """Ids of the images on this machine's engine."""
    names = {"node": image("tmpnb-node"), "notebook": notebook_image()}
    client = docker.APIClient(version="auto")
    return {short: client.inspect_image(name)["Id"] for short, name in names.items()}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str]) -> Iterator[NodeHost]:
    with node_host(tmp_path_factory.mktemp("faults"), images) as host:
        yield host


@pytest.fixture(scope="module")
def deployed(host: NodeHost, images: dict[str, str], certificate: Certificate) -> Node:
    """The node, which dies with its host."""
    node = Node(host.client(), node_settings("tmp01", 1, f"https://{HOST}:{PORT}"), images)
    node.deploy(certificate.secrets)
    return node


@pytest.fixture
def watched(deployed: Node) -> Iterator[Node]:
    """The node as it is; its counts add up whatever a test does to it."""

    def add_up(stats: dict[str, Any]) -> bool:
        counted = stats["available"] + stats["used"] + stats["starting"]
        return 0 <= counted <= stats["capacity"] == deployed.settings.capacity

    with Watch(deployed.url, add_up) as watch:
        yield deployed
    assert watch.seen
    assert watch.wrong == []


@pytest.fixture
def node(watched: Node) -> Node:
    """The node with nothing but unused servers."""
    watched.administer("DELETE", "/api/servers")
    until("the pool is full", lambda: watched.stats()["available"] == watched.settings.capacity, START_SECONDS)
    return watched


def settled(node: Node) -> dict[str, Any] | None:
    """The counts once all is well and every server is used or waits."""
    stats = node.stats()
    return stats if stats["available"] + stats["used"] == stats["capacity"] and not node.problems() else None


def test_a_server_that_counts_as_available_has_an_idle_kernel(watched: Node):
    until("a server is available", lambda: watched.stats()["available"])

    visitor = Visitor(watched)

    assert visitor.api("warm-kernels").json() == {"wanted": 1, "ready": 1}


def test_a_server_does_not_get_the_nodes_own_cookie(watched: Node):
    program = """
import http.server, json, os, ssl, subprocess, sys, threading, time, urllib.request
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(self.headers.get_all("Cookie")).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
echo = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
threading.Thread(target=echo.serve_forever, daemon=True).start()
text = open("/run/hubstack/Caddyfile").read()
upstream = text.split("reverse_proxy ")[1].split()[0]
text = text.replace(upstream, f"127.0.0.1:{echo.server_port}").replace(":8443", ":8444")
open("/tmp/Caddyfile", "w").write(text)
caddy = subprocess.Popen(["caddy", "run", "--config", "/tmp/Caddyfile", "--adapter", "caddyfile"], stderr=2)
trust = ssl._create_unverified_context()
def ask(path, cookies):
    request = urllib.request.Request("https://127.0.0.1:8444" + path, headers={"Cookie": cookies})
    for _ in range(100):
        try: return json.load(urllib.request.urlopen(request, context=trust, timeout=5))
        except OSError: time.sleep(0.1)
try: print(json.dumps([ask(*asked) for asked in json.loads(sys.argv[1])]))
finally: caddy.kill()
"""
    own = f"{COOKIE}=secret.signature"
    asked = [
        ("/user/abc/lab", f"_xsrf=1; {own}; username=2"),
        ("/user/abc/lab", own),
        ("/user/abc/lab", f"{COOKIE}=forged; {own}; x={COOKIE}"),
        ("//user/abc/lab", f"_xsrf=1; {own}"),
        ("/%75ser/abc/lab", f"_xsrf=1; {own}"),
        ("/", own),
    ]

    *servers, service = json.loads(watched.run("tls-proxy", program, json.dumps(asked)))

    names = [[one.strip().partition("=")[0] for one in cookies[0].split(";") if one.strip()] for cookies in servers]
    assert names == [["_xsrf", "username"], [], ["x"], ["_xsrf"], ["_xsrf"]]
    assert service == [own]


def test_one_address_that_asks_ten_thousand_times_is_limited_and_others_are_not(node: Node):
    statuses, other = asyncio.run(flood(node))

    assert statuses[HTTPStatus.FOUND] + statuses[HTTPStatus.OK] == node.settings.burst == 1
    assert statuses[HTTPStatus.TOO_MANY_REQUESTS] == REQUESTS - 1
    assert other.lives()
    assert node.stats()["used"] == 1 + 1
    assert Visitor(node).lives()


async def flood(node: Node) -> tuple[Counter[int], Visitor]:
    """Answers to one address that forges another one each time; and somebody else who comes meanwhile."""
    statuses: Counter[int] = Counter()
    left = iter(range(REQUESTS))
    connector = aiohttp.TCPConnector(local_addr=(next(Visitor.addresses), 0), limit=AT_ONCE, ssl=False)

    async def ask(session: aiohttp.ClientSession) -> None:
        for number in left:
            forged = {"X-Forwarded-For": f"203.0.113.{number % 256}, 198.51.{number % 256}.7"}
            how = ("GET", "/") if number % 2 else ("POST", "/api/spawn")
            async with session.request(how[0], node.url + how[1], headers=forged, allow_redirects=False) as answer:
                statuses[answer.status] += 1

    def other() -> Visitor:
        until("the flood rises", lambda: sum(statuses.values()) > REQUESTS // 10)
        return Visitor(node)

    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        met = asyncio.create_task(asyncio.to_thread(other))
        await asyncio.gather(*(ask(session) for _ in range(AT_ONCE)))
        return statuses, await met


def test_a_full_disk_takes_nobodys_server_and_hands_none_out_twice(node: Node, host: NodeHost):
    before = Visitor(node)
    journal = host.data / "volumes" / node.name("state") / "_data" / JOURNAL_FILE
    # The next line reaches beyond the block that the file has.
    with journal.open("ab") as file:
        while journal.stat().st_size < BLOCK_BYTES - 70:
            file.write(format_entry("f" * 20, datetime.now(UTC)))
            file.flush()

    with host.full_disk():
        refused = node.get("/", allow_redirects=False)
        assert refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert not journal.read_bytes().endswith(b"\n"), "the line was cut off"
        assert node.problems() == {"journal": "it cannot be written: No space left on device"}
        assert node.stats()["available"] == 0
        assert before.lives()
        [unused, _] = node.servers() - {before.server}
        node.client.remove_container(node.name(unused), force=True)
        fault = until("it says why no server starts", lambda: node.problems().get("starts"), 40)
        assert "no space left on device" in fault
        assert node.metric("hubstack_tmpnb_failed_starts_total") < 10, "it does not spin"

    until("it hands out servers again", lambda: not node.problems() and node.stats()["available"])
    after = Visitor(node)
    assert after.server != before.server
    until("all are there again", lambda: settled(node))
    crash(node, "service")
    until("the service is back", lambda: settled(node))
    last = Visitor(node)
    assert len({before.server, after.server, last.server}) == 3
    assert all(visitor.lives() for visitor in (before, after, last))


def crash(node: Node, name: str) -> None:
    """Kill the first process of a container as a crash would: the engine starts it again."""
    os.kill(node.client.inspect_container(node.name(name))["State"]["Pid"], signal.SIGKILL)


def test_an_image_that_is_gone_is_told_and_waited_for(node: Node, host: NodeHost, images: dict[str, str]):
    node.administer("DELETE", "/api/pool")
    until(
        "no server is left",
        lambda: not node.client.containers(all=True, filters={"label": "hubstack.role=user-server"}),
    )
    node.client.remove_image(images["notebook"])
    failed = node.metric("hubstack_tmpnb_failed_starts_total")
    node.administer("POST", "/api/pool")

    fault = until("it says why no server starts", lambda: node.problems().get("starts"))
    time.sleep(6)
    missing = f"image {images['notebook']} is not on this engine: no server can be started until it is there"
    assert fault == node.problems()["starts"] == missing
    assert 1 <= node.metric("hubstack_tmpnb_failed_starts_total") - failed <= 5, "ever more seldom"
    assert node.get("/", allow_redirects=False).status_code == HTTPStatus.SERVICE_UNAVAILABLE
    host.load([images["notebook"]])
    until("servers start again", lambda: settled(node), START_SECONDS)
    assert Visitor(node).lives()


def test_an_engine_that_is_restarted_ends_servers_and_the_node_comes_back_by_itself(node: Node, host: NodeHost):
    visitor, before = Visitor(node), node.servers()

    host.stop()
    host.start("--live-restore")

    until("the pool is full again", lambda: node.stats()["available"] == node.settings.capacity, START_SECONDS)
    assert node.servers().isdisjoint(before)
    assert visitor.api("status").status_code == HTTPStatus.GONE
    assert node.problems() == {}
    again = visitor.session.get(f"{node.url}/", timeout=10, allow_redirects=False)
    assert again.headers["Location"].split("/")[2] in node.servers(), "who comes again gets another one"


def test_with_live_restore_an_engine_is_restarted_and_visitors_notice_nothing(node: Node, host: NodeHost):
    if not node.client.info()["LiveRestoreEnabled"]:
        host.stop()
        host.start("--live-restore")
        until("all is well", lambda: settled(node))
    before, servers = Visitor(node), node.servers()

    host.stop()
    assert before.lives(), "while the engine is away"
    meanwhile = Visitor(node)
    assert meanwhile.lives(), "the engine is not needed to hand out a server"
    host.start("--live-restore")

    until("the service reaches the engine again", lambda: settled(node), 60)
    assert before.lives()
    assert meanwhile.lives()
    assert node.servers() == servers
    last = Visitor(node)
    assert len({before.server, meanwhile.server, last.server}) == 3
    node.client.kill(node.name(last.server))
    until("what ends is replaced", lambda: len(node.servers() - servers) == 1 and settled(node))


@contextmanager
def redirector(folder: Path, nodes: list[Node], certificate: Certificate) -> Iterator[str]:
    """A redirector to these nodes; its address."""
    document = {
        "stack": "faults",
        "nodes": [{"name": n.settings.name, "url": n.url, "stats": f"{n.url}/api/stats"} for n in nodes],
        "ca_file": str(certificate.file),
        "poll_seconds": 1,
        "deadline_seconds": 1,
        "port": REDIRECTOR_PORT,
        "visitors": {"burst": 1000, "per_minute": 1000},
        "forwarded_hops": 0,
    }
    file = folder / "redirector.json"
    file.write_text(json.dumps(document))
    process = subprocess.Popen([sys.executable, "-m", "runtime.redirector", str(file)], cwd=ROOT)
    try:
        yield f"http://127.0.0.1:{REDIRECTOR_PORT}"
    finally:
        process.terminate()
        process.wait(10)


def test_who_was_on_a_node_that_went_away_gets_a_server_on_another_one(
    deployed: Node, host: NodeHost, images: dict[str, str], certificate: Certificate, tmp_path: Path
):
    with ExitStack() as cleanup:
        settings = node_settings("tmp02", 2, f"https://127.0.0.1:{OTHER_PORT}", burst=100)
        other = Node(docker.APIClient(version="auto"), settings, images)
        cleanup.callback(other.remove)
        other.deploy(certificate.secrets)
        url = cleanup.enter_context(redirector(tmp_path, [deployed, other], certificate))
        until("both are settled", lambda: all(settled(node) for node in (deployed, other)), START_SECONDS)
        until("the redirector tells what they tell", lambda: tells_the_sums(url, [deployed, other]))
        watch = cleanup.enter_context(Watch(url, lambda stats: knows(stats, [deployed, other])))
        lost = Visitor(deployed)
        until("it tells that a server more is used", lambda: tells_the_sums(url, [deployed, other]))

        host.stop(kill=True)

        down = until("the node is down", lambda: new_session().get(f"{url}/stats", timeout=5).json()["down"], 15)
        assert down == [deployed.url]
        sent = Counter(new_session().head(url, timeout=5, allow_redirects=False).headers["Location"] for _ in range(50))
        assert set(sent) == {f"{other.url}/"}
        again = lost.session.get(f"{url}/lab/tree/x.ipynb", timeout=20)
        assert again.ok
        assert again.url.startswith(f"{other.url}/user/")
        until("what it tells is of the other node alone", lambda: tells_the_sums(url, [other]))
        assert watch.seen
        assert watch.wrong == []


def tells_the_sums(url: str, nodes: list[Node]) -> bool:
    """Whether a redirector tells what these nodes themselves tell, alone and together; they have to rest meanwhile."""
    told, own = new_session().get(f"{url}/stats", timeout=5).json(), {node.url: node.stats() for node in nodes}
    counts = ("available", "capacity")
    return {node: tuple(host[count] for count in counts) for node, host in told["hosts"].items()} == {
        node: tuple(stats[count] for count in counts) for node, stats in own.items()
    } and all(told[count] == sum(stats[count] for stats in own.values()) for count in counts)


def knows(stats: dict[str, Any], nodes: list[Node]) -> bool:
    """Whether a redirector tells of each node once, of those that answer no other capacity than they have, and their sums."""
    held = {node.url: node.settings.capacity for node in nodes}
    return (
        sorted([*stats["hosts"], *stats["down"]]) == sorted(held)
        and stats["capacity"] == sum(held[url] for url in stats["hosts"])
        and stats["available"] == sum(host["available"] for host in stats["hosts"].values())
        and all(0 <= host["available"] <= held[url] for url, host in stats["hosts"].items())
    )
