"""Removing what tasks may hold for a moment longer."""

import contextlib
import time

import docker
from docker.errors import APIError, NotFound

from components.docker.inspection import section
from components.docker.labels import STACK_LABEL

INTERVAL_SECONDS = 0.2
ATTEMPTS = 150


def disconnect_all(client: docker.APIClient, network: str) -> None:
    """Take every container of this node off the network, those that joined while they ran above all.

    Swarm forgets a network whose tasks are gone; the node keeps it while such a container is on it.
    """
    for member, endpoint in section(client.inspect_network(network), "Containers").items():
        # What a killed container left behind has no container's id; its endpoint is known by its name.
        container = endpoint["Name"] if member.startswith("ep-") else member
        with contextlib.suppress(APIError):
            client.disconnect_container_from_network(container, network, force=True)


def is_empty(client: docker.APIClient, network: str) -> bool:
    """Whether no container of this node is on the network; the node's own load balancer does not count."""
    return all(member.startswith("lb-") for member in section(client.inspect_network(network), "Containers"))


def remove_network(client: docker.APIClient, network: str) -> None:
    """Remove the network and wait until it is gone: its last task holds it for a moment, the swarm lists it longer.

    Swarm removes a network whose tasks are gone while a container of theirs is still ending; the node then keeps its
    part of it, and no request can remove that. So the swarm is asked only when no container is on it any more.

    Raises:
        RuntimeError: it is still there after half a minute; the message says what the engine answered.
    """
    last = "it is listed still"
    for _ in range(ATTEMPTS):
        try:
            disconnect_all(client, network)
            if is_empty(client, network):
                client.remove_network(network)
            else:
                last = "a container is on it still"
        except NotFound:
            return
        except APIError as error:
            last = error.explanation
        time.sleep(INTERVAL_SECONDS)
    raise RuntimeError(f"network {network} was not removed: {last}")


def wait_until_gone(client: docker.APIClient, stack: str) -> None:
    """Wait, half a minute at most, for the containers and networks that the engine is still ending."""
    filters = {"label": f"{STACK_LABEL}={stack}"}
    for _ in range(ATTEMPTS):
        if not client.containers(all=True, filters=filters) and not client.networks(filters=filters):
            return
        time.sleep(INTERVAL_SECONDS)
