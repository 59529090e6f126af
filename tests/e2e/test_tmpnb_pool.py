"""A pool of temporary notebooks on real containers: visitors, quotas, isolation, faults, a node that goes.

Servers are ended after a minute or more, which the tests between `guests` and the test of those ends wait together.
"""

import copy
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest
import requests

from components.docker.tmpnb_plan import plan_node
from components.probe_destinations import METADATA_SERVICES, OUTSIDE, PRIVATE_NEIGHBOURS, destination
from runtime.tmpnb_node.visitors import COOKIE, REACHED_WITHIN
from tests.e2e.chromium import chromium
from tests.e2e.jupyterlab import run_cell
from tests.e2e.tmpnb_lab import Watch
from tests.e2e.tmpnb_pool import CONFIG, Pool, Visitor, names_of_this_machine, new_session, until
from tests.e2e.tmpnb_visits import Load, Removal, typing
from tests.stacks import ROOT, Stack, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]

SERVERS, ON_FIRST, ON_SECOND = 6, 2, 4
"""Servers of the pool and of its nodes, as `CONFIG` says."""

IDLE_SECONDS, AGE_SECONDS, DRAIN_SECONDS = 60, 90, 20
"""Limits of servers, the age on the first node alone, and what users of a node have who is taken away."""

CHECK_SECONDS = 10
"""How often a node asks each server whether it is used: a sixth of the idle time."""

