"""A Swarm of several hosts, as on EC2: they join, deploy the stack, run users' servers, and lose a host."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest

from components.aws.swarm_bundle import SHARED_FOLDER
from components.swarm_cluster import SwarmClusterArgs, ec2_bundle
from tests.e2e.hub_client import HubUser
from tests.e2e.swarm_lab import Lab, LabHost, lab, unpacked
from tests.stacks import Stack
from toolchain.aws_simulator import CREDENTIALS, REGION

pytestmark = [pytest.mark.engine, pytest.mark.docker]

STACK = "lab"
MANAGERS = ("manager1", "manager2", "manager3")
WORKERS = ("worker1",)
PASSWORD = "the-users-password"


class Swarm:
    """The hosts with the stack on them."""

    def __init__(self, made: Lab, bundle: Path) -> None:
        """Keep where everything is."""
        self.lab, self.bundle = made, bundle
        self.lost: set[str] = set()

    def label(self) -> str:
        """Prefix of users' services."""
        return STACK

    def hosts(self) -> list[LabHost]:
        """Hosts that are there."""
        return [host for name, host in self.lab.hosts.items() if name not in self.lost]

    def rounds(self) -> list[int]:
        """A round of each host, all at once, and their exit codes."""
        with ThreadPoolExecutor() as pool:
            return [done.returncode for done in pool.map(lambda host: self.lab.round(host, self.bundle), self.hosts())]

    def until(self, what: str, there: Callable[[], object], seconds: float = 180) -> None:
        """Let the hosts go round until something is there."""
        deadline = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < deadline, f"{what}: {self.state()}"
            self.rounds()
            time.sleep(1)

    def manager(self) -> docker.APIClient:
        """A client of a manager that is there."""
        return next(host.client() for host in self.hosts() if host.name in MANAGERS)

    def hub_node(self) -> LabHost | None:
        """The host that runs the hub."""
        return next((host for host in self.hosts() if running(host, f"{STACK}_hub")), None)

    def answers(self) -> str | None:
        """Address at which the hub answers, on any manager, as the load balancer asks."""
        for host in self.hosts():
            if host.name in MANAGERS:
                url = f"https://{host.address}:8443"
                try:
                    if HubAt(url).healthy():
                        return url
                except OSError:
                    continue
        return None

    def complete(self) -> bool:
        """Whether every host is in the swarm, and every manager a way in."""
        managers = [HubAt(f"https://{self.lab.hosts[name].address}:8443") for name in MANAGERS]
        try:
            ready = [node["Status"]["State"] == "ready" for node in self.manager().nodes()]
            return len(ready) == len(self.lab.hosts) and all(ready) and all(m.healthy() for m in managers)
        except (OSError, docker.errors.APIError):
            return False

    def state(self) -> str:
        """What the managers say, for a failure's message."""
        client = self.manager()
        if not client.info()["Swarm"]["ControlAvailable"]:
            return "there is no swarm"
        tasks = [
            (t["Spec"]["ContainerSpec"]["Args"][:3], t["Status"]["State"], t["Status"].get("Err"))
            for t in client.tasks()
        ]
        last = [self.lab.round(host, self.bundle).stderr[-300:] for host in self.hosts()]
        return json.dumps([tasks, last], indent=1)


class HubAt:
    """The hub as somebody at `url` sees it."""

    def __init__(self, url: str) -> None:
        """Keep the address."""
        self.url, self.label = url, STACK

    def outputs(self) -> dict[str, str]:
        """What a user needs to log in."""
        return {"url": self.url, "password": PASSWORD}

    def healthy(self) -> bool:
        """Whether it answers as the load balancer's check asks."""
        import requests

        session = requests.Session()
        session.trust_env = False
        return session.get(f"{self.url}/hub/health", verify=False, timeout=3).status_code == 200


