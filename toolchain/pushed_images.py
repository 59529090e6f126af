"""Images of a stack whose hosts pull them: built where they are missing, pushed, and named in the stack's file by digest."""

import base64
import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import docker
import yaml
from botocore.exceptions import BotoCoreError, ClientError
from docker.errors import APIError, DockerException, NotFound

from components.docker.build_context import (
    BUILD_TIMEOUT_SECONDS,
    CONTEXTS,
    REGISTRY_IMAGE,
    REGISTRY_PYTHON,
    ROOTFS_PYTHON,
    assemble_context,
    input_digest,
    made,
)
from toolchain.progress import CommandFailedError, run, say

ROOT = Path(__file__).resolve().parent.parent

PUSH_TIMEOUT_SECONDS = 3600
"""What an image of 500 MB takes over a slow line."""

ECR = re.compile(
    r"(?P<host>(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?)(/(?P<prefix>.+))?"
)
"""A registry of AWS, with what its repositories' names begin with."""

UNTOLD = frozenset({401, 403})
"""Answers with which a registry hides that it lacks an image from whoever may not read it yet."""

BUILDKIT_LEFT = 23
"""First major version of Docker's CLI that needs a plugin for BuildKit."""

ON_KUBERNETES = frozenset({"ephemeral", "platform"})
"""Topologies whose nodes pull the images."""

Ecr = Any
"""boto3's client of ECR, which has no types of its own."""


class PushError(Exception):
    """The registry does not hold all images, or the stack's file cannot name them; the file is as it was."""


@dataclass(frozen=True)
class Image:
    """An image by what it is built from."""

    repository: str
    """Its name on the engine, and below the registry's address, such as `hubstack/hub`."""
    tag: str
    """Hash of its inputs."""
    folder: str
    """Folder below `images/`."""
    rootfs: bool
    """Whether Debian's packages make its root file system; otherwise it starts from a registry's Python image."""
    build_args: Mapping[str, str] = field(default_factory=dict[str, str])
    """Arguments of its build file."""
    base: "Image | None" = None
    """What it starts from, built before it."""

    @property
    def name(self) -> str:
        """The image on the engine."""
        return f"{self.repository}:{self.tag}"


def images_of_stack(configuration: Mapping[str, Any], *, rootfs: bool) -> dict[str, Image]:
    """The images of this project that hosts or nodes pull, by the configuration key that names them.

    They are the same as a stack on an engine builds.

    Args:
        configuration: the stack's, with the keys as its file has them. On Kubernetes, the hub is the chart's. A pool of
            temporary notebooks has no hub: nodes on other machines pull theirs and the redirector's. Both have an egress
            proxy for domains alone. Keys of all but hub and notebook lie below the topology's.
        rootfs: whether Debian's packages make the root file systems; otherwise a registry's Python image is the start.
    """
    source = {"SOURCE": "scratch" if rootfs else REGISTRY_IMAGE}

    def built(folder: str) -> Image:
        return _image(folder, input_digest(folder, rootfs=rootfs, base_digest=""), source, rootfs=rootfs)

    base_digest = input_digest("base", rootfs=rootfs, base_digest="")
    base = _image("base", base_digest, source, rootfs=rootfs)
    notebook_digest = input_digest("notebook", rootfs=rootfs, base_digest=base_digest)
    notebook = _image("notebook", notebook_digest, {"BASE": base.name}, rootfs=rootfs, base=base)
    topology = str(configuration.get("hubstack:topology", ""))
    if topology not in {"tmpnb", *ON_KUBERNETES}:
        return {"hubImage": built("hub"), "notebookImage": notebook}
    images = {"notebookImage": notebook}
    if topology == "platform":
        images["platform.operatorImage"] = built("operator")
    if topology == "tmpnb":
        images |= {"tmpnb.nodeImage": built("tmpnb-node"), "tmpnb.redirectorImage": built("redirector")}
    if configuration.get("hubstack:egressDomains"):
        images[f"{topology}.egressProxyImage"] = built("egress-proxy")
    return images


def _image(
    folder: str, digest: str, build_args: Mapping[str, str], *, rootfs: bool, base: Image | None = None
) -> Image:
    return Image(f"hubstack/{folder}", digest[:16], folder, rootfs, build_args, base)


def python_version(image: Image) -> str:
    """Python that the image's wheels are for."""
    return ROOTFS_PYTHON if image.rootfs else REGISTRY_PYTHON