PATIENCE_SECONDS = 30
"""By how much a machine with much else to do may be late."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    needs_engine_and_docker()
    folder = tmp_path_factory.mktemp("pool")
    with names_of_this_machine(), Stack("pool", folder, copy.deepcopy(CONFIG)).deployed() as stack:
        yield Pool(stack)


@dataclass
class Guests:
    """Visitors who keep their servers until these end."""

    idle: Visitor
    """Looked at the first page, and does nothing since."""
    aged: Visitor
    """Has a busy kernel, on the node with the small age."""
    kernel: Visitor
    """Has a busy kernel and went away."""
    terminal: Visitor
    """Types into a terminal now and then."""


@pytest.fixture(scope="module")
def guests(pool: Pool) -> Iterator[Guests]:
    until("servers wait on both", lambda: all(pool.node_stats(node)["available"] >= 2 for node in ("tmp01", "tmp02")))
    came = Guests(
        idle=Visitor(pool, "tmp01"),
        aged=Visitor(pool, "tmp01"),
        kernel=Visitor(pool, "tmp02"),
        terminal=Visitor(pool, "tmp02"),
    )
    for visitor in (came.aged, came.kernel):
        visitor.execute(visitor.started("kernels"), "import time; time.sleep(3600)", waits=False)
    with typing(came.terminal):
        yield came


def test_the_pool_fills_and_the_stats_add_up(pool: Pool):
    until("all servers wait", lambda: pool.full(SERVERS))
    stats, own = pool.stats(), {pool.origin(node): pool.node_stats(node) for node in ("tmp01", "tmp02")}

    assert {url: host["capacity"] for url, host in stats["hosts"].items()} == {
        "https://tmp01.tmp.localhost:18451": ON_FIRST,
        "https://tmp02.tmp.localhost:18452": ON_SECOND,
    }
    assert stats["capacity"] == sum(node["capacity"] for node in own.values()) == SERVERS
    assert stats["available"] == sum(node["available"] for node in own.values()) == SERVERS
    assert len(pool.containers("user-server")) == SERVERS


@pytest.mark.usefixtures("guests")
def test_a_visitor_gets_a_started_server_and_who_comes_again_the_same(pool: Pool):
    visitor = Visitor(pool)

    assert urlsplit(visitor.page.url).path == f"/user/{visitor.server}/lab"
    assert visitor.api("status").status_code == 200
    again = visitor.session.get(f"{visitor.origin}/", timeout=30)
    assert f"/user/{visitor.server}/" in again.url


@pytest.mark.usefixtures("guests")
def test_a_cell_runs_in_a_browser(pool: Pool, tmp_path: Path):
    until("a server waits", lambda: pool.stats()["available"])
    with chromium(tmp_path / "profile") as browser:
        browser.get(pool.url)

        assert run_cell(browser, "print('six times seven is', 6 * 7)") == "six times seven is 42"
        browser.get(f"{pool.url}/fleet")
        until(
            "the fleet page shows both nodes", lambda: "tmp01" in browser.page_source and "tmp02" in browser.page_source
        )
        picture = ROOT / "build" / "fleet.png"
        picture.parent.mkdir(exist_ok=True)
        assert browser.save_screenshot(str(picture))


@pytest.mark.usefixtures("guests")
def test_when_all_is_full_a_page_retries_and_the_api_says_so(pool: Pool):
    def refused() -> tuple[requests.Response, requests.Response] | None:
        page = pool.get("/lab/tree/x.ipynb?a=b")
        said = new_session().post(f"{pool.url}/api/spawn", timeout=30)
        # Whoever gets a server has it: a few visitors later there is none.
        return (page, said) if page.url.startswith(pool.url) and not said.ok else None

    full, said = until("all servers are taken", refused)

    assert full.status_code == 503
    assert int(full.headers["Retry-After"]) > 0
    assert said.status_code == 429
    assert said.json() == {"status": "full"}


def test_what_ended_has_a_page_and_no_server(pool: Pool):
    gone = pool.get("https://tmp01.tmp.localhost:18451/user/nobody/lab")

    assert gone.status_code == 410
    assert "/user/" not in gone.url.partition("/user/nobody")[2]


def test_a_server_has_the_limits_that_the_stack_names(pool: Pool, guests: Guests):
    limits = pool.inspect(guests.kernel.container)["HostConfig"]

    assert (limits["Memory"], limits["MemorySwap"]) == (512 * 2**20, 512 * 2**20)
    assert limits["NanoCpus"] == 10**9
    assert limits["PidsLimit"] == 128
    assert limits["Ulimits"] == [{"Name": "nofile", "Soft": 4096, "Hard": 4096}]
    assert limits["ReadonlyRootfs"] is True
    assert limits["CapDrop"] == ["ALL"]
    assert limits["PortBindings"] in ({}, None)


def test_quotas_hold_and_who_breaks_them_breaks_nothing_else(pool: Pool, guests: Guests):
    visitor = guests.kernel
    for folder, size in (("/home/jovyan", 100), ("/tmp", 64)):
        code, output = visitor.run("dd", "if=/dev/zero", f"of={folder}/big", "bs=1M", f"count={size}")
        visitor.run("rm", "-f", f"{folder}/big")
        assert code != 0, folder
        assert "No space left on device" in output
    for folder in ("/", "/opt/venv", "/usr/local", "/var/tmp", "/etc"):
        assert visitor.run("touch", f"{folder}/mark")[0] != 0, folder
    bomb = (
        "import os, time\nn = 0\ntry:\n    while n < 400:\n        if os.fork() == 0:\n"
        "            time.sleep(3); os._exit(0)\n        n += 1\nexcept BlockingIOError:\n    print('stopped at', n)\n"
    )
    assert "stopped at" in visitor.python(bomb)[1]
    until("the bomb's processes have ended", lambda: visitor.run("true")[0] == 0)
    assert visitor.python("x = bytearray(2 * 1024 ** 3); print(len(x))")[0] == 137
    assert visitor.api("status").status_code == 200, "the server itself lives on"
    assert pool.get("/health").status_code == 200


def test_a_server_reaches_no_neighbour_no_host_and_no_outside(pool: Pool, guests: Guests):
    visitor, other = guests.kernel, guests.terminal
    plans = [plan_node("10.218.0.0/16", number) for number in (1, 2)]
    forbidden = [*METADATA_SERVICES, *PRIVATE_NEIGHBOURS, *OUTSIDE]
    servers = {node: neighbours(pool, node, visitor) for node in ("tmp01", "tmp02")}
    forbidden += [*servers["tmp01"], *servers["tmp02"]]
    forbidden.append(destination("tcp", f"{pool.stack.label}-{other.container}", 8888, "a neighbour by name"))
    for plan in plans:
        proxy, service = plan.gates
        for address, port in ((proxy, 8000), (proxy, 8001), (service, 9999), (service, 10000)):
            forbidden.append(destination("tcp", address, port, "the platform"))
        gateway = plan.servers.partition("/")[0][:-1] + "1"
        forbidden += [destination("tcp", gateway, port, "the host") for port in (22, 2375, 18450, 18451, 18452)]
    platform = [one for one in pool.containers() if one["Labels"]["hubstack.role"] != "user-server"]
    forbidden += [destination("tcp", address, 8443, "the platform") for one in platform for address in addresses(one)]
    own = [
        destination("tcp", address, 8888, "the server itself")
        for address in ("127.0.0.1", *addresses(pool.inspect(visitor.container)))
    ]
    assert len(forbidden) >= 25

    report = visitor.probe(forbidden, own)

    assert report == {"answered": [], "missing": [], "tried": len(forbidden) + len(own)}
    reachable = [destination("tcp", address, 8888, "a server") for address in addresses(pool.inspect(other.container))]
    assert all(one in servers["tmp02"] for one in reachable)
    assert pool.probe("tmp02-service", [], reachable)["missing"] == [], "who may reach a neighbour does"


def neighbours(pool: Pool, node: str, visitor: Visitor) -> list[Any]:
    """The servers of a node but for the visitor's own, as destinations."""
    others = [found for found in pool.containers("user-server", node) if visitor.server not in found["Names"][0]]
    return [destination("tcp", address, 8888, "a server") for one in others for address in addresses(one)]


