"""Settings of a pool's nodes and of its redirector: the file that a group of containers hands its service."""

import functools
import json
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.container_group import FILES_FOLDER, containers
from policies.findings import Finding, Judge, undecided
from policies.hub_settings import Settings, SettingsJudge
from policies.programs import begins, runs_as
from policies.reader import UNKNOWN, Value, as_mapping, items, read

NODE_SERVICE, REDIRECTOR = "node-service", "redirector"
COMMANDS = {
    NODE_SERVICE: ("python", "-m", "runtime.tmpnb_node"),
    REDIRECTOR: ("python", "-m", "runtime.redirector"),
}
"""What runs in each role; the next word is the path of its settings."""


@dataclass(frozen=True)
class PoolService:
    """A node's service, or a redirector, in a group."""

    name: str
    """The container's short name."""
    settings: Value
    """Its settings, empty if they cannot be read, `UNKNOWN` before they are known."""


def is_node_service(properties: Value) -> Value:
    """Whether a container is a node's service and runs nothing else; `UNKNOWN` while that cannot be told."""
    return runs_as(properties, NODE_SERVICE, COMMANDS[NODE_SERVICE])


def pool_services(properties: Value, role: str) -> Iterator[PoolService]:
    """The services of a group that have the role, or run what that role does; one while its containers are not known."""
    if read(properties, "spec", "containers") is UNKNOWN:
        yield PoolService(role, UNKNOWN)
    for name, container in containers(properties):
        words = list(items(container, "command"))
        if read(container, "role") == role or begins(words, COMMANDS[role]) is True:
            yield PoolService(name, _settings(properties, container, words, COMMANDS[role]))


def on_pool_settings(*roles: str) -> Callable[[SettingsJudge], Judge]:
    """Make a check's function on settings one on the groups with a service of one of these roles."""

    def decorate(judge: SettingsJudge) -> Judge:
        @functools.wraps(judge)
        def on_resource(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
            for service in (service for role in roles for service in pool_services(properties, role)):
                if service.settings is UNKNOWN:
                    yield undecided(f"the settings of the container {service.name}")
                else:
                    yield from judge(service.settings, config)

        return on_resource

    return decorate


def _settings(properties: Value, container: Value, words: Sequence[Value], command: Sequence[str]) -> Value:
    texts = list(items(container, "texts"))
    if UNKNOWN in words or UNKNOWN in texts:
        return UNKNOWN
    path = str(words[len(command)]) if len(words) > len(command) and begins(words, command) is True else ""
    folder, file = posixpath.split(path)
    text = read(properties, "spec", "texts", file) if folder == FILES_FOLDER and file in texts else None
    return UNKNOWN if text is UNKNOWN else _decoded(text)


def _decoded(text: Value) -> Settings:
    try:
        return as_mapping(json.loads(text)) if isinstance(text, str) else {}
    except ValueError:
        return {}
