"""The volume driver of size-limited homes, as a managed Docker plugin made from the hub's image."""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from components.docker.inspection import engine_client, listed
from runtime.home_volumes.plugin import ensure_plugin, find_plugin, tell_minimum_size


class HomeVolumeDriverInputs(TypedDict):
    """What the driver is made from."""

    engine: pulumi.Input[str]
    """Address of the engine that gets the driver."""
    plugin: pulumi.Input[str]
    """Name of the plugin, which volumes name as their driver."""
    image: pulumi.Input[str]
    """Image with Python and ext4's tools that the driver runs in, by id."""
    pool: pulumi.Input[str]
    """Folder on the engine's host that keeps the homes."""
    home_bytes: pulumi.Input[int]
    """Size of a home; one that is smaller grows when it is mounted next."""


class _HomeVolumeDriverProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A driver that mounts homes is replaced only where its place changes.

        A new base image never takes a home away from a running server.
        """
        changed = [key for key in ("engine", "plugin", "pool", "home_bytes") if _olds.get(key) != _news.get(key)]
        replaces = [key for key in changed if key != "home_bytes"]
        return DiffResult(changes=bool(changed), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Install the plugin and enable it; one that is there already is taken over."""
        with engine_client(props["engine"]) as client:
            made = ensure_plugin(client, props["plugin"], props["image"], props["pool"])
            tell_minimum_size(client, props["image"], props["pool"], int(props["home_bytes"]))
        return CreateResult(made, props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Tell the driver a new size; it leaves alone what is mounted."""
        with engine_client(_news["engine"]) as client:
            tell_minimum_size(client, _news["image"], _news["pool"], int(_news["home_bytes"]))
        return UpdateResult(_news)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The plugin as the engine has it; gone where it has none, or another."""
        with engine_client(props["engine"]) as client:
            found = find_plugin(client, props["plugin"])
        return ReadResult(id_, props) if found and found["Id"] == id_ else ReadResult("", {})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the plugin and the engine's account of its volumes; the homes stay in the pool."""
        with engine_client(_props["engine"]) as client:
            if find_plugin(client, _props["plugin"]) is None:
                return
            # Docker forgets the volumes, or it waits for their driver at every start.
            for volume in listed(client.volumes(filters={"driver": _props["plugin"]}), "Volumes"):
                client.remove_volume(volume["Name"], force=True)
            client.disable_plugin(_props["plugin"], force=True)
            client.remove_plugin(_props["plugin"], force=True)


class HomeVolumeDriver(Resource, module="docker", name="HomeVolumeDriver"):
    """A volume driver for homes with a size limit, installed on one engine."""

    plugin: pulumi.Output[str]
    """Name that volumes give as their driver."""

    def __init__(self, name: str, inputs: HomeVolumeDriverInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe the driver.

        Args:
            name: the resource's name.
            inputs: what it is made from.
            opts: resource options.
        """
        super().__init__(_HomeVolumeDriverProvider(), name, {**inputs}, opts)