def addresses(container: dict[str, Any]) -> list[str]:
    """A container's addresses on all its networks."""
    networks = container["NetworkSettings"]["Networks"].values()
    return [network["IPAddress"] for network in networks if network["IPAddress"]]


def test_a_neighbours_cookies_and_a_guessed_path_open_nobody_elses_server(guests: Guests):
    thief, victim = guests.kernel, guests.terminal
    stranger = new_session()

    by_path = stranger.get(f"{victim.base}/api/contents", timeout=30)
    by_cookie = stranger.get(f"{victim.base}/api/contents", headers={"Cookie": cookies(thief)}, timeout=30)

    assert victim.api("status").status_code == 200
    assert by_path.status_code == 403
    assert by_cookie.status_code == 403


def cookies(visitor: Visitor, name: str = "") -> str:
    """A visitor's cookies as a header, all or those with this name."""
    found = [cookie for cookie in visitor.session.cookies if name in {"", cookie.name}]
    assert found
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in found)


def test_a_redirector_that_crashes_knows_its_nodes_again(pool: Pool):
    pool.crash("redirector-redirector")

    until("it redirects again", lambda: pool.stats()["capacity"] == SERVERS)


def test_another_update_and_a_refresh_change_nothing(pool: Pool):
    pool.stack.run("preview", "--refresh", "--expect-no-changes", "--stack", pool.stack.name)


def test_secrets_are_in_no_environment_label_configuration_or_state(pool: Pool):
    token = pool.stack.outputs()["adminToken"]
    seen = json.dumps(pool.inspected())

    assert token not in seen
    assert token not in pool.stack.state()


