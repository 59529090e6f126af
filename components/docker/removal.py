"""Removing what tasks may hold for a moment longer."""

import contextlib
import re
import time

import docker
from docker.errors import APIError, NotFound

from components.docker.inspection import section
from components.docker.labels import STACK_LABEL

FORGOTTEN = re.compile(r"network \S+ not found")
"""What the engine says, as an error of its own, of a network that it lists and its swarm does not know."""

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


def what_holds(client: docker.APIClient, network: str) -> str:
    """Take everybody off the network and remove it once; what holds it still, or nothing if it is gone or going.

    Swarm removes a network whose tasks are gone while a container of theirs is still ending; the node then keeps its
    part of it, and no request can remove that. So the swarm is asked only when no container is on it any more.

    Raises:
        NotFound: there is no such network.
    """
    try:
        disconnect_all(client, network)
        members = section(client.inspect_network(network), "Containers")
        # The node's own load balancer goes with the network.
        if not all(member.startswith("lb-") for member in members):
            return "a container is on it still"
        client.remove_network(network)
    except NotFound:
        raise
    except APIError as error:
        # The swarm has forgotten it; the node's part of it stays until the engine starts again.
        return "" if FORGOTTEN.search(error.explanation or "") else error.explanation
    return ""


def remove_network(client: docker.APIClient, network: str) -> None:
    """Remove the network and wait until it is gone: its last task holds it for a moment, the swarm lists it longer.

    Raises:
        RuntimeError: it is still there after half a minute; the message says what the engine answered.
    """
    last = "it is listed still"
    for _ in range(ATTEMPTS):
        try:
            last = what_holds(client, network) or last
        except NotFound:
            return
        time.sleep(INTERVAL_SECONDS)
    raise RuntimeError(f"network {network} was not removed: {last}")


def wait_until_gone(client: docker.APIClient, stack: str) -> None:
    """Wait, half a minute at most, for the containers and networks that the engine is still ending."""
    filters = {"label": f"{STACK_LABEL}={stack}"}
    for _ in range(ATTEMPTS):
        if not client.containers(all=True, filters=filters) and not client.networks(filters=filters):
            return
        time.sleep(INTERVAL_SECONDS)
