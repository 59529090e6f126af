"""Serve the home pool to the Docker engine as a volume driver, on the socket that Docker looks for.

Environment: `HOME_SIZE` (default `10G`, the size of a volume that names none), `HOME_UID` (1000), `HOME_GID` (100).
Protocol: Docker's volume plugin protocol 1.0, JSON bodies over HTTP on a unix socket.
"""

import json
import os
import signal
import socketserver
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from runtime.home_volumes.pool import HomeError, HomePool, parse_size

SOCKET = Path("/run/docker/plugins/homes.sock")
IMAGES = Path("/pool")
MOUNTS = Path("/mnt/homes")

Body = dict[str, object]


class VolumeDriver:
    """Answers for each request of the volume plugin protocol."""

    def __init__(self, pool: HomePool, default_size: str) -> None:
        """Serve `pool`; a volume that names no size gets `default_size`."""
        self._pool = pool
        self._default_size = default_size
        self.answers: dict[str, Callable[[Body], Body]] = {
            "/Plugin.Activate": lambda _: {"Implements": ["VolumeDriver"]},
            "/VolumeDriver.Capabilities": lambda _: {"Capabilities": {"Scope": "local"}},
            "/VolumeDriver.Create": self._create,
            "/VolumeDriver.Remove": self._remove,
            "/VolumeDriver.Mount": self._mount,
            "/VolumeDriver.Unmount": self._unmount,
            "/VolumeDriver.Path": lambda body: {"Mountpoint": str(self._pool.path(_name(body)))},
            "/VolumeDriver.Get": lambda body: {"Volume": self._describe(_name(body))},
            "/VolumeDriver.List": lambda _: {"Volumes": [self._describe(name) for name in self._pool.names()]},
        }

    def _create(self, body: Body) -> Body:
        options = body.get("Opts")
        options = options if isinstance(options, dict) else {}
        unknown = sorted(set(options) - {"size"})
        if unknown:
            raise HomeError(f"unknown option {unknown[0]!r}; the only option is 'size'")
        self._pool.create(_name(body), parse_size(str(options.get("size", self._default_size))))
        return {}

    def _remove(self, body: Body) -> Body:
        self._pool.remove(_name(body))
        return {}

    def _mount(self, body: Body) -> Body:
        return {"Mountpoint": str(self._pool.mount(_name(body), str(body.get("ID"))))}

    def _unmount(self, body: Body) -> Body:
        self._pool.unmount(_name(body), str(body.get("ID")))
        return {}

    def _describe(self, name: str) -> Body:
        if name not in self._pool.names():
            raise HomeError(f"no home {name}")
        return {"Name": name, "Mountpoint": str(self._pool.path(name))}


def _name(body: Body) -> str:
    return str(body.get("Name", ""))


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve(driver: VolumeDriver, socket: Path) -> None:
    """Answer requests on `socket` until the process is told to stop."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer one request of the engine."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = driver.answers.get(self.path)
            try:
                if answer is None:
                    raise HomeError(f"{self.path} is not served")
                status, reply = 200, answer(json.loads(body) if body else {})
            except (HomeError, OSError, ValueError) as error:
                status, reply = 500, {"Err": str(error)}
                print(f"{self.path}: {error}", file=sys.stderr, flush=True)
            payload = json.dumps({"Err": "", **reply}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.docker.plugins.v1.1+json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def address_string(self) -> str:
            """The engine, by name: a Unix socket's client has no address."""
            return "docker"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the standard library's name)
            """Nothing: the engine logs its own requests."""

    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    with _Server(str(socket), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    # The first process of a container ignores signals that it does not handle, and the engine waits 10 s for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    homes = HomePool(
        IMAGES, MOUNTS, uid=int(os.environ.get("HOME_UID", "1000")), gid=int(os.environ.get("HOME_GID", "100"))
    )
    serve(VolumeDriver(homes, os.environ.get("HOME_SIZE", "10G")), SOCKET)