class LabUser(HubUser):
    """A user whose server runs on one of the hosts."""

    worker: LabHost
    swarm: Swarm

    def hub_log(self) -> str:
        """The hub's last words, and what the managers say."""
        host = self.swarm.hub_node()
        found = running(host, f"{STACK}_hub") if host else []
        logs = [host.client().logs(hub["Id"], tail=40).decode(errors="replace") for hub in found if host]
        return "\n".join([*logs, self.swarm.state()])

    @property
    def container(self) -> dict[str, Any]:
        """The server's container."""
        found = running(self.worker, f"{STACK}-user-{self.name}")
        assert found
        return self.worker.client().inspect_container(found[0]["Id"])

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command in the server."""
        client = self.worker.client()
        created = client.exec_create(self.container["Id"], list(command), user="1000:100")
        output = client.exec_start(created["Id"]).decode(errors="replace")
        return client.exec_inspect(created["Id"])["ExitCode"], output


def running(host: LabHost, service: str) -> list[dict[str, Any]]:
    """Containers of a service on a host."""
    filters = {"label": f"com.docker.swarm.service.name={service}", "status": "running"}
    return host.client().containers(filters=filters)


def images_of(hub: Stack) -> tuple[str, str]:
    """Ids of the images of hub and single-user server that the stack built."""
    client = docker.APIClient(version="auto")
    services = {s["Spec"]["Name"]: s["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] for s in client.services()}
    return services[f"{hub.label}-hub"], services[f"{hub.label}-pre-puller"]


@pytest.fixture(scope="module")
def swarm(hub: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Three managers and a worker that have found each other, with the hub answering."""
    hub_image, notebook_image = images_of(hub)
    args: SwarmClusterArgs = {
        "users": [{"name": "ada"}, {"name": "root", "admin": True}],
        "hubImage": hub_image,
        "notebookImage": notebook_image,
        "ec2": {"zone": "example.org", "alarmEmail": "owner@example.org", "encrypted": False},
        "userQuota": {"memory": "512M", "home": "64M", "tmp": "32M"},
    }
    folder = tmp_path_factory.mktemp("lab")
    shared = folder / "shared"
    bundle = unpacked(ec2_bundle(STACK, args), folder / "bundle", {str(SHARED_FOLDER): str(shared)})
    with lab(folder, (*MANAGERS, *WORKERS)) as made:
        prepared(made)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: host.load((hub_image, notebook_image)), made.hosts.values()))
        there = Swarm(made, bundle)
        there.until("all hosts are there", there.complete)
        yield there


def prepared(made: Lab) -> None:
    """Make the secrets, as the stack would, and tell the hosts who they are, as their user data would."""
    secrets: Any = boto3.client("secretsmanager", region_name=REGION, endpoint_url=made.endpoint, **CREDENTIALS)
    invitations = {role: secrets.create_secret(Name=f"{role}-invitation")["ARN"] for role in ("manager", "worker")}
    values = {
        "proxy-token": "ab" * 32,
        "cookie-secret": "cd" * 32,
        "user-password": PASSWORD,
        "admin-password": "the-administrators-password-of-the-lab",
        **certificate(made.folder),
    }
    hub_secret = secrets.create_secret(Name="hub", SecretString=json.dumps(values))["ARN"]
    for name, host in made.hosts.items():
        role = "manager" if name in MANAGERS else "worker"
        made.tell(
            host,
            {
                "stack": STACK,
                "role": role,
                "founder": name == MANAGERS[0],
                "invitations": invitations if role == "manager" else {"worker": invitations["worker"]},
                "hub_secret": hub_secret if role == "manager" else "",
                "group": "" if role == "manager" else "lab-workers",
                "lifecycle_hook": "" if role == "manager" else "lab-leave",
            },
        )


