"""A pool of temporary notebooks on this machine's engine, and somebody who visits it."""

import json
import os
import re
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest import mock

import docker
import requests
import urllib3
import websocket
from requests.cookies import get_cookie_header

from components.probe_destinations import PROBE_SOURCE
from tests.stacks import Stack

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

USER = "1000:100"
"""Whom the engine runs servers as."""

CONFIG: dict[str, object] = {
    "topology": "tmpnb",
    "addressPool": "10.218.0.0/16",
    "userQuota": {"cpu": 1, "memory": "512M", "processes": 128, "home": "64M", "tmp": "32M", "idle": 60, "maxAge": 900},
    "fleetQuota": {"servers": 10},
    "tmpnb": {
        "port": 18450,
        "drainSeconds": 20,
        # All visitors of these tests have one address.
        "visitorBurst": 100,
        "nodes": [
            {"name": "tmp01", "port": 18451, "capacity": 2, "userQuota": {"maxAge": 90}},
            {"name": "tmp02", "port": 18452, "capacity": 4},
        ],
    },
}
"""Nobody has a server of the first node for long; tests that keep one come to the second."""

ENDED = re.compile(r"^(\S+) .* server (\S+) is ended \(([a-z-]+)\)$", re.MULTILINE)
"""What a node's service says of a server's end, behind the engine's time."""


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

    def origin(self, node: str) -> str:
        """Address of a node."""
        return f"https://{node}.tmp.localhost:{18450 + int(node[-1])}"

    def node_stats(self, node: str) -> dict[str, Any]:
        """What a node says of itself."""
        return self.get(f"{self.origin(node)}/api/stats").json()

    def full(self, available: int) -> bool:
        """Whether this many servers wait for visitors."""
        return self.stats()["available"] == available

    def containers(
        self, role: str | None = None, node: str | None = None, *, ended: bool = False
    ) -> list[dict[str, Any]]:
        """Running containers of the stack, or those that have `ended` as well."""
        labels = [f"hubstack.stack={self.stack.label}"]
        labels += [f"hubstack.role={role}"] if role else []
        labels += [f"hubstack.node={node}"] if node else []
        return docker.APIClient(version="auto").containers(all=ended, filters={"label": labels})

    def servers(self, node: str) -> dict[str, str]:
        """Containers of a node's servers by the servers' ids."""
        start = f"/{self.stack.label}-{node}-"
        return {found["Names"][0].removeprefix(start): found["Id"] for found in self.containers("user-server", node)}

    def ended(self, node: str) -> dict[str, tuple[str, float]]:
        """Why and when, in seconds of the system's clock, servers of a node were ended."""
        said = docker.APIClient(version="auto").logs(f"{self.stack.label}-{node}-service", timestamps=True).decode()
        return {
            server: (reason, datetime.fromisoformat(moment).timestamp())
            for moment, server, reason in ENDED.findall(said)
        }

    def inspect(self, name: str) -> dict[str, Any]:
        """A container of the platform, such as `tmp01-service`, or a server's, such as `tmp01-<id>`."""
        return docker.APIClient(version="auto").inspect_container(f"{self.stack.label}-{name}")

    def inspected(self) -> list[dict[str, Any]]:
        """All of the stack's containers; a server may end at any moment."""
        client, found = docker.APIClient(version="auto"), list[dict[str, Any]]()
        for container in self.containers():
            with suppress(docker.errors.NotFound):
                found.append(client.inspect_container(container["Id"]))
        return found

    def end(self, node: str, server: str) -> None:
        """End a server, so that somebody else gets one soon."""
        docker.APIClient(version="auto").kill(f"{self.stack.label}-{node}-{server}")

    def crash(self, name: str) -> None:
        """Kill the first process of a container as a crash would, and wait until the engine has started it again."""
        before = self.inspect(name)
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        until(f"{name} is started again", lambda: self.inspect(name)["RestartCount"] > before["RestartCount"])

    def run(self, name: str, *command: str, user: str = "") -> tuple[int, str]:
        """Run a command in a container, and return exit code and output."""
        client = docker.APIClient(version="auto")
        created = client.exec_create(f"{self.stack.label}-{name}", list(command), user=user)
        output = client.exec_start(created["Id"])
        assert isinstance(output, bytes)
        return client.exec_inspect(created["Id"])["ExitCode"], output.decode(errors="replace")

    def probe(self, name: str, forbidden: Sequence[Any], required: Sequence[Any], user: str = "") -> dict[str, Any]:
        """What answers from inside a container that has Python."""
        document = json.dumps({"forbidden": forbidden, "required": required})
        _, output = self.run(name, "python3", "-c", PROBE_SOURCE.read_text(), document, user=user)
        return json.loads(output.splitlines()[-1])


