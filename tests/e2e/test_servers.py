"""Users' servers on a real hub: quotas, isolation, homes, restarts."""

import json
import subprocess
import time

import docker
import pytest

from components.docker.overlay import plan_addresses
from components.docker.probe import PROBE_SOURCE, destination, destinations
from tests.e2e.hub_client import HubUser
from tests.stacks import Stack

pytestmark = [pytest.mark.engine, pytest.mark.docker]

POOL = "10.215.0.0/16"


@pytest.fixture(scope="module")
def user(hub: Stack):
    made = HubUser(hub, "user1")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def neighbour(hub: Stack):
    made = HubUser(hub, "user2")
    made.start()
    yield made
    made.stop()


def test_a_server_has_the_limits_that_the_stack_names(user: HubUser):
    limits = user.container["HostConfig"]

    assert limits["Memory"] == 512 * 2**20
    assert limits["MemorySwap"] == 512 * 2**20
    assert limits["NanoCpus"] == 10**9
    assert limits["PidsLimit"] == 128
    assert limits["ReadonlyRootfs"] is True
    assert limits["CapDrop"] == ["ALL"]


def test_a_home_stops_at_its_size(user: HubUser):
    code, output = user.run("dd", "if=/dev/zero", "of=/home/jovyan/big", "bs=1M", "count=100")
    user.run("rm", "-f", "/home/jovyan/big")

    assert code != 0
    assert "No space left on device" in output


def test_tmp_stops_at_its_size(user: HubUser):
    code, output = user.run("dd", "if=/dev/zero", "of=/tmp/big", "bs=1M", "count=64")
    user.run("rm", "-f", "/tmp/big")

    assert code != 0
    assert "No space left on device" in output


def test_nothing_but_home_and_tmp_is_writable(user: HubUser):
    for folder in ("/", "/opt/venv", "/usr/local", "/var/tmp", "/etc"):
        code, output = user.run("touch", f"{folder}/mark")
        assert code != 0, folder
        assert "Read-only file system" in output or "Permission denied" in output


def test_a_fork_bomb_stops_at_the_limit_on_processes(user: HubUser):
    program = (
        "import os, time\n"
        "n = 0\n"
        "try:\n"
        "    while n < 400:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(3); os._exit(0)\n"
        "        n += 1\n"
        "except BlockingIOError:\n"
        "    print('stopped at', n)\n"
        "for _ in range(n):\n"
        "    os.wait()\n"
    )
    _, output = user.run("python3", "-c", program)

    assert "stopped at" in output
    assert int(output.split()[-1]) < 128


def test_a_memory_hog_dies_alone(user: HubUser):
    code, _ = user.run("python3", "-c", "x = bytearray(2 * 1024 ** 3); print(len(x))")

    assert code == 137
    assert user.model()["server"], "the server itself lives on"


def test_a_closed_server_reaches_nothing_but_the_proxy(user: HubUser, neighbour: HubUser, hub: Stack):
    plan = plan_addresses(POOL)
    forbidden = destinations(plan, "closed")
    for network in neighbour.container["NetworkSettings"]["Networks"].values():
        forbidden.append(destination("tcp", network["IPAddress"], 8888, "another user's server"))
    forbidden.append(destination("tcp", f"{hub.label}-user-user2", 8888, "another user's server by name"))
    assert len(forbidden) >= 20
    document = {"forbidden": forbidden, "required": [destination("tcp", "proxy", 8000, "the proxy")]}

    code, output = user.run("python3", "-c", PROBE_SOURCE.read_text(), json.dumps(document))

    report = json.loads(output.splitlines()[-1])
    assert report["answered"] == []
    assert report["missing"] == []
    assert code == 0


def test_the_probe_reports_what_does_answer(user: HubUser):
    document = {"forbidden": [destination("tcp", "proxy", 8000, "the proxy")], "required": []}

    code, output = user.run("python3", "-c", PROBE_SOURCE.read_text(), json.dumps(document))

    assert code == 1
    assert [found["host"] for found in json.loads(output.splitlines()[-1])["answered"]] == ["proxy"]


def test_a_user_cannot_open_another_users_server(user: HubUser, neighbour: HubUser):
    page = neighbour.session.get(f"{user.url}/user/user1/lab")
    files = neighbour.session.get(f"{user.url}/user/user1/api/contents")

    assert user.session.get(f"{user.url}/user/user1/api/contents").status_code == 200
    assert page.status_code == 403
    assert files.status_code == 403


