"""A node of a pool on an engine of its own, whose host can run full, lose its engine or go away, and who visits it."""

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import docker
import requests
from requests.adapters import HTTPAdapter

from components.docker.tmpnb_node import node_group
from components.docker.tmpnb_plan import NodeSettings
from components.egress import EgressProfile
from runtime.group_deployment import deploy, remove
from tests.e2e.outside import run
from tests.e2e.swarm_lab import LabHost
from tests.e2e.tmpnb_pool import new_session

STACK = "hubstack-faults"
POOL = "10.232.0.0/17"
NETWORK = "10.232.240"
"""Start of the addresses between this machine and the host."""

HOST = f"{NETWORK}.10"
VISITORS = range(100, 140)
"""Ends of this machine's addresses towards the host: visitors with an address each."""

DISK_BYTES = 5 * 2**29
BLOCK_BYTES = 4096
FILL_SECONDS = 0.05
WATCH_SECONDS = 0.1
QUOTA = {
    "cpu": 1,
    "memory_bytes": 512 * 2**20,
    "processes": 128,
    "home_bytes": 64 * 2**20,
    "tmp_bytes": 32 * 2**20,
    "idle_seconds": 600,
    "max_age_seconds": 3600,
}
ADMIN_TOKEN = "faults-admin"


class NodeHost(LabHost):
    """A host of a node: a network of its own, a disk of its own, and an engine that can be restarted under containers."""

    holder: subprocess.Popen[bytes] | None = None
    network = NETWORK

    @property
    def namespace(self) -> str:
        """Its network namespace, and this machine's end of its cable."""
        return f"ht-{self.name}"

    @property
    def address(self) -> str:
        """Where this machine reaches it."""
        return f"{self.network}.10"

    def connect(self) -> None:
        """Make its network, with a cable to this machine alone, and its disk."""
        disconnect(self.namespace)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self.namespace, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        for number in (1, *VISITORS):
            run("ip", "address", "add", f"{self.network}.{number}/24", "dev", self.namespace)
        run("ip", "link", "set", self.namespace, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", f"{self.network}.1"),
        ):
            run("ip", "-n", self.namespace, *command)
        self.data.mkdir(parents=True)
        disk = self.folder / "disk"
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-m", "0", str(disk))
        run("mount", "-o", "loop", str(disk), str(self.data))

    @property
    def data(self) -> Path:
        """Where its engine keeps everything."""
        return self.folder / "data"

    def start(self, *options: str) -> None:
        """Start its engine, with these options of `dockerd` beside its own, and wait until it answers."""
        if self.holder is None:
            # A /run that outlives the engine, as a host's does: containers go on by what lies there.
            command = "mount -t tmpfs run /run && echo ready && exec sleep infinity"
            unshare = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", command]
            self.holder = subprocess.Popen(unshare, stdout=subprocess.PIPE, start_new_session=True)
            assert self.holder.stdout
            assert self.holder.stdout.readline() == b"ready\n"
        paths = f"--data-root={self.data} --exec-root=/run/engine --pidfile=/run/engine.pid".split()
        self.engine = self.within("dockerd", *paths, "-H", "unix:///run/docker.sock", "-H", self.socket, *options)
        self.wait_until_it_answers()

    def within(self, *command: str) -> subprocess.Popen[bytes]:
        """A program on the host, which was started before; it ends with the host at the latest."""
        assert self.holder
        namespaces = (f"--net=/run/netns/{self.namespace}", f"--mount=/proc/{self.holder.pid}/ns/mnt")
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["nsenter", *namespaces, *command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No byte is free on its disk meanwhile, also where something is deleted."""
        filling, ended = self.data / "filling", threading.Event()

        def fill() -> None:
            with filling.open("ab") as file:
                while not ended.wait(FILL_SECONDS):
                    size = DISK_BYTES
                    while size >= BLOCK_BYTES:
                        try:
                            os.posix_fallocate(file.fileno(), filling.stat().st_size, size)
                        except OSError:
                            size //= 2

        thread = threading.Thread(target=fill)
        thread.start()
        try:
            while os.statvfs(self.data).f_bavail:
                time.sleep(FILL_SECONDS)
            yield
        finally:
            ended.set()
            thread.join()
            filling.unlink()

    def remove(self) -> None:
        """End it and take everything of it away."""
        super().remove()
        if self.holder:
            self.holder.kill()
            self.holder.wait(10)
        disconnect(self.namespace)


def disconnect(namespace: str) -> None:
    """Take the cable and the network away."""
    subprocess.run(["ip", "link", "delete", namespace], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


@dataclass
class Certificate:
    """A certificate of the test's own for the addresses of its nodes."""

    folder: Path

    def __post_init__(self) -> None:
        """Make it."""
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=faults"
        names = f"subjectAltName=IP:{HOST},IP:127.0.0.1"
        run(*command.split(), "-addext", names, "-keyout", str(self.folder / "key"), "-out", str(self.file))

    @property
    def file(self) -> Path:
        """The certificate alone."""
        return self.folder / "cert"

    @property
    def secrets(self) -> dict[str, str]:
        """Secrets of a node with it."""
        pem = {"tls-cert": self.file.read_text(), "tls-key": (self.folder / "key").read_text()}
        return {"proxy-token": "faults-proxy", "admin-token": ADMIN_TOKEN, **pem}


@dataclass
class Node:
    """A node that runs on some engine."""

    client: docker.APIClient
    settings: NodeSettings
    images: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where visitors reach it."""
        return self.settings.url

    def name(self, part: str) -> str:
        """A container of the node by its short name, or a server's by its id."""
        return f"{self.settings.stack}-{self.settings.name}-{part}"

    def deploy(self, secrets: Mapping[str, str]) -> None:
        """Make the engine have it."""
        deploy(self.client, node_group(self.settings), self.images, secrets)

    def remove(self) -> None:
        """Take it away, without a farewell to users."""
        group = node_group(self.settings)
        del group["farewell"]
        remove(self.client, group)

    def get(self, path: str, **more: Any) -> requests.Response:
        """Ask it as somebody new."""
        return new_session().get(f"{self.url}{path}", timeout=10, **more)

    def stats(self) -> dict[str, Any]:
        """What it says of itself."""
        return self.get("/stats").json()

    def problems(self) -> dict[str, str]:
        """What it says is wrong."""
        return self.get("/health").json()["problems"]

    def metric(self, name: str) -> float:
        """A number of its metrics, without labels."""
        lines = self.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.split()[0] == name)

    def servers(self) -> set[str]:
        """Ids of the servers whose containers run."""
        filters = {"label": [f"hubstack.node={self.settings.name}", "hubstack.role=user-server"]}
        names = [found["Names"][0] for found in self.client.containers(filters=filters)]
        return {name.removeprefix(f"/{self.name('')}") for name in names}

    def administer(self, method: str, path: str) -> dict[str, Any]:
        """Ask its listener for administrators, which its host alone reaches."""
        program = (
            "import sys, urllib.request as u; method, path, token = sys.argv[1:]; "
            "r = u.Request('http://127.0.0.1:10000' + path, method=method, headers={'Authorization': 'token ' + token}); "
            "print(u.urlopen(r, timeout=10).read().decode())"
        )
        return json.loads(self.run("service", program, method, path, ADMIN_TOKEN))

    def run(self, part: str, program: str, *arguments: str) -> bytes:
        """What a Python program prints in one of its containers; its complaints are left out."""
        started = self.client.exec_create(self.name(part), ["python", "-c", program, *arguments], stderr=False)
        output = self.client.exec_start(started["Id"])
        assert isinstance(output, bytes)
        return output