def test_servers_are_ended_when_idle_or_too_old_and_others_go_on(pool: Pool, guests: Guests):
    idle, aged = guests.idle, guests.aged
    late = max(1.0, aged.came + AGE_SECONDS + PATIENCE_SECONDS - time.time())
    until("both are ended", lambda: {idle.server, aged.server} <= set(pool.ended("tmp01")), late)
    ended = pool.ended("tmp01")

    assert ended[idle.server][0] == "idle"
    assert ended[aged.server][0] == "age"
    assert IDLE_SECONDS <= ended[idle.server][1] - idle.came <= IDLE_SECONDS + CHECK_SECONDS + PATIENCE_SECONDS
    assert AGE_SECONDS <= ended[aged.server][1] - aged.came <= AGE_SECONDS + PATIENCE_SECONDS
    until("their containers are gone", lambda: {idle.server, aged.server}.isdisjoint(pool.servers("tmp01")))
    until("other servers wait in their places", lambda: pool.node_stats("tmp01")["available"])
    assert [visitor.api("status").status_code for visitor in (idle, aged)] == [410, 410]
    # Neither has asked for anything that counts since it came: the one's kernel works, the other types.
    assert time.time() > guests.terminal.came + IDLE_SECONDS + 2 * CHECK_SECONDS
    assert {guests.kernel.server, guests.terminal.server} <= set(pool.servers("tmp02"))
    assert [visitor.api("status").status_code for visitor in (guests.kernel, guests.terminal)] == [200, 200]


def test_a_stolen_cookie_of_the_node_is_worth_a_server_for_a_minute_and_nothing_later(pool: Pool, guests: Guests):
    new, old = Visitor(pool, "tmp02"), guests.terminal
    until("a minute has passed", lambda: time.time() > old.came + REACHED_WITHIN.total_seconds() + 5)

    def replayed(victim: Visitor, path: str) -> requests.Response:
        header = {"Cookie": cookies(victim, COOKIE)}
        return new_session().get(f"{victim.origin}{path}", headers=header, allow_redirects=False, timeout=30)

    # A browser that lost its way in the first minute is led on, and so is who holds its cookie.
    assert replayed(new, "/").headers["Location"].startswith(f"/user/{new.server}/lab?token=")
    assert replayed(old, "/").headers["Location"] == f"/user/{old.server}/lab"
    assert replayed(old, f"/user/{old.server}/lab").headers["Location"].startswith(f"/user/{old.server}/login")
    assert replayed(old, f"/user/{old.server}/api/contents").status_code == 403
    new.leave()


def test_the_path_and_the_query_of_a_link_reach_the_server(pool: Pool):
    until("a server waits", lambda: pool.stats()["available"])
    link = "/git-pull?repo=https%3A%2F%2Fgithub.com%2Fexample%2Fcourse&urlpath=lab%2Ftree%2Fcourse%2Findex.ipynb"

    first = pool.get(link, allow_redirects=False)
    second = pool.get(first.headers["Location"], allow_redirects=False)

    assert (first.status_code, second.status_code) == (302, 302)
    assert first.headers["Location"].endswith(f".localhost:{first.headers['Location'].split(':')[2][:5]}{link}")
    assert "/git-pull?repo=https%3A%2F%2Fgithub.com%2Fexample%2Fcourse&urlpath=" in second.headers["Location"]
    pool.end(urlsplit(first.headers["Location"]).netloc.partition(".")[0], second.headers["Location"].split("/")[2])


def sums_up(stats: dict[str, Any]) -> bool:
    """Whether a redirector's totals are the sums of what it tells of its nodes, each within its capacity."""
    hosts = stats["hosts"].values()
    return all(0 <= host["available"] <= host["capacity"] for host in hosts) and all(
        stats[count] == sum(host[count] for host in hosts) for count in ("available", "capacity")
    )


