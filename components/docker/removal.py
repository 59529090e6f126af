"""Removing what tasks may hold for a moment longer."""

import contextlib
import time

import docker
from docker.errors import APIError, NotFound

from components.docker.inspection import section

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


def remove_network(client: docker.APIClient, network: str) -> None:
    """Remove the network and wait until it is gone: its last task holds it for a moment, the swarm lists it longer.

    Raises:
        RuntimeError: it is still there after half a minute; the message says what the engine answered.
    """
    last = "it is listed still"
    for _ in range(ATTEMPTS):
        try:
            client.remove_network(network)
        except NotFound:
            return
        except APIError as error:
            last = error.explanation
        time.sleep(INTERVAL_SECONDS)
    raise RuntimeError(f"network {network} was not removed: {last}")
