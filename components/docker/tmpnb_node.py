"""A node of a pool of temporary notebooks on a Docker engine: its addresses, and its containers as data."""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pulumi

from components.docker.container_group import ContainerGroup
from components.docker.hub_services import GUARD_COMMAND
from components.docker.labels import Role
from components.docker.overlay import parse_pool
from components.docker.tls_proxy import ACME_PORT, TLS_PORT, acme_caddyfile, caddyfile
from components.egress import NEVER_REACHED, EgressProfile
from components.probe_destinations import METADATA_SERVICES, OUTSIDE, PRIVATE_NEIGHBOURS, Destination, destination
from components.quotas import parse_size
from runtime.container_group import FILES_FOLDER, ContainerSpec, GroupSpec
from runtime.open_network import bridge_name

NODE_PREFIX_LENGTH = 21
"""Range of a node: a /22 for its servers, and the platform's networks in the other half."""

SERVERS_PREFIX_LENGTH = 22
"""1,022 addresses: a bridge has 1,024 ports (jupyter/tmpnb#46)."""

MOST_SERVERS = 1000
"""What a bridge holds beside the platform's own containers (seed 000: 1,000 users a node)."""

PROXY_PORT, PROXY_API_PORT = 8000, 8001
SERVICE_PORT, ADMIN_PORT = 9999, 10000
NOTEBOOK_PORT = 8888
NEIGHBOURS = range(2, 8)
"""Where the engine puts the first servers, counted from the start of their range."""

OPEN_FILES = 4096
EVERYWHERE = ("0.0.0.0/0", "::/0")

STATE_FOLDER = "/srv/node"
SERVICE_COMMAND = ("python", "-m", "runtime.tmpnb_node")


@dataclass(frozen=True)
class NodePlan:
    """Ranges of a node's networks."""

    servers: str
    """Users' servers, and the addresses by which the platform reaches them."""
    control: str
    """Service and proxy: the proxy's API is on this network alone."""
    edge: str
    """TLS proxy and proxy."""
    front: str
    """TLS proxy and the published ports."""

    @property
    def gates(self) -> tuple[str, str]:
        """Addresses of the proxy and of the service on the servers' network."""
        network = ipaddress.IPv4Network(self.servers)
        return str(network[-2]), str(network[-3])

    @property
    def probe(self) -> str:
        """Address of the probe on the servers' network."""
        return str(ipaddress.IPv4Network(self.servers)[-4])


def nodes_in(pool: str) -> int:
    """How many nodes have a range of their own in the pool.

    Raises:
        ValueError: it is no private range of /20 or larger.
    """
    return 2 ** max(0, NODE_PREFIX_LENGTH - parse_pool(pool).prefixlen)


def plan_node(pool: str, number: int) -> NodePlan:
    """The ranges of the node with this number; nodes whose numbers differ by `nodes_in(pool)` have the same.

    Raises:
        ValueError: the pool is no private range of /20 or larger.
    """
    place = number % nodes_in(pool)
    base = int(parse_pool(pool).network_address) + (place << (32 - NODE_PREFIX_LENGTH))
    servers, platform = ipaddress.IPv4Network((base, NODE_PREFIX_LENGTH)).subnets(new_prefix=SERVERS_PREFIX_LENGTH)
    control, edge, front, *_ = platform.subnets(new_prefix=26)
    return NodePlan(*map(str, (servers, control, edge, front)))


@dataclass(frozen=True)
class NodeSettings:
    """What a node is, everything filled in."""

    stack: str
    name: str
    number: int
    url: str
    """Where visitors reach it, without a slash at the end."""
    port: int
    """Published TCP port of its TLS proxy."""
    capacity: int
    quota: Mapping[str, float]
    """A server's quota in the service's units, as `user_quota_document` gives it."""
    profile: EgressProfile
    pool: str
    """Range that the node's networks are cut from."""
    landing: str
    """Path that a visitor of `/` ends at."""
    burst: int
    """How many servers one address may get at once."""
    per_minute: float
    """How many servers one address may get in a minute in the long run."""
    drain_seconds: int
    """How long a node that is removed waits for its users."""
    acme_email: str
    """Who hears from Let's Encrypt; empty where the certificate is the stack's own."""

    @property
    def admin_port(self) -> int:
        """Port of the administration on the host's loopback: apart from others' on one host."""
        return ADMIN_PORT + self.number


