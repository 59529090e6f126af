"""What the hub makes while it runs: users' servers and their networks, which a destroyed stack must take along."""

import time
from typing import Any, TypedDict

import docker
import pulumi
from docker.errors import NotFound
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from components.docker.inspection import engine_client, section
from components.docker.labels import ROLE_LABEL, STACK_LABEL, Role
from components.docker.removal import what_holds

REMOVAL_TIMEOUT_SECONDS = 60


class SpawnedServersInputs(TypedDict):
    """Whose servers."""

    engine: pulumi.Input[str]
    """Address of the engine."""
    stack: pulumi.Input[str]
    """The stack's label; nothing without it is touched."""
    home_driver: pulumi.Input[str]
    """Volume driver of the homes, which must outlive the servers that use it."""


class _SpawnedServersProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Servers of another stack or engine are others; nothing else about them is the program's."""
        replaces = [key for key in ("engine", "stack") if _olds.get(key) != _news.get(key)]
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Nothing is made: the hub starts servers when users come."""
        return CreateResult(props["stack"], props)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """End the servers and remove their networks."""
        with engine_client(_props["engine"]) as client:
            remove_servers(client, _props["stack"])


class SpawnedServers(Resource, module="docker", name="SpawnedServers"):
    """The stack's user servers; deleting it ends them and removes their networks. Homes are not touched."""

    def __init__(self, name: str, inputs: SpawnedServersInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe the servers.

        Args:
            name: the resource's name.
            inputs: whose servers.
            opts: resource options.
        """
        super().__init__(_SpawnedServersProvider(), name, {**inputs}, opts)


def remove_servers(client: docker.APIClient, stack: str) -> None:
    """End every server of `stack` on the swarm and wait until their containers have let go of homes and networks.

    Raises:
        RuntimeError: something is still there after a minute; its name is in the message.
    """
    filters = {"label": f"{STACK_LABEL}={stack}"}
    if not client.info()["Swarm"]["ControlAvailable"]:
        return
    servers = [f"{STACK_LABEL}={stack}", f"{ROLE_LABEL}={Role.USER_SERVER.value}"]
    for service in client.services(filters={"label": servers}):
        client.remove_service(service["ID"])
    deadline = time.monotonic() + REMOVAL_TIMEOUT_SECONDS
    left = {"": ""}
    while left and time.monotonic() < deadline:
        left = {c["Names"][0]: "its container runs" for c in client.containers(all=True, filters={"label": servers})}
        for network in client.networks(filters=filters):
            held = _what_holds(client, network["Id"])
            if held:
                left[network["Name"]] = held
        if left:
            time.sleep(0.5)
    if left:
        told = "; ".join(f"{name} ({why})" for name, why in sorted(left.items()))
        raise RuntimeError(f"still in use after {REMOVAL_TIMEOUT_SECONDS} s: {told}")


def _what_holds(client: docker.APIClient, network: str) -> str:
    try:
        if section(client.inspect_network(network), "Labels").get(ROLE_LABEL) != Role.USER_NETWORK.value:
            # The stack's own networks are resources of their own.
            return ""
        return what_holds(client, network)
    except NotFound:
        return ""
