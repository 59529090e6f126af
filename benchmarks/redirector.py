"""Redirects a second, latency and memory of a redirector with 1,000 nodes that it polls meanwhile.

`toolchain/with python benchmarks/redirector.py [NODES]`, half a minute. Three processes on loopback: the redirector alone
on one core; stub nodes, each on a port and over TLS as real ones are; and visitors on connections that are kept, sharing
the other core with the nodes. Visitors come first at a fixed rate whatever the answers (each latency counts from when
the visitor was due), then as fast as they are answered. Before all that they come at the same rate to a server that answers
always the same and does nothing else: what they wait there is the machine's. On a machine that is busy with other work,
which it tells, the processor time for each redirect is the figure to compare.
"""

import asyncio
import datetime as dt
import ipaddress
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[1]
NODES = 1000
CAPACITY = 100_000
VISITORS = 64
RATE = 2000
RATE_SECONDS = 8.0
MOST_SECONDS = 5.0
IDLE_SECONDS = 4.0
TICK_SECONDS = 0.001
STUBS_NICENESS = 10

REQUEST = (
    b"GET /git-pull?repo=https%3A%2F%2Fgithub.com%2Fexample%2Fcourse&urlpath=lab%2Ftree%2Fcourse%2Findex.ipynb HTTP/1.1\r\n"
    b"Host: tmpnb.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"X-Forwarded-For: 192.0.2.VISITOR\r\n"
    b"X-Forwarded-Proto: https\r\n\r\n"
)

BARE_ANSWER = b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/lab\r\nContent-Length: 0\r\n\r\n"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, which sign themselves."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stub nodes")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "nodes.pem", folder / "nodes.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


async def serve_nodes(certificate: str, key: str, nodes: int) -> None:
    """Be so many nodes, and print their ports."""
    told = {
        "available": CAPACITY // 2,
        "capacity": CAPACITY,
        "used": 0,
        "starting": 0,
        "version": "0.1.0",
        "container_image": "example.org/notebook@sha256:" + "0" * 64,
        "draining": False,
    }

    async def stats(_: web.BaseRequest) -> web.Response:
        return web.json_response(told)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(stats, access_log=None))
    await runner.setup()
    ports: list[int] = []
    for _ in range(nodes):
        listener = socket.create_server(("127.0.0.1", 0))
        ports.append(listener.getsockname()[1])
        await web.SockSite(runner, listener, ssl_context=context).start()
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


class Bare(asyncio.Protocol):
    """A connection of the server that answers always the same."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that ends here."""
        self.transport.write(BARE_ANSWER * data.count(b"\r\n\r\n"))


async def serve_bare(port: int) -> None:
    """Answer on this port."""
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


class Visitor(asyncio.Protocol):
    """One connection that is kept."""

    def __init__(self, number: int, answered: Callable[["Visitor"], None]) -> None:
        """Call `answered` with each redirect."""
        self.request, self.answered = REQUEST.replace(b"VISITOR", b"%d" % (number % 250)), answered
        self.due = 0.0
        self.part = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, due: float) -> None:
        """Ask for a redirect, which was due at a moment of `time.perf_counter`."""
        self.due = due
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Note an answer, which has no body."""
        self.part += data
        if self.part.endswith(b"\r\n\r\n"):
            assert self.part.startswith(b"HTTP/1.1 302 "), self.part
            self.part = b""
            self.answered(self)


async def visit(port: int, answered: Callable[[Visitor], None]) -> list[Visitor]:
    """So many connections."""
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda number=number: Visitor(number, answered), "127.0.0.1", port)
        for number in range(VISITORS)
    ]
    return [visitor for _, visitor in pairs]


async def at_a_rate(port: int) -> list[float]:
    """Milliseconds that visitors wait who come at `RATE` a second."""
    waits: list[float] = []
    waiting: deque[float] = deque()
    free: deque[Visitor] = deque()

    def answered(visitor: Visitor) -> None:
        waits.append(1000 * (time.perf_counter() - visitor.due))
        if waiting:
            visitor.ask(waiting.popleft())
        else:
            free.append(visitor)

    free.extend(await visit(port, answered))
    start, sent, wanted = time.perf_counter(), 0, int(RATE * RATE_SECONDS)
    while sent < wanted:
        now = time.perf_counter()
        while sent < min(wanted, (now - start) * RATE):
            due = start + sent / RATE
            sent += 1
            if free:
                free.popleft().ask(due)
            else:
                waiting.append(due)
        await asyncio.sleep(TICK_SECONDS)
    while len(waits) < wanted:
        await asyncio.sleep(TICK_SECONDS)
    return sorted(waits)


async def at_most(port: int) -> float:
    """Redirects a second that are answered when every visitor asks again at once."""
    count, end = 0, time.perf_counter() + MOST_SECONDS

    def answered(visitor: Visitor) -> None:
        nonlocal count
        count += 1
        now = time.perf_counter()
        if now < end:
            visitor.ask(now)

    for visitor in await visit(port, answered):
        visitor.ask(time.perf_counter())
    await asyncio.sleep(MOST_SECONDS + 0.5)
    return count / MOST_SECONDS


def processor_seconds(process: int) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def core_seconds(core: int) -> float:
    """Processor time that all processes have used of a core so far."""
    [line] = [line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} ")]
    user, nice, system, _, _, *interrupts = (int(field) for field in line.split()[1:])
    return (user + nice + system + sum(interrupts[:3])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(process: int) -> float:
    """The most memory that a process has held."""
    status = Path(f"/proc/{process}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def fleet_totals(port: int) -> dict[str, dict[str, int]]:
    """What the redirector knows of its nodes."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/fleet") as response:
        return json.load(response)["totals"]


