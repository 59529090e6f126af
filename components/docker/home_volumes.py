"""The volume driver of size-limited homes, as a managed Docker plugin made from the hub's image."""

import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any, TypedDict

import docker
import pulumi
from docker.errors import APIError, NotFound
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider

from components.docker.inspection import engine_client, listed

PLUGIN_TIMEOUT_SECONDS = 30
RUNTIME = Path(__file__).parents[2] / "runtime"

NOT_FOR_THE_DRIVER = (
    "usr/share/",
    "usr/bin/git",
    "usr/lib/git-core",
    "usr/bin/perl",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/python3.11/test",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "dev/",
)
"""Parts of the base image that the driver does without, as prefixes of their paths."""


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


def plugin_config(pool: str) -> dict[str, Any]:
    """The plugin's manifest: it may mount, sees the host's loop devices and the pool, and has no network."""
    return {
        "description": "Home volumes with a size limit",
        "documentation": "runtime/home_volumes",
        "entrypoint": ["python3", "-m", "runtime.home_volumes"],
        "workdir": "/opt/hubstack",
        "env": [{"name": "PYTHONPATH", "value": "/opt/hubstack"}],
        "interface": {"types": ["docker.volumedriver/1.0"], "socket": "homes.sock"},
        "linux": {"capabilities": ["CAP_SYS_ADMIN"], "allowAllDevices": True},
        "mounts": [
            {"name": "dev", "source": "/dev", "destination": "/dev", "type": "bind", "options": ["rbind"]},
            {"name": "pool", "source": pool, "destination": "/pool", "type": "bind", "options": ["rbind"]},
        ],
        "network": {"type": "none"},
        "propagatedMount": "/mnt/homes",
    }


class _HomeVolumeDriverProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        # A driver that mounts homes is replaced only where its place changes, so that a new base image never takes a
        # home away from a running server.
        replaces = [key for key in ("engine", "plugin", "pool") if _olds.get(key) != _news.get(key)]
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        with engine_client(props["engine"]) as client:
            existing = _find(client, props["plugin"])
            if existing is None:
                _make_plugin(client, props["plugin"], props["image"], plugin_config(props["pool"]))
                existing = client.inspect_plugin(props["plugin"])
            if not existing["Enabled"]:
                client.enable_plugin(props["plugin"], timeout=PLUGIN_TIMEOUT_SECONDS)
        return CreateResult(existing["Id"], props)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        with engine_client(props["engine"]) as client:
            found = _find(client, props["plugin"])
        return ReadResult(id_, props) if found and found["Id"] == id_ else ReadResult("", {})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        with engine_client(_props["engine"]) as client:
            if _find(client, _props["plugin"]) is None:
                return
            # Docker forgets the volumes, or it waits for their driver at every start; the homes stay in the pool.
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


def _find(client: docker.APIClient, plugin: str) -> dict[str, Any] | None:
    try:
        return client.inspect_plugin(plugin)
    except NotFound:
        return None


def _make_plugin(client: docker.APIClient, plugin: str, image: str, config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="hubstack-plugin-") as folder:
        rootfs = Path(folder, "rootfs")
        (rootfs / "pool").mkdir(parents=True)
        _unpack_image(client, image, rootfs)
        driver = rootfs / "opt" / "hubstack" / "runtime"
        shutil.copytree(RUNTIME / "home_volumes", driver / "home_volumes", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(RUNTIME / "__init__.py", driver)
        Path(folder, "config.json").write_text(json.dumps(config))
        try:
            client.create_plugin(plugin, folder)
        except APIError as error:
            raise RuntimeError(f"the engine did not take the volume driver {plugin}: {error.explanation}") from error


def _unpack_image(client: docker.APIClient, image: str, target: Path) -> None:
    container = client.create_container(image, command=["true"])["Id"]
    try:
        with tempfile.TemporaryFile() as exported:
            for chunk in client.export(container):
                exported.write(chunk)
            exported.seek(0)
            with tarfile.open(fileobj=exported) as archive:
                # The engine keeps a copy of the file system for each driver: what a driver never runs stays out.
                kept = [member for member in archive if not member.name.startswith(NOT_FOR_THE_DRIVER)]
                archive.extractall(target, kept, filter="fully_trusted")  # noqa: S202  (an image of our own making)
    finally:
        client.remove_container(container, force=True)
