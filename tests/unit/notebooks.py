"""Notebooks and an API server in memory, for the tests of their operator."""

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import Status
from lightkube.types import PatchType

from runtime.notebook_operator import status
from runtime.notebook_operator.cluster import Cluster
from runtime.notebook_operator.notebook import Notebook, parse_notebook
from runtime.notebook_operator.notebooks import Notebooks
from runtime.notebook_operator.settings import Settings, parse_settings
from runtime.notebook_operator.store import Key, Store

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
IMAGE = "registry.example.org/notebook:1"
KEY = ("Notebook", "alice", "training")


def settings(**changes: Any) -> Settings:
    """The operator's settings, with top-level keys changed."""
    document = {
        "stack": "dev",
        "domain": "nb.example.org",
        "basePath": "/notebook",
        "route": {"kind": "HTTPRoute", "parents": [{"name": "notebooks", "namespace": "gateway"}]},
        "requestTimeoutSeconds": 300,
        "notebook": notebook_defaults(),
        "profile": {"namespaceLabels": {"team": "data"}, "manifests": []},
        "fleet": {"notebooks": 10},
    }
    return parse_settings({**document, **changes})


def notebook_defaults(**changes: Any) -> dict[str, Any]:
    """What holds for a notebook that does not say otherwise."""
    return {
        "image": IMAGE,
        "idleSeconds": 600,
        "maxAgeSeconds": 7200,
        "homeBytes": 1 << 30,
        "storageClass": None,
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "environment": {"HTTPS_PROXY": "http://egress-proxy.hub:3128"},
        **changes,
    }


def body(
    name: str = "training",
    *,
    namespace: str = "alice",
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    container: dict[str, Any] | None = None,
    **pod: Any,
) -> dict[str, Any]:
    """A Notebook as the API server has it."""
    containers = [{"name": "notebook", "image": "example.org/jupyter:1", **(container or {})}]
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "annotations": annotations or {},
            "labels": labels or {},
        },
        "spec": {"template": {"spec": {"containers": containers, **pod}}},
    }


def notebook(name: str = "training", **parts: Any) -> Notebook:
    """A Notebook that has been read."""
    return parse_notebook(body(name, **parts), settings())


def refusal(code: int, message: str) -> ApiError:
    """An error of the API server."""
    return ApiError(status=Status(code=code, message=message))