def until_open(port: int) -> None:
    """Wait until a server takes connections."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server does not start")


def until_heard_of(port: int, nodes: int) -> float:
    """Seconds until every node has answered."""
    start = time.monotonic()
    while True:
        try:
            if fleet_totals(port)["states"]["up"] == nodes:
                return time.monotonic() - start
        except OSError:
            pass
        if time.monotonic() - start > 60:
            raise SystemExit(f"the nodes do not answer: {fleet_totals(port)['states']}")
        time.sleep(0.1)


def polls(port: int) -> dict[str, float]:
    """Polls so far by outcome."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    pairs = [line.split() for line in lines if line.startswith("redirector_polls_total{")]
    return {name.partition('"')[2].partition('"')[0]: float(value) for name, value in pairs}


def share(values: list[float], part: float) -> float:
    """The value that this part of sorted values does not exceed."""
    return values[min(len(values) - 1, int(part * len(values)))]


class Watch:
    """How much of its core the redirector uses, and how much others do, since this was made."""

    def __init__(self, process: int, core: int) -> None:
        """Begin."""
        self.process, self.core = process, core
        self.start = time.monotonic(), processor_seconds(process), core_seconds(core)

    def used(self) -> float:
        """Processor seconds of the redirector."""
        return processor_seconds(self.process) - self.start[1]

    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.start[0]

    def shares(self) -> str:
        """The shares in words."""
        seconds, others = self.seconds(), core_seconds(self.core) - self.start[2] - self.used()
        return f"{100 * self.used() / seconds:.0f} % of the core, others {100 * max(0.0, others) / seconds:.0f} %"


def waits_sentence(waits: list[float]) -> str:
    """What sorted waits are, in words."""
    p50, p95, p99 = (share(waits, part) for part in (0.5, 0.95, 0.99))
    return f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, most {waits[-1]:.0f} ms"


def measure_bare(core: int) -> None:
    """Print what visitors wait for a server, on this core, that answers always the same."""
    port = free_port()
    server = subprocess.Popen([sys.executable, __file__, "bare", str(port)])
    os.sched_setaffinity(server.pid, {core})
    try:
        until_open(port)
        print(f"a server that answers always the same, {RATE} a second: {waits_sentence(asyncio.run(at_a_rate(port)))}")
    finally:
        server.kill()
        server.wait()


def measure(port: int, process: int, core: int, nodes: int) -> None:
    """Print the figures of the redirector on this port and core."""
    print(f"{nodes} nodes, all heard of after {until_heard_of(port, nodes):.1f} s")
    measure_bare(core)
    before, watch = polls(port), Watch(process, core)
    time.sleep(IDLE_SECONDS)
    asked = (polls(port)["answered"] - before["answered"]) / watch.seconds()
    polling = watch.used() / watch.seconds()
    print(f"polling alone: {asked:.0f} answers a second; {watch.shares()}")
    watch = Watch(process, core)
    waits = asyncio.run(at_a_rate(port))
    each = 1e6 * (watch.used() - polling * watch.seconds()) / len(waits)
    print(f"{RATE} a second (target of p99 10 ms): {waits_sentence(waits)}")
    print(f"  {watch.shares()}; {each:.0f} µs for each redirect")
    watch = Watch(process, core)
    most = asyncio.run(at_most(port))
    print(f"as fast as it can: {most:.0f} a second (target 2000); {watch.shares()}")
    print(f"peak memory: {peak_megabytes(process):.0f} MB (target 150); missed polls: {polls(port)['missed']:.0f}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def main(nodes: int) -> None:
    """Start nodes and redirector, measure, end them."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate, key = write_certificate(folder)
        file = folder / "settings.json"
        stubs = subprocess.Popen(
            [sys.executable, __file__, "nodes", str(certificate), str(key), str(nodes)], stdout=subprocess.PIPE
        )
        os.sched_setaffinity(stubs.pid, cores[1:] or cores)
        # Visitors are the clock: the nodes, which have the same core, must not make them late.
        os.setpriority(os.PRIO_PROCESS, stubs.pid, STUBS_NICENESS)
        assert stubs.stdout
        ports: list[int] = json.loads(stubs.stdout.readline())
        port = free_port()
        origins = [f"https://127.0.0.1:{number}" for number in ports]
        settings = {
            "stack": "benchmark",
            "nodes": [
                {"name": f"tmp{number:04}", "url": origin, "stats": f"{origin}/api/stats"}
                for number, origin in enumerate(origins)
            ],
            "ca_file": str(certificate),
            "poll_seconds": 3,
            "deadline_seconds": 2,
            "port": port,
            "visitors": {"burst": 1_000_000_000, "per_minute": 60},
            "forwarded_hops": 1,
        }
        file.write_text(json.dumps(settings))
        redirector = subprocess.Popen(
            [sys.executable, "-m", "runtime.redirector", str(file)], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        os.sched_setaffinity(redirector.pid, cores[:1])
        os.sched_setaffinity(0, cores[1:] or cores)
        try:
            measure(port, redirector.pid, cores[0], nodes)
        finally:
            redirector.send_signal(signal.SIGTERM)
            code = redirector.wait(10)
            stubs.kill()
            stubs.wait()
        print(f"ended with status {code}")


if __name__ == "__main__":
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if sys.argv[1:2] == ["nodes"]:
        asyncio.run(serve_nodes(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    elif sys.argv[1:2] == ["bare"]:
        asyncio.run(serve_bare(int(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else NODES)
