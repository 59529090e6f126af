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
    names_on_host: Sequence[str]
    """Names of nodes that are on the redirector's own host."""


def redirector_document(settings: RedirectorSettings) -> dict[str, object]:
    """What `runtime/redirector/settings.py` reads; nodes in a fixed order."""
    return {
        "stack": settings.stack,
        "nodes": sorted(settings.nodes, key=lambda node: node["name"]),
        "ca_file": f"{FILES_FOLDER}/tls-cert" if settings.own_certificate else None,
        "poll_seconds": 3,
        "deadline_seconds": 2,
        "port": PORT,
        "visitors": {"burst": 200, "per_minute": 60},
        "forwarded_hops": 1,
    }


def redirector_group(settings: RedirectorSettings) -> GroupSpec:
    """The redirector and its TLS proxy; another list of nodes is read without a restart."""
    edge, front = ipaddress.IPv4Network(settings.subnet).subnets(prefixlen_diff=1)
    # By address: names are not resolved while the engine is restarted under visitors.
    address = str(edge[-2])
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
            "edge": {"subnet": str(edge), "internal": True},
            "front": {"subnet": str(front), "internal": False},
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
                "extra_hosts": dict.fromkeys(sorted(settings.names_on_host), "host-gateway"),
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
