"""Images built from `images/` on the engine, with contexts that need no network inside the build.

Wheels and the base's root file system are fetched outside the build, where the machine's certificates and mirrors
apply, and kept in a cache; the build itself only unpacks them.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any, TypedDict

import pulumi
import pulumi_docker as docker
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from components.docker.build_context import (
    BUILD_TIMEOUT_SECONDS,
    CONTEXTS,
    REGISTRY_PYTHON,
    ROOTFS_PYTHON,
    assemble_context,
    input_digest,
    made,
)


class BuildContextInputs(TypedDict):
    """What a build context is made from."""

    image: pulumi.Input[str]
    """Folder below `images/`."""
    python_version: pulumi.Input[str]
    """Python that the wheels are for; empty without wheels."""
    rootfs: pulumi.Input[bool]
    """Whether the context carries a root file system made of the packages in `packages.txt`."""
    digest: pulumi.Input[str]
    """Hash of everything above; a new one makes the context anew."""


class _BuildContextProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another digest is another context."""
        changed = _olds.get("digest") != _news.get("digest")
        return DiffResult(changes=changed, replaces=["digest"] if changed else [], delete_before_replace=False)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Put the context together beside the old one, then in its place; its output `path` is where it is."""
        target = CONTEXTS / props["image"]
        with tempfile.TemporaryDirectory(dir=made(CONTEXTS), prefix=f"{props['image']}-") as unfinished:
            assemble_context(Path(unfinished), props["image"], props["python_version"], rootfs=bool(props["rootfs"]))
            shutil.rmtree(target, ignore_errors=True)
            Path(unfinished).rename(target)
            made(Path(unfinished))
        return CreateResult(props["digest"], {**props, "path": str(target)})


class BuildContext(Resource, module="docker", name="BuildContext"):
    """A folder that an image is built from, put together when its inputs change."""

    path: pulumi.Output[str]
    """The folder, relative to the project."""

    def __init__(self, name: str, inputs: BuildContextInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe the context.

        Args:
            name: the resource's name.
            inputs: what it is made from.
            opts: resource options.
        """
        super().__init__(_BuildContextProvider(), name, {**inputs, "path": None}, opts)


def build_image(
    name: str,
    image: str,
    *,
    rootfs: bool,
    build_args: dict[str, pulumi.Input[str]],
    base_digest: str,
    opts: pulumi.ResourceOptions,
) -> tuple[docker.RemoteImage, str]:
    """Build `images/<image>` on the engine and return the image and the digest of its inputs.

    The tag is made of the digest, so the image is built again only when an input changes; a build that fails leaves
    the image that runs as it is.
    """
    digest = input_digest(image, rootfs=rootfs, base_digest=base_digest)
    context = BuildContext(
        f"{name}-context",
        {
            "image": image,
            "python_version": ROOTFS_PYTHON if rootfs else REGISTRY_PYTHON,
            "rootfs": rootfs,
            "digest": digest,
        },
        opts=opts,
    )
    built = docker.RemoteImage(
        name,
        name=f"hubstack/{image}:{digest[:16]}",
        build=docker.RemoteImageBuildArgs(context=context.path, build_args=build_args, force_remove=True),
        # Other stacks on the engine may use it, and a stack that comes back starts from it.
        keep_locally=True,
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                custom_timeouts=pulumi.CustomTimeouts(create=f"{BUILD_TIMEOUT_SECONDS}s"),
                # Otherwise what uses the image is deleted before it is built again, and a failed build ends the hub.
                delete_before_replace=False,
            ),
        ),
    )
    return built, digest
