"""What a request waits at a node's proxy with 1,000 routes, and at one with 10.

`toolchain/with python benchmarks/routes.py`, five minutes. Two nodes, each a proxy as it is deployed, with the same
limits, and `runtime/tmpnb_node` that keeps its routes, looks whether they are there and asks every server whether it is
used; servers are stubs at addresses of their own, all handed out. Requests come at a fixed rate whatever the answers,
each to the next server and over a connection of its own, since the proxy closes those whose server does; each wait
counts from when the request was due. The two are measured in turns, and the one that is not is stopped meanwhile, as
both share this machine's processors.
"""

import asyncio
import contextlib
import itertools
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pool_lab import BenchmarkError, images, left_over, machine
from benchmarks.redirector import processor_seconds, share
from benchmarks.routes_stub import SECRETS, SERVICE_PORT
from components.docker.tmpnb_plan import PROXY_PORT

STACK = "bench-routes"
SUBNET = "10.233.240.0/24"
FEW, MANY = 10, 1000
ROUNDS = 12
RATE, SECONDS = 150, 6.0
AT_ONCE = 32
"""Most requests under way; more wait, which counts."""
REST_SECONDS = 3.0
"""After a node was stopped: what it has missed meanwhile, it does at once."""

FULL_SECONDS = 300
GOAL_RATIO = 2.0
PROGRAM = Path(__file__).with_name("routes_stub.py")
PROXY_CPUS, PROXY_BYTES, PROXY_PROCESSES = 1.0, 256 << 20, 64
"""A proxy's own limits (`components/docker/tmpnb_node.py`)."""

CPU_SHARES = 20 * 1024
"""A container is worth twenty of what else runs on the machine: one that is busy with other work would measure that."""


