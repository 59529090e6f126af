"""A node of a pool of temporary notebooks on a Docker engine: its containers as data."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import pulumi

from components.docker.container_group import ContainerGroup
from components.docker.labels import Role
from components.docker.tls_proxy import ACME_PORT, TLS_PORT, acme_caddyfile, caddyfile
from components.docker.tmpnb_egress import bridges, destinations, egress_proxy_url, guard, with_egress_proxy
from components.docker.tmpnb_plan import (
    ADMIN_PORT,
    PROXY_API_PORT,
    PROXY_PORT,
    SERVICE_PORT,
    NodePlan,
    NodeSettings,
    plan_node,
)
from components.quotas import parse_size
from runtime.container_group import FILES_FOLDER, ContainerSpec, GroupSpec
from runtime.tmpnb_node.routes import USER_ROUTES
from runtime.tmpnb_node.visitors import COOKIE

OPEN_FILES = 4096
STATE_FOLDER = "/srv/node"
SERVICE_COMMAND = ("python", "-m", "runtime.tmpnb_node")

KEPT_FROM_SERVERS = f'request_header {USER_ROUTES}* Cookie "(^|; *){COOKIE}=[^;]*" "$1"'
"""Caddy's directive that keeps the node's own cookie from servers: it opens its visitor's server for the first minute.

Without `$1`, which leaves an empty cookie, Caddy would not search, but set the header.
"""


def service_settings(node: NodeSettings) -> dict[str, object]:
    """The service's settings but for the servers' image; `runtime/tmpnb_node/settings.py` says what each means."""
    start = f"{node.stack}-{node.name}"
    proxy, service = plan_node(node.pool, node.number).controls
    return {
        "stack": node.stack,
        "node": node.name,
        "url": node.url,
        "redirector": node.redirector,
        "capacity": node.capacity,
        "quota": {**node.quota, "open_files": OPEN_FILES},
        "network": f"{start}-servers",
        "guard": f"{start}-egress-guard",
        "egress_proxy": egress_proxy_url(node),
        "resolver": node.lets_out,
        "landing": node.landing,
        "visitors": {"burst": node.burst, "per_minute": node.per_minute},
        "starts_at_once": node.starts_at_once,
        "proxy_api": f"http://{proxy}:{PROXY_API_PORT}",
        "service_address": f"http://{service}:{SERVICE_PORT}",
        "public_port": SERVICE_PORT,
        "admin_address": "0.0.0.0",  # noqa: S104  (of a container; the host publishes it on its loopback alone)
        "admin_port": ADMIN_PORT,
        "forwarded_hops": 1,
    }


def node_group(node: NodeSettings) -> GroupSpec:
    """The node's containers, the guards first: without them nothing may be started."""
    plan = plan_node(node.pool, node.number)
    bridge, _ = bridges(f"{node.stack}-{node.name}")
    group: GroupSpec = {
        "stack": node.stack,
        "group": node.name,
        "networks": {
            "servers": {"subnet": plan.servers, "internal": not node.lets_out, "bridge": bridge, "apart": True},
            "control": {"subnet": plan.control, "internal": True},
            "edge": {"subnet": plan.edge, "internal": True},
            "front": {"subnet": plan.front, "internal": False},
        },
        "containers": {
            "egress-guard": guard(node, plan),
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
            "undo": [*SERVICE_COMMAND, "stay", f"{FILES_FOLDER}/admin-token"],
        },
    }
    return with_egress_proxy(group, node, plan) if node.has_egress_proxy else group


def node_caddyfile(node: NodeSettings) -> str:
    """Configuration of the node's TLS proxy."""
    upstream = f"{plan_node(node.pool, node.number).upstream}:{PROXY_PORT}"
    if node.acme_email:
        domain = urlsplit(node.url).hostname or ""
        return acme_caddyfile(upstream, domain, node.acme_email, more=KEPT_FROM_SERVERS)
    return caddyfile(upstream, secrets=FILES_FOLDER, more=KEPT_FROM_SERVERS)


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
            "ERROR_TARGET": f"http://{plan.controls[1]}:{SERVICE_PORT}/proxy-error",
            "SECRETS": FILES_FOLDER,
        },
        "networks": {
            "control": {"address": plan.controls[0]},
            "edge": {"address": plan.upstream},
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
            "control": {"address": plan.controls[1]},
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
            images: ids or digests of the images `node` and `notebook`, and of `egress-proxy` where it has one.
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
