"""A pool of temporary notebooks on real containers: visitors, quotas, isolation, faults, a node that goes."""

import copy
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest

from components.docker.tmpnb_plan import plan_node
from components.probe_destinations import METADATA_SERVICES, OUTSIDE, PRIVATE_NEIGHBOURS, destination
from tests.e2e.chromium import chromium
from tests.e2e.jupyterlab import run_cell
from tests.e2e.tmpnb_pool import CONFIG, Pool, Visitor, names_of_this_machine, new_session, until
from tests.stacks import ROOT, Stack, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    needs_engine_and_docker()
    folder = tmp_path_factory.mktemp("pool")
    with names_of_this_machine(), Stack("pool", folder, copy.deepcopy(CONFIG)).deployed() as stack:
        yield Pool(stack)


@pytest.fixture
def visitor(pool: Pool) -> Visitor:
    until("a server waits", lambda: pool.stats()["available"])
    return Visitor(pool)


def test_the_pool_fills_and_the_stats_add_up(pool: Pool):
    until("all servers wait", lambda: pool.full(5))
    stats = pool.stats()

    assert set(stats["hosts"]) == {"https://tmp01.tmp.localhost:18451", "https://tmp02.tmp.localhost:18452"}
    assert stats["capacity"] == sum(host["capacity"] for host in stats["hosts"].values()) == 5
    assert stats["available"] == sum(host["available"] for host in stats["hosts"].values()) == 5


def test_a_visitor_gets_a_started_server_and_who_comes_again_the_same(pool: Pool):
    until("a server waits", lambda: pool.stats()["available"])
    visitor = Visitor(pool)

    assert urlsplit(visitor.page.url).path == f"/user/{visitor.server}/lab"
    assert visitor.api("status").status_code == 200
    again = visitor.session.get(f"{visitor.origin}/", timeout=30)
    assert f"/user/{visitor.server}/" in again.url


def test_the_path_and_the_query_of_a_link_reach_the_server(pool: Pool):
    until("a server waits", lambda: pool.stats()["available"])
    link = "/git-pull?repo=https%3A%2F%2Fgithub.com%2Fexample%2Fcourse&urlpath=lab%2Ftree%2Fcourse%2Findex.ipynb"

    first = pool.get(link, allow_redirects=False)
    second = pool.get(first.headers["Location"], allow_redirects=False)

    assert (first.status_code, second.status_code) == (302, 302)
    assert first.headers["Location"].endswith(f".localhost:{first.headers['Location'].split(':')[2][:5]}{link}")
    assert "/git-pull?repo=https%3A%2F%2Fgithub.com%2Fexample%2Fcourse&urlpath=" in second.headers["Location"]


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


def test_a_server_has_the_limits_that_the_stack_names(visitor: Visitor, pool: Pool):
    limits = pool.inspect(f"{visitor.node}-{visitor.server}")["HostConfig"]

    assert (limits["Memory"], limits["MemorySwap"]) == (512 * 2**20, 512 * 2**20)
    assert limits["NanoCpus"] == 10**9
    assert limits["PidsLimit"] == 128
    assert limits["ReadonlyRootfs"] is True
    assert limits["CapDrop"] == ["ALL"]
    assert limits["PortBindings"] in ({}, None)


def test_quotas_hold_and_who_breaks_them_breaks_nothing_else(visitor: Visitor, pool: Pool):
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


def test_a_server_reaches_no_neighbour_no_host_and_no_outside(pool: Pool):
    until("two servers wait", lambda: pool.stats()["available"] >= 2)
    visitor, other = Visitor(pool), Visitor(pool)
    plans = [plan_node("10.218.0.0/16", number) for number in (1, 2)]
    forbidden = [*METADATA_SERVICES, *PRIVATE_NEIGHBOURS, *OUTSIDE]
    neighbours = [
        container for container in pool.containers("user-server") if visitor.server not in container["Names"][0]
    ]
    forbidden += [destination("tcp", address, 8888, "a neighbour") for one in neighbours for address in addresses(one)]
    forbidden.append(destination("tcp", f"{pool.stack.label}-{other.node}-{other.server}", 8888, "a neighbour by name"))
    for plan in plans:
        proxy, service = plan.gates
        for address, port in ((proxy, 8000), (proxy, 8001), (service, 9999), (service, 10000)):
            forbidden.append(destination("tcp", address, port, "the platform"))
        gateway = plan.servers.partition("/")[0][:-1] + "1"
        forbidden += [destination("tcp", gateway, port, "the host") for port in (22, 2375, 18450, 18451, 18452)]
    platform = [one for one in pool.containers() if one["Labels"]["hubstack.role"] != "user-server"]
    forbidden += [destination("tcp", address, 8443, "the platform") for one in platform for address in addresses(one)]
    assert len(forbidden) >= 25
    assert len(neighbours) >= 2

    report = visitor.probe(forbidden, [])

    assert report["answered"] == []


def addresses(container: dict[str, Any]) -> list[str]:
    """A container's addresses on all its networks."""
    networks = container["NetworkSettings"]["Networks"].values()
    return [network["IPAddress"] for network in networks if network["IPAddress"]]