def certificate(folder: Path) -> dict[str, str]:
    """A certificate that nobody knows."""
    import subprocess

    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=lab"
    subprocess.run(
        [*command.split(), "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True
    )
    return {"tls-key": (folder / "key").read_text(), "tls-cert": (folder / "cert").read_text()}


@pytest.fixture(scope="module")
def user(swarm: Swarm) -> LabUser:
    """Somebody with a running server."""
    address = swarm.answers()
    assert address
    made = LabUser(HubAt(address), "ada")  # pyright: ignore[reportArgumentType]  (all that it asks of a stack)
    made.worker, made.swarm = swarm.lab.hosts["worker1"], swarm
    page = made.start(180)
    assert page.ok, f"{page.status_code} {page.url}\n{made.hub_log()}"
    return made


def test_all_hosts_are_in_one_swarm(swarm: Swarm):
    roles = [node["Spec"]["Role"] for node in swarm.manager().nodes()]

    assert sorted(roles) == ["manager", "manager", "manager", "worker"]


def test_hub_and_proxy_run_together_on_one_manager(swarm: Swarm):
    places = {name: [h.name for h in swarm.hosts() if running(h, f"{STACK}_{name}")] for name in ("hub", "proxy")}

    assert places["hub"] == places["proxy"]
    assert len(places["hub"]) == 1
    assert places["hub"][0] in MANAGERS


def test_every_manager_is_a_way_in(swarm: Swarm):
    for name in MANAGERS:
        assert HubAt(f"https://{swarm.lab.hosts[name].address}:8443").healthy(), name


def test_a_server_runs_on_a_worker_and_a_cell_of_it_answers(user: LabUser):
    code, output = user.run("python3", "-c", "print(6 * 7)")

    assert (code, output.strip()) == (0, "42")
    assert user.session.get(f"{user.url}/user/ada/api/status").status_code == 200


def test_a_home_on_the_shared_file_system_has_its_size(user: LabUser):
    code, output = user.run(
        "sh", "-c", "echo kept > /home/jovyan/note; dd if=/dev/zero of=/home/jovyan/big bs=1M count=100"
    )
    user.run("rm", "-f", "/home/jovyan/big")

    assert code != 0
    assert "No space left" in output


@pytest.mark.parametrize("address", ["10.98.0.1:80", "10.98.0.11:2377", "10.98.0.11:8443", "169.254.169.254:80"])
def test_a_server_reaches_no_host_and_no_metadata(user: LabUser, address: str):
    host, port = address.split(":")
    program = f"import socket; socket.create_connection(('{host}', {port}), 3)"
    code, output = user.run("python3", "-c", program)

    assert code != 0
    assert "unreachable" in output or "timed out" in output, output


def test_another_round_changes_nothing(swarm: Swarm):
    def versions() -> dict[str, int]:
        client = swarm.manager()
        return {s["Spec"]["Name"]: s["Version"]["Index"] for s in client.services()}

    before = versions()

    assert set(swarm.rounds()) == {0}
    assert versions() == before


def test_the_hub_moves_to_another_manager_when_its_own_is_lost(swarm: Swarm, user: LabUser):
    lost = swarm.hub_node()
    assert lost is not None
    lost.stop(kill=True)
    swarm.lost.add(lost.name)

    swarm.until("the hub answers elsewhere", swarm.answers)
    address = swarm.answers()
    moved = swarm.hub_node()
    assert address
    assert moved is not None
    assert moved.name != lost.name

    again = LabUser(HubAt(address), "ada")  # pyright: ignore[reportArgumentType]
    again.worker = user.worker
    page = f"{address}/user/ada/lab"
    swarm.until("the server is reached", lambda: again.session.get(page).url == page)
    assert again.run("cat", "/home/jovyan/note")[1].strip() == "kept"


def test_a_worker_that_its_group_ends_leaves_the_swarm(swarm: Swarm):
    swarm.lab.metadata.entries["/worker1/autoscaling/target-lifecycle-state"] = "Terminated"
    worker = swarm.lab.hosts["worker1"]

    swarm.lab.round(worker, swarm.bundle)

    assert worker.client().info()["Swarm"]["LocalNodeState"] == "inactive"