def test_somebody_who_is_not_on_the_list_is_refused(hub: Stack):
    assert HubUser(hub, "mallory").login.status_code == 403


def test_the_number_of_servers_is_capped(user: HubUser, neighbour: HubUser, hub: Stack):
    third, fourth = HubUser(hub, "user3"), HubUser(hub, "user4")
    for one in (user, neighbour, third):
        one.start()

    refused = fourth.ask_for_server()

    third.stop()
    assert refused.status_code == 429


def test_a_home_is_there_again_in_the_next_server(hub: Stack):
    somebody = HubUser(hub, "user5")
    somebody.start()
    somebody.run("sh", "-c", "echo kept > /home/jovyan/note")
    somebody.stop()
    somebody.start()  # who comes back at once is let in

    _, output = somebody.run("cat", "/home/jovyan/note")

    somebody.stop()
    assert output.strip() == "kept"
    networks = docker.APIClient(version="auto").networks()
    assert not [network["Name"] for network in networks if "user5" in network["Name"]]


def test_a_hub_that_restarts_cuts_nobody_off(user: HubUser, hub: Stack):
    before = started_anew(user)
    assert user.session.get(f"{user.url}/user/user1/api/status").ok
    kill_service(f"{hub.label}-hub")

    assert user.session.get(f"{user.url}/user/user1/api/status").ok, "while the hub is away"
    wait_until(lambda: user.session.get(f"{user.url}/hub/health").ok)
    wait_until(lambda: bool(user.model().get("server")))
    assert user.container["Id"] == before
    assert user.session.get(f"{user.url}/user/user1/api/status").ok


def test_a_proxy_that_is_replaced_finds_its_routes_again(user: HubUser, hub: Stack):
    before, server = proxy_tasks(hub), started_anew(user)
    assert before
    kill_service(f"{hub.label}-proxy")

    wait_until(lambda: user.session.get(f"{user.url}/user/user1/api/status").status_code == 200)
    assert proxy_tasks(hub).isdisjoint(before), "another task serves"
    assert user.container["Id"] == server, "the user's server is the same"


def test_secrets_are_in_no_environment_label_configuration_or_state(hub: Stack):
    outputs, secrets = hub.outputs(), hub_secrets(hub)
    client = docker.APIClient(version="auto")
    seen = json.dumps([client.services(), client.configs(), client.containers(all=True), client.networks()])
    seen += json.dumps([client.inspect_container(c["Id"]) for c in client.containers()])

    assert {outputs["password"], outputs["adminPassword"]} < secrets
    stored = hub.state()
    assert [secret for secret in secrets if secret in seen or secret in stored] == []


def test_a_server_that_ends_by_itself_leaves_nothing_and_its_user_gets_another(hub: Stack):
    client = docker.APIClient(version="auto")
    somebody = HubUser(hub, "user5")
    somebody.start()

    def left() -> list[str]:
        services = [service["Spec"]["Name"] for service in client.services()]
        return [name for name in (*services, *(n["Name"] for n in client.networks())) if "user5" in name]

    assert len(left()) == 2
    client.kill(somebody.container["Id"])
    # The hub asks after its servers every half minute.
    wait_until(lambda: not left())

    somebody.start()
    somebody.stop()
    assert not left()


def started_anew(user: HubUser) -> str:
    """The container of a server that was started just now: an older one may be stopped as idle at any moment."""
    user.stop()
    user.start()
    return user.container["Id"]


def hub_secrets(stack: Stack) -> set[str]:
    """The hub's secrets, as it reads them."""
    client = docker.APIClient(version="auto")
    label = f"com.docker.swarm.service.name={stack.label}-hub"
    [container] = client.containers(filters={"label": label})
    read = client.exec_create(container["Id"], ["sh", "-c", "for file in /run/secrets/*; do cat $file; echo; done"])
    return set(client.exec_start(read["Id"]).decode().split())


def proxy_tasks(stack: Stack) -> set[str]:
    label = f"com.docker.swarm.service.name={stack.label}-proxy"
    return {c["Id"] for c in docker.APIClient(version="auto").containers(filters={"label": label})}


def kill_service(service: str) -> None:
    client = docker.APIClient(version="auto")
    for container in client.containers(filters={"label": f"com.docker.swarm.service.name={service}"}):
        subprocess.run(["docker", "kill", container["Id"]], check=True, capture_output=True)


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)
