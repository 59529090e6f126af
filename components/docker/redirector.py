"""The redirector of a pool on a Docker engine: its containers as data."""

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from components.docker.labels import Role
from components.docker.tls_proxy import acme_caddyfile, caddyfile
from components.docker.tmpnb_node import answering, tls_proxy
from components.quotas import parse_size
from runtime.container_group import FILES_FOLDER, GroupSpec

PORT = 9998
GROUP = "redirector"


class PoolNode(TypedDict):
    """A node as the redirector knows it."""

    name: str
    url: str
    """Where visitors are sent, without a slash at the end."""
    stats: str
    """Where the redirector asks how full it is."""


@dataclass(frozen=True)
class RedirectorSettings:
    """What the redirector is, everything filled in."""

    stack: str
    domain: str
    """Name that visitors type."""
    port: int
    """Published TCP port."""
    subnet: str
    """A range of /26 or larger for its networks."""
    nodes: Sequence[PoolNode]
    own_certificate: bool
    """Whether the nodes' certificate is the stack's own, which no system knows."""
    acme_email: str
    """Who hears from Let's Encrypt; empty where the certificate is the stack's own."""
    nodes_on_host: Sequence[str]
    """Names of nodes that are on the redirector's own host, whose names need not lead there."""
    burst: int
    """How often one address is sent to a node at once."""
    per_minute: float
    """How often one address is sent to a node in a minute in the long run."""

    @property
    def edge(self) -> ipaddress.IPv4Network:
        """Range of the network that TLS proxy and redirector share."""
        return next(ipaddress.IPv4Network(self.subnet).subnets(prefixlen_diff=1))

    @property
    def front(self) -> ipaddress.IPv4Network:
        """Range of the network that leads to the outside."""
        return [*ipaddress.IPv4Network(self.subnet).subnets(prefixlen_diff=1)][1]

    @property
    def host(self) -> str:
        """Address of the redirector's own host on its bridge: an engine gives itself the first one."""
        return str(self.front[1])


def redirector_document(settings: RedirectorSettings) -> dict[str, object]:
    """What `runtime/redirector/settings.py` reads; nodes in a fixed order.

    How to reach nodes on the same host is said here and not in the container's hosts file, which is written at its start
    alone: a node that comes or goes restarts nothing.
    """
    here = {name: {"connect": settings.host} for name in settings.nodes_on_host}
    return {
        "stack": settings.stack,
        "nodes": [
            {**node, **here.get(node["name"], {})} for node in sorted(settings.nodes, key=lambda node: node["name"])
        ],
        "ca_file": f"{FILES_FOLDER}/tls-cert" if settings.own_certificate else None,
        "poll_seconds": 3,
        "deadline_seconds": 2,
        "port": PORT,
        "visitors": {"burst": settings.burst, "per_minute": settings.per_minute},
        "forwarded_hops": 1,
    }


def redirector_group(settings: RedirectorSettings) -> GroupSpec:
    """The redirector and its TLS proxy; another list of nodes is read without a restart."""
    # By address: names are not resolved while the engine is restarted under visitors.
    address = str(settings.edge[-2])
    upstream = f"{address}:{PORT}"
    configuration = (
        acme_caddyfile(upstream, settings.domain, settings.acme_email)
        if settings.acme_email
        else caddyfile(upstream, secrets=FILES_FOLDER)
    )
    return {
        "stack": settings.stack,
        "group": GROUP,
        "networks": {
            "edge": {"subnet": str(settings.edge), "internal": True},
            "front": {"subnet": str(settings.front), "internal": False},
        },
        "containers": {
            "redirector": {
                "role": Role.REDIRECTOR.value,
                "image": "redirector",
                "command": ["python", "-m", "runtime.redirector", f"{FILES_FOLDER}/redirector.json"],
                "cpu": 1.0,
                "memory_bytes": parse_size("256M"),
                "processes": 64,
                "user": "65534:65534",
                "networks": {"front": {}, "edge": {"address": address}},
                "texts": ["redirector.json"],
                # The public part of the certificate alone, to know the nodes by.
                "secrets": ["tls-cert"] if settings.own_certificate else [],
                "reloads": True,
                "health": answering(PORT, "/health"),
            },
            "tls-proxy": {**tls_proxy(settings.port, acme=bool(settings.acme_email)), "image": "redirector"},
        },
        "order": ["redirector", "tls-proxy"],
        "texts": {
            "redirector.json": json.dumps(redirector_document(settings), sort_keys=True),
            "Caddyfile": configuration,
        },
    }
