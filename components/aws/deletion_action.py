"""Resources that make nothing, and do something when they are deleted."""

from collections.abc import Mapping
from typing import Any, ClassVar

import boto3  # pyright: ignore[reportMissingTypeStubs]  (it ships none)
import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult


def aws_client(service: str, props: Mapping[str, Any]) -> Any:
    """boto3's client of a service, such as `ec2`, for a resource whose inputs have `region` and `profile`."""
    session: Any = boto3.Session(region_name=props["region"], profile_name=props["profile"] or None)
    return session.client(service)


class DeletionAction(ResourceProvider):
    """Provider of such a resource; what it does is in `delete`."""

    serialize_as_secret_always = False
    inputs: ClassVar[type]
    """The `TypedDict` of its inputs."""
    identity: ClassVar[str]
    """The input that it is known by: another value is another resource, and all others can change."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Compare the inputs alone."""
        changed = [key for key in self.inputs.__annotations__ if _olds.get(key) != _news.get(key)]
        replaces = [key for key in changed if key == self.identity]
        return DiffResult(changes=bool(changed), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Keep what `delete` is told."""
        return CreateResult(props[self.identity], props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Keep what `delete` is told: without this, an update leaves nothing of it in the state."""
        return UpdateResult(_news)


class _ProviderStartProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make nothing."""
        return CreateResult("started", props)


class ProviderStart(Resource, module="aws", name="ProviderStart"):
    """What a resource depends on whose replacement deletes such an action first, which then takes a while.

    In each update the engine starts dynamic providers anew when the first resource of theirs is registered, and breaks off
    what the former ones do. What is replaced takes its dependents away before they are registered again: unless it comes after
    another dynamic resource, their deletion is broken off.
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe it.

        Args:
            name: the resource's name.
            opts: resource options.
        """
        super().__init__(_ProviderStartProvider(), name, {}, opts)
