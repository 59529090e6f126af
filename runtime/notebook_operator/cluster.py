"""The API server: plain objects in, plain objects out."""

import functools
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import (
    GenericGlobalResource,
    GenericGlobalStatus,
    GenericNamespacedResource,
    GenericNamespacedStatus,
    create_api_info,
)
from lightkube.types import PatchType

from runtime.notebook_operator import names

Object = Mapping[str, Any]
FORBIDDEN, MISSING, CONFLICT = 403, 404, 409
REFUSING = frozenset({400, FORBIDDEN, 422})
TIMEOUT_SECONDS = 30.0


class Kind(NamedTuple):
    """Where the API has the objects of a kind."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What the objects' `apiVersion` says."""
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS: Mapping[str, Kind] = {
    "Notebook": Kind("kubeflow.org", "v1", "notebooks"),
    "Profile": Kind("kubeflow.org", "v1", "profiles", namespaced=False),
    "NotebookRequest": Kind("hubstack.io", "v1alpha1", "notebookrequests", namespaced=False),
    "StatefulSet": Kind("apps", "v1", "statefulsets"),
    "Pod": Kind("", "v1", "pods"),
    "Service": Kind("", "v1", "services"),
    "PersistentVolumeClaim": Kind("", "v1", "persistentvolumeclaims"),
    "Secret": Kind("", "v1", "secrets"),
    "HTTPRoute": Kind("gateway.networking.k8s.io", "v1", "httproutes"),
    "Mapping": Kind("getambassador.io", "v3alpha1", "mappings"),
    "Namespace": Kind("", "v1", "namespaces", namespaced=False),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "ConfigMap": Kind("", "v1", "configmaps"),
    "LimitRange": Kind("", "v1", "limitranges"),
    "ResourceQuota": Kind("", "v1", "resourcequotas"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
    "RoleBinding": Kind("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "Event": Kind("", "v1", "events"),
    "SelfSubjectReview": Kind("authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False),
}


@functools.cache
def _object_type(kind: str) -> Any:
    """The client's class for the objects of a kind.

    The client's own registry is left alone: it has room for one class of a kind in a process.
    """
    group, version, plural, namespaced = KINDS[kind]
    base: type = GenericNamespacedResource if namespaced else GenericGlobalResource
    return type(kind, (base,), {"_api_info": create_api_info(group, version, kind, plural)})


@functools.cache
def _status_type(kind: str) -> Any:
    """The client's class for the status of the objects of a kind."""
    group, version, plural, namespaced = KINDS[kind]
    base: type = GenericNamespacedStatus if namespaced else GenericGlobalStatus
    of = ResourceDef(group, version, kind)
    info = ApiInfo(resource=of, parent=of, plural=plural, verbs=["get", "patch", "put"], action="status")
    return type(f"{kind}Status", (base,), {"_api_info": info})


class Verdict(Enum):
    """What an error of the API server means for who asked."""

    QUOTA = "a quota is used up"
    ACCESS = "the operator has no right to it"
    REFUSED = "what is asked for is not allowed or makes no sense"
    AGAIN = "it may go well the next time"


def verdict(error: ApiError) -> Verdict:
    """Judge an error of the API server."""
    code, message = error.status.code or 0, error.status.message or ""
    if code == FORBIDDEN and "exceeded quota" in message:
        return Verdict.QUOTA
    if code == FORBIDDEN and " cannot " in message and " resource " in message:
        return Verdict.ACCESS
    return Verdict.REFUSED if code in REFUSING else Verdict.AGAIN


def covered(desired: Any, actual: Any) -> Any:
    """What `actual` says of the fields that `desired` names."""
    if isinstance(desired, Mapping) and isinstance(actual, Mapping):
        return {key: covered(value, actual[key]) for key, value in desired.items() if key in actual}
    if isinstance(desired, list) and isinstance(actual, list) and len(desired) == len(actual):
        return [covered(one, other) for one, other in zip(desired, actual, strict=True)]
    return actual


def has_strangers(desired: Any, actual: Any) -> bool:
    """Whether a list of `desired` has more items in `actual`: somebody put them there by hand."""
    if isinstance(desired, Mapping) and isinstance(actual, Mapping):
        return any(has_strangers(value, actual.get(key)) for key, value in desired.items())
    if isinstance(desired, list) and isinstance(actual, list):
        return len(actual) > len(desired) or any(map(has_strangers, desired, actual))
    return False


def stamped(wanted: Object) -> Object:
    """The object with a digest of itself: one that asks for less than before is told from it by that."""
    metadata = wanted["metadata"]
    annotations = {**(metadata.get("annotations") or {}), names.APPLIED: names.digest(wanted)[:16]}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


class Cluster:
    """The API server, as the operator asks it."""

    def __init__(self, client: AsyncClient) -> None:
        self._client: Any = client
        self._applied: dict[tuple[str, str, str], tuple[str, str]] = {}

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object; None if there is none."""
        try:
            return await self._client.get(_object_type(kind), name, **self._where(kind, namespace))
        except ApiError as error:
            if error.status.code == MISSING:
                return None
            raise

    async def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> Sequence[Object]:
        """The objects of a kind in a namespace that have all `labels`."""
        found = self._client.list(_object_type(kind), labels=dict(labels), **self._where(kind, namespace))
        return [{"apiVersion": KINDS[kind].api_version, "kind": kind, **entry} async for entry in found]

    async def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        """Make an object; with `dry_run` only hear what the API server says."""
        namespace = wanted.get("metadata", {}).get("namespace", "")
        where = self._where(wanted["kind"], namespace)
        return await self._client.create(self._typed(wanted), dry_run=dry_run, **where)

    async def apply(self, wanted: Object) -> Object:
        """Make an object as it is wanted, and take out what somebody put into its lists.

        Fields that the object does not name stay as they are; what it named before and no longer does goes.
        """
        kind, metadata = wanted["kind"], wanted["metadata"]
        wanted = stamped(wanted)
        result: Object = await self._client.apply(self._typed(wanted), force=True)
        if has_strangers(wanted.get("spec", {}), result.get("spec", {})):
            result = await self.merge(kind, metadata.get("namespace", ""), metadata["name"], {"spec": wanted["spec"]})
        self._applied[self._key(wanted)] = (names.digest(wanted), names.digest(covered(wanted, result)))
        return result

    def in_sync(self, wanted: Object, actual: Object) -> bool:
        """Whether an object needs nothing: it says what is wanted, or still what the API server made of that."""
        wanted = stamped(wanted)
        said = covered(wanted, actual)
        return said == wanted or self._applied.get(self._key(wanted)) == (names.digest(wanted), names.digest(said))

    async def merge(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        """Set the fields of `patch`; None takes one away."""
        where = self._where(kind, namespace)
        return await self._client.patch(_object_type(kind), name, dict(patch), patch_type=PatchType.MERGE, **where)

    async def set_status(self, about: Object, status: Object) -> Object:
        """Replace an object's status."""
        metadata = about["metadata"]
        where = self._where(about["kind"], metadata.get("namespace", ""))
        type_ = _status_type(about["kind"])
        patch = [{"op": "add", "path": "/status", "value": dict(status)}]
        return await self._client.patch(type_, metadata["name"], patch, patch_type=PatchType.JSON, **where)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, if it is there."""
        try:
            await self._client.delete(_object_type(kind), name, **self._where(kind, namespace))
        except ApiError as error:
            if error.status.code != MISSING:
                raise

    async def tell(self, event: Object) -> None:
        """Post an event; one that was posted already stays as it is."""
        try:
            await self.create(event)
        except ApiError as error:
            # A namespace that is being deleted takes none.
            if error.status.code not in {CONFLICT, FORBIDDEN, MISSING}:
                raise

    async def identity(self) -> str:
        """Name of the user that the API server takes the operator for."""
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        review: Object = await self._client.create(self._typed(wanted))
        return review["status"]["userInfo"]["username"]

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Free what is remembered of an object that is gone."""
        self._applied.pop((kind, namespace, name), None)

    async def close(self) -> None:
        """End the connections."""
        await self._client.close()

    @staticmethod
    def _typed(wanted: Object) -> Any:
        return _object_type(wanted["kind"])(json.loads(json.dumps(wanted)))

    @staticmethod
    def _where(kind: str, namespace: str) -> dict[str, str]:
        return {"namespace": namespace} if KINDS[kind].namespaced else {}

    @staticmethod
    def _key(wanted: Object) -> tuple[str, str, str]:
        return wanted["kind"], wanted["metadata"].get("namespace", ""), wanted["metadata"]["name"]


def connect() -> Cluster:
    """The API server of the pod that this runs in, else of the environment's `KUBECONFIG`."""
    client = AsyncClient(field_manager=names.OPERATOR, timeout=httpx2.Timeout(TIMEOUT_SECONDS))
    return Cluster(client)
