"""The programs of the cluster: what is built from Go modules, and where it is found."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.cache import made_whole
from toolchain.gobuild import SOURCES, source_key
from toolchain.progress import run, say

BUILD_SECONDS = 2400
"""Limit of one build: the largest takes 8 CPU-minutes, on machines with other work as well."""


@dataclass(frozen=True)
class Part:
    """Programs that one Go module holds."""

    name: str
    """Folder below `go/`."""
    module: str
    """The module whose version is built; empty for the project's own code."""
    packages: tuple[str, ...]
    """What is built; each package's last word is the program's name."""
    flags: str = ""
    """Further words for the linker; `{version}` stands for the module's version."""
    static: bool = False
    """Whether it runs in an image that holds nothing else."""


_KUBERNETES = "k8s.io/kubernetes"
_VERSION = "k8s.io/component-base/version"

PARTS = {
    part.name: part
    for part in (
        Part(
            "kubernetes",
            _KUBERNETES,
            tuple(
                f"{_KUBERNETES}/cmd/{program}"
                for program in (
                    "kube-apiserver",
                    "kube-controller-manager",
                    "kube-scheduler",
                    "kubelet",
                    "kube-proxy",
                    "kubectl",
                )
            ),
            # What the API server says of itself; charts compare their `kubeVersion` with it.
            f"-X {_VERSION}.gitVersion={{version}} -X {_VERSION}.gitMajor={{major}} -X {_VERSION}.gitMinor={{minor}}",
        ),
        # Debian's is too old for the API server's consistent reads and watches.
        Part("etcd", "go.etcd.io/etcd/server/v3", ("go.etcd.io/etcd/server/v3",)),
        Part(
            "kube-router",
            "github.com/cloudnativelabs/kube-router/v2",
            ("github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",),
        ),
        Part(
            "helm",
            "helm.sh/helm/v3",
            ("helm.sh/helm/v3/cmd/helm",),
            "-X helm.sh/helm/v3/internal/version.version={version}",
        ),
        Part("kwok", "sigs.k8s.io/kwok", ("sigs.k8s.io/kwok/cmd/kwok",)),
        Part("coredns", "github.com/coredns/coredns", ("github.com/coredns/coredns",), static=True),
        Part(
            "traefik",
            "github.com/traefik/traefik/v3",
            ("github.com/traefik/traefik/v3/cmd/traefik",),
            "-X github.com/traefik/traefik/v3/pkg/version.Version={version}",
            static=True,
        ),
        Part("storage", "", ("hubstack/toolchain/storage",)),
        Part("pause", "", ("hubstack/toolchain/pause",), static=True),
    )
}

NODE = ("kubernetes", "etcd", "kube-router", "coredns", "storage", "pause")
"""What a running cluster needs; `helm` and `kwok` are for those who use it."""


def required(name: str, module: str) -> str:
    """The version of `module` that `go/<name>/go.mod` names, such as `v1.34.1`."""
    found = re.search(rf"{re.escape(module)} (v\S+)", (SOURCES / name / "go.mod").read_text())
    if found is None:
        raise ValueError(f"{SOURCES / name}/go.mod does not require {module}")
    return found[1]


def version(part: Part) -> str:
    """The version of the part's module; `v0` for the project's own code."""
    return required(part.name, part.module) if part.module else "v0"


def key(part: Part) -> str:
    """A name for what is built: other sources, packages or flags are another key."""
    return f"{source_key(part.name, version(part))}-{hashlib.sha256(repr(part).encode()).hexdigest()[:6]}"


def build(cache: Path, name: str) -> Path:
    """The folder with the part's programs, from the cache or built; up to 8 CPU-minutes the first time.

    Raises:
        toolchain.progress.CommandFailedError: it could not be built.
    """
    part = PARTS[name]
    number = version(part)
    major, minor = (number.removeprefix("v") + ".0").split(".")[:2]
    flags = part.flags.format(version=number, major=major, minor=minor)

    def make(target: Path) -> None:
        if part.module:
            say(f"{part.name} {number} has not been built here yet; that takes minutes")
        target.mkdir()
        # A path that ends in a version, such as etcd's, would give the program that name.
        output = f"{target}/{part.name}" if len(part.packages) == 1 else f"{target}/"
        command = ["go", "build", "-ldflags", f"-s -w {flags}", "-o", output, *part.packages]
        environment = ["env", "CGO_ENABLED=0"] if part.static else []
        run(f"building {part.name} {number}", [*environment, *command], folder=SOURCES / part.name, limit=BUILD_SECONDS)

    return made_whole(cache / key(part), make)


def program(cache: Path, name: str) -> Path:
    """The only program of a part."""
    return next(build(cache, name).iterdir())


def missing(cache: Path, names: Sequence[str]) -> list[str]:
    """Which of these parts are not built yet."""
    return [name for name in names if not (cache / key(PARTS[name])).exists()]
