"""The image of a hub and its proxy, for tests that run a chart on a cluster."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from components.docker.build_context import ROOTFS_PYTHON, _link, _link_tree, _root_file_system, _wheels
from toolchain.pushed_images import _building_cli

HERE = Path(__file__).parent
SOURCES = ("Dockerfile", "packages.txt", "requirements.lock", "image_awaiter.py")


def image() -> str:
    """Name of the image; its tag is made of all that it is built from."""
    digest = hashlib.sha256(b"\n".join((HERE / name).read_bytes() for name in SOURCES)).hexdigest()
    return f"hubstack-test/chart-hub:{digest[:16]}"


def build() -> str:
    """Build the image on the local Docker engine, if it is not there, and return its name."""
    name = image()
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0:
        return name
    with tempfile.TemporaryDirectory() as context:
        for source in SOURCES:
            shutil.copy2(HERE / source, context)
        _link(_root_file_system(HERE / "packages.txt"), Path(context, "rootfs.tar"))
        _link_tree(_wheels(HERE / "requirements.lock", ROOTFS_PYTHON), Path(context, "wheels"))
        command = [_building_cli(), "build", "--quiet", "--force-rm", f"--tag={name}", context]
        environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200, env=environment)
        assert told.returncode == 0, told.stderr[-3000:]
    return name