class SourceAdapter(HTTPAdapter):
    """Connects from an address of this machine's."""

    def __init__(self, source: str) -> None:
        """Connect from `source`."""
        self._source = source
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Have all connections begin there."""
        super().init_poolmanager(*arguments, source_address=(self._source, 0), **more)


class Visitor:
    """Somebody with an address of their own who came to a node and got a server."""

    addresses = itertools.cycle(f"{NETWORK}.{number}" for number in VISITORS)

    def __init__(self, node: Node) -> None:
        """Come, and follow where it leads."""
        self.session, self.node = new_session(), node
        self.address = next(self.addresses)
        if node.settings.url.startswith(f"https://{HOST}:"):
            self.session.mount("https://", SourceAdapter(self.address))
        self.first = self.session.get(f"{node.url}/", timeout=10, allow_redirects=False)
        assert self.first.status_code == HTTPStatus.FOUND, self.first.text
        self.server = self.first.headers["Location"].split("/")[2]
        assert self.session.get(f"{node.url}{self.first.headers['Location']}", timeout=20).ok

    def api(self, path: str) -> requests.Response:
        """Ask the server's API as its user."""
        return self.session.get(f"{self.node.url}/user/{self.server}/api/{path}", timeout=10)

    def lives(self) -> bool:
        """Whether the server answers its user."""
        return self.api("status").status_code == HTTPStatus.OK


class Watch:
    """Asks for statistics all the time, and keeps those that do not add up."""

    def __init__(self, url: str, add_up: Callable[[dict[str, Any]], bool]) -> None:
        """Watch what a node or a redirector tells at `url`; `add_up` judges each answer."""
        self._url, self._add_up, self._ended = url, add_up, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen = 0
        self.wrong: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        session = new_session()
        while not self._ended.wait(WATCH_SECONDS):
            try:
                answer = session.get(f"{self._url}/stats", timeout=2)
            except requests.RequestException:
                continue
            if answer.ok:
                self.seen += 1
                if not self._add_up(answer.json()):
                    self.wrong.append(answer.json())


def node_settings(name: str, number: int, url: str, **changes: Any) -> NodeSettings:
    """A node of the test's stack, for three servers."""
    values: dict[str, Any] = {
        "stack": STACK,
        "name": name,
        "number": number,
        "url": url,
        "port": int(url.rpartition(":")[2]),
        "capacity": 3,
        "quota": QUOTA,
        "profile": EgressProfile.CLOSED,
        "pool": POOL,
        "landing": "/lab",
        "burst": 1,
        "per_minute": 0.1,
        "drain_seconds": 0,
        "starts_at_once": 2,
        "redirector": "https://faults.localhost:8443",
        "acme_email": "",
        **changes,
    }
    return NodeSettings(**values)


@contextmanager
def node_host(folder: Path, images: Mapping[str, str]) -> Iterator[NodeHost]:
    """A host with a running engine that has the images; everything is removed at the end."""
    host = NodeHost("faults", 1, folder / "host")
    with ExitStack() as cleanup:
        cleanup.callback(host.remove)
        host.connect()
        host.start()
        host.load(sorted(set(images.values())))
        yield host
