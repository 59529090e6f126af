"""A pool of temporary notebooks on this machine's engine, and somebody who visits it."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import docker
import requests
import urllib3

from tests.stacks import Stack

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

CONFIG: dict[str, object] = {
    "topology": "tmpnb",
    "addressPool": "10.218.0.0/16",
    "userQuota": {"cpu": 1, "memory": "512M", "processes": 128, "home": "64M", "tmp": "32M", "idle": 60, "maxAge": 900},
    "fleetQuota": {"servers": 10},
    "tmpnb": {
        "port": 18450,
        "drainSeconds": 20,
        "nodes": [{"name": "tmp01", "port": 18451, "capacity": 3}, {"name": "tmp02", "port": 18452, "capacity": 2}],
    },
}


@contextmanager
def names_of_this_machine() -> Iterator[None]:
    """Let every name below `localhost` be this machine, as browsers and curl do (RFC 6761)."""
    known = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **more: Any) -> Any:
        return known("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **more)

    with mock.patch.object(socket, "getaddrinfo", resolve):
        yield


def new_session() -> requests.Session:
    """A browser that was nowhere yet, and takes the stack's own certificate."""
    session = requests.Session()
    # The environment's certificates would be asked about.
    session.trust_env = False
    session.verify = False
    return session


def until(what: str, there: Callable[[], object], seconds: float = 120) -> Any:
    """Wait for something that must come, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = there()
        except (requests.RequestException, ValueError) as error:
            found = None
            said: object = error
        else:
            said = found
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} after {seconds} s: {said}"
        time.sleep(0.3)


@dataclass
class Pool:
    """The deployed pool."""

    stack: Stack

    @property
    def url(self) -> str:
        """Address of the redirector."""
        return "https://tmp.localhost:18450"

    def get(self, path: str, **more: Any) -> requests.Response:
        """Ask the redirector, or another address, as somebody new."""
        url = path if path.startswith("https:") else f"{self.url}{path}"
        return new_session().get(url, timeout=30, **more)

    def stats(self) -> dict[str, Any]:
        """What the redirector says of all nodes."""
        return self.get("/stats").json()

    def node_stats(self, node: str) -> dict[str, Any]:
        """What a node says of itself."""
        return self.get(f"https://{node}.tmp.localhost:{18450 + int(node[-1])}/api/stats").json()

    def full(self, available: int) -> bool:
        """Whether this many servers wait for visitors."""
        return self.stats()["available"] == available

    def containers(self, role: str | None = None, node: str | None = None) -> list[dict[str, Any]]:
        """Running containers of the stack."""
        labels = [f"hubstack.stack={self.stack.label}"]
        labels += [f"hubstack.role={role}"] if role else []
        labels += [f"hubstack.node={node}"] if node else []
        return docker.APIClient(version="auto").containers(filters={"label": labels})

    def inspect(self, name: str) -> dict[str, Any]:
        """A container of the platform, such as `tmp01-service`, or a server's by its id."""
        return docker.APIClient(version="auto").inspect_container(f"{self.stack.label}-{name}")

    def crash(self, name: str) -> None:
        """Kill the first process of a container as a crash would: the engine starts it again."""
        os.kill(self.inspect(name)["State"]["Pid"], signal.SIGKILL)

    def run(self, node: str, server: str, *command: str) -> tuple[int, str]:
        """Run a command in a server as its user, and return exit code and output."""
        client = docker.APIClient(version="auto")
        created = client.exec_create(f"{self.stack.label}-{node}-{server}", list(command), user="1000:100")
        output = client.exec_start(created["Id"])
        assert isinstance(output, bytes)
        return client.exec_inspect(created["Id"])["ExitCode"], output.decode(errors="replace")


class Visitor:
    """Somebody who came to the pool and has a server."""

    def __init__(self, pool: Pool, path: str = "/") -> None:
        """Come by way of the redirector and follow where it leads; come again while all is full, as its page does."""
        self.session = new_session()
        self.pool = pool
        self.page = until("a visitor gets a server", lambda: self._come(path))
        self.origin, _, rest = self.page.url.partition("/user/")
        self.server = rest.partition("/")[0]
        self.node = self.origin.removeprefix("https://").partition(".")[0]

    def _come(self, path: str) -> requests.Response | None:
        page = self.session.get(f"{self.pool.url}{path}", timeout=30)
        return page if "/user/" in page.url and page.ok else None

    @property
    def base(self) -> str:
        """Address of the server, without a slash at the end."""
        return f"{self.origin}/user/{self.server}"

    def api(self, path: str) -> requests.Response:
        """Ask the server's API as its user."""
        return self.session.get(f"{self.base}/api/{path}", timeout=30)

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command in the server."""
        return self.pool.run(self.node, self.server, *command)

    def python(self, program: str, *arguments: str) -> tuple[int, str]:
        """Run a Python program in the server."""
        return self.run("python3", "-c", program, *arguments)

    def probe(self, forbidden: list[Any], required: list[Any]) -> dict[str, Any]:
        """What answers from inside the server."""
        from components.probe_destinations import PROBE_SOURCE

        document = json.dumps({"forbidden": forbidden, "required": required})
        _, output = self.python(PROBE_SOURCE.read_text(), document)
        return json.loads(output.splitlines()[-1])
