"""The provider protocol: the engine's requests, handed to objects and releases in plain data."""
# ruff: noqa: N802 - the methods are the engine's, by its protocol

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import grpc
import yaml
from google.protobuf import any_pb2, empty_pb2, struct_pb2
from lightkube.core.exceptions import ConfigError
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from tests.engine.kubernetes_provider import VERSION, configuration, release, values
from tests.engine.kubernetes_provider.cluster import (
    ApiError,
    Cluster,
    NoSuchKindError,
    UnreachableError,
    kubeconfig_for_programs,
    read_kubeconfig,
)
from tests.engine.kubernetes_provider.diff import Change
from tests.engine.kubernetes_provider.object_resources import ObjectResources
from tests.engine.kubernetes_provider.objects import CanceledError, DeletionError, Log, Objects
from tests.engine.kubernetes_provider.release import Connection, HelmError, Releases
from tests.engine.kubernetes_provider.release_resources import ReleaseResources
from tests.engine.kubernetes_provider.resources import Asked, Found, PartialError, Resources
from tests.engine.kubernetes_provider.values import Object

Secrets = frozenset[values.Path]

DECODE_YAML = "kubernetes:yaml:decode"

EXPECTED = (
    ApiError,
    CanceledError,
    ConfigError,
    DeletionError,
    HelmError,
    NoSuchKindError,
    UnreachableError,
    ValueError,
)
"""Errors whose words are enough for the user."""