def service_settings(node: NodeSettings) -> dict[str, object]:
    """The service's settings but for the servers' image; `runtime/tmpnb_node/settings.py` says what each means."""
    start = f"{node.stack}-{node.name}"
    return {
        "stack": node.stack,
        "node": node.name,
        "url": node.url,
        "capacity": node.capacity,
        "quota": {**node.quota, "open_files": OPEN_FILES},
        "network": f"{start}-servers",
        "guard": f"{start}-egress-guard",
        "egress_proxy": None,
        "resolver": node.profile is not EgressProfile.CLOSED,
        "landing": node.landing,
        "visitors": {"burst": node.burst, "per_minute": node.per_minute},
        "starts_at_once": 2,
        "proxy_api": f"http://proxy:{PROXY_API_PORT}",
        "service_address": f"http://service:{SERVICE_PORT}",
        "public_port": SERVICE_PORT,
        "admin_address": "0.0.0.0",  # noqa: S104  (of a container; the host publishes it on its loopback alone)
        "admin_port": ADMIN_PORT,
        "forwarded_hops": 1,
    }


def node_group(node: NodeSettings) -> GroupSpec:
    """The node's containers, the guard first: without it nothing may be started."""
    plan = plan_node(node.pool, node.number)
    return {
        "stack": node.stack,
        "group": node.name,
        "networks": {
            "servers": {
                "subnet": plan.servers,
                "internal": node.profile is not EgressProfile.OPEN,
                "bridge": bridge_name(f"{node.stack}-{node.name}"),
                "apart": True,
            },
            "control": {"subnet": plan.control, "internal": True},
            "edge": {"subnet": plan.edge, "internal": True},
            "front": {"subnet": plan.front, "internal": False},
        },
        "containers": {
            "egress-guard": _guard(node, plan),
            "proxy": _proxy(plan),
            "service": _service(node, plan),
            "tls-proxy": tls_proxy(node.port, acme=bool(node.acme_email)),
        },
        "order": ["egress-guard", "proxy", "service", "tls-proxy"],
        "texts": {
            "settings.json": json.dumps(service_settings(node), sort_keys=True),
            "Caddyfile": node_caddyfile(node),
        },
        "probe": {
            "image": "notebook",
            "network": "servers",
            "address": plan.probe,
            "forbidden": destinations(node, plan),
        },
        "farewell": {
            "container": "service",
            "command": [*SERVICE_COMMAND, "drain", str(node.drain_seconds), f"{FILES_FOLDER}/admin-token"],
        },
    }


def destinations(node: NodeSettings, plan: NodePlan) -> list[Destination]:
    """What code on the servers' network must not reach: neighbours, the platform, the host, and what the profile closes."""
    found = [*METADATA_SERVICES, *PRIVATE_NEIGHBOURS]
    proxy, service = plan.gates
    platform = (
        (proxy, PROXY_PORT, "the proxy"),
        (proxy, PROXY_API_PORT, "the proxy's API"),
        (service, SERVICE_PORT, "the node's service"),
        (service, ADMIN_PORT, "the node's administration"),
    )
    found += [destination("tcp", address, port, why) for address, port, why in platform]
    servers = ipaddress.IPv4Network(plan.servers)
    found += [destination("tcp", str(servers[number]), NOTEBOOK_PORT, "a neighbour's server") for number in NEIGHBOURS]
    hosts = [(str(servers[1]), "the host")]
    hosts += [(str(ipaddress.IPv4Network(subnet)[1]), "the host") for subnet in (plan.control, plan.edge, plan.front)]
    hosts += [("172.17.0.1", "the host on the engine's own bridge")]
    for address, why in hosts:
        found += [destination("tcp", address, port, why) for port in (22, 2375, 2376, node.port)]
    if node.profile is EgressProfile.CLOSED:
        found += OUTSIDE
    return found


def node_caddyfile(node: NodeSettings) -> str:
    """Configuration of the node's TLS proxy."""
    upstream = f"proxy:{PROXY_PORT}"
    if node.acme_email:
        return acme_caddyfile(upstream, urlsplit(node.url).hostname or "", node.acme_email)
    return caddyfile(upstream, secrets=FILES_FOLDER)


def _guard(node: NodeSettings, plan: NodePlan) -> ContainerSpec:
    forbidden = NEVER_REACHED if node.profile is EgressProfile.OPEN else EVERYWHERE
    bridge = bridge_name(f"{node.stack}-{node.name}")
    arguments = [*(f"--gate={address}" for address in plan.gates), bridge, plan.servers, *forbidden]
    return {
        "role": Role.EGRESS_GUARD.value,
        "image": "node",
        "command": [*GUARD_COMMAND, *arguments],
        "cpu": 0.25,
        "memory_bytes": parse_size("64M"),
        "processes": 32,
        "host_network": True,
        "cap_add": ["NET_ADMIN"],
        "health": [*GUARD_COMMAND, "--check", *arguments],
    }