def test_a_stolen_cookie_and_a_guessed_path_open_nobody_elses_server(pool: Pool):
    until("two servers wait", lambda: pool.stats()["available"] >= 2)
    thief, victim = Visitor(pool), Visitor(pool)
    stranger = new_session()

    by_path = stranger.get(f"{victim.base}/api/contents", timeout=30)
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in thief.session.cookies)
    by_cookie = stranger.get(f"{victim.base}/api/contents", headers={"Cookie": cookies}, timeout=30)

    assert victim.api("contents").status_code == 200
    assert by_path.status_code == 403
    assert by_cookie.status_code == 403


def test_what_ended_has_a_page_and_no_server(pool: Pool):
    gone = pool.get("https://tmp01.tmp.localhost:18451/user/nobody/lab")

    assert gone.status_code == 410
    assert "/user/" not in gone.url.partition("/user/nobody")[2]


def test_when_all_is_full_a_page_retries_and_the_api_says_so(pool: Pool):
    taken = 0
    while (available := pool.stats()["available"]) or taken < 5:
        for _ in range(available):
            answer = pool.get("/", allow_redirects=True)
            taken += answer.ok
        if taken >= 5 and not pool.stats()["available"]:
            break
        time.sleep(1)

    full = pool.get("/lab/tree/x.ipynb?a=b")
    said = new_session().post(f"{pool.url}/api/spawn", timeout=30)

    assert full.status_code == 503
    assert int(full.headers["Retry-After"]) > 0
    assert said.status_code == 429
    assert said.json() == {"status": "full"}


def test_idle_servers_are_replaced_and_a_used_one_is_not(pool: Pool):
    until("idle servers are culled and new ones started", lambda: pool.stats()["available"] >= 4, seconds=240)
    busy = Visitor(pool)
    kernel = busy.session.post(
        f"{busy.base}/api/kernels", headers={"X-XSRFToken": busy.session.cookies.get("_xsrf", "")}, timeout=30
    )
    assert kernel.ok, kernel.text
    deadline = time.monotonic() + 80
    while time.monotonic() < deadline:
        # A terminal or kernel in use is activity that the server itself tells of.
        assert busy.api("kernels").ok
        time.sleep(5)

    assert busy.api("status").status_code == 200
    assert any(busy.server in container["Names"][0] for container in pool.containers("user-server"))


def test_a_service_that_crashes_takes_no_server_along_and_hands_none_out_twice(pool: Pool):
    until("two servers wait", lambda: pool.stats()["available"] >= 2)
    before = Visitor(pool)
    pool.crash(f"{before.node}-service")

    assert before.api("status").status_code == 200, "while the service is away"
    until("the node answers again", lambda: pool.node_stats(before.node)["capacity"])
    until("a server waits on it", lambda: pool.node_stats(before.node)["available"])
    others = [pool.get(f"{before.origin}/") for _ in range(pool.node_stats(before.node)["available"])]
    assert others
    assert all(before.server not in other.url for other in others)
    assert len({other.url for other in others}) == len(others)
    assert before.api("status").status_code == 200


def test_a_proxy_that_crashes_gets_its_routes_back(visitor: Visitor, pool: Pool):
    pool.crash(f"{visitor.node}-proxy")

    until("the server is reached again", lambda: visitor.api("status").status_code == 200)


def test_a_redirector_that_crashes_knows_its_nodes_again(pool: Pool):
    pool.crash("redirector-redirector")

    until("it redirects again", lambda: pool.stats()["capacity"] == 5)


def test_another_update_and_a_refresh_change_nothing(pool: Pool):
    pool.stack.run("preview", "--refresh", "--expect-no-changes", "--stack", pool.stack.name)


def test_an_update_mends_what_was_done_by_hand_and_leaves_the_rest_alone(pool: Pool):
    client = docker.APIClient(version="auto")
    started = {name: pool.inspect(name)["State"]["StartedAt"] for name in ("tmp01-service", "tmp02-proxy")}
    client.disconnect_container_from_network(f"{pool.stack.label}-tmp01-proxy", f"{pool.stack.label}-tmp01-edge")
    client.stop(f"{pool.stack.label}-redirector-tls-proxy")

    pool.stack.up("--skip-preview", "--refresh")

    assert len(pool.inspect("tmp01-proxy")["NetworkSettings"]["Networks"]) == 3
    assert pool.stats()["capacity"] == 5
    assert {name: pool.inspect(name)["State"]["StartedAt"] for name in started} == started


def test_secrets_are_in_no_environment_label_or_configuration(pool: Pool):
    token = pool.stack.outputs()["adminToken"]
    client = docker.APIClient(version="auto")
    seen = json.dumps([client.inspect_container(container["Id"]) for container in pool.containers()])

    assert token not in seen
    state = subprocess.run(
        ["pulumi", "stack", "export", "--stack", pool.stack.name],
        cwd=pool.stack.project,
        env=pool.stack.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert token not in state.stdout


def test_a_node_that_is_taken_out_of_the_list_is_drained_and_gone(pool: Pool):
    until("servers wait on both", lambda: all(pool.node_stats(node)["available"] for node in ("tmp01", "tmp02")))
    config = copy.deepcopy(CONFIG)
    config["tmpnb"]["nodes"] = [config["tmpnb"]["nodes"][0]]  # pyright: ignore[reportIndexIssue, reportArgumentType]
    pool.stack.write_config(config)

    pool.stack.up("--skip-preview")

    assert list(pool.stats()["hosts"]) == ["https://tmp01.tmp.localhost:18451"]
    assert pool.containers(node="tmp02") == []
    assert docker.APIClient(version="auto").networks(filters={"label": "hubstack.node=tmp02"}) == []
    assert Visitor(pool).node == "tmp01"
