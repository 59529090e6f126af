"""Several hosts of a Swarm on this machine: a network namespace and an engine each, with a simulated AWS beside them."""

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

from tests.e2e.outside import run
from toolchain.aws_simulator import CREDENTIALS, REGION

SWITCH = "hs-switch"
"""Namespace of the bridge between the hosts: in this machine's own the engine's packet filter would drop what passes."""

UPLINK = "hs-uplink"
GATEWAY = "10.98.0.1"
"""This machine's address on the hosts' network, where the simulated AWS is."""

START_SECONDS = 60


@dataclass
class LabHost:
    """A host: an engine in a network of its own."""

    name: str
    number: int
    folder: Path
    engine: subprocess.Popen[bytes] | None = None

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"hs-{self.name}"

    @property
    def address(self) -> str:
        """Where the other hosts reach it."""
        return f"10.98.0.{10 + self.number}"

    @property
    def socket(self) -> str:
        """Its engine's address."""
        return f"unix://{self.folder}/docker.sock"

    def client(self) -> docker.APIClient:
        """A client of its engine."""
        return docker.APIClient(base_url=self.socket, version="auto", timeout=120)

    def connect(self) -> None:
        """Make its network."""
        run("ip", "netns", "add", self.namespace)
        link = ("link", "add", f"port{self.number}", "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "-n", SWITCH, *link)
        run("ip", "-n", SWITCH, "link", "set", f"port{self.number}", "master", "sw0", "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", GATEWAY),
        ):
            run("ip", "-n", self.namespace, *command)

    def start(self) -> None:
        """Start its engine and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        options = f"--data-root {self.folder}/data --exec-root /run/engine --pidfile /run/engine.pid"
        listen = f"-H unix:///run/docker.sock -H {self.socket}"
        # A /run of its own, so that each host's socket is where containers look for it.
        within = f"mount -t tmpfs run /run && exec dockerd {options} {listen}"
        with (self.folder / "log").open("ab") as log:
            self.engine = subprocess.Popen(
                [
                    *("nsenter", f"--net=/run/netns/{self.namespace}"),
                    *("unshare", "--mount", "--propagation", "slave", "sh", "-c", within),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """Wait for its engine."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.client().close()
            except DockerException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return

    def load(self, images: Sequence[str]) -> None:
        """Put images of this machine's engine, by id, into the host's."""
        command = f"docker save {' '.join(images)} | docker --host {self.socket} load"
        subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, capture_output=True)

    def stop(self, *, kill: bool = False) -> None:
        """End the engine, and with `kill` everything on the host with it, as the loss of the host would."""
        if self.engine is None:
            return
        if kill:
            pids = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True)
            subprocess.run(["ip", "-n", self.namespace, "link", "set", "eth0", "down"], check=False)
            for pid in pids.stdout.split():
                subprocess.run(["kill", "-KILL", pid], check=False, capture_output=True)
            subprocess.run(["kill", "-KILL", str(self.engine.pid)], check=False, capture_output=True)
        else:
            self.engine.terminate()
        self.engine.wait(60)
        self.engine = None

    def _left_behind(self) -> list[str]:
        """Processes of containers that outlived their engine: what they have for a root lies in the host's folder."""
        found: list[str] = []
        for table in Path("/proc").glob("[0-9]*/mountinfo"):
            with contextlib.suppress(OSError):
                roots = [line for line in table.read_text().splitlines() if line.split()[4] == "/"]
                found += [table.parent.name for line in roots if f"{self.folder}/data/" in line]
        return found

    def remove(self) -> None:
        """End it and take its network and its folder away."""
        self.stop()
        for pid in self._left_behind():
            subprocess.run(["kill", "-KILL", pid], check=False, capture_output=True)
        pids = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        for pid in pids.stdout.split():
            subprocess.run(["kill", "-KILL", pid], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False, capture_output=True)
        mounts = Path("/proc/self/mounts").read_text().split("\n")
        for mount in sorted((line.split()[1] for line in mounts if f" {self.folder}/" in line), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Metadata:
    """The metadata services of all hosts, told apart by the first part of the path."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.entries: dict[str, str] = {}
        known = self.entries

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer("token")

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") == "token":
                    self._answer(known.get(self.path.replace("/latest/meta-data", ""), None))
                else:
                    self.send_error(401)

            def _answer(self, text: str | None) -> None:
                if text is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer((GATEWAY, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def endpoint(self, host: LabHost) -> str:
        """Address of the host's own service."""
        return f"http://{GATEWAY}:{self.server.server_port}/{host.name}"


@dataclass
class Lab:
    """The hosts, and the AWS that they ask."""

    folder: Path
    hosts: dict[str, LabHost]
    endpoint: str
    metadata: Metadata

    def round(self, host: LabHost, bundle: Path) -> subprocess.CompletedProcess[str]:
        """One round of the program that each host runs."""
        state = host.folder / "state"
        state.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "runtime.swarm_node", host.folder / "node.json", bundle, state],
            cwd=bundle,
            env={
                **os.environ,
                "PYTHONPATH": str(bundle),
                "DOCKER_HOST": host.socket,
                "AWS_ENDPOINT_URL": self.endpoint,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata.endpoint(host),
                "AWS_DEFAULT_REGION": REGION,
                **{name.upper(): value for name, value in CREDENTIALS.items()},
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def tell(self, host: LabHost, node: dict[str, object]) -> None:
        """Write what the host's user data would."""
        (host.folder / "node.json").write_text(json.dumps(node))
        self.metadata.entries[f"/{host.name}/local-ipv4"] = host.address
        self.metadata.entries[f"/{host.name}/instance-id"] = f"i-{host.number:017x}"


@contextmanager
def lab(folder: Path, names: Sequence[str]) -> Iterator[Lab]:
    """Hosts with these names, each with a running engine; everything is removed at the end."""
    hosts = {name: LabHost(name, number, folder / name) for number, name in enumerate(names, 1)}
    with ExitStack() as cleanup:
        cleanup.callback(_remove_switch)
        _remove_switch()
        run("ip", "netns", "add", SWITCH)
        for command in (
            ("link", "set", "lo", "up"),
            ("link", "add", "sw0", "type", "bridge"),
            ("link", "set", "sw0", "up"),
        ):
            run("ip", "-n", SWITCH, *command)
        run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", "uplink", "netns", SWITCH)
        run("ip", "address", "add", f"{GATEWAY}/24", "dev", UPLINK)
        run("ip", "link", "set", UPLINK, "up")
        run("ip", "-n", SWITCH, "link", "set", "uplink", "master", "sw0", "up")
        # What an earlier simulator of this process held would be in this one as well.
        moto_api_backend.reset()
        server = ThreadedMotoServer(ip_address=GATEWAY, port=0, verbose=False)
        server.start()
        cleanup.callback(server.stop)
        metadata = Metadata()
        cleanup.callback(metadata.server.shutdown)
        for host in hosts.values():
            cleanup.callback(host.remove)
            host.connect()
            host.start()
        address, port = server.get_host_and_port()
        yield Lab(folder, hosts, f"http://{address}:{port}", metadata)


def _remove_switch() -> None:
    subprocess.run(["ip", "link", "delete", UPLINK], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "delete", SWITCH], check=False, capture_output=True)


def unpacked(bundle: bytes, target: Path, replaced: dict[str, str]) -> Path:
    """The bundle in a folder, with texts replaced in its documents."""
    target.mkdir()
    subprocess.run(["tar", "-xz", "-C", target], input=bundle, check=True)
    for file in target.glob("*"):
        if file.is_file():
            text = file.read_text()
            for old, new in replaced.items():
                text = text.replace(old, new)
            file.write_text(text)
    return target