def test_a_service_that_is_killed_under_load_takes_no_server_along_and_hands_none_out_twice(pool: Pool, guests: Guests):
    users = [guests.kernel, guests.terminal]
    until("two servers wait", lambda: pool.node_stats("tmp02")["available"] == ON_SECOND - len(users))
    before, service, load = pool.servers("tmp02"), pool.inspect("tmp02-service"), Load(pool, users)

    def all_used() -> bool:
        return pool.node_stats("tmp02")["used"] == ON_SECOND

    with (
        Watch(f"{pool.origin('tmp02')}/api", lambda stats: stats["capacity"] == ON_SECOND) as watch,
        Watch(pool.url, sums_up) as redirector,
        load.going_on(),
    ):
        # Once while servers are handed out, and once while others are started in the place of those that ended.
        os.kill(service["State"]["Pid"], signal.SIGKILL)
        until("it is back and all are handed out", all_used)
        assert pool.servers("tmp02") == before
        for server in set(before) - {user.server for user in users}:
            pool.end("tmp02", server)
        until("others are started", lambda: pool.node_stats("tmp02")["starting"])
        pool.crash("tmp02-service")
        until("it is back and all are handed out again", all_used)

    after = pool.servers("tmp02")
    assert set(load.statuses) == {200}, "users notice nothing"
    assert load.statuses[200] >= 20
    assert {user.server: before[user.server] for user in users}.items() <= after.items()
    assert load.handed_out
    assert len(set(load.handed_out)) == len(load.handed_out)
    assert {user.server for user in users}.isdisjoint(load.handed_out)
    assert len(after) == len(pool.containers("user-server", "tmp02", ended=True)) == ON_SECOND, "each container counts"
    assert pool.inspect("tmp02-service")["RestartCount"] == service["RestartCount"] + 2
    for watched in (watch, redirector):
        assert watched.seen
        assert watched.wrong == []
    for server in set(after) - {user.server for user in users}:
        pool.end("tmp02", server)


def test_a_proxy_that_crashes_gets_its_routes_back(pool: Pool, guests: Guests):
    pool.crash(f"{guests.kernel.node}-proxy")

    until("the server is reached again", lambda: guests.kernel.api("status").status_code == 200)


def test_an_update_mends_what_was_done_by_hand_and_leaves_the_rest_alone(pool: Pool):
    client = docker.APIClient(version="auto")
    started = {name: pool.inspect(name)["State"]["StartedAt"] for name in ("tmp01-service", "tmp02-proxy")}
    client.disconnect_container_from_network(f"{pool.stack.label}-tmp01-proxy", f"{pool.stack.label}-tmp01-edge")
    client.stop(f"{pool.stack.label}-redirector-tls-proxy")

    pool.stack.up("--skip-preview", "--refresh")

    assert len(pool.inspect("tmp01-proxy")["NetworkSettings"]["Networks"]) == 3
    until("the redirector hears of both", lambda: pool.stats()["capacity"] == SERVERS, 15)
    assert {name: pool.inspect(name)["State"]["StartedAt"] for name in started} == started


def test_a_node_that_is_taken_out_of_the_list_is_drained_and_gone(pool: Pool):
    visitor = Visitor(pool, "tmp02")
    removal = Removal(pool, visitor, visitor.started("kernels"))
    until("a server waits on the other", lambda: pool.node_stats("tmp01")["available"])
    config = copy.deepcopy(CONFIG)
    config["tmpnb"]["nodes"] = [config["tmpnb"]["nodes"][0]]  # pyright: ignore[reportIndexIssue, reportArgumentType]
    pool.stack.write_config(config)

    with ThreadPoolExecutor(1) as threads:
        update = threads.submit(pool.stack.up, "--skip-preview")
        removal.watch(update)
        update.result()

    assert removal.draining, "nobody saw it drain"
    assert removal.worked - removal.draining >= DRAIN_SECONDS - 5, "its users may finish"
    assert removal.unlisted, "the redirector had it until the end"
    assert removal.unlisted - removal.draining <= 5, "nobody is sent there first, then it is drained"
    assert removal.sent == {f"{pool.origin('tmp01')}/"}
    assert list(pool.stats()["hosts"]) == [pool.origin("tmp01")]
    assert pool.containers(node="tmp02", ended=True) == []
    assert docker.APIClient(version="auto").networks(filters={"label": "hubstack.node=tmp02"}) == []
    assert Visitor(pool).node == "tmp01"
