"""JupyterHub with DockerSpawner and TmpAuthenticator for benchmarks: what a pool of temporary notebooks is measured beside.

It runs in the project's hub image, which has both but the TmpAuthenticator; that is fetched from the package index.
"""

import contextlib
import json
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import docker
import requests
from yarl import URL

from benchmarks.pool_lab import BenchmarkError, browser, open_notebook
from runtime.tmpnb_node.servers import HOME, USER, environment, host_arguments
from runtime.tmpnb_node.settings import Settings

TMP_AUTHENTICATOR = (
    "jupyterhub-tmpauthenticator==1.0.0 "
    "--hash=sha256:d5358d6a25b9d500a77720ae798d63669d02ac83bd5f563da485032c8d56d164 "
    "--hash=sha256:ed3b8060fea645f7ec64bf8ef80320b791c1bba3e1c0b623e40f17f039cc7e5d"
)
"""Release and hashes, as a requirement."""

PORT = 8000
FOLDER = "/srv/peer"
UP_SECONDS, END_SECONDS = 120, 120

CONFIGURATION = """
import json
from pathlib import Path

given = json.loads(Path("/srv/peer/given.json").read_text())
c.JupyterHub.authenticator_class = "tmp"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "docker"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = given["address"]
c.JupyterHub.services = [{"name": "benchmark", "api_token": given["token"]}]
c.JupyterHub.load_roles = [
    {"name": "benchmark", "scopes": ["delete:servers", "read:servers", "list:users"], "services": ["benchmark"]}
]
c.DockerSpawner.image = given["image"]
c.DockerSpawner.prefix = given["stack"] + "-user"
c.DockerSpawner.network_name = given["stack"]
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.pull_policy = "never"
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300
c.DockerSpawner.notebook_dir = given["home"]
c.DockerSpawner.default_url = "/lab"
c.DockerSpawner.environment = given["environment"]
c.DockerSpawner.extra_create_kwargs = {"user": given["user"], "working_dir": given["home"]}
c.DockerSpawner.cpu_limit = given["cpu"]
c.DockerSpawner.extra_host_config = given["limits"]
"""

PROGRESS = re.compile(r'new EventSource\("([^"]+)"\)')
"""Where the page of a server that is being started listens for its progress."""


@dataclass(frozen=True)
class Peer:
    """A JupyterHub whose visitors need no name."""

    url: str
    """Its address, without a slash at its end."""
    token: str
    """Lets the benchmark end servers."""

    def answers(self) -> bool:
        """Whether the hub is there."""
        try:
            return requests.get(f"{self.url}/hub/api/", timeout=5).ok
        except requests.RequestException:
            return False

    def end(self, user: str) -> None:
        """End a user's server, and wait until it is gone."""
        headers, deadline = {"Authorization": f"token {self.token}"}, time.monotonic() + END_SECONDS
        server = f"{self.url}/hub/api/users/{user}/server"
        # 202 while it is being ended, 204 when it has; of one that has ended the hub says that it does not run.
        while (code := requests.delete(server, headers=headers, timeout=60).status_code) not in {204, 400, 404}:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"a hub's server does not end: {code}")
            time.sleep(0.3)


def peer_limits(settings: Settings) -> dict[str, Any]:
    """What a pool's server may use and do, for the hub's: all but the network and processors, which the spawner sets."""
    return {
        name: value for name, value in host_arguments(settings).items() if name not in {"network_mode", "nano_cpus"}
    }


def peer_environment(settings: Settings) -> dict[str, str]:
    """A pool's server's variables, for the hub's: all but the kernel that is started ahead."""
    return {name: value for name, value in environment(settings).items() if not name.startswith("HUBSTACK_")}


