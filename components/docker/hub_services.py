"""The platform's services on a Swarm: hub, proxy, TLS proxy, pre-puller and egress guard, whatever deploys them."""

from collections.abc import Sequence
from typing import TypedDict

from components.docker.labels import Role
from components.docker.service import HOST_NETWORK, Mount, Placement, PlatformService
from components.docker.tls_proxy import TLS_PORT
from components.egress import NEVER_REACHED

SETTINGS_PATH = "/run/hub-settings.json"
CADDYFILE_PATH = "/run/Caddyfile"
HUB_DATA_PATH = "/srv/hub"

HUB_SECRETS = ("proxy-token", "cookie-secret", "user-password", "admin-password")
"""Secrets that every hub reads."""

GUARD_COMMAND = ("python", "-m", "runtime.egress_guard")
"""What the guard runs; the policy pack lets nothing else onto the host's network."""

ENGINE_SOCKET: Mount = {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}


class HubAccess(TypedDict):
    """What a hub needs beside its own, as `hub` takes it."""

    more_secrets: Sequence[str]
    more_networks: Sequence[str]


def proxy(control_subnet: str) -> PlatformService:
    """The proxy, which outlives the hub's restarts; its API is on the control network alone."""
    return {
        "role": Role.PROXY,
        "command": ["python", "-m", "runtime.start_proxy"],
        "cpu": 1.0,
        "memory": "256M",
        "placement": Placement.HUB_NODE,
        "environment": {"CONTROL_SUBNET": control_subnet},
        "networks": {"control": ["proxy"], "edge": ["proxy"]},
        "secrets": ["proxy-token"],
    }


def hub(data: Mount, *, more_secrets: Sequence[str] = (), more_networks: Sequence[str] = ()) -> PlatformService:
    """The hub. It makes services, networks and volumes, and is the one service that may talk to the engine.

    Args:
        data: where its database is kept, at `HUB_DATA_PATH`.
        more_secrets: secrets beside `HUB_SECRETS`.
        more_networks: networks beside the one that it shares with the proxy.
    """
    return {
        "role": Role.HUB,
        "command": ["jupyterhub", "--config", "/opt/hubstack/runtime/hub/jupyterhub_config.py"],
        "cpu": 1.0,
        "memory": "1G",
        "placement": Placement.HUB_NODE,
        "networks": {"control": ["hub"], **{network: [] for network in more_networks}},
        "secrets": [*HUB_SECRETS, *more_secrets],
        "configs": {SETTINGS_PATH: "hub-settings"},
        "mounts": [data, ENGINE_SOCKET],
        "keeps_data": True,
    }


def tls_proxy(port: int) -> PlatformService:
    """TLS at the front, on a published port."""
    return {
        "role": Role.TLS_PROXY,
        "command": ["caddy", "run", "--config", CADDYFILE_PATH, "--adapter", "caddyfile"],
        "cpu": 1.0,
        "memory": "256M",
        "placement": Placement.MANAGERS,
        "environment": dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"), "/tmp"),  # noqa: S108
        "networks": {"edge": [], "front": []},
        "secrets": ["tls-cert", "tls-key"],
        "configs": {CADDYFILE_PATH: "caddyfile"},
        "published_port": port,
        "target_port": TLS_PORT,
    }


def pre_puller() -> PlatformService:
    """A task that does nothing but keep the single-user server's image on each node of servers, safe from pruning.

    A node that joins later gets its task from Swarm, without an update. An image by id is only on the node that built
    it; several nodes need one that a registry serves, by digest.
    """
    return {
        "role": Role.PRE_PULLER,
        "command": ["sleep", "infinity"],
        "cpu": 0.05,
        "memory": "16M",
        "placement": Placement.SERVER_NODES,
        "user": "1000:100",
    }


def egress_guard(bridge: str, subnet: str, forbidden: Sequence[str] = NEVER_REACHED) -> PlatformService:
    """The guard on each node of servers, on its host's network with the one right to change the packet filter.

    Args:
        bridge: interface that servers leave by.
        subnet: their range on it.
        forbidden: what they never reach.
    """
    arguments = [bridge, subnet, *forbidden]
    return {
        "role": Role.EGRESS_GUARD,
        "command": [*GUARD_COMMAND, *arguments],
        "cpu": 0.25,
        "memory": "64M",
        "placement": Placement.SERVER_NODES,
        "networks": {HOST_NETWORK: []},
        "cap_add": ["CAP_NET_ADMIN"],
        "health_check": [*GUARD_COMMAND, "--check", *arguments],
        "keeps_data": True,
    }
