"""The Swarm stack under the real engine: preview, up, refresh, no change, destroy, and killed half-way."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import docker
import pytest
import requests

from components.docker.swarm_mode import _SwarmModeProvider
from tests.engine.killing import killed
from tests.stacks import Stack, left_on_the_engine, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]

CONFIG = {
    "users": ["root admin", "ada"],
    "port": 18453,
    "addressPool": "10.214.0.0/16",
    "dataProtection": False,
}

SLOW_START_SECONDS = 40


@pytest.fixture
def stack(tmp_path: Path):
    needs_engine_and_docker()
    made = Stack("cycle", tmp_path, CONFIG)
    yield made
    made.destroy()
    assert left_on_the_engine(made.label) == {}


def test_a_stack_goes_up_stays_unchanged_survives_a_refresh_and_leaves_nothing_behind(stack: Stack):
    stack.up()

    assert "unchanged" in stack.run("preview", "--expect-no-changes", "--stack", stack.name)
    stack.run("refresh", "--yes", "--skip-preview", "--stack", stack.name, "--expect-no-changes")
    assert "to create" not in stack.up("--expect-no-changes")
    assert left_on_the_engine(stack.label)["services"], "the services run until the stack is destroyed"


def test_an_update_is_done_when_its_hub_answers(stack: Stack):
    configuration = stack.project / "runtime" / "hub" / "jupyterhub_config.py"
    # Longer than the rest of the update takes after the hub's container has started.
    configuration.write_text(f"{configuration.read_text()}\n__import__('time').sleep({SLOW_START_SECONDS})\n")
    stack.up("--skip-preview")

    answer = requests.get(f"{stack.outputs()['url']}/hub/login", verify=False, timeout=10)

    assert answer.status_code == 200
    assert "username_input" in answer.text


def test_an_update_that_was_killed_is_taken_up_again_without_doubling_anything(stack: Stack):
    command = ["pulumi", "up", "--yes", "--skip-preview", "--stack", stack.name]
    client = docker.APIClient(version="auto")
    killed(
        [*command, "--non-interactive"],
        stack.project,
        stack.environment,
        lambda: any(v["Name"] == f"{stack.label}-homes" for v in client.volumes()["Volumes"] or []),
    )
    client.create_container(
        first_image(client),
        ["true"],
        name="hubstack-cycle-marker",
        volumes=["/homes"],
        host_config=client.create_host_config(binds=[f"{stack.label}-homes:/homes"]),
    )
    client.remove_container("hubstack-cycle-marker")

    take_up = subprocess.run(
        ["toolchain/stack", "up", stack.name, "--skip-preview"],
        cwd=stack.project,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert take_up.returncode == 0, (take_up.stdout + take_up.stderr)[-4000:]
    left = left_on_the_engine(stack.label)
    assert sorted(left["services"]) == [f"{stack.label}-{name}" for name in ("hub", "pre-puller", "proxy", "tls-proxy")]
    assert sorted(left["volumes"]) == [f"{stack.label}-homes", f"{stack.label}-hub-data"]
    assert sorted(n for n in left["networks"]) == [f"{stack.label}-{name}" for name in ("control", "edge", "front")]


def test_mistakes_on_the_engine_are_all_listed_before_anything_changes(tmp_path: Path):
    needs_engine_and_docker()
    taken = Stack("taken", tmp_path, {**CONFIG, "addressPool": "172.17.0.0/16", "reservedRanges": ["172.17.128.0/17"]})
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 18453))
        listener.listen()
        accepting = threading.Thread(target=listener.accept, daemon=True)
        accepting.start()
        output = taken.run("preview", "--stack", taken.name, expect=None)

    assert f"port 18453 is in use by process {os.getpid()}" in output
    assert "172.17.0.0/16 overlaps 172.17.0.0/16 of Docker network bridge" in output
    assert "overlaps 172.17.128.0/17 of the reserved ranges" in output
    assert left_on_the_engine(taken.label) == {}


def test_a_disk_without_room_for_the_images_is_a_mistake_of_a_first_deployment():
    needs_engine_and_docker()
    inputs = {
        "engine": "unix:///var/run/docker.sock",
        "address_pool": "10.214.0.0/16",
        "stack": "hubstack-full",
        "reserved_ranges": [],
        "port": 18454,
        "disk_bytes": 2**60,
    }

    [failure] = _SwarmModeProvider().check({}, inputs).failures

    assert failure.property == "disk_bytes"
    assert "the images need 1073741824 GiB where the engine keeps them" in failure.reason
    assert _SwarmModeProvider().check(inputs, inputs).failures == []


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path):
    needs_engine_and_docker()
    away = Stack("away", tmp_path, {**CONFIG, "engine": "unix:///nowhere/docker.sock"})

    output = away.run("preview", "--stack", away.name, expect=None)

    assert "no Docker engine answers at unix:///nowhere/docker.sock" in output


def test_mistakes_in_the_configuration_are_all_listed_without_a_stack_trace(tmp_path: Path):
    needs_engine_and_docker()
    wrong = {"usrs": [], "users": ["ada", "Bob!", "eve root"], "port": 99999, "addressPool": "10.0.0.0/30"}
    stack = Stack("wrong", tmp_path, wrong)

    output = stack.run("preview", "--stack", stack.name, expect=None)

    assert "did you mean hubstack:users?" in output
    assert "line 2: 'Bob!'" in output
    assert "line 3: 'root' after the name" in output
    assert "Traceback" not in output


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def first_image(client: docker.APIClient) -> str:
    return client.images()[0]["Id"]