class Clock:
    """A present that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return (self.now - NOW).total_seconds() + 1000

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Api:
    """As much of the client as the operator uses, with the objects in memory and a list of what was written."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.written: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str, str, bool], ApiError | None] = lambda verb, kind, dry: None
        self._versions = itertools.count(100)
        self._applied: dict[tuple[str, str, str], set[str]] = {}

    def put(self, thing: dict[str, Any]) -> dict[str, Any]:
        """Have an object, as somebody else made it."""
        metadata = thing["metadata"]
        key = thing["kind"], metadata.get("namespace", ""), metadata["name"]
        held = self.objects.get(key, {})
        inherited = {field: held.get("metadata", {}).get(field) for field in ("uid", "creationTimestamp")}
        fresh = {"uid": f"uid-{key[0]}-{key[2]}", "creationTimestamp": self.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        kept = {field: inherited[field] or metadata.get(field) or fresh[field] for field in fresh}
        status = {"status": held["status"]} if "status" in held and "status" not in thing else {}
        generation = held.get("metadata", {}).get("generation", 0) + (held.get("spec") != thing.get("spec") or not held)
        placed = {**metadata, **kept, "resourceVersion": str(next(self._versions)), "generation": generation}
        self.objects[key] = copy.deepcopy({**thing, **status, "metadata": placed})
        return copy.deepcopy(self.objects[key])

    def drop(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Have an object no longer."""
        return self.objects.pop((kind, namespace, name))

    def kinds(self) -> set[str]:
        """Kinds of what there is."""
        return {kind for kind, _, _ in self.objects}

    def _judge(self, verb: str, kind: str, *, dry: bool = False) -> None:
        error = self.refuse(verb, kind, dry)
        if error:
            raise error

    def _write(self, verb: str, thing: dict[str, Any]) -> dict[str, Any]:
        self.written.append((verb, thing["kind"], thing["metadata"]["name"]))
        return self.put(thing)

    async def get(self, type_: Any, name: str, namespace: str = "") -> dict[str, Any]:
        kind = type_._api_info.resource.kind
        self._judge("get", kind)
        if (kind, namespace, name) not in self.objects:
            raise refusal(404, "not found")
        return copy.deepcopy(self.objects[kind, namespace, name])

    async def list(self, type_: Any, labels: dict[str, str], namespace: str = "") -> AsyncIterator[dict[str, Any]]:
        wanted = type_._api_info.resource.kind
        self._judge("list", wanted)
        for (kind, where, _), thing in list(self.objects.items()):
            held = thing["metadata"].get("labels") or {}
            if kind == wanted and where == namespace and labels.items() <= held.items():
                yield copy.deepcopy(thing)

    async def create(self, thing: Any, *, dry_run: bool, namespace: str = "") -> dict[str, Any]:
        thing = copy.deepcopy(dict(thing))
        kind, metadata = thing["kind"], thing["metadata"]
        self._judge("create", kind, dry=dry_run)
        if kind == "SelfSubjectReview":
            return {"status": {"userInfo": {"username": "operator"}}}
        if (kind, namespace, metadata.get("name", "")) in self.objects:
            raise refusal(409, "already exists")
        if dry_run:
            return thing
        if kind == "Secret":
            import base64

            thing["data"] = {key: base64.b64encode(text.encode()).decode() for key, text in thing["stringData"].items()}
        return self._write("create", thing)

    async def apply(self, thing: Any, *, force: bool) -> dict[str, Any]:
        thing = copy.deepcopy(dict(thing))
        self._judge("apply", thing["kind"])
        metadata = thing["metadata"]
        key = thing["kind"], metadata.get("namespace", ""), metadata["name"]
        held = self.objects.get(key, {}).get("metadata", {}).get("annotations", {})
        named = metadata.setdefault("annotations", {})
        # What somebody else wrote stays.
        metadata["annotations"] = {k: v for k, v in held.items() if k not in self._applied.get(key, set())} | named
        self._applied[key] = set(named)
        return self._write("apply", thing)

    async def patch(
        self, type_: Any, name: str, patch: Any, *, patch_type: PatchType, namespace: str = ""
    ) -> dict[str, Any]:
        info = type_._api_info
        kind = info.parent.kind if info.parent else info.resource.kind
        self._judge("patch", kind)
        if (kind, namespace, name) not in self.objects:
            raise refusal(404, "not found")
        thing = copy.deepcopy(self.objects[kind, namespace, name])
        if patch_type is PatchType.JSON:
            thing["status"] = patch[0]["value"]
            return self._write("status", thing)
        return self._write("patch", _merged(thing, patch))

    async def delete(self, type_: Any, name: str, namespace: str = "") -> None:
        kind = type_._api_info.resource.kind
        self._judge("delete", kind)
        if (kind, namespace, name) not in self.objects:
            raise refusal(404, "not found")
        self.written.append(("delete", kind, name))
        self.drop(kind, namespace, name)

    async def close(self) -> None:
        """Nothing to end."""


def _merged(thing: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(thing, dict):
        return patch
    result = {**thing, **{key: _merged(thing.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in result.items() if value is not None}


class Place:
    """A cluster with an operator that looks when it is told to."""

    def __init__(self, **changes: Any) -> None:
        self.clock = Clock()
        self.api = Api(self.clock)
        self.settings: Settings = settings(**changes)
        self.store = Store()
        self.server: Mapping[str, Any] | None = {"kernels": [], "terminals": [], "status": {}}
        self.addresses: list[str] = []
        browser = httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer))
        self.cluster = Cluster(self.api)  # pyright: ignore[reportArgumentType]
        self.notebooks = Notebooks(
            self.settings, self.cluster, self.store, browser, self.clock, timer=self.clock.seconds
        )
        self.used(0)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.addresses.append(str(request.url))
        if self.server is None:
            raise httpx2.ConnectError("no route")
        return httpx2.Response(200, content=json.dumps(self.server[request.url.path.rsplit("/", 1)[1]]))

    @property
    def asked(self) -> int:
        """How often a server was asked."""
        return len(self.addresses)

    def used(self, seconds_ago: float, kernels: list[dict[str, Any]] | None = None) -> None:
        moment = (self.clock.now - timedelta(seconds=seconds_ago)).isoformat()
        self.server = {"kernels": kernels or [], "terminals": [], "status": {"last_activity": moment}}

    def make(self, thing: dict[str, Any]) -> None:
        self.store.put(self.api.put(thing))

    def annotate(self, key: Key = KEY, **annotations: str | None) -> None:
        thing = self.api.objects[key]
        held = {**thing["metadata"].get("annotations", {}), **annotations}
        kept = {name: text for name, text in held.items() if text is not None}
        self.make({**thing, "metadata": {**thing["metadata"], "annotations": kept}})

    def look(self, key: Key = KEY) -> float | None:
        return asyncio.run(self.notebooks.look(key))

    def play_controller(self, *, ready: bool = True, slowly: bool = False) -> None:
        """Make the pods that sets ask for and delete those that they do not, as Kubernetes would.

        Args:
            ready: whether the new pods are ready.
            slowly: pods go on for a while before they end, until `end_pods`.
        """
        for (kind, namespace, name), thing in list(self.api.objects.items()):
            if kind != "StatefulSet":
                continue
            pod = ("Pod", namespace, f"{name}-0")
            if thing["spec"]["replicas"] and pod not in self.api.objects:
                template = thing["spec"]["template"]
                metadata = {**template["metadata"], "name": f"{name}-0", "namespace": namespace}
                conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
                state = {"podIP": "10.0.0.9", "conditions": conditions}
                self.make({"kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": state})
            elif not thing["spec"]["replicas"] and pod in self.api.objects:
                held = self.api.objects[pod]
                if "deletionTimestamp" in held["metadata"]:
                    continue
                if slowly:
                    going = {**held["metadata"], "deletionTimestamp": status.timestamp(self.clock.now)}
                    self.make({**held, "metadata": going})
                else:
                    self.store.drop(self.api.drop(*pod))

    def end_pods(self) -> None:
        """Have the pods end that are still ending."""
        for (kind, namespace, name), thing in list(self.api.objects.items()):
            if kind == "Pod" and "deletionTimestamp" in thing["metadata"]:
                self.store.drop(self.api.drop(kind, namespace, name))

    def start(self, name: str = "training", **parts: Any) -> None:
        """Have a notebook that runs."""
        key = ("Notebook", "alice", name)
        self.make(body(name, **parts))
        self.look(key)
        self.play_controller()
        self.look(key)
        # What the look itself changed comes back as an event.
        self.look(key)

    def status(self, key: Key = KEY) -> dict[str, Any]:
        return self.api.objects[key]["status"]

    def reason(self, key: Key = KEY) -> str | None:
        return status.reason_of(self.status(key))

    def message(self, key: Key = KEY) -> str:
        return next(entry["message"] for entry in self.status(key)["conditions"] if entry["type"] == "Ready")

    def replicas(self, name: str = "training") -> int:
        return self.api.objects["StatefulSet", "alice", name]["spec"]["replicas"]

    def events(self) -> list[str]:
        return [thing["reason"] for (kind, _, _), thing in self.api.objects.items() if kind == "Event"]
