"""Updates of a running hub: what they change, and what they leave as it was."""

import time
from collections.abc import Iterator

import docker
import pytest

from tests.e2e.conftest import CONFIG
from tests.e2e.hub_client import HubUser
from tests.e2e.test_servers import wait_until
from tests.stacks import Stack

pytestmark = [pytest.mark.engine, pytest.mark.docker]

IDLE_SECONDS = CONFIG["userQuota"]["idle"]


@pytest.fixture(scope="module")
def busy(hub: Stack) -> Iterator[HubUser]:
    user = HubUser(hub, "user7")
    user.start()
    yield user
    user.stop()


def platform_containers(stack: Stack) -> set[str]:
    filters = {"label": [f"hubstack.stack={stack.label}"], "status": "running"}
    return {container["Id"] for container in docker.APIClient(version="auto").containers(filters=filters)}


def uses_the_server(user: HubUser) -> bool:
    return user.session.get(f"{user.url}/user/{user.name}/api/status", allow_redirects=False).status_code == 200


def test_a_build_that_fails_leaves_the_hub_as_it_was(hub: Stack, busy: HubUser):
    dockerfile = hub.project / "images" / "hub" / "Dockerfile"
    before, working = platform_containers(hub), dockerfile.read_text()
    dockerfile.write_text(f"{working}\nRUN echo this build breaks >&2 && false\n")

    output = hub.up("--skip-preview", expect=None)

    dockerfile.write_text(working)
    assert "error: update failed" in output
    assert "this build breaks" in output
    assert platform_containers(hub) == before
    assert uses_the_server(busy)


def test_a_new_shared_password_counts_at_once_and_servers_stay(hub: Stack, busy: HubUser):
    old, server = hub.outputs()["password"], busy.container["Id"]
    hub.run("config", "set", "--secret", "hubstack:password", "a phrase of our own", "--stack", hub.name)
    hub.up("--skip-preview")

    assert hub.outputs()["password"] == "a phrase of our own" != old
    assert HubUser(hub, "user8").login.ok
    assert busy.container["Id"] == server
    assert uses_the_server(busy)


def test_an_idle_server_is_stopped_and_a_busy_one_is_not(hub: Stack, busy: HubUser):
    idle = HubUser(hub, "user8")
    idle.start()
    started = time.monotonic()

    def is_stopped() -> bool:
        assert uses_the_server(busy)
        return not idle.model().get("servers")

    wait_until(is_stopped, 2 * IDLE_SECONDS)

    assert time.monotonic() - started > IDLE_SECONDS / 2
    assert uses_the_server(busy)


@pytest.fixture(scope="module")
def larger_and_shorter(hub: Stack, busy: HubUser) -> None:
    """An update that gives users more space and servers less time, while somebody has a server."""
    quota = {**CONFIG["userQuota"], "maxAge": IDLE_SECONDS, "home": "256M"}
    assert uses_the_server(busy)
    hub.write_config({**CONFIG, "userQuota": quota})
    hub.up("--skip-preview")


@pytest.mark.usefixtures("larger_and_shorter")
def test_a_server_of_the_greatest_age_is_stopped_although_it_is_busy(busy: HubUser):
    def is_stopped() -> bool:
        uses_the_server(busy)
        return not busy.model().get("servers")

    wait_until(is_stopped, IDLE_SECONDS)


@pytest.mark.usefixtures("larger_and_shorter")
def test_a_larger_home_reaches_somebody_who_had_a_smaller_one(busy: HubUser):
    busy.start()
    code, output = busy.run("dd", "if=/dev/zero", "of=/home/jovyan/big", "bs=1M", "count=150")

    assert code == 0, output
