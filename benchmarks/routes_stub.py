"""What runs in the containers of `benchmarks/routes.py`, beside the proxy and in its network: servers, or the node's service.

`python routes_stub.py servers`: every server of the node, each at an address of its own on the loopback. `python
routes_stub.py service SERVERS`: `runtime/tmpnb_node` as it is, with an engine whose containers are these.
"""

import asyncio
import ipaddress
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from runtime.tmpnb_node import node
from runtime.tmpnb_node.engine import HEALTHY, ContainerState, Found
from runtime.tmpnb_node.servers import PORT, Server
from runtime.tmpnb_node.settings import Secrets, Settings, parse_settings

FIRST_ADDRESS = ipaddress.IPv4Address("127.1.0.1")
SERVICE_PORT = 9999
SECRETS = Path("/run/benchmark")
"""Folder with the proxy's token."""


async def serve() -> None:
    """Answer as servers that nobody works on."""
    now = datetime.now(UTC).isoformat()
    answers = {
        "status": {"started": now, "last_activity": now, "connections": 0, "kernels": 0},
        "kernels": [],
        "terminals": [],
    }
    texts = {name: json.dumps(answer) for name, answer in answers.items()}

    async def answer(request: web.BaseRequest) -> web.Response:
        text = texts.get(request.path.rpartition("/")[2])
        return web.Response(text=text, status=200 if text else 404, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", PORT, backlog=1024).start()
    await asyncio.Event().wait()


class StubEngine:
    """An engine whose containers are there as soon as they are asked for."""

    def __init__(self, _: Settings) -> None:
        """Start with none."""
        self.listening = True
        self._found: dict[str, Found] = {}
        self._tokens: dict[str, str] = {}
        self._made = 0

    async def servers(self) -> list[Found]:
        """The servers."""
        return list(self._found.values())

    async def token(self, server_id: str) -> str | None:
        """A server's token."""
        return self._tokens.get(server_id)

    async def state(self, _: str) -> ContainerState:
        """The guard is well."""
        return ContainerState(running=True, exit_code=0, health=HEALTHY)

    async def server_state(self, server_id: str) -> ContainerState | None:
        """A server runs."""
        return ContainerState(running=True, exit_code=0, health="") if server_id in self._found else None

    async def start(self, server: Server) -> str:
        """The address of a new server."""
        address = str(FIRST_ADDRESS + self._made)
        self._made += 1
        self._found[server.id] = Found(server.id, True, server.spec, address, server.created)  # noqa: FBT003
        self._tokens[server.id] = server.token
        return address

    async def remove(self, server_id: str) -> None:
        """A server is gone."""
        self._found.pop(server_id, None)

    def listen(self, _: Callable[[], None]) -> None:
        """None ends by itself."""

    def close(self) -> None:
        """Nothing is open."""


def settings(servers: int) -> Settings:
    """Those of a node with so many servers, as the stack writes them but for its addresses."""
    quota = {
        "cpu": 1,
        "memory_bytes": 512 << 20,
        "processes": 128,
        "home_bytes": 64 << 20,
        "tmp_bytes": 32 << 20,
        "open_files": 4096,
        "idle_seconds": 600,
        "max_age_seconds": 14400,
    }
    document = {
        "stack": "bench-routes",
        "node": "tmp01",
        "url": "http://127.0.0.1:8000",
        "redirector": "http://127.0.0.1:8080",
        "image": "notebook",
        "capacity": servers,
        "quota": quota,
        "network": "bench-routes",
        "guard": "bench-routes-guard",
        "egress_proxy": None,
        "resolver": False,
        "landing": "/lab",
        "visitors": {"burst": 2 * servers, "per_minute": 60},
        "starts_at_once": 16,
        "proxy_api": "http://127.0.0.1:8001",
        "service_address": f"http://127.0.0.1:{SERVICE_PORT}",
        "public_port": SERVICE_PORT,
        "admin_address": "127.0.0.1",
        "admin_port": 10000,
        "forwarded_hops": 0,
    }
    return parse_settings(document, {})


def main(what: str, servers: int) -> None:
    """Serve until killed."""
    if what == "servers":
        asyncio.run(serve())
        return
    node.Engine = StubEngine  # pyright: ignore[reportAttributeAccessIssue]  (in its place, for this process)
    secrets = Secrets(proxy=(SECRETS / "proxy-token").read_text(), admin="benchmark", api=None)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(node.run(settings(servers), secrets, Path(folder), asyncio.Event()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
