"""A cluster for benchmarks."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import docker
import lightkube
from lightkube import codecs

from toolchain.kubernetes import cluster
from toolchain.pushed_images import Image, build_if_missing

ROOT = Path(__file__).resolve().parents[1]

LIMIT_SECONDS = 600
"""How long anything may take before a benchmark gives up."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Lab:
    """A cluster of the benchmark's own."""

    folder: Path
    client: lightkube.Client

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The cluster that runs in `folder`."""
        return cls(folder, cluster.client_of(folder))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Make objects as they are described."""
        for manifest in manifests:
            self.client.apply(codecs.from_dict(dict(manifest)), force=True)

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Make an object that is not there yet."""
        self.client.create(codecs.from_dict(dict(manifest)))

    def load(self, image: Image) -> str:
        """Have the node hold an image, built if it is missing; its name."""
        with contextlib.chdir(ROOT):
            build_if_missing(docker.APIClient(version="auto"), image)
        command = [sys.executable, "toolchain/cluster", "load", image.name]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "HUBSTACK_CLUSTER_STATE": str(self.folder)}, check=True)
        return image.name


@contextlib.contextmanager
def own_cluster() -> Iterator[Path]:
    """The folder of a cluster that ends with the benchmark, or of the one in `HUBSTACK_CLUSTER_STATE`, which stays."""
    if "HUBSTACK_CLUSTER_STATE" in os.environ:
        yield cluster.up(cluster.state_folder()).parent
        return
    with tempfile.TemporaryDirectory(prefix="hubstack-benchmark-") as folder:
        state = Path(folder, "cluster")
        try:
            yield cluster.up(state).parent
        finally:
            cluster.down(state)


def until(otherwise: str, holds: Callable[[], bool], pause: float = 0.5) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"{otherwise} after {LIMIT_SECONDS} s")
        time.sleep(pause)
