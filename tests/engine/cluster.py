"""A real Kubernetes cluster for tests, with clients of its users, a world outside it and a gateway.

`cluster` is the one that `$HUBSTACK_CLUSTER` (a kubeconfig that `toolchain/cluster up` printed) names, or one that is
started for this run of the tests and ended with it.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    import lightkube

    from toolchain.kubernetes.machine import Machine

TOOLS = "hubstack.test/tools:v0"
"""Image with a shell and BusyBox's tools; `timeout 2 wget -qO- URL` and `nc` are there."""

ANSWER = "answered from outside"

SERVER = """
import http.server, socketserver, sys, threading
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):  # without asking a resolver for this host's name
        socketserver.TCPServer.server_bind(self)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def log_message(self, *arguments): pass
for place in sys.argv[2:]:
    address, port = place.split(":")
    server = Server((address, int(port)), Handler)
    threading.Thread(target=server.serve_forever).start()
print("listening", flush=True)
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    folder: Path
    """Where it keeps its state."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's credentials."""
        return self.folder / "kubeconfig"

    @property
    def address(self) -> str:
        """The node's address, where this machine reaches node ports and the gateway."""
        return (self.folder / "address").read_text()

    @property
    def machine(self) -> "Machine":
        """What the cluster runs on."""
        from toolchain.kubernetes.machine import Machine

        return Machine(self.folder)

    def client(self, namespace: str | None = None) -> "lightkube.Client":
        """The administrator's client."""
        return self._client(self.kubeconfig.read_text(), namespace)

    def user_kubeconfig(self, name: str, groups: Sequence[str] = ()) -> str:
        """Credentials of a further user, who may do nothing until a binding names them."""
        from toolchain.kubernetes.cluster import user_kubeconfig

        return user_kubeconfig(self.folder, name, groups)

    def user_client(self, name: str, groups: Sequence[str] = (), namespace: str | None = None) -> "lightkube.Client":
        """The client of a further user."""
        return self._client(self.user_kubeconfig(name, groups), namespace)

    def kubectl(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        from toolchain.cache import cache_folder
        from toolchain.kubernetes import programs

        kubectl = programs.build(cache_folder() / "toolchain", "kubernetes") / "kubectl"
        command = [str(kubectl), f"--kubeconfig={self.kubeconfig}", *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)

    def load(self, *images: str) -> None:
        """Put images of the local Docker engine into the node's store."""
        from toolchain.kubernetes import images as node_images

        node_images.load(self.machine, images)

    @contextmanager
    def namespace(self, labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A namespace of its own, deleted with all in it at the end."""
        from lightkube.models.meta_v1 import ObjectMeta
        from lightkube.resources.core_v1 import Namespace, ServiceAccount

        client = self.client()
        name = f"test-{uuid.uuid4().hex[:10]}"
        client.create(Namespace(metadata=ObjectMeta(name=name, labels=dict(labels or {}))))
        try:
            # Pods are refused until their account is there.
            until(lambda: client.get(ServiceAccount, "default", namespace=name))
            yield name
        finally:
            client.delete(Namespace, name)

    def run(self, namespace: str, pod: str, command: str, *, limit: float = 30) -> str:
        """What a shell command in a pod printed, errors included; it may be begun more than once."""
        from httpx2 import ConnectError, ReadError

        words = ["sh", "-c", f"{command} 2>&1"]
        deadline = time.monotonic() + limit
        while True:
            try:
                done = self.client().exec(pod, namespace=namespace, command=words, stdout=True, timeout=limit)
                break
            except (ConnectError, ReadError):
                # Where much else runs, a connection does not always come about at once, or ends as it is switched.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        return str(done.stdout or "")

    @contextmanager
    def outside(self, addresses: Sequence[str], ports: Sequence[int]) -> Iterator[None]:
        """A host of the world outside the cluster with these addresses; every port answers `ANSWER` over HTTP."""
        machine = self.machine
        places = [f"{address}:{port}" for address in addresses for port in ports]
        device = ("dev", "cluster")
        server = None
        try:
            for address in addresses:
                run_command(*machine.world("ip", "address", "add", f"{address}/32", *device))
            serve = machine.world(sys.executable, "-c", SERVER, ANSWER, *places)
            server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            yield
        finally:
            if server is not None:
                server.kill()
                server.wait(10)
            for address in addresses:
                with suppress(subprocess.CalledProcessError):
                    run_command(*machine.world("ip", "address", "delete", f"{address}/32", *device))

    @contextmanager
    def names_outside(self, names: Mapping[str, str]) -> Iterator[None]:
        """Names of the world outside, by the address that its resolver answers with."""
        file = self.folder / "world-names"
        lines = [f"{address} {name}\n" for name, address in names.items()]
        with file.open("a") as known:
            known.writelines(lines)
        try:
            yield
        finally:
            left = file.read_text().splitlines(keepends=True)
            for line in lines:
                left.remove(line)
            file.write_text("".join(left))

    @staticmethod
    def _client(kubeconfig: str, namespace: str | None) -> "lightkube.Client":
        import lightkube
        import yaml

        config = lightkube.KubeConfig.from_dict(yaml.safe_load(kubeconfig))
        return lightkube.Client(config, namespace=namespace, field_manager="tests", trust_env=False)


T = TypeVar("T")


def until(holds: Callable[[], T], limit: float = 60, pause: float = 0.2) -> T:
    """Ask until the answer is true, and return it; an answer of the API that there is no such thing is not.

    Args:
        holds: what is asked.
        limit: seconds after which the test fails.
        pause: seconds between two questions; longer where a question starts a program.
    """
    from lightkube.core.exceptions import ApiError

    deadline = time.monotonic() + limit
    while True:
        try:
            if answer := holds():
                return answer
        except ApiError as error:
            if error.status.code != 404:
                raise
        if time.monotonic() > deadline:
            pytest.fail(f"this did not come true within {limit:.0f} s: {holds}")
        time.sleep(pause)


def run_command(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def needs_node() -> None:
    """Skip the test, with the reason, where no node can be started."""
    from toolchain.cache import cache_folder
    from toolchain.kubernetes import programs

    if os.geteuid() != 0:
        pytest.skip("a Kubernetes node needs namespaces, mounts and control groups: only root may make them")
    missing = programs.missing(cache_folder() / "toolchain", list(programs.PARTS))
    if missing:
        pytest.skip(f"not built yet: {', '.join(missing)}; `make cluster-up` builds them, and `make test` does first")


def helm_program() -> str:
    """The `helm` that `$HUBSTACK_HELM` names, else the toolchain's; without either the test is skipped."""
    from toolchain.cache import cache_folder
    from toolchain.kubernetes import programs

    given = os.environ.get("HUBSTACK_HELM")
    if given:
        return given
    tools = cache_folder() / "toolchain"
    if programs.missing(tools, ["helm"]):
        pytest.skip("not built yet: helm; `make cluster-up` builds it, and `make test` does first")
    return str(programs.program(tools, "helm"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that runs as long as the tests do, or the one that is already there."""
    given = os.environ.get("HUBSTACK_CLUSTER")
    if given:
        yield Cluster(Path(given).parent)
        return
    needs_node()
    from toolchain.kubernetes.cluster import down, up

    folder = tmp_path_factory.mktemp("cluster")
    try:
        up(folder)
        yield Cluster(folder)
    finally:
        down(folder)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture(scope="session")
def gateway(cluster: Cluster) -> str:
    """Address of a gateway that serves HTTPRoutes of parent `gateway` in namespace `gateway`."""
    from toolchain.kubernetes.cluster import add_gateway

    return add_gateway(cluster.folder)