def main(arguments: Sequence[str]) -> int:
    """Push the images of the stack that the arguments name; returns the exit code."""
    if len(arguments) != 2 or not all(arguments):  # noqa: PLR2004  (the two that the message names)
        say("usage: make push STACK=<stack> REGISTRY=<registry>, such as <account>.dkr.ecr.<region>.amazonaws.com")
        return 2
    stack, registry = arguments
    try:
        # Images and their contexts are named relative to the project.
        with contextlib.chdir(ROOT):
            references = push_stack(ROOT / f"Pulumi.{stack}.yaml", registry.rstrip("/"))
    except (PushError, CommandFailedError) as error:
        say(str(error))
        return 1
    for key, reference in references.items():
        print(f"hubstack:{key}: {reference}")
    return 0


def push_stack(file: Path, registry: str, images: Mapping[str, Image] | None = None) -> dict[str, str]:
    """Make the registry hold the images, name them in the stack's file, and return their names by configuration key.

    Args:
        file: the stack's configuration.
        registry: the registry's address, and what its repositories' names begin with if there is more.
        images: the images by configuration key. Default: those of the stack.

    Raises:
        PushError: the address has a scheme, the file is missing or cannot be edited, or the engine, the registry or AWS
            does not answer or refuses.
        CommandFailedError: a build or a push failed twice.
    """
    if "://" in registry:
        raise PushError(f"{registry} has a scheme; a registry is named by its host alone, such as ghcr.io/lab")
    text = _read(file)
    if images is None:
        images = images_of_stack(_configuration(text), rootfs=not builds_from_registry(text))
    repositories = [image.repository for image in images.values()]
    with _engine() as client, signed_in(registry, repositories) as credentials:
        if credentials:
            client.reload_config(str(credentials / "config.json"))
        references = {key: pushed(client, image, registry, credentials) for key, image in images.items()}
    edited = with_references(text, references)
    if edited == text:
        say(f"{file.name} names these images already")
    else:
        file.write_text(edited)
        say(f"{file.name} names {', '.join(references)} by digest now")
    return references


def builds_from_registry(text: str) -> bool:
    """Whether the stack with this configuration starts its images from a registry's Python image."""
    return str(_configuration(text).get("hubstack:buildFromRegistry", False)).lower() == "true"


def pushed(client: docker.APIClient, image: Image, registry: str, credentials: Path | None) -> str:
    """Make the registry hold the image, and return its name there by digest.

    What the registry holds under the tag is taken as it is: the tag is a hash of all that the image is built from.
    """
    target = f"{registry}/{image.repository}"
    remote = f"{target}:{image.tag}"
    digest = digest_in_registry(client, remote)
    if digest:
        say(f"{remote} is in the registry already")
        return f"{target}@{digest}"
    build_if_missing(client, image)
    _push(client, image, target, credentials)
    digest = digest_in_registry(client, remote)
    if not digest:
        raise PushError(f"{remote} was pushed, but the registry does not tell its digest; log in to read it, too")
    say(f"{remote} is pushed")
    return f"{target}@{digest}"


def digest_in_registry(client: docker.APIClient, remote: str) -> str | None:
    """Digest of the image that the registry holds under the name and tag; None if it holds, or tells of, none.

    Raises:
        PushError: the registry does not answer, or not with this.
    """
    try:
        return client.inspect_distribution(remote)["Descriptor"]["digest"]
    except NotFound:
        return None
    except APIError as error:
        # The push that follows tells whether it was a missing image or a missing right.
        if error.status_code in UNTOLD:
            return None
        raise PushError(
            f"the registry does not tell whether it holds {remote}: {error.explanation}; "
            "check its address, and whether `docker login` is due"
        ) from error


def _push(client: docker.APIClient, image: Image, target: str, credentials: Path | None) -> None:
    environment = {**os.environ, "DOCKER_CONFIG": str(credentials)} if credentials else None
    remote = f"{target}:{image.tag}"
    say(f"pushing {remote}")
    client.tag(image.name, target, image.tag)
    try:
        run(
            f"pushing {remote}",
            ["docker", "push", "--quiet", remote],
            environment=environment,
            limit=PUSH_TIMEOUT_SECONDS,
        )
    finally:
        # The second name served the push alone.
        client.remove_image(remote)


