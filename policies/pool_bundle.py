"""The group of containers in a bundle, as the checks of such groups read it.

Hosts of a pool on AWS deploy their group themselves, so that no resource of the stack shows its containers: the bundle is
judged as the group that it becomes, on the engine of its host.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping

from policies.bundle import bundled_file
from policies.container_group import described
from policies.parts import Part
from policies.reader import UNKNOWN, Value, as_mapping, read
from policies.resource_types import BUNDLE, CONTAINER_GROUP

GROUP_FILE = "group.json"
HOSTS_ENGINE = "unix:///var/run/docker.sock"
"""Every host tells its own engine."""


def bundled_group(properties: Value) -> Value:
    """The group in a bundle with its images; None where there is none, empty where it cannot be read."""
    content = read(properties, "contentBase64")
    text = bundled_file(content, GROUP_FILE) if isinstance(content, str) else None
    if text is None:
        return None
    document: Mapping[str, Value] = {}
    with contextlib.suppress(ValueError):
        document = as_mapping(json.loads(text))
    return {"engine": HOSTS_ENGINE, "secrets": {}, "spec": document.get("spec"), "images": document.get("images")}


def carried(type_: str, properties: Value) -> Iterator[Part]:
    """The group in a bundle; nothing for other resources."""
    group = bundled_group(properties) if type_ == BUNDLE else None
    if group is not None:
        yield Part(CONTAINER_GROUP, f"group {read(group, 'spec', 'group')}", group, "bundle")


def groups(type_: str, name: str, properties: Value) -> Iterator[Value]:
    """The groups of containers that a resource is or carries; that of a bundle on an engine that only it has.

    Args:
        type_: the resource's type.
        name: its name.
        properties: its properties.
    """
    if type_ == CONTAINER_GROUP:
        yield described(properties)
    for part in carried(type_, properties):
        yield {**part.properties, "engine": f"the engine of {name}"}


def may_hide_a_group(type_: str, properties: Value) -> bool:
    """Whether a bundle is not known yet, and may hold a group."""
    return type_ == BUNDLE and read(properties, "contentBase64") is UNKNOWN