class Visitor:
    """Somebody who came to the pool and has a server."""

    def __init__(self, pool: Pool, node: str | None = None) -> None:
        """Come and follow where it leads; come again while all is full, as its page does.

        Args:
            pool: where to.
            node: the node to come to; the redirector by default.
        """
        self.session = new_session()
        self.pool = pool
        where = pool.origin(node) if node else pool.url
        self.page = until("a visitor gets a server", lambda: self._come(where))
        self.origin, _, rest = self.page.url.partition("/user/")
        self.server = rest.partition("/")[0]
        self.node = self.origin.removeprefix("https://").partition(".")[0]

    def _come(self, where: str) -> requests.Response | None:
        self.came = time.time()
        """When they asked for the server that they got."""
        page = self.session.get(f"{where}/", timeout=30)
        return page if "/user/" in page.url and page.ok else None

    @property
    def base(self) -> str:
        """Address of the server, without a slash at the end."""
        return f"{self.origin}/user/{self.server}"

    @property
    def container(self) -> str:
        """The server's container, as `Pool.inspect` takes it."""
        return f"{self.node}-{self.server}"

    def api(self, path: str) -> requests.Response:
        """Ask the server's API as its user."""
        return self.session.get(f"{self.base}/api/{path}", timeout=30)

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command in the server as its user."""
        return self.pool.run(self.container, *command, user=USER)

    def python(self, program: str, *arguments: str) -> tuple[int, str]:
        """Run a Python program in the server."""
        return self.run("python3", "-c", program, *arguments)

    def probe(self, forbidden: Sequence[Any], required: Sequence[Any]) -> dict[str, Any]:
        """What answers from inside the server."""
        return self.pool.probe(self.container, forbidden, required, user=USER)

    def leave(self) -> None:
        """End the server, so that somebody else gets one soon."""
        self.pool.end(self.node, self.server)

    def started(self, what: str) -> str:
        """Start one of the server's `kernels` or `terminals`; its id or name."""
        answer = self.session.post(
            f"{self.base}/api/{what}", headers={"X-XSRFToken": self._cookie("_xsrf")}, timeout=60
        )
        assert answer.ok, answer.text
        return answer.json()["id" if what == "kernels" else "name"]

    def channel(self, path: str) -> websocket.WebSocket:
        """Open a websocket of the server."""
        address = f"{self.base}/{path}"
        request = requests.Request("GET", address).prepare()
        return websocket.create_connection(
            address.replace("https", "wss", 1),
            cookie=get_cookie_header(self.session.cookies, request),
            origin=self.origin,
            sslopt={"cert_reqs": 0, "check_hostname": False},
            timeout=60,
        )

    def execute(self, kernel: str, code: str, *, waits: bool = True) -> str:
        """Run code in a kernel and return what it printed; empty, at once, unless it `waits` for the end."""
        asked = uuid.uuid4().hex
        header = {"msg_id": asked, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        channel, printed = self.channel(f"api/kernels/{kernel}/channels"), ""
        try:
            channel.send(json.dumps(message))
            while True:
                answer = json.loads(channel.recv())
                if answer["parent_header"].get("msg_id") != asked:
                    continue
                state = answer["content"].get("execution_state") if answer["msg_type"] == "status" else None
                if state == "idle" or (state == "busy" and not waits):
                    return printed
                if answer["msg_type"] == "stream":
                    printed += answer["content"]["text"]
        finally:
            channel.close()

    def _cookie(self, name: str) -> str:
        """A cookie that the server has set."""
        values = (c.value for c in self.session.cookies if c.name == name and c.path == f"/user/{self.server}/")
        return next(value or "" for value in values)
