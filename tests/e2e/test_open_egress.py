"""Servers under the egress profile `open`: public addresses answer, nothing private does."""

import json
import socket
import subprocess
from collections.abc import Iterator

import docker
import pytest

from components.docker.overlay import plan_addresses
from components.docker.probe import PROBE_SOURCE, destination, destinations
from runtime.open_network import bridge_name
from tests.e2e import outside
from tests.e2e.hub_client import HubUser
from tests.e2e.test_servers import wait_until
from tests.stacks import Stack, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]

POOL = "10.216.0.0/16"
CONFIG = {
    "users": ["ada", "bob"],
    "port": 18445,
    "addressPool": POOL,
    "dataProtection": False,
    "egressProfile": "open",
    "userQuota": {"memory": "512M", "home": "64M", "tmp": "32M"},
}


@pytest.fixture(scope="module")
def open_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    needs_engine_and_docker()
    stack = Stack("open", tmp_path_factory.mktemp("open"), CONFIG)
    with stack.deployed("--policy-pack-config", "policies/config/dev.json"), outside.outside():
        yield stack
    wait_until(lambda: rules_of(stack) == [], 30)


@pytest.fixture(scope="module")
def ada(open_hub: Stack) -> HubUser:
    user = HubUser(open_hub, "ada")
    user.start()
    return user


@pytest.fixture(scope="module")
def bob(open_hub: Stack) -> HubUser:
    user = HubUser(open_hub, "bob")
    user.start()
    return user


def tried_from(user: HubUser, forbidden: list, required: list) -> dict:
    document = {"forbidden": forbidden, "required": required}
    _, output = user.run("python3", "-c", PROBE_SOURCE.read_text(), json.dumps(document))
    return json.loads(output.splitlines()[-1])


def rules_of(stack: Stack) -> list[str]:
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return [line for line in saved.splitlines() if bridge_name(stack.label) in line]


def test_a_public_address_answers(ada: HubUser):
    report = tried_from(ada, [], [destination("tcp", outside.PUBLIC, outside.PORT, "a public address")])

    assert report["missing"] == []


def test_private_ranges_and_metadata_services_do_not_although_the_host_reaches_them(ada: HubUser):
    for address in outside.FORBIDDEN:
        socket.create_connection((address, outside.PORT), timeout=5).close()

    report = tried_from(
        ada, [destination("tcp", address, outside.PORT, why) for address, why in outside.FORBIDDEN.items()], []
    )

    assert report["tried"] == len(outside.FORBIDDEN)
    assert report["answered"] == []


def test_the_host_does_not_answer_at_any_of_its_addresses(ada: HubUser):
    addresses = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, check=True).stdout
    own = {a["local"] for interface in json.loads(addresses) for a in interface["addr_info"]} - {"127.0.0.1"}
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        report = tried_from(ada, [destination("tcp", address, port, "the host") for address in sorted(own)], [])

    assert "198.51.100.1" in own
    assert report["answered"] == []


def test_a_neighbour_does_not_answer(ada: HubUser, bob: HubUser):
    networks = bob.container["NetworkSettings"]["Networks"].values()

    report = tried_from(ada, [destination("tcp", n["IPAddress"], 8888, "another server") for n in networks], [])

    assert report["tried"] == 2
    assert report["answered"] == []


def test_the_platform_is_as_far_as_under_a_closed_profile(ada: HubUser):
    report = tried_from(ada, destinations(plan_addresses(POOL), "open"), [])

    assert report["answered"] == []


def test_rules_that_somebody_took_away_come_back(ada: HubUser, open_hub: Stack):
    before = len(rules_of(open_hub))
    bridge = bridge_name(open_hub.label)
    [jump] = [rule.split()[1:] for rule in rules_of(open_hub) if rule.startswith("-A DOCKER-USER")]
    subprocess.run(["iptables", "-D", *jump], check=True)

    wait_until(lambda: len(rules_of(open_hub)) == before, 30)

    assert any(f"-A DOCKER-USER -i {bridge}" in rule for rule in rules_of(open_hub))
    assert tried_from(ada, [destination("tcp", "10.99.0.10", outside.PORT, "private")], [])["answered"] == []


def test_a_guard_that_dies_leaves_its_rules(ada: HubUser, open_hub: Stack):
    client = docker.APIClient(version="auto")
    label = f"com.docker.swarm.service.name={open_hub.label}-egress-guard"
    [guard] = client.containers(filters={"label": label})
    client.kill(guard["Id"])

    report = tried_from(
        ada,
        [destination("tcp", "169.254.169.254", outside.PORT, "metadata")],
        [destination("tcp", outside.PUBLIC, outside.PORT, "a public address")],
    )

    assert report == {"answered": [], "missing": [], "tried": 2}


def test_nothing_changes_after_a_refresh(open_hub: Stack):
    output = open_hub.run("preview", "--refresh", "--expect-no-changes", "--stack", open_hub.name)

    assert "unchanged" in output
