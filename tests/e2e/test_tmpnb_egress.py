"""A pool's egress profiles on real containers, one after the other in one stack: `domains`, `ports`, `open`."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from components.docker.tmpnb_egress import bridges
from components.docker.tmpnb_plan import plan_node
from components.probe_destinations import PROBE_SOURCE, Destination, destination
from tests.e2e import outside
from tests.e2e.tmpnb_pool import names_of_this_machine, until
from tests.stacks import Stack, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]

POOL = "10.231.0.0/16"
PLAN = plan_node(POOL, 1)
CONFIG: dict[str, object] = {
    "topology": "tmpnb",
    "addressPool": POOL,
    "userQuota": {"cpu": 1, "memory": "384M", "processes": 128, "home": "64M", "tmp": "32M"},
    "tmpnb": {
        "port": 9500,
        "drainSeconds": 0,
        "visitorBurst": 100,
        "nodes": [{"name": "tmp01", "port": 9501, "capacity": 2}],
    },
}
NAMED = "pypi.example.org"
DOMAINS: dict[str, object] = {"egressProfile": "domains", "egressDomains": [NAMED, ".example.net"]}
PORTS: dict[str, object] = {"egressProfile": "ports", "egressPorts": [443]}
OPEN: dict[str, object] = {"egressProfile": "open"}

RESOLVES = {
    NAMED: outside.PUBLIC,
    "other.example.org": outside.PUBLIC,
    "inside.example.net": "10.99.0.10",
    "metadata.example.net": "169.254.169.254",
}

TUNNEL = """
import http.client, os, sys
from urllib.parse import urlsplit
proxy = urlsplit(os.environ["https_proxy"])
for host, _, port in (target.partition(":") for target in sys.argv[1:]):
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)
    connection.set_tunnel(host, int(port))
    try:
        connection.request("GET", "/")
        print(connection.getresponse().read().decode())
    except OSError as error:
        print(error)
"""
"""Says, a line each, what answers through the tunnels that the server's environment leads to."""


@dataclass
class Lab:
    """The deployed pool."""

    stack: Stack

    def change(self, profile: dict[str, object], levels: str = "tmpnb") -> None:
        """Update the stack to another egress profile, and wait until servers are there."""
        self.stack.write_config({**CONFIG, **profile})
        self.stack.up("--skip-preview", "--policy-pack-config", f"policies/config/{levels}.json")
        until("both servers run", lambda: len(self.servers()) == 2, 60)

    def servers(self) -> list[dict[str, Any]]:
        """Running servers of users, by name."""
        labels = [f"hubstack.stack={self.stack.label}", "hubstack.role=user-server"]
        found = docker.APIClient(version="auto").containers(filters={"label": labels})
        return sorted(found, key=lambda one: one["Names"][0])

    def container(self, name: str) -> dict[str, Any]:
        """A container of the platform."""
        return docker.APIClient(version="auto").inspect_container(f"{self.stack.label}-tmp01-{name}")

    def run(self, container: str, *command: str) -> tuple[int, str]:
        """Run a command in a container as its user, and return exit code and output."""
        client = docker.APIClient(version="auto")
        created = client.exec_create(container, list(command))
        output = client.exec_start(created["Id"])
        assert isinstance(output, bytes)
        return client.exec_inspect(created["Id"])["ExitCode"], output.decode(errors="replace")

    def tried(self, forbidden: list[Destination], required: list[Destination]) -> dict[str, Any]:
        """What answers in a server's place."""
        document = json.dumps({"forbidden": forbidden, "required": required})
        _, output = self.run(self.servers()[0]["Id"], "python3", "-c", PROBE_SOURCE.read_text(), document)
        return json.loads(output.splitlines()[-1])

    def tunnels(self, *targets: str) -> list[str]:
        """What answers a server through tunnels to these."""
        return self.run(self.servers()[0]["Id"], "python3", "-c", TUNNEL, *targets)[1].splitlines()

    def rules(self) -> list[str]:
        """Rules of the host's packet filter for the node's bridges."""
        saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
        names = bridges(f"{self.stack.label}-tmp01")
        return [line for line in saved.splitlines() if any(name in line for name in names)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    needs_engine_and_docker()
    stack = Stack("egress", tmp_path_factory.mktemp("egress"), {**CONFIG, **DOMAINS})
    with (
        names_of_this_machine(),
        outside.outside(443),
        stack.deployed("--policy-pack-config", "policies/config/tmpnb.json"),
    ):
        made = Lab(stack)
        until("both servers run", lambda: len(made.servers()) == 2, 60)
        yield made
    assert made.rules() == []


@pytest.fixture(scope="module")
def domains(lab: Lab) -> Lab:
    """The pool under `domains`, whose proxy takes a few names for what is outside here."""
    proxy = lab.container("egress-proxy")
    with Path(proxy["HostsPath"]).open("a") as hosts:
        hosts.writelines(f"{address} {name}\n" for name, address in RESOLVES.items())
    # By its process id: what the engine was told to kill it does not start again.
    os.kill(proxy["State"]["Pid"], signal.SIGHUP)
    until("the proxy knows the names", lambda: lab.tunnels(f"{NAMED}:443") == ["outside"], 30)
    return lab


@pytest.fixture(scope="module")
def ports(lab: Lab) -> Lab:
    lab.change(PORTS)
    return lab


@pytest.fixture(scope="module")
def opened(lab: Lab) -> Lab:
    lab.change(OPEN, "dev")
    return lab


def everywhere(port: int) -> list[Destination]:
    """What no profile opens, on a port on which all of it answers the host."""
    for address in outside.FORBIDDEN:
        socket.create_connection((address, port), timeout=5).close()
    return [destination("tcp", address, port, why) for address, why in outside.FORBIDDEN.items()]


def public(port: int) -> Destination:
    return destination("tcp", outside.PUBLIC, port, f"a public address on {port}")


def test_a_named_domain_is_reached_through_the_proxy_and_nothing_else_is(domains: Lab):
    targets = [f"{name}:443" for name in RESOLVES if name != NAMED]
    targets += [f"{outside.PUBLIC}:443", f"{NAMED}:{outside.PORT}"]

    assert domains.tunnels(f"{NAMED}:443") == ["outside"]
    assert domains.tunnels(*targets) == ["Tunnel connection failed: 403 Forbidden"] * 5


def test_under_domains_a_server_reaches_nothing_by_itself(domains: Lab):
    other_port = destination("tcp", PLAN.egress_proxy, 443, "another port of the proxy")
    names = destination("dns", "example.org", 53, "a name")

    report = domains.tried(
        [public(443), public(outside.PORT), *everywhere(443), other_port, names],
        [destination("tcp", PLAN.egress_proxy, 3128, "the proxy")],
    )

    assert (report["answered"], report["missing"]) == ([], [])


def test_the_proxys_own_packets_go_to_public_addresses_on_443_alone(domains: Lab):
    proxy = domains.container("egress-proxy")["Id"]
    server = domains.servers()[0]["NetworkSettings"]["Networks"]
    [neighbour] = [network["IPAddress"] for network in server.values()]
    shut = [(outside.PUBLIC, outside.PORT), ("10.99.0.10", 443), ("169.254.169.254", 443), (neighbour, 8888)]

    def code(place: tuple[str, int]) -> int:
        address, port = place
        return domains.run(proxy, "timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")[0]

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(code, [(outside.PUBLIC, 443), *shut]))

    assert found == [0, *[124] * 4], "none answers, not even with a refusal"