KINDS_OF_CHANGE = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Answers the engine; one for each provider that a program configures."""

    def __init__(self, engine_address: str) -> None:
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine_address)) if engine_address else None
        self._folder = tempfile.TemporaryDirectory(prefix="hubstack-kubernetes-")
        self._lock = threading.Lock()
        self._cluster: Cluster | None = None
        self._objects: Objects | None = None
        self._object_resources: ObjectResources | None = None
        self._releases: Releases | None = None
        self._connection: Connection | None = None
        self._namespace = ""

    def close(self) -> None:
        """Leave nothing behind."""
        self._folder.cleanup()
        if self._cluster is not None:
            self._cluster.close()

    def GetPluginInfo(self, request, context):
        return plugin_pb2.PluginInfo(version=VERSION)

    def CheckConfig(self, request, context):
        news, _ = values.decode(request.news)
        failures = [provider_pb2.CheckFailure(property=k, reason=r) for k, r in configuration.problems(news)]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request, context):
        (old, _), (new, _) = values.decode(request.olds), values.decode(request.news)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind, diffs=changed)

    def Configure(self, request, context):
        given, _ = values.decode(request.args)
        with _answered(context):
            self._configure(configuration.read(given, os.environ))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, acceptResources=False, supports_autonaming_configuration=True
        )

    def Check(self, request, context):
        (news, hidden), (olds, _) = values.decode(request.news), values.decode(request.olds)
        proposed = request.autonaming.proposed_name if request.HasField("autonaming") else None
        with _answered(context):
            asked = self._asked(request, inputs=news, old_inputs=olds, seed=request.randomSeed, proposed=proposed)
            inputs, failures = self._resources(asked).check(asked)
        return provider_pb2.CheckResponse(
            inputs=values.encode(inputs, _secrets(inputs, hidden)),
            failures=[provider_pb2.CheckFailure(property=each.path, reason=each.reason) for each in failures],
        )

    def Diff(self, request, context):
        news, olds = _plain(request.news), _plain(request.old_inputs)
        with _answered(context):
            asked = self._asked(request, id=request.id, inputs=news, old_inputs=olds, outputs=_plain(request.olds))
            found = self._resources(asked).diff(asked)
        some = found.changes or found.replaces
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if some else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=found.replaces,
            diffs=sorted({str(change.path[0]) for change in found.changes}),
            deleteBeforeReplace=found.deletes_first,
            detailedDiff=_detailed(found.changes, found.replaces),
            hasDetailedDiff=True,
        )

    def Create(self, request, context):
        inputs, hidden = values.decode(request.properties)
        with _answered(context, hidden):
            asked = self._asked(request, inputs=inputs, timeout=request.timeout, preview=request.preview)
            identity, outputs = self._resources(asked).create(asked)
        return provider_pb2.CreateResponse(id=identity, properties=as_properties(outputs, hidden))

    def Update(self, request, context):
        inputs, hidden = values.decode(request.news)
        with _answered(context, hidden):
            asked = self._asked(
                request,
                id=request.id,
                inputs=inputs,
                old_inputs=_plain(request.old_inputs),
                outputs=_plain(request.olds),
                timeout=request.timeout,
                preview=request.preview,
            )
            outputs = self._resources(asked).update(asked)
        return provider_pb2.UpdateResponse(properties=as_properties(outputs, hidden))

    def Read(self, request, context):
        inputs, hidden = values.decode(request.inputs)
        with _answered(context, hidden):
            asked = self._asked(request, id=request.id, inputs=inputs, outputs=_plain(request.properties))
            found = self._resources(asked).read(asked)
        if found is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=found.id, inputs=as_properties(found.inputs, hidden), properties=as_properties(found.outputs, hidden)
        )

    def Delete(self, request, context):
        with _answered(context):
            asked = self._asked(
                request,
                id=request.id,
                inputs=_plain(request.old_inputs),
                outputs=_plain(request.properties),
                timeout=request.timeout,
            )
            self._resources(asked).delete(asked)
        return empty_pb2.Empty()

    def Invoke(self, request, context):
        args, _ = values.decode(request.args)
        if request.tok != DECODE_YAML:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok} is not served")
        with _answered(context):
            objects = [each for each in yaml.safe_load_all(args["text"]) if each]
        answer = provider_pb2.InvokeResponse()
        getattr(answer, "return").CopyFrom(values.encode({"result": objects}))  # a word of Python's own
        return answer

    def Cancel(self, request, context):
        if self._objects is not None:
            self._objects.canceled.set()
        if self._releases is not None:
            self._releases.cancel()
        return empty_pb2.Empty()

    def _configure(self, given: configuration.Configuration) -> None:
        config = read_kubeconfig(given.kubeconfig, given.context, os.environ)
        cluster = Cluster(config)
        cluster.version()
        self._namespace = given.namespace or config.namespace
        self._cluster = cluster
        self._objects = Objects(cluster, force=given.force, upsert=given.upsert)
        self._object_resources = ObjectResources(cluster, self._objects, self._namespace, given.mutable)
        file = kubeconfig_for_programs(config, given.kubeconfig, Path(self._folder.name))
        self._connection = Connection(file, config.context_name)

    def _resources(self, asked: Asked) -> Resources:
        if self._object_resources is None or self._connection is None:
            raise UnreachableError("the provider is not configured")
        if asked.token != release.TOKEN:
            return self._object_resources
        with self._lock:
            if self._releases is None:
                self._releases = Releases(release.program(os.environ), self._connection)
        return ReleaseResources(self._releases, self._namespace)

    def _asked(self, request: Any, **what: Any) -> Asked:
        token = request.urn.split("::")[2].split("$")[-1]
        return Asked(urn=request.urn, token=token, log=self._log(request.urn), **what)

    def _log(self, urn: str) -> Log:
        def log(message: str, lasting: bool) -> None:
            if self._engine is not None:
                severity = engine_pb2.LogSeverity.Value("INFO")
                self._engine.Log(
                    engine_pb2.LogRequest(severity=severity, message=message, urn=urn, ephemeral=not lasting)
                )

        return log


def _plain(properties: struct_pb2.Struct) -> Object:
    return values.decode(properties)[0]


def _secrets(data: Mapping[str, Any], hidden: Iterable[values.Path]) -> Secrets:
    """What must be secret in inputs or outputs: what was in the inputs, and every Secret's data."""
    always = {(key,) for key in ("data", "stringData") if data.get("kind") == "Secret" and key in data}
    within = {path for path in values.secrets_within(data, hidden) if path[:1] not in always}
    return frozenset(always) | within


def as_properties(data: Mapping[str, Any], hidden: Iterable[values.Path]) -> struct_pb2.Struct:
    """Inputs or outputs in the form of the protocol, with what is secret in them."""
    return values.encode(data, _secrets(data, hidden))


def _detailed(changes: Iterable[Change], replaces: Iterable[str]) -> dict[str, provider_pb2.PropertyDiff]:
    replacing = set(replaces)
    return {
        change.text: provider_pb2.PropertyDiff(
            kind=KINDS_OF_CHANGE[change.kind, change.text in replacing], inputDiff=True
        )
        for change in changes
    }


@contextmanager
def _answered(context: grpc.ServicerContext, hidden: Iterable[values.Path] = ()) -> Iterator[None]:
    """Turn errors into the protocol's; a resource that is there but does not work goes into the state."""
    try:
        yield
    except PartialError as error:
        _abort_partially(context, error, hidden)
    except EXPECTED as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))


def _abort_partially(context: grpc.ServicerContext, error: PartialError, hidden: Iterable[values.Path]) -> NoReturn:
    found: Found = error.found
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=found.id,
            properties=as_properties(found.outputs, hidden),
            inputs=as_properties(found.inputs, hidden),
            reasons=error.reasons,
        )
    )
    name = found.id
    message = f"{name} was made, but it does not work: {error}"
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message, details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, message)
