"""The volume driver as a managed Docker plugin, made on an engine from an image with Python and ext4's tools."""

import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from runtime.home_volumes.pool import MINIMUM_SIZE_FILE

PLUGIN_TIMEOUT_SECONDS = 30
RUNTIME = Path(__file__).parents[1]

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


def ensure_plugin(client: docker.APIClient, plugin: str, image: str, pool: str) -> str:
    """Make and enable the driver unless it is there, and return its id.

    Args:
        client: the engine that gets the driver.
        plugin: name of the plugin, which volumes name as their driver.
        image: image that the driver runs in.
        pool: folder on the engine's host that keeps the homes.

    Raises:
        RuntimeError: the engine does not take it; the message is the engine's.
    """
    existing = find_plugin(client, plugin)
    if existing is None:
        _make_plugin(client, plugin, image, plugin_config(pool))
        existing = client.inspect_plugin(plugin)
    if not existing["Enabled"]:
        client.enable_plugin(plugin, timeout=PLUGIN_TIMEOUT_SECONDS)
    return existing["Id"]


def tell_minimum_size(client: docker.APIClient, image: str, pool: str, size: int) -> None:
    """Have every home of an engine's host grow to a size at its next mount, if it is smaller.

    Args:
        client: the engine of the host.
        image: any image that the engine has: its container is made to write through, and never runs.
        pool: folder on the engine's host that keeps the homes.
        size: size of a home, in bytes.
    """
    text = str(size).encode()
    written = tarfile.TarInfo(MINIMUM_SIZE_FILE)
    written.size = len(text)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(written, io.BytesIO(text))
    bind = client.create_host_config(binds=[f"{pool}:/pool"])
    container = client.create_container(image, command=["true"], host_config=bind)["Id"]
    try:
        client.put_archive(container, "/pool", archive.getvalue())
    finally:
        client.remove_container(container, force=True)


def find_plugin(client: docker.APIClient, plugin: str) -> dict[str, Any] | None:
    """The plugin as the engine describes it, or None."""
    try:
        return client.inspect_plugin(plugin)
    except NotFound:
        return None


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


def _make_plugin(client: docker.APIClient, plugin: str, image: str, config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="hubstack-plugin-") as folder:
        rootfs = Path(folder, "rootfs")
        (rootfs / "pool").mkdir(parents=True)
        _unpack_image(client, image, rootfs)
        driver = rootfs / "opt" / "hubstack" / "runtime"
        # An image that holds the project's services has another version of it.
        shutil.rmtree(driver / "home_volumes", ignore_errors=True)
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
