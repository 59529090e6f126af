"""A pool of temporary notebooks for benchmarks: a node and a redirector on this machine's engine, and who visits them.

They are deployed from the stack's own descriptions, by what deploys them in a stack, but without Pulumi.
"""

import contextlib
import datetime as dt
import json
import os
import re
import secrets
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import docker
import requests
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from components.docker.redirector import redirector_group
from components.docker.tmpnb_node import node_group, service_settings
from components.pool_arguments import TmpnbNodePoolArgs
from components.pool_checks import check_tmpnb_node_pool
from components.pool_plan import node_settings, redirector_settings
from runtime.container_group import GroupSpec
from runtime.group_deployment import deploy, remove
from toolchain.pushed_images import build_if_missing, images_of_stack

ROOT = Path(__file__).resolve().parents[1]
DOMAIN = "tmp.localhost"
ADDRESS_POOL = "10.233.0.0/16"
FULL_SECONDS = 1200
"""How long a pool may take to fill."""

NEW_SESSION = {"path": "visit.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
"""What JupyterLab asks a server for when a notebook is opened."""

READY = re.compile(r"server [a-z0-9]+ is ready after ([0-9.]+) s")
"""What a node's service says of a server that has started."""


class BenchmarkError(Exception):
    """What is measured does not work; the message says what."""


def machine() -> str:
    """The machine and how busy it is, in words."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory = {name: int(rest.split()[0]) / 2**20 for name, _, rest in (line.partition(":") for line in lines)}
    return (
        f"{os.cpu_count()} cores, {memory['MemTotal']:.0f} GB of memory, {memory['MemAvailable']:.0f} GB of it free; load "
        f"{', '.join(f'{load:.1f}' for load in os.getloadavg())}"
    )


def images(client: docker.APIClient, *shorts: str) -> dict[str, str]:
    """Ids of the project's images of these among `hub`, `node`, `redirector` and `notebook`, built where they are missing."""
    with contextlib.chdir(ROOT):
        stacks = images_of_stack({"hubstack:topology": "tmpnb"}, rootfs=True) | images_of_stack({}, rootfs=True)
        named = {
            "hub": stacks["hubImage"],
            "node": stacks["tmpnb.nodeImage"],
            "redirector": stacks["tmpnb.redirectorImage"],
            "notebook": stacks["notebookImage"],
        }
        for short in shorts:
            build_if_missing(client, named[short])
    return {short: client.inspect_image(named[short].name)["Id"] for short in shorts}


def certificate(domain: str) -> dict[str, str]:
    """A certificate for a domain and the names right below it, and its key, as the TLS proxies read them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(domain), x509.DNSName(f"*.{domain}")]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"tls-cert": signed.public_bytes(serialization.Encoding.PEM).decode(), "tls-key": private.decode()}


@dataclass(frozen=True)
class Pool:
    """A deployed pool of one node."""

    client: docker.APIClient
    stack: str
    node: str
    capacity: int
    url: str
    """Address of the redirector."""
    port: int
    """Published port of the redirector."""

    def stats(self) -> dict[str, Any]:
        """What the redirector says."""
        answer = requests.get(f"https://127.0.0.1:{self.port}/stats", verify=False, timeout=10)
        return answer.json()

    def until_full(self) -> float:
        """Wait until every server waits for a visitor, by what the redirector knows; seconds that it took."""
        began = time.monotonic()
        while self.stats()["available"] < self.capacity:
            if time.monotonic() - began > FULL_SECONDS:
                raise BenchmarkError(f"the pool does not fill: {self.stats()}")
            time.sleep(0.3)
        return time.monotonic() - began

    def end(self, server_id: str) -> None:
        """End a used server, which the node then replaces."""
        self.client.remove_container(f"{self.stack}-{self.node}-{server_id}", force=True)

    def start_seconds(self) -> list[float]:
        """How long each server took from the beginning of its start until it was ready, as the node's service told."""
        said = self.client.logs(f"{self.stack}-{self.node}-service").decode(errors="replace")
        return [float(seconds) for seconds in READY.findall(said)]


@contextlib.contextmanager
def deployed(client: docker.APIClient, stack: str, args: TmpnbNodePoolArgs, built: Mapping[str, str]) -> Iterator[Pool]:
    """A pool of the one node in `args`, gone at the end with everything of it.

    Args:
        client: the engine's API.
        stack: start of the name of everything on the engine.
        args: the pool's arguments.
        built: ids of the images, as `images` gives them.
    """
    mistakes = check_tmpnb_node_pool(args)
    if mistakes:
        raise BenchmarkError(f"the pool's arguments are wrong: {mistakes}")
    nodes = node_settings(stack, args)
    [node] = nodes
    told = redirector_settings(stack, args, nodes)
    tls = certificate(told.domain)
    tokens = {"proxy-token": secrets.token_hex(), "admin-token": secrets.token_hex()}
    groups = [(node_group(node), {**tokens, **tls}), (redirector_group(told), tls)]
    try:
        for spec, files in groups:
            deploy(client, spec, built, files)
        yield Pool(client, stack, node.name, node.capacity, f"https://{told.domain}:{told.port}", told.port)
    finally:
        for spec, _ in reversed(groups):
            remove(client, without_farewell(spec))


def node_document(stack: str, args: TmpnbNodePoolArgs) -> dict[str, object]:
    """The settings of the one node in `args`, as its service reads them, but for the image."""
    [node] = node_settings(stack, args)
    return service_settings(node)


def without_farewell(spec: GroupSpec) -> GroupSpec:
    """The group, to be removed at once: nobody is there whom it would wait for."""
    left = spec.copy()
    left.pop("farewell", None)
    return left


def left_over(client: docker.APIClient, stack: str) -> list[str]:
    """Names of containers and networks with this start that are still on the engine."""
    names = [name for found in client.containers(all=True) for name in found["Names"]]
    names += [f"/{network['Name']}" for network in client.networks()]
    return [name for name in names if name.startswith(f"/{stack}-")]


class Loopback(AbstractResolver):
    """Every name is this machine's, as those below `localhost` are (RFC 6761)."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The address of the loopback."""
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""


def browser() -> aiohttp.ClientSession:
    """Somebody who was nowhere yet: no connection, no cookie; any certificate is taken."""
    connector = aiohttp.TCPConnector(ssl=False, resolver=Loopback(), use_dns_cache=False)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(total=300)
    )