@contextlib.contextmanager
def peer_hub(
    client: docker.APIClient, stack: str, built: Mapping[str, str], settings: Settings, *, subnet: str, port: int
) -> Iterator[Peer]:
    """A hub on this machine's engine, gone at the end with its users' servers.

    Args:
        client: the engine's API.
        stack: name of its network, and start of all others.
        built: ids of the images `hub` and `notebook`.
        settings: those of the pool's node, for the limits.
        subnet: range of its network, such as `10.9.9.0/24`.
        port: of the hub on the loopback.
    """
    address = subnet.rpartition(".")[0] + ".2"
    peer = Peer(f"http://127.0.0.1:{port}", secrets.token_hex())
    given = {
        "stack": stack,
        "address": address,
        "token": peer.token,
        "image": built["notebook"],
        "home": HOME,
        "user": USER,
        "environment": peer_environment(settings),
        "cpu": settings.quota.cpu,
        "limits": peer_limits(settings),
    }
    pool = docker.types.IPAMPool(subnet=subnet)
    client.create_network(stack, driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    with tempfile.TemporaryDirectory(prefix="hubstack-benchmark-") as name:
        folder = Path(name)
        fetch_authenticator(folder)
        (folder / "given.json").write_text(json.dumps(given))
        (folder / "hub.py").write_text(CONFIGURATION)
        try:
            binds = [f"{folder}:{FOLDER}:ro", "/var/run/docker.sock:/var/run/docker.sock"]
            client.create_container(
                built["hub"],
                command=["jupyterhub", "--config", f"{FOLDER}/hub.py"],
                name=f"{stack}-hub",
                environment={"PYTHONPATH": FOLDER},
                ports=[PORT],
                host_config=client.create_host_config(binds=binds, port_bindings={PORT: ("127.0.0.1", port)}),
                networking_config=client.create_networking_config(
                    {stack: client.create_endpoint_config(ipv4_address=address)}
                ),
            )
            client.start(f"{stack}-hub")
            until_up(client, peer, stack)
            yield peer
        finally:
            for found in client.containers(all=True, filters={"network": stack}):
                client.remove_container(found["Id"], force=True, v=True)
            for found in client.containers(all=True, filters={"name": f"^/{stack}-"}):
                client.remove_container(found["Id"], force=True, v=True)
            client.remove_network(stack)


def fetch_authenticator(folder: Path) -> None:
    """Put the TmpAuthenticator into a folder."""
    requirement = folder / "requirement.txt"
    requirement.write_text(TMP_AUTHENTICATOR)
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*command, f"--target={folder}", f"--requirement={requirement}"], check=True)


def until_up(client: docker.APIClient, peer: Peer, stack: str) -> None:
    """Wait until the hub answers."""
    deadline = time.monotonic() + UP_SECONDS
    while not peer.answers():
        if time.monotonic() > deadline:
            raise BenchmarkError(client.logs(f"{stack}-hub", tail=30).decode(errors="replace"))
        time.sleep(0.3)


async def visit_peer(peer: Peer) -> tuple[float, str]:
    """Come to a hub, and open a notebook; milliseconds until its kernel is idle, and the user's name."""
    began = time.perf_counter()
    async with browser() as session:
        page, text = await load(session, URL(f"{peer.url}/"))
        if progress := PROGRESS.search(text):
            events = page.join(URL(progress[1].replace("&amp;", "&"), encoded=True))
            page, _ = await load(session, page.join(URL(await until_ready(session, events), encoded=True)))
        if not (page.path.startswith("/user/") and page.path.endswith("/lab")):
            raise BenchmarkError(f"the hub led to {page.path}")
        user = page.parts[2]
        await open_notebook(session, str(page.origin().with_path(f"/user/{user}/")))
    return 1000 * (time.perf_counter() - began), user


async def load(session: aiohttp.ClientSession, address: URL) -> tuple[URL, str]:
    """A page where an address leads to, and that place."""
    async with session.get(address) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise BenchmarkError(f"{answer.url.path} answers {answer.status}: {text[:300]}")
        return answer.url, text


async def until_ready(session: aiohttp.ClientSession, events: URL) -> str:
    """Listen as the hub's page does until the server is ready; where it is."""
    async with session.get(events, headers={"Accept": "text/event-stream"}) as answer:
        async for line in answer.content:
            if line.startswith(b"data:"):
                told = json.loads(line.removeprefix(b"data:"))
                if told.get("failed"):
                    raise BenchmarkError(f"the hub's server failed: {told}")
                if told.get("ready"):
                    return str(told["url"])
    raise BenchmarkError("the hub tells of no progress any more")
