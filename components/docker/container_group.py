"""A group of containers on an engine that is in no swarm, as a resource: a node of a pool, or its redirector.

The description travels as one JSON text: the SDK handles a text at once and an object value by value, so that declaring
a node would take more than twice as long. `pulumi preview --diff` decodes such a text and shows what in it differs.
"""

import contextlib
import json
from collections.abc import Generator, Mapping
from typing import Any, TypedDict, cast

import docker
import pulumi
from docker.errors import DockerException
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from components.docker.inspection import EngineUnreachableError, engine_client
from components.docker.lost_engines import VARIABLE, advice, is_lost
from runtime.container_group import GroupSpec, prefix
from runtime.group_deployment import deploy, differences, lets_in, remove
from runtime.group_proof import ReachError
from runtime.group_readiness import DeploymentError

LONG_TIMEOUT_SECONDS = 3600
"""Most that a farewell and the end of a thousand servers may take."""


class ContainerGroupInputs(TypedDict):
    """What runs where."""

    engine: pulumi.Input[str]
    """Address of the engine."""
    spec: GroupSpec
    """The group, a plain value: known at preview, so that the policy pack can judge it before an update."""
    images: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    """Ids or digests of the images by their short names."""
    secrets: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    """Secrets by their names."""


def group_text(spec: GroupSpec) -> str:
    """The group as a text, the same for equal groups."""
    return json.dumps(spec, sort_keys=True)


def _spec(props: Mapping[str, Any]) -> GroupSpec:
    """The group that a text describes."""
    return cast("GroupSpec", json.loads(props["spec"]))


class _ContainerGroupProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another engine or name is another group; anything else, and whatever a refresh found wrong, is put right."""
        replaces = [key for key in ("engine",) if _olds.get(key) != _news.get(key)]
        if prefix(_spec(_olds)) != prefix(_spec(_news)):
            replaces.append("spec")
        changed = any(_olds.get(key) != _news.get(key) for key in ContainerGroupInputs.__annotations__)
        return DiffResult(
            changes=changed or bool(_olds.get("differences")), replaces=replaces, delete_before_replace=True
        )

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the engine have the group, or nothing of it: what fails is not in the state, and nobody would remove it."""
        with _engine(props) as client:
            in_use = lets_in(client, _spec(props))
            try:
                _deploy(client, props)
            except Exception as error:
                # A state that was lost may have left one that visitors use.
                if not in_use:
                    _remove_unfinished(client, _spec(props), error)
                raise
        return CreateResult(prefix(_spec(props)), {**props, "differences": []})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Replace what differs; what is right goes on."""
        with _engine(_news) as client:
            try:
                _deploy(client, _news)
            except ReachError as error:
                # The state has the group as it was before, which does not tell that it is closed.
                raise ReachError(f"{error}\nwhen that is mended, update with `pulumi up --refresh`") from error
        return UpdateResult({**_news, "differences": []})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """What the engine has of the group; gone where it has nothing of it, and as it was where the engine is lost."""
        spec = _spec(props)
        try:
            with _engine(props) as client:
                found = differences(client, spec, props["images"])
        except (EngineUnreachableError, DockerException, OSError) as error:
            if not is_lost(props["engine"]):
                raise
            pulumi.warn(f"{id_} is taken to be as it was, since {VARIABLE} says that its engine is lost ({error})")
            return ReadResult(id_, props)
        if len(found) == len(spec["containers"]) and all("is missing" in sentence for sentence in found):
            return ReadResult("", {})
        return ReadResult(id_, {**props, "differences": found})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Say farewell to users, then remove everything of the group; where the engine is lost, forget it."""
        try:
            with _engine(_props) as client:
                client.timeout = LONG_TIMEOUT_SECONDS
                remove(client, _spec(_props))
        except (EngineUnreachableError, DockerException, OSError) as error:
            if not is_lost(_props["engine"]):
                raise
            pulumi.warn(f"{_id} is forgotten and not removed, since {VARIABLE} says that its engine is lost ({error})")


@contextlib.contextmanager
def _engine(props: Mapping[str, Any]) -> Generator[docker.APIClient]:
    """A client of the group's engine.

    Raises:
        EngineUnreachableError: as of `engine_client`; the message says what to do if the engine is lost, and is not said to be.
    """
    with contextlib.ExitStack() as opened:
        try:
            client = opened.enter_context(engine_client(props["engine"]))
        except EngineUnreachableError as error:
            if is_lost(props["engine"]):
                raise
            raise EngineUnreachableError(f"{error}; {advice(props['engine'])}") from error
        yield client


def _deploy(client: docker.APIClient, props: Mapping[str, Any]) -> None:
    deploy(client, _spec(props), props["images"], props["secrets"])


def _remove_unfinished(client: docker.APIClient, spec: GroupSpec, failure: Exception) -> None:
    """Remove what was made of a group before the failure, to which is added what stays behind all the same."""
    try:
        remove(client, spec, farewell=False)
    except (DockerException, OSError) as error:
        raise DeploymentError(f"{failure}\nwhat was made of {prefix(spec)} is still there: {error}") from failure


class ContainerGroup(Resource, module="docker", name="ContainerGroup"):
    """Containers, networks and volumes of one group on one engine."""

    differences: pulumi.Output[list[str]]
    """What a refresh found to be otherwise than described, a sentence each."""

    def __init__(self, name: str, inputs: ContainerGroupInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe the group.

        Args:
            name: the resource's name.
            inputs: what runs where.
            opts: resource options.
        """
        super().__init__(
            _ContainerGroupProvider(),
            name,
            {
                **inputs,
                "spec": group_text(inputs["spec"]),
                "secrets": pulumi.Output.secret(inputs["secrets"]),
                "differences": None,
            },
            opts,
        )
