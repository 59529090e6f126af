"""Waiting until containers of a group work."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import docker

from runtime.container_group import GroupSpec, prefix

READY_SECONDS = 120
FAILED_STARTS = 4
"""Starts, while it is waited for, after which a container is not waited for any more."""
INTERVAL_SECONDS = 0.3
LAST_LINES = 15

Json = dict[str, Any]


class DeploymentError(Exception):
    """A container does not work, or code in users' place reaches too much; the message says what."""


def wait_for(client: docker.APIClient, spec: GroupSpec, names: Sequence[str]) -> None:
    """Wait until these containers run and those with a check are healthy.

    How often one was started before, in however long a life, says nothing of whether it gets up now.

    Raises:
        DeploymentError: one does not; the message has its last words.
        APIError: the engine refused something.
    """
    deadline = time.monotonic() + READY_SECONDS
    waiting, first = list(names), dict[str, int]()
    while waiting:
        states = {name: client.inspect_container(f"{prefix(spec)}-{name}") for name in waiting}
        waiting = [name for name, found in states.items() if not _works(found)]
        first = {
            name: min(found["RestartCount"], first.get(name, found["RestartCount"])) for name, found in states.items()
        }
        hopeless = any(_is_hopeless(states[name], first[name]) for name in waiting)
        if waiting and (hopeless or time.monotonic() > deadline):
            raise DeploymentError(_explain(client, spec, {name: states[name] for name in waiting}))
        time.sleep(INTERVAL_SECONDS if waiting else 0)


def _works(container: Json) -> bool:
    health = container["State"].get("Health")
    return bool(container["State"]["Running"]) and (health is None or health["Status"] == "healthy")


def _is_hopeless(container: Json, first: int) -> bool:
    """Whether it does not stay up, or has ended and nobody starts it again."""
    ended = container["State"]["Status"] == "exited" and container["HostConfig"]["RestartPolicy"]["Name"] == "no"
    return ended or container["RestartCount"] - first >= FAILED_STARTS


def _explain(client: docker.APIClient, spec: GroupSpec, states: Mapping[str, Json]) -> str:
    sentences: list[str] = []
    for name, found in states.items():
        health = (found["State"].get("Health") or {}).get("Status", found["State"]["Status"])
        said = client.logs(found["Id"], tail=LAST_LINES).decode(errors="replace").strip()
        sentences.append(f"container {prefix(spec)}-{name} does not work ({health}); its last words:\n{said}")
    return "\n".join(sentences)