def build_if_missing(client: docker.APIClient, image: Image) -> None:
    """Make the engine have the image and what it starts from; paths are those of the project's folder.

    Raises:
        PushError: its parts cannot be put together.
        CommandFailedError: the build failed twice.
    """
    try:
        client.inspect_image(image.name)
    except NotFound:
        if image.base:
            build_if_missing(client, image.base)
        _build(image)


def _build(image: Image) -> None:
    say(f"building {image.name}")
    with tempfile.TemporaryDirectory(dir=made(CONTEXTS), prefix=f"push-{image.folder}-") as context:
        try:
            assemble_context(Path(context), image.folder, python_version(image), rootfs=image.rootfs)
        except (RuntimeError, OSError) as error:
            raise PushError(f"{image.name} cannot be built: {error}") from error
        arguments = [f"--build-arg={key}={value}" for key, value in sorted(image.build_args.items())]
        # Otherwise some engines push a list of the image and a note of its origin, under one digest.
        environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        command = [_building_cli(), "build", f"--tag={image.name}", *arguments, context]
        run(f"building {image.name}", command, environment=environment, limit=BUILD_TIMEOUT_SECONDS)


def _building_cli() -> str:
    """The first Docker CLI on the path that has BuildKit, which the build files' mounts need."""
    for folder in os.get_exec_path():
        cli = Path(folder, "docker")
        if os.access(cli, os.X_OK) and has_buildkit(cli):
            return str(cli)
    raise PushError("no docker on the path builds with BuildKit; install its plugin buildx")