def _proxy(plan: NodePlan) -> ContainerSpec:
    return {
        "role": Role.PROXY.value,
        "image": "node",
        "command": ["python", "-m", "runtime.start_proxy"],
        "cpu": 1.0,
        "memory_bytes": parse_size("256M"),
        "processes": 64,
        "environment": {
            "CONTROL_SUBNET": plan.control,
            "ERROR_TARGET": f"http://service:{SERVICE_PORT}/proxy-error",
            "SECRETS": FILES_FOLDER,
        },
        "networks": {
            "control": {"aliases": ["proxy"]},
            "edge": {"aliases": ["proxy"]},
            "servers": {"address": plan.gates[0]},
        },
        "secrets": ["proxy-token"],
        "health": listening(PROXY_PORT),
    }


def _service(node: NodeSettings, plan: NodePlan) -> ContainerSpec:
    return {
        "role": Role.NODE_SERVICE.value,
        "image": "node",
        "command": [*SERVICE_COMMAND, f"{FILES_FOLDER}/settings.json", FILES_FOLDER, STATE_FOLDER],
        "cpu": 1.0,
        "memory_bytes": parse_size("512M"),
        "processes": 128,
        "networks": {
            "front": {},
            "control": {"aliases": ["service"]},
            "servers": {"address": plan.gates[1]},
        },
        "image_variables": {"NOTEBOOK_IMAGE": "notebook"},
        "texts": ["settings.json"],
        "secrets": ["proxy-token", "admin-token"],
        "volumes": {"state": STATE_FOLDER},
        "engine_socket": True,
        "ports": [{"published": node.admin_port, "target": ADMIN_PORT, "address": "127.0.0.1"}],
        "health": answering(SERVICE_PORT, "/health"),
    }


def tls_proxy(port: int, *, acme: bool) -> ContainerSpec:
    """TLS at the front, on a published port of every address of the host.

    Args:
        port: the published TCP port.
        acme: whether certificates are Let's Encrypt's, which are kept in a volume, and that asks on port 80.
    """
    everywhere = "0.0.0.0"  # noqa: S104  (visitors come from everywhere)
    home = "/data" if acme else "/tmp"  # noqa: S108  (the container's own)
    spec: ContainerSpec = {
        "role": Role.TLS_PROXY.value,
        "image": "node",
        "command": ["caddy", "run", "--config", f"{FILES_FOLDER}/Caddyfile", "--adapter", "caddyfile"],
        "cpu": 1.0,
        "memory_bytes": parse_size("256M"),
        "processes": 64,
        "environment": dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"), home),
        "networks": {"front": {}, "edge": {}},
        "texts": ["Caddyfile"],
        "ports": [{"published": port, "target": TLS_PORT, "address": everywhere}],
        "health": listening(TLS_PORT),
    }
    if acme:
        ports = [*spec.get("ports", ()), {"published": 80, "target": ACME_PORT, "address": everywhere}]
        return {**spec, "volumes": {"certificates": home}, "ports": ports}  # pyright: ignore[reportReturnType]  (as above)
    return {**spec, "secrets": ["tls-cert", "tls-key"]}


def listening(port: int) -> Sequence[str]:
    """A command that fails while nothing listens on the port."""
    return ["python3", "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"]


def answering(port: int, path: str) -> Sequence[str]:
    """A command that fails while the path does not answer 200."""
    return [
        "python3",
        "-c",
        f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}{path}', timeout=5)",
    ]


class TmpnbNode(pulumi.ComponentResource):
    """One node: a pool of started servers behind a proxy, on one engine."""

    url: pulumi.Output[str]
    """Where visitors reach it, known once it works."""

    def __init__(
        self,
        name: str,
        engine: str,
        settings: NodeSettings,
        images: Mapping[str, pulumi.Input[str]],
        secrets: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the node.

        Args:
            name: the resource's name.
            engine: address of the Docker engine.
            settings: what it is.
            images: ids or digests of the images `node` and `notebook`.
            secrets: the proxy's and the administration's tokens and, where it is the stack's own, the certificate.
            opts: resource options.
        """
        super().__init__("hubstack:index:TmpnbNode", name, {}, opts)
        group = ContainerGroup(
            name,
            {"engine": engine, "spec": node_group(settings), "images": images, "secrets": secrets},
            pulumi.ResourceOptions(parent=self),
        )
        self.url = group.id.apply(lambda _: settings.url)
        self.register_outputs({"url": self.url})
