"""A group of containers on an engine that is in no swarm, as a resource: a node of a pool, or its redirector.

The description travels as one JSON text: the SDK handles a text at once and an object value by value, so that declaring
a node would take more than twice as long. `pulumi preview --diff` decodes such a text and shows what in it differs.
"""

import json
from collections.abc import Mapping
from typing import Any, TypedDict, cast

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from components.docker.inspection import engine_client
from runtime.container_group import GroupSpec, prefix
from runtime.group_deployment import deploy, differences, remove

LONG_TIMEOUT_SECONDS = 3600
"""Most that a farewell and the end of a thousand servers may take."""


class ContainerGroupInputs(TypedDict):
    """What runs where."""

    engine: pulumi.Input[str]
    """Address of the engine."""
    spec: GroupSpec
    """The group, a plain value: known at preview, so that the policy pack can judge it before an update."""
    images: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    """Ids or digests of the images by their short names."""
    secrets: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    """Secrets by their names."""


def group_text(spec: GroupSpec) -> str:
    """The group as a text, the same for equal groups."""
    return json.dumps(spec, sort_keys=True)


def _spec(props: Mapping[str, Any]) -> GroupSpec:
    """The group that a text describes."""
    return cast("GroupSpec", json.loads(props["spec"]))


class _ContainerGroupProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another engine or name is another group; anything else, and whatever a refresh found wrong, is put right."""
        replaces = [key for key in ("engine",) if _olds.get(key) != _news.get(key)]
        if prefix(_spec(_olds)) != prefix(_spec(_news)):
            replaces.append("spec")
        changed = any(_olds.get(key) != _news.get(key) for key in ContainerGroupInputs.__annotations__)
        return DiffResult(
            changes=changed or bool(_olds.get("differences")), replaces=replaces, delete_before_replace=True
        )

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the engine have the group."""
        return CreateResult(prefix(_spec(props)), _deployed(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Replace what differs; what is right goes on."""
        return UpdateResult(_deployed(_news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """What the engine has of the group; gone where it has nothing of it."""
        spec = _spec(props)
        with engine_client(props["engine"]) as client:
            found = differences(client, spec, props["images"])
        if len(found) == len(spec["containers"]) and all("is missing" in sentence for sentence in found):
            return ReadResult("", {})
        return ReadResult(id_, {**props, "differences": found})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Say farewell to users, then remove everything of the group."""
        with engine_client(_props["engine"]) as client:
            client.timeout = LONG_TIMEOUT_SECONDS
            remove(client, _spec(_props))


def _deployed(props: dict[str, Any]) -> dict[str, Any]:
    with engine_client(props["engine"]) as client:
        deploy(client, _spec(props), props["images"], props["secrets"])
    return {**props, "differences": []}


class ContainerGroup(Resource, module="docker", name="ContainerGroup"):
    """Containers, networks and volumes of one group on one engine."""

    differences: pulumi.Output[list[str]]
    """What a refresh found to be otherwise than described, a sentence each."""

    def __init__(self, name: str, inputs: ContainerGroupInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe the group.

        Args:
            name: the resource's name.
            inputs: what runs where.
            opts: resource options.
        """
        super().__init__(
            _ContainerGroupProvider(),
            name,
            {
                **inputs,
                "spec": group_text(inputs["spec"]),
                "secrets": pulumi.Output.secret(inputs["secrets"]),
                "differences": None,
            },
            opts,
        )