async def open_notebook(session: aiohttp.ClientSession, base: str) -> None:
    """Start a kernel as JupyterLab does when a notebook is opened, and return when it is idle.

    Args:
        session: a browser that is logged in to the server.
        base: address of the server, with a slash at its end.
    """
    xsrf = session.cookie_jar.filter_cookies(URL(f"{base}api/"))["_xsrf"].value
    async with session.post(f"{base}api/sessions", json=NEW_SESSION, headers={"X-XSRFToken": xsrf}) as answer:
        if answer.status != 201:
            raise BenchmarkError(f"no kernel: {answer.status} {(await answer.text())[:200]}")
        kernel = (await answer.json())["kernel"]["id"]
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": "kernel_info_request", "username": "", "session": number, "version": "5.3"}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "channel": "shell", "buffers": []}
    async with session.ws_connect(f"{base}api/kernels/{kernel}/channels?session_id={number}") as channel:
        await channel.send_json(request)
        async for message in channel:
            told = json.loads(message.data)
            if told["parent_header"].get("msg_id") == number and told["content"].get("execution_state") == "idle":
                return
    raise BenchmarkError("the kernel's channel was closed")


async def visit_pool(pool: Pool) -> tuple[float, str]:
    """Come to a pool, and open a notebook; milliseconds until its kernel is idle, and the server's id."""
    began = time.perf_counter()
    async with browser() as session:
        async with session.get(f"{pool.url}/") as page:
            await page.read()
            if page.status != 200 or "/user/" not in page.url.path:
                raise BenchmarkError(f"no server: {page.status} at {page.url.path}")
            server_id = page.url.parts[2]
            base = str(page.url.origin().with_path(f"/user/{server_id}/"))
        await open_notebook(session, base)
    return 1000 * (time.perf_counter() - began), server_id


def pool_args(*, port: int, number: int, capacity: int, memory: str, home: str, tmp: str) -> TmpnbNodePoolArgs:
    """Arguments of a pool of one node on this machine's engine.

    Args:
        port: the redirector's; the node's is the next one.
        number: the node's, by which it has its range and the port of its administration.
        capacity: servers.
        memory: of a server.
        home: of it, for the home.
        tmp: of it, for `/tmp`.
    """
    return {
        "domain": DOMAIN,
        "port": port,
        "addressPool": ADDRESS_POOL,
        "userQuota": {
            "cpu": 1,
            "memory": memory,
            "processes": 128,
            "home": home,
            "tmp": tmp,
            "idle": 3600,
            "maxAge": 14400,
        },
        "visitorBurst": 10_000,
        "visitorsPerMinute": 10_000,
        "drainSeconds": 0,
        "nodes": [{"name": f"tmp{number}", "port": port + 1, "capacity": capacity}],
    }