def has_buildkit(cli: Path) -> bool:
    """Whether this Docker CLI builds with BuildKit: by itself up to version 22, since then by its plugin buildx."""
    told = subprocess.run([cli, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"Docker version (\d+)\.", told)
    if version and int(version[1]) < BUILDKIT_LEFT:
        return True
    return subprocess.run([cli, "buildx", "version"], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def _engine() -> Iterator[docker.APIClient]:
    address = os.environ.get("DOCKER_HOST")
    try:
        client = docker.APIClient(base_url=address, version="auto")
    except (DockerException, OSError) as error:
        where = address or "this machine's socket"
        raise PushError(f"no Docker engine answers at {where} ({error}); start it, or set DOCKER_HOST") from error
    try:
        yield client
    except DockerException as error:
        raise PushError(f"the Docker engine refuses: {error}") from error
    finally:
        client.close()


@contextlib.contextmanager
def signed_in(registry: str, repositories: Sequence[str]) -> Iterator[Path | None]:
    """A folder with what the registry asks for, for as long as it is needed; None where the user's own login holds.

    For a registry of AWS, the repositories are created if they are missing, and a token is fetched.

    Raises:
        PushError: AWS or the registry refuses.
    """
    ecr = ECR.fullmatch(registry)
    if not ecr:
        yield None
        return
    prefix = f"{ecr['prefix']}/" if ecr["prefix"] else ""
    try:
        client = boto3.client("ecr", region_name=ecr["region"])
        for repository in repositories:
            ensure_repository(client, ecr["account"], prefix + repository)
        user, token = login_of(client)
    except (BotoCoreError, ClientError) as error:
        raise PushError(f"AWS refuses to prepare {registry}: {error}") from error
    with logged_in(ecr["host"], user, token) as credentials:
        yield credentials


def ensure_repository(ecr: Ecr, account: str, name: str) -> None:
    """Create the repository if it is missing; one that is there stays as its owner set it up."""
    try:
        ecr.describe_repositories(registryId=account, repositoryNames=[name])
    except ecr.exceptions.RepositoryNotFoundException:
        say(f"creating the repository {name}")
        ecr.create_repository(
            registryId=account,
            repositoryName=name,
            # A tag is a hash of the image's inputs: it never means another image.
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
            encryptionConfiguration={"encryptionType": "KMS"},
        )


def login_of(ecr: Ecr) -> tuple[str, str]:
    """User and token, good for twelve hours, with which Docker logs in to AWS's registry."""
    [given] = ecr.get_authorization_token()["authorizationData"]
    user, _, token = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    return user, token


@contextlib.contextmanager
def logged_in(host: str, user: str, password: str) -> Iterator[Path]:
    """A folder of Docker's configuration with a login to the registry; nothing of it stays on the machine.

    Raises:
        PushError: the registry refuses the login.
    """
    with tempfile.TemporaryDirectory(prefix="hubstack-push-") as folder:
        environment = {**os.environ, "DOCKER_CONFIG": folder}
        command = ["docker", "login", f"--username={user}", "--password-stdin", host]
        done = subprocess.run(command, input=password, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PushError(f"{host} refuses the login: {done.stderr.strip()[-1000:]}")
        try:
            yield Path(folder)
        finally:
            # Where the machine has a credential store, Docker keeps the password there and not in the folder.
            subprocess.run(["docker", "logout", host], env=environment, capture_output=True, check=False)


def with_references(text: str, references: Mapping[str, str]) -> str:
    """The stack's configuration with the images in it; every other line stays as it was written.

    A key that is there keeps its place and its comment; keys that are missing are added right below `config:`, or below
    the key of the object that they belong to.

    Args:
        text: the stack's file.
        references: images by key; `platform.operatorImage` is a key of the object `platform`.

    Raises:
        PushError: the text is written in a way that cannot be edited line by line.
    """
    edited = text
    # What is added goes to the top, one above the other: the last comes first.
    for key, reference in reversed(list(references.items())):
        edited = _with_reference(edited, key, reference)
    wanted = {**_document(text), "config": _placed(_configuration(text), references)}
    if _document(edited) != wanted:
        lines = "\n".join(f"  hubstack:{key}: {reference}" for key, reference in references.items())
        raise PushError(
            f"the images are pushed, but the file cannot be edited line by line; set in it yourself:\n{lines}"
        )
    return edited


def _placed(configuration: Mapping[str, Any], references: Mapping[str, str]) -> dict[str, Any]:
    """The configuration with the images where their keys say."""
    placed = dict(configuration)
    for key, reference in references.items():
        outer, _, inner = f"hubstack:{key}".partition(".")
        placed[outer] = {**(placed.get(outer) or {}), inner: reference} if inner else reference
    return placed


def _with_reference(text: str, key: str, reference: str) -> str:
    outer, _, inner = key.partition(".")
    if not inner:
        return _with_line(text, _block(text, "config", ""), f"hubstack:{key}", reference)
    block = _block(text, f"hubstack:{outer}", r"[ \t]+")
    if block is None:
        text = _with_line(text, _block(text, "config", ""), f"hubstack:{outer}", "")
        block = _block(text, f"hubstack:{outer}", r"[ \t]+")
    return _with_line(text, block, inner, reference)


def _block(text: str, key: str, indent: str) -> re.Match[str] | None:
    """The line of a key whose object stands below it, and the object's lines."""
    return re.search(
        rf"^(?P<head>(?P<indent>{indent})(?P<quote>['\"]?){key}(?P=quote):)([ \t]*\{{\}})?"
        r"(?P<comment>[ \t]*(#.*)?)$\n?(?P<body>((?P=indent)[ \t]+.*(\n|\Z)|[ \t]*(#.*)?\n)*)",
        text,
        re.MULTILINE,
    )


def _with_line(text: str, block: re.Match[str] | None, key: str, value: str) -> str:
    """The text with this value of the key in the block, in its line or in one that is added at the block's top."""
    written = f"{key}: {value}".rstrip()
    if block is None:
        separator = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{separator}config:\n  {written}\n"
    before, body, after = text[: block.start()], block["body"], text[block.end() :]
    line = re.compile(
        rf"^(?P<key>[ \t]+(?P<quote>['\"]?){key}(?P=quote):)[ \t]*[^\s#]*(?P<comment>([ \t]+#.*)?)$", re.MULTILINE
    )
    if line.search(body):
        body = line.sub(lambda found: f"{found['key']} {value}{found['comment']}", body, count=1)
    else:
        first = re.compile(r"(?:[ \t]*(?:#.*)?\n)*([ \t]+)[^\s#]").match(body)
        indent = first[1] if first else f"{block['indent']}  "
        body = f"{indent}{written}\n{body}"
    return f"{before}{block['head']}{block['comment']}\n{body}{after}"


def _configuration(text: str) -> dict[str, Any]:
    return _document(text).get("config") or {}


def _document(text: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise PushError(f"the stack's file is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise PushError("the stack's file holds no configuration")
    return document


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError as error:
        there = ", ".join(sorted(other.name.split(".")[1] for other in file.parent.glob("Pulumi.*.yaml")))
        raise PushError(f"there is no {file.name}; stacks with a file: {there or 'none'}") from error
