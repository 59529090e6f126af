"""The network that servers of an `open` egress profile leave by: a bridge of each node's own."""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider

from components.docker.inspection import engine_client
from components.docker.removal import remove_network
from runtime.open_network import ensure_node_network, ensure_swarm_network, open_network_name


class OpenNetworkInputs(TypedDict):
    """Where servers get their addresses."""

    engine: pulumi.Input[str]
    """Address of the engine."""
    stack: pulumi.Input[str]
    """The stack's label, and the start of the network's name."""
    subnet: pulumi.Input[str]
    """Range of the servers' addresses, the same on every node: none is seen beyond its node."""


class _OpenNetworkProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A network cannot be changed: every difference replaces it."""
        replaces = [key for key in ("engine", "stack", "subnet") if _olds.get(key) != _news.get(key)]
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make this node's configuration and the swarm's network that refers to it."""
        with engine_client(props["engine"]) as client:
            ensure_node_network(client, props["stack"], props["subnet"])
            ensure_swarm_network(client, props["stack"])
            host = client.inspect_network("host", scope="swarm")["Id"]
        return CreateResult(open_network_name(props["stack"]), {**props, "host": host})

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
