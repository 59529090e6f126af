"""Objects through the API: made, changed, read, deleted and tried out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from tests.engine.kubernetes_provider import diff, drift, naming, waits
from tests.engine.kubernetes_provider.addresses import Kind, Served, identity
from tests.engine.kubernetes_provider.cluster import ApiError, Cluster, NoSuchKindError
from tests.engine.kubernetes_provider.values import UNKNOWN, Object, has_unknown, known_part, without_nulls

YOUNG_KIND_SECONDS = 10.0
"""How long the API may need to serve a new definition's kind, or to know a new namespace."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
STILL_WAITING_SECONDS = 30.0
"""How often a long wait is told to the user."""

TRIAL_NAMESPACE = "default"
TRIAL_NAME = "hubstack-preview-of-the-shape"

ALREADY_THERE = (
    "the resource already exists in the cluster: import it, give this one another name, or set "
    "upsertExistingObjects on the provider"
)
CONFLICT = (
    "another program set these fields; set the annotation pulumi.com/patchForce on the resource, or enablePatchForce "
    "on the provider, to take them over"
)

Log = Callable[[str, bool], None]
"""Tells the user something: the words, and whether they last."""


class NotReadyError(Exception):
    """The object is there, but not ready.

    Attributes:
        live: The object as it is.
        reasons: Why.
    """

    def __init__(self, live: Object, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.live = live
        self.reasons = reasons


class DeletionError(Exception):
    """The object is still there when it should be gone."""


class CanceledError(Exception):
    """The user stopped the update."""


@dataclass(frozen=True)
class Wanted:
    """One resource as the program wants it.

    Attributes:
        urn: Its name for the engine.
        kind: What it is.
        inputs: What it shall be.
        patch: It manages some fields of an object that something else made.
    """

    urn: str
    kind: Kind
    inputs: Object
    patch: bool = False

    @property
    def name(self) -> str:
        """The object's name."""
        return naming.metadata(self.inputs)["name"]

    @property
    def namespace(self) -> str | None:
        """The object's namespace, none if it is in none."""
        return naming.metadata(self.inputs).get("namespace")

    @property
    def id(self) -> str:
        """The resource's ID for the engine."""
        return identity(self.namespace, self.name)

    def body(self) -> Object:
        """What is sent to the API."""
        plain = without_nulls({**self.inputs, "apiVersion": self.kind.api_version, "kind": self.kind.name})
        return diff.with_encoded_data(plain) if (self.kind.group, self.kind.name) == ("", "Secret") else plain


class Objects:
    """The objects of one cluster."""

    def __init__(self, cluster: Cluster, *, force: bool = False, upsert: bool = False) -> None:
        self._cluster = cluster
        self._force = force
        self._upsert = upsert
        self.canceled = Event()

    def create(self, wanted: Wanted, manager: str, timeout: float, log: Log) -> Object:
        """Make the object and wait until it is ready.

        Raises:
            ApiError: the server refuses it.
            NotReadyError: it did not become ready.
        """
        served = self._served(wanted.kind, log)
        path = served.object(wanted.namespace, wanted.name)
        if not (wanted.patch or self._upsert) and self._cluster.find(path) is not None:
            raise ApiError(409, f"{wanted.kind.name} {wanted.id}: {ALREADY_THERE}", "AlreadyExists")
        made = self._retried(lambda: self._apply(wanted, path, manager), log)
        return self._ready(wanted, served, made, timeout, log)

    def update(self, wanted: Wanted, manager: str, timeout: float, log: Log) -> Object:
        """Change the object and wait until it is ready.

        Raises:
            ApiError: the server refuses it, or the object is gone.
            NotReadyError: it did not become ready.
        """
        served = self._served(wanted.kind, log)
        path = served.object(wanted.namespace, wanted.name)
        if not wanted.patch:
            self._cluster.get(path)
        return self._ready(wanted, served, self._apply(wanted, path, manager), timeout, log)

    def try_create(self, wanted: Wanted, manager: str) -> Object:
        """The object as it would be made, what is not known yet included.

        Raises:
            ApiError: the server would refuse it. If it depends on something that is not there yet, only what is
                wrong in any case counts: fields that its kind does not have.
        """
        served = self._cluster.serves(wanted.kind)
        if served is None or wanted.patch:
            return wanted.inputs
        known = not has_unknown(wanted.inputs)
        if known and self._has_room(served, wanted):
            tried = self._apply(wanted, served.object(wanted.namespace, wanted.name), manager, dry_run=True)
            return _of_a_preview(tried, wanted.inputs)
        self._try_shape(wanted, served, manager)
        return wanted.inputs

    def try_update(self, wanted: Wanted, manager: str) -> Object:
        """The object as it would be after a change.

        Raises:
            ApiError: the server would refuse the change.
        """
        served = self._cluster.serves(wanted.kind)
        if served is None:
            return wanted.inputs
        if has_unknown(wanted.inputs):
            self._try_shape(wanted, served, manager)
            return wanted.inputs
        return self._apply(wanted, served.object(wanted.namespace, wanted.name), manager, dry_run=True)

    def read(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """The object as it is; none if it is gone."""
        served = self._cluster.serves(kind)
        return None if served is None else self._cluster.find(served.object(namespace, name))

    def inputs_now(self, wanted: Wanted, live: Object, manager: str) -> Object:
        """The resource's inputs, with the live values where something else changed the object."""
        served = self._cluster.serves(wanted.kind)
        body = wanted.body()
        if served is None or wanted.patch:
            return wanted.inputs
        try:
            path = served.object(wanted.namespace, wanted.name)
            applied = self._cluster.apply(path, body, manager=manager, force=True, dry_run=True)
        except ApiError:
            applied = body
        known = drift.inputs_of(applied), drift.inputs_of(live)
        if known[0] == known[1]:
            return wanted.inputs
        found = drift.drifted(body, *known)
        return drift.secret_inputs(wanted.inputs, found) if body["kind"] == "Secret" else found

    def state(self, wanted: Wanted, live: Object) -> waits.State:
        """How far the object is now."""
        served = self._cluster.serves(wanted.kind)
        if served is None or naming.is_set(wanted.inputs, naming.SKIP_AWAIT):
            return waits.READY
        expressions = naming.wait_expressions(wanted.inputs)
        if expressions:
            states = [waits.expressed(expression, live) for expression in expressions]
            return next((each for each in states if not each.ready), waits.READY)
        return waits.state(wanted.kind, live, self._related(wanted.kind, live))

    def delete(self, wanted: Wanted, manager: str, timeout: float, log: Log) -> None:
        """Delete the object and wait until it is gone.

        Raises:
            ApiError: the server refuses.
            DeletionError: it is still there after `timeout` seconds.
        """
        served = self._cluster.serves(wanted.kind)
        if served is None:
            return
        path = served.object(wanted.namespace, wanted.name)
        live = self._cluster.find(path)
        if live is None:
            return
        if wanted.patch:
            self._give_up(wanted, path, manager)
            return
        try:
            self._cluster.delete(path, naming.propagation(wanted.inputs))
        except ApiError as error:
            if not error.not_found:
                raise
        if naming.is_set(wanted.inputs, naming.SKIP_AWAIT) and _key(wanted.kind) in waits.LEAVES_DELETION:
            return

        def look() -> waits.State:
            now = self._cluster.find(path)
            if now is None or now["metadata"]["uid"] != live["metadata"]["uid"]:
                return waits.READY
            return waits.waiting(_why_it_stays(now))

        last = self._wait(look, timeout, log)
        if not last.ready:
            raise DeletionError(f"{wanted.kind.name} {wanted.id} is still there after {timeout:g} s: {last.message}")

    def _apply(self, wanted: Wanted, path: str, manager: str, *, dry_run: bool = False) -> Object:
        force = self._force or naming.is_set(wanted.inputs, naming.PATCH_FORCE)
        try:
            return self._cluster.apply(path, wanted.body(), manager=manager, force=force, dry_run=dry_run)
        except ApiError as error:
            if error.code == 409 and error.causes:
                raise ApiError(409, f"{error}\n{CONFLICT}", error.reason) from error
            raise

    def _give_up(self, wanted: Wanted, path: str, manager: str) -> None:
        names = {"name": wanted.name} | ({"namespace": wanted.namespace} if wanted.namespace else {})
        body = {"apiVersion": wanted.kind.api_version, "kind": wanted.kind.name, "metadata": names}
        self._cluster.apply(path, body, manager=manager, force=True)

    def _served(self, kind: Kind, log: Log) -> Served:
        def look() -> waits.State:
            return waits.READY if self._cluster.serves(kind) else waits.waiting(f"waiting for the API to serve {kind}")

        self._wait(look, YOUNG_KIND_SECONDS, log)
        served = self._cluster.serves(kind)
        if served is None:
            raise NoSuchKindError(kind)
        return served

    def _retried(self, send: Callable[[], Object], log: Log) -> Object:
        """Send again while the server does not know a new namespace or kind yet."""
        until = time.monotonic() + YOUNG_KIND_SECONDS
        while True:
            try:
                return send()
            except ApiError as error:
                if not error.not_found or time.monotonic() > until:
                    raise
                log(f"trying again: {error}", False)
            self._pause(1.0)

    def _has_room(self, served: Served, wanted: Wanted) -> bool:
        """Whether the object could be made now: its namespace is there, and it is not."""
        if served.namespaced and wanted.namespace and not self._has_namespace(wanted.namespace):
            return False
        return self._cluster.find(served.object(wanted.namespace, wanted.name)) is None

    def _has_namespace(self, name: str) -> bool:
        try:
            return self._cluster.find(f"/api/v1/namespaces/{name}") is not None
        except ApiError as error:
            if error.forbidden:  # who may work in a namespace need not be allowed to look at it
                return True
            raise

    def _try_shape(self, wanted: Wanted, served: Served, manager: str) -> None:
        metadata = known_part(dict(naming.metadata(wanted.inputs)))
        metadata["name"] = TRIAL_NAME
        metadata.pop("namespace", None)
        namespace = TRIAL_NAMESPACE if served.namespaced else None
        if namespace:
            metadata["namespace"] = namespace
        trial = Wanted(wanted.urn, wanted.kind, {**known_part(wanted.inputs), "metadata": metadata})
        try:
            self._apply(trial, served.object(namespace, TRIAL_NAME), manager, dry_run=True)
        except ApiError as error:
            if error.misshapen:
                raise

    def _ready(self, wanted: Wanted, served: Served, live: Object, timeout: float, log: Log) -> Object:
        latest = [live]
        path = served.object(wanted.namespace, wanted.name)

        def look() -> waits.State:
            found = self.state(wanted, latest[0])
            if not found.ready and not found.failed:
                latest[0] = self._cluster.get(path)
                found = self.state(wanted, latest[0])
            return found

        if wanted.kind.name == "CustomResourceDefinition":
            self._cluster.forget()
        try:
            last = self._wait(look, timeout, log)
        except CanceledError as error:
            raise NotReadyError(latest[0], [f"{error} while it was not ready"]) from error
        if last.ready:
            return latest[0]
        reasons = [last.message] if last.failed else [f"timed out after {timeout:g} s: {last.message}"]
        raise NotReadyError(latest[0], [*reasons, *self._what_happened(wanted.kind, latest[0])])

    def _wait(self, look: Callable[[], waits.State], timeout: float, log: Log) -> waits.State:
        """Look until it is ready, has failed, or time is up; tell the user now and then."""
        start = time.monotonic()
        told, said = "", start
        pause = FIRST_PAUSE_SECONDS
        while True:
            now = look()
            if now.ready or now.failed or time.monotonic() - start > timeout:
                return now
            if now.message != told:
                told = now.message
                log(told, False)
            if time.monotonic() - said > STILL_WAITING_SECONDS:
                said = time.monotonic()
                log(f"still waiting after {said - start:.0f} s: {told}", True)
            self._pause(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)

    def _pause(self, seconds: float) -> None:
        if self.canceled.wait(seconds):
            raise CanceledError("the update was canceled")

    def _related(self, kind: Kind, live: Object) -> waits.Related:
        metadata = live["metadata"]
        match _key(kind):
            case ("", "Service"):
                path = f"/apis/discovery.k8s.io/v1/namespaces/{metadata['namespace']}/endpointslices"
                label = f"kubernetes.io/service-name={metadata['name']}"
                return waits.Related(endpoints=self._cluster.items(path, labelSelector=label))
            case ("batch", "Job"):
                return waits.Related(pods=self._pods(live))
            case ("", "PersistentVolumeClaim"):
                return waits.Related(binds_late=self._binds_late(live))
            case ("apiextensions.k8s.io", "CustomResourceDefinition"):
                spec = live["spec"]
                versions = [version["name"] for version in spec["versions"] if version["served"]]
                kinds = [Kind(spec["group"], version, spec["names"]["kind"]) for version in versions]
                return waits.Related(served=all(self._cluster.serves(each) for each in kinds))
            case _:
                return waits.NOTHING

    def _pods(self, live: Object) -> list[Object]:
        labels: Mapping[str, Any] = (live.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
        if not labels:
            return []
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return self._cluster.items(f"/api/v1/namespaces/{live['metadata']['namespace']}/pods", labelSelector=selector)

    def _binds_late(self, claim: Object) -> bool:
        name = claim["spec"].get("storageClassName")
        found = self._cluster.find(f"/apis/storage.k8s.io/v1/storageclasses/{name}") if name else None
        return (found or {}).get("volumeBindingMode") == "WaitForFirstConsumer"

    def _what_happened(self, kind: Kind, live: Object) -> list[str]:
        """Problems of the object's pods, and the warnings about it and them."""
        namespace = live["metadata"].get("namespace")
        if not namespace:
            return []
        pods = self._pods(live) if kind.group in {"apps", "batch"} else []
        problems = [] if kind.name == "Job" else waits.pod_problems(pods)
        owners = {live["metadata"]["uid"], *(pod["metadata"]["uid"] for pod in pods)}
        events = self._cluster.items(f"/api/v1/namespaces/{namespace}/events", fieldSelector="type=Warning")
        about = [event for event in events if event["involvedObject"].get("uid") in owners]
        return [*problems, *dict.fromkeys(f"[{event['reason']}] {event['message']}" for event in about)]


def _key(kind: Kind) -> tuple[str, str]:
    return kind.group, kind.name


def _why_it_stays(live: Object) -> str:
    metadata = live["metadata"]
    finalizers = [*metadata.get("finalizers", []), *live.get("spec", {}).get("finalizers", [])]
    conditions = live.get("status", {}).get("conditions") or []
    left = [each["message"] for each in conditions if each.get("status") == "True" and each.get("message")]
    words = [f"finalizers {', '.join(map(str, finalizers))}"] if finalizers else []
    return "; ".join(["waiting for it to be gone", *words, *left])


def _of_a_preview(tried: Object, inputs: Object) -> Object:
    """A dry run's result without what the real run will choose anew."""
    outputs = {key: value for key, value in tried.items() if key != "status"}
    chosen = dict.fromkeys(("uid", "resourceVersion", "creationTimestamp", "generation"), UNKNOWN)
    outputs["metadata"] = {**tried["metadata"], **chosen}
    if tried["kind"] == "Service" and isinstance(outputs.get("spec"), dict):
        asked: Mapping[str, Any] = inputs.get("spec") or {}
        fresh = [field for field in ("clusterIP", "clusterIPs") if field in outputs["spec"] and field not in asked]
        outputs["spec"] = {**outputs["spec"], **dict.fromkeys(fresh, UNKNOWN)}
    return outputs
