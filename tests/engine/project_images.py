"""Images of the project as its tests need them: built on the local engine, in the node's store."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import docker
import pytest

from tests.engine.cluster import Cluster
from tests.stacks import ROOT
from toolchain import pushed_images
from toolchain.pushed_images import Image


def image(folder: str) -> str:
    """An image of the project that starts from nothing, built if the engine does not have it."""
    with _building() as client:
        digest = pushed_images.input_digest(folder, rootfs=True, base_digest="")[:16]
        built = Image(f"hubstack/{folder}", digest, folder, rootfs=True, build_args={"SOURCE": "scratch"})
        pushed_images.build_if_missing(client, built)
    return built.name


def notebook_image() -> str:
    """The image of users' servers, built if the engine does not have it."""
    with _building() as client:
        built = pushed_images.images_of_stack({}, rootfs=True)["notebookImage"]
        pushed_images.build_if_missing(client, built)
    return built.name


@contextmanager
def _building() -> Iterator[docker.APIClient]:
    """The local engine, in the project's folder, which paths of images start from."""
    with pytest.MonkeyPatch.context() as monkey:
        monkey.chdir(ROOT)
        try:
            client = docker.APIClient(version="auto", timeout=60)
        except docker.errors.DockerException as error:
            pytest.skip(f"no Docker engine answers: {error}")
        try:
            yield client
        finally:
            client.close()


def put_into(cluster: Cluster, images: Sequence[str]) -> None:
    """Put images of this project into the node's store unless they are there already."""
    listing = cluster.machine.command("ctr", "--namespace", "k8s.io", "images", "ls", "--quiet")
    there = subprocess.run(listing, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    # Their tags are made of what they hold.
    missing = [one for one in images if f"docker.io/{one}" not in there]
    if missing:
        cluster.load(*missing)
