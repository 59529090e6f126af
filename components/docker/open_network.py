"""The network that servers of an `open` egress profile leave by: a bridge of each node's own."""

import hashlib
from typing import Any, TypedDict

import docker
import pulumi
from docker.types import IPAMConfig, IPAMPool
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider

from components.docker.inspection import engine_client
from components.docker.labels import ROLE_LABEL, STACK_LABEL, Role
from components.docker.removal import remove_network

BRIDGE_OPTIONS = {
    # No packet between the servers on one bridge.
    "com.docker.network.bridge.enable_icc": "false",
    # Answers find no way back until the guard, which filters first, translates addresses itself.
    "com.docker.network.bridge.enable_ip_masquerade": "false",
}


class OpenNetworkInputs(TypedDict):
    """Where servers get their addresses."""

    engine: pulumi.Input[str]
    """Address of the engine."""
    stack: pulumi.Input[str]
    """The stack's label, and the start of the network's name."""
    subnet: pulumi.Input[str]
    """Range of the servers' addresses, the same on every node: none is seen beyond its node."""


def bridge_name(stack: str) -> str:
    """Name of the bridge's interface: 15 characters at most, the same on every node."""
    return f"open{hashlib.sha256(stack.encode()).hexdigest()[:8]}"


def open_network_name(stack: str) -> str:
    """Name of the stack's open network."""
    return f"{stack}-open"


class _OpenNetworkProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A network cannot be changed: every difference replaces it."""
        replaces = [key for key in ("engine", "stack", "subnet") if _olds.get(key) != _news.get(key)]
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make this node's configuration and the swarm's network that refers to it."""
        name = open_network_name(props["stack"])
        marks = {STACK_LABEL: props["stack"], ROLE_LABEL: Role.OPEN_NETWORK.value}
        with engine_client(props["engine"]) as client:
            present = {network["Name"]: network["Id"] for network in client.networks(names=[name, f"{name}-node"])}
            if f"{name}-node" not in present:
                # Nodes without it refuse servers, so none runs on a node that is not prepared.
                _create(
                    client,
                    {
                        "Name": f"{name}-node",
                        "ConfigOnly": True,
                        "Labels": marks,
                        "Options": {**BRIDGE_OPTIONS, "com.docker.network.bridge.name": bridge_name(props["stack"])},
                        "IPAM": IPAMConfig(pool_configs=[IPAMPool(subnet=props["subnet"])]),
                    },
                )
            if name not in present:
                # Takes its labels from there, too.
                source = {"Network": f"{name}-node"}
                _create(client, {"Name": name, "Driver": "bridge", "Scope": "swarm", "ConfigFrom": source})
            host = client.inspect_network("host", scope="swarm")["Id"]
        return CreateResult(name, {**props, "host": host})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Look whether both networks are there."""
        with engine_client(props["engine"]) as client:
            found = {network["Name"] for network in client.networks(names=[id_, f"{id_}-node"])}
        return ReadResult(id_, props) if {id_, f"{id_}-node"} <= found else ReadResult("", {})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove both networks; one that is gone is no error."""
        with engine_client(_props["engine"]) as client:
            for network in (_id, f"{_id}-node"):
                remove_network(client, network)


def _create(client: docker.APIClient, document: dict[str, Any]) -> None:
    # docker-py has no argument for configurations of networks.
    url = client._url("/networks/create")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    client._raise_for_status(client._post_json(url, data=document))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


class OpenNetwork(Resource, module="docker", name="OpenNetwork"):
    """A network of the swarm that is a bridge on each node, without a way from server to server."""

    host: pulumi.Output[str]
    """Id, in this swarm, of the network of each node's host, which the guard runs on."""

    def __init__(self, name: str, inputs: OpenNetworkInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe the network.

        Args:
            name: the resource's name.
            inputs: where servers get their addresses.
            opts: resource options.
        """
        super().__init__(_OpenNetworkProvider(), name, {**inputs, "host": None}, opts)