def test_the_proxy_has_no_rights_and_comes_back_when_it_crashes(domains: Lab):
    proxy = domains.container("egress-proxy")
    limits = proxy["HostConfig"]

    assert proxy["Config"]["User"] == "13:13"
    assert (limits["CapDrop"], limits["CapAdd"], limits["ReadonlyRootfs"]) == (["ALL"], None, True)
    assert (limits["Memory"], limits["MemorySwap"], limits["PidsLimit"]) == (2**28, 2**28, 64)
    os.kill(proxy["State"]["Pid"], signal.SIGKILL)
    until("the proxy answers again", lambda: "403" in domains.tunnels("other.example.org:443")[0], 30)


def test_named_ports_of_public_addresses_answer_and_no_others(ports: Lab):
    report = ports.tried([public(outside.PORT), *everywhere(443)], [public(443)])

    assert (report["answered"], report["missing"]) == ([], [])
    assert [one["HostConfig"]["Dns"] or [] for one in inspected(ports)] == [[], []], "names are resolved"


def test_of_domains_nothing_is_left_under_another_profile(ports: Lab):
    client, label = docker.APIClient(version="auto"), ports.stack.label

    assert not [one["Names"] for one in client.containers(all=True) if f"{label}-tmp01-egress-proxy" in one["Names"][0]]
    assert not client.networks(names=[f"{label}-tmp01-egress"])
    assert not [rule for rule in ports.rules() if bridges(f"{label}-tmp01")[1] in rule]
    assert not any(
        "proxy=" in variable.lower()
        for one in inspected(ports)
        for variable in one["Config"]["Env"]
        if "http" in variable
    )


def test_another_list_of_ports_reaches_servers_that_are_in_use_without_a_restart(
    ports: Lab, request: pytest.FixtureRequest
):
    before = [one["Id"] for one in ports.servers()]
    assert ports.tried([], [public(443)])["missing"] == []

    opened: Lab = request.getfixturevalue("opened")

    assert [one["Id"] for one in opened.servers()] == before
    assert opened.tried([], [public(443), public(outside.PORT)])["missing"] == []


def test_under_open_private_ranges_and_metadata_services_do_not_answer(opened: Lab):
    report = opened.tried(everywhere(outside.PORT), [public(outside.PORT)])

    assert (report["answered"], report["missing"]) == ([], [])


def test_under_open_neither_the_host_nor_a_neighbour_answers(opened: Lab):
    listed = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, check=True).stdout
    own = {a["local"] for interface in json.loads(listed) for a in interface["addr_info"]} - {"127.0.0.1"}
    [neighbour] = [network["IPAddress"] for network in opened.servers()[1]["NetworkSettings"]["Networks"].values()]
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        forbidden = [destination("tcp", address, port, "the host") for address in sorted(own)]
        report = opened.tried([*forbidden, destination("tcp", neighbour, 8888, "a neighbour")], [])

    assert report["tried"] > 5
    assert report["answered"] == []


def test_nothing_changes_after_the_last_update(opened: Lab):
    output = opened.stack.run("preview", "--refresh", "--expect-no-changes", "--stack", opened.stack.name)

    assert "unchanged" in output


def inspected(lab: Lab) -> list[dict[str, Any]]:
    return [docker.APIClient(version="auto").inspect_container(one["Id"]) for one in lab.servers()]