@dataclass(frozen=True)
class Node:
    """A proxy, its service and its servers."""

    name: str
    address: str
    paths: list[str]
    """A path of each server, below which it answers."""
    proxy: int
    """Process id of the proxy."""

    @contextlib.contextmanager
    def alone(self, others: Sequence["Node"]) -> Iterator[None]:
        """Nobody else takes processor time."""
        stopped = [f"{other.name}-{part}" for other in others for part in ("service", "servers", "proxy")]
        subprocess.run(["docker", "pause", *stopped], check=True, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            subprocess.run(["docker", "unpause", *stopped], check=True, stdout=subprocess.DEVNULL)


def before_others(client: docker.APIClient) -> dict[str, Any]:
    """Arguments of a container that gets processor time before what else runs, where the engine's driver lets it."""
    # Below the engine's own group its shares would count among containers alone.
    beside = {"cgroup_parent": "/"} if client.info()["CgroupDriver"] == "cgroupfs" else {}
    return {"cpu_shares": CPU_SHARES, **beside}


@contextlib.contextmanager
def node(client: docker.APIClient, image: str, folder: Path, servers: int, address: str) -> Iterator[Node]:
    """A node with so many servers, all of them handed out; gone at the end."""
    name = f"{STACK}-{servers}"
    binds = [f"{folder}:{SECRETS}:ro", f"{PROGRAM}:/routes_stub.py:ro"]

    def start(part: str, command: list[str], **limits: Any) -> None:
        endpoint = {STACK: client.create_endpoint_config(ipv4_address=address)} if part == "proxy" else {}
        network = STACK if part == "proxy" else f"container:{name}-proxy"
        made = client.create_container(
            image,
            command=command,
            name=f"{name}-{part}",
            environment={
                "CONTROL_SUBNET": "127.0.0.0/8",
                "ERROR_TARGET": f"http://127.0.0.1:{SERVICE_PORT}/proxy-error",
                "SECRETS": str(SECRETS),
            },
            host_config=client.create_host_config(binds=binds, network_mode=network, **before_others(client), **limits),
            networking_config=client.create_networking_config(endpoint) if endpoint else None,
        )
        client.start(made["Id"])

    try:
        limits = {"nano_cpus": int(PROXY_CPUS * 1e9), "mem_limit": PROXY_BYTES, "pids_limit": PROXY_PROCESSES}
        start("proxy", ["python", "-m", "runtime.start_proxy"], **limits)
        start("servers", ["python", "/routes_stub.py", "servers"])
        start("service", ["python", "/routes_stub.py", "service", str(servers)])
        paths = hand_out_all(client, name, f"http://{address}:{PROXY_PORT}", servers)
        yield Node(name, address, paths, child_of(client.inspect_container(f"{name}-proxy")["State"]["Pid"]))
    finally:
        for part in ("service", "servers", "proxy"):
            with contextlib.suppress(docker.errors.NotFound):
                client.remove_container(f"{name}-{part}", force=True, v=True)


def child_of(process: int) -> int:
    """The one child of a process, here of the container's own `tini`."""
    return int(Path(f"/proc/{process}/task/{process}/children").read_text())


def hand_out_all(client: docker.APIClient, name: str, url: str, servers: int) -> list[str]:
    """Wait until every server is ready, hand all out, and return their paths."""
    deadline = time.monotonic() + FULL_SECONDS
    while available(url) < servers:
        if time.monotonic() > deadline:
            said = client.logs(f"{name}-service", tail=5).decode(errors="replace")
            raise BenchmarkError(f"{available(url)} of {servers} servers are ready: {said}")
        time.sleep(0.5)
    with requests.Session() as session:
        told = [session.post(f"{url}/api/spawn", timeout=10).json()["url"] for _ in range(servers)]
    return [urlsplit(where).path.removesuffix("/lab") for where in told]


def available(url: str) -> int:
    """Servers that wait for a visitor; none while nobody answers."""
    try:
        return requests.get(f"{url}/api/stats", timeout=5).json()["available"]
    except (requests.RequestException, ValueError, KeyError):
        return 0


async def waits(one: Node) -> list[float]:
    """Milliseconds that requests wait which are due at `RATE` a second, sorted."""
    number, paths = itertools.count(), itertools.cycle(one.paths)
    start, found, wanted = time.perf_counter() + 0.1, list[float](), int(RATE * SECONDS)

    async def visitor() -> None:
        while (mine := next(number)) < wanted:
            due = start + mine / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            reader, writer = await asyncio.open_connection(one.address, PROXY_PORT)
            writer.write(f"GET {next(paths)}/api/status HTTP/1.1\r\nHost: tmp01.example.org\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200") or b"content-length: " not in head.lower():
                raise BenchmarkError(f"the proxy answers {head[:200]!r}")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            found.append(1000 * (time.perf_counter() - due))
            writer.close()

    await asyncio.gather(*(visitor() for _ in range(AT_ONCE)))
    return sorted(found)


def told(waited: Sequence[float]) -> str:
    """Milliseconds in words."""
    p50, p95, p99 = (share(sorted(waited), part) for part in (0.5, 0.95, 0.99))
    return f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms"


def main(rounds: int) -> None:
    """Measure two nodes in turns."""
    client = docker.APIClient(version="auto", timeout=300)
    image = images(client, "node")["node"]
    pool = docker.types.IPAMPool(subnet=SUBNET)
    client.create_network(STACK, driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    all_waits: dict[int, list[float]] = {FEW: [], MANY: []}
    ratios: list[float] = []
    used: dict[int, float] = {FEW: 0.0, MANY: 0.0}
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hubstack-benchmark-")))
            (folder / "proxy-token").write_text(secrets.token_hex())
            prefix = SUBNET.rpartition(".")[0]
            nodes = {
                servers: stack.enter_context(node(client, image, folder, servers, f"{prefix}.{place}"))
                for place, servers in enumerate((FEW, MANY), start=2)
            }
            print(f"{machine()}; {rounds} rounds of {RATE * SECONDS:.0f} requests, {RATE} a second")
            for number in range(rounds):
                # Whoever comes first does not do so always.
                order = (FEW, MANY) if number % 2 else (MANY, FEW)
                p99: dict[int, float] = {}
                for servers in order:
                    one, others = nodes[servers], [other for other in nodes.values() if other is not nodes[servers]]
                    with one.alone(others):
                        time.sleep(REST_SECONDS)
                        before = processor_seconds(one.proxy)
                        waited = asyncio.run(waits(one))
                        used[servers] += processor_seconds(one.proxy) - before
                    all_waits[servers] += waited
                    p99[servers] = share(waited, 0.99)
                ratios.append(p99[MANY] / p99[FEW])
                print(f"  p99 {p99[FEW]:6.1f} ms with {FEW}, {p99[MANY]:6.1f} ms with {MANY}", flush=True)
    finally:
        client.remove_network(STACK)
    for servers, waited in all_waits.items():
        each = 1000 * used[servers] / len(waited)
        print(
            f"{servers:5} routes: {told(waited)} of {len(waited)} requests; {each:.2f} ms of the proxy's processor time each"
        )
    whole = share(sorted(all_waits[MANY]), 0.99) / share(sorted(all_waits[FEW]), 0.99)
    print(
        f"p99 with {MANY} is {whole:.2f} times that with {FEW} (target at most {GOAL_RATIO:.0f}); by rounds "
        f"{min(ratios):.2f} to {max(ratios):.2f}, median {statistics.median(ratios):.2f}; {machine()}"
    )
    left = left_over(client, STACK)
    if left:
        raise SystemExit(f"left on the engine: {left}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
