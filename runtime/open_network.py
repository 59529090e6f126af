"""The network that servers of an `open` egress profile leave by: a bridge of each node's own."""

import hashlib
from typing import Any

import docker
from docker.types import IPAMConfig, IPAMPool

BRIDGE_OPTIONS = {
    # No packet between the servers on one bridge.
    "com.docker.network.bridge.enable_icc": "false",
    # Answers find no way back until the guard, which filters first, translates addresses itself.
    "com.docker.network.bridge.enable_ip_masquerade": "false",
}
LABELS = "hubstack.stack", "hubstack.role"


def bridge_name(stack: str) -> str:
    """Name of the bridge's interface: 15 characters at most, the same on every node."""
    return f"open{hashlib.sha256(stack.encode()).hexdigest()[:8]}"


def open_network_name(stack: str) -> str:
    """Name of the stack's open network."""
    return f"{stack}-open"


def ensure_node_network(client: docker.APIClient, stack: str, subnet: str) -> None:
    """Tell this node what the bridge is like, unless it knows.

    Nodes that do not know refuse servers, so none runs on a node that is not prepared.
    """
    name = f"{open_network_name(stack)}-node"
    if name not in _present(client, name):
        _create(
            client,
            {
                "Name": name,
                "ConfigOnly": True,
                "Labels": dict(zip(LABELS, (stack, "open-network"), strict=True)),
                "Options": {**BRIDGE_OPTIONS, "com.docker.network.bridge.name": bridge_name(stack)},
                "IPAM": IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]),
            },
        )


def ensure_swarm_network(client: docker.APIClient, stack: str) -> None:
    """Make the swarm's network, which each node makes of its own configuration and labels."""
    name = open_network_name(stack)
    if name not in _present(client, name):
        _create(client, {"Name": name, "Driver": "bridge", "Scope": "swarm", "ConfigFrom": {"Network": f"{name}-node"}})


def _present(client: docker.APIClient, name: str) -> set[str]:
    return {network["Name"] for network in client.networks(names=[name])}


def _create(client: docker.APIClient, document: dict[str, Any]) -> None:
    # docker-py has no argument for configurations of networks.
    url = client._url("/networks/create")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    client._raise_for_status(client._post_json(url, data=document))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
