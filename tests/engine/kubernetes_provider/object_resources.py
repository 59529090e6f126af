"""Kubernetes objects as the engine's resources."""

from collections.abc import Mapping
from typing import Any

from tests.engine.kubernetes_provider import diff, drift, naming
from tests.engine.kubernetes_provider.addresses import (
    Kind,
    identity,
    is_patch,
    kind_of,
    kind_of_token,
    parse_identity,
    plain_kind,
)
from tests.engine.kubernetes_provider.cluster import Cluster
from tests.engine.kubernetes_provider.objects import NotReadyError, Objects, Wanted
from tests.engine.kubernetes_provider.resources import Asked, Difference, Failure, Found, PartialError
from tests.engine.kubernetes_provider.values import UNKNOWN, Object

MANAGER = "__fieldManager"
"""Output that remembers who owns the fields: the resource's URN may change, their owner may not."""


class ObjectResources:
    """Objects of every kind that the API serves."""

    def __init__(self, cluster: Cluster, objects: Objects, namespace: str, mutable: frozenset[str]) -> None:
        self._cluster = cluster
        self._objects = objects
        self._namespace = namespace
        self._mutable = mutable

    def check(self, asked: Asked) -> tuple[Object, list[Failure]]:
        """The inputs with kind, name and namespace."""
        kind = _kind(asked.token, asked.inputs)
        if kind.name.endswith("List"):
            return asked.inputs, [Failure("kind", "lists are no resources: make one for each item")]
        inputs = {"apiVersion": kind.api_version, "kind": kind.name, **asked.inputs}
        own = naming.metadata(inputs)
        if own.get("generateName"):
            return inputs, [Failure("metadata.generateName", "server-side apply needs a name: use metadata.name")]
        if is_patch(asked.token) and not own.get("name"):
            return inputs, [Failure("metadata.name", "a patch needs the name of the object that it is about")]
        failures: list[Failure] = []
        for expression in naming.wait_expressions(inputs):
            if not expression.startswith(("condition=", "jsonpath=")):
                reason = f'expected a "jsonpath=" or "condition=" prefix, got {expression!r}'
                failures.append(Failure(f'metadata.annotations["{naming.WAIT_FOR}"]', reason))
        inputs = naming.named(inputs, asked.old_inputs, asked.name, asked.seed, asked.proposed)
        if inputs.get("metadata") is UNKNOWN:
            return inputs, failures
        if (kind.group, kind.name) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
            self._cluster.announce(inputs)
        served = self._cluster.will_serve(kind)
        if not naming.metadata(inputs).get("namespace") and (served is None or served.namespaced):
            inputs = naming.in_namespace(inputs, self._namespace)
        return inputs, failures

    def diff(self, asked: Asked) -> Difference:
        """What differs in the inputs; fields that cannot be changed replace the object."""
        kind = _kind(asked.token, asked.inputs)
        served = self._cluster.will_serve(kind)
        old, new = (self._comparable(kind, each, served is None or served.namespaced) for each in _both(asked))
        found = list(diff.changes(old, new))
        if is_patch(asked.token):
            fields = list(diff.IDENTITY)
        else:
            fields = diff.replacing_fields(kind, new, mutable=self._mutable)
        replaces = [change.text for change in found if diff.replaces(change, fields)]
        if self._is_unready_job(asked, kind):
            replaces.append(f'metadata.annotations["{naming.REPLACE_UNREADY}"]')
        namespace, name = parse_identity(asked.id)
        first = bool(replaces) and diff.deletes_first(new, name, namespace)
        return Difference(found, replaces, first)

    def create(self, asked: Asked) -> tuple[str, Object]:
        """Make the object; in a preview only try it."""
        wanted = self._wanted(asked)
        manager = naming.field_manager(asked.urn)
        if asked.preview:
            return "", _outputs(self._objects.try_create(wanted, manager), manager)
        wanted = self._in_scope(wanted)
        try:
            live = self._objects.create(wanted, manager, naming.timeout_seconds(asked.inputs, asked.timeout), asked.log)
        except NotReadyError as error:
            found = Found(wanted.id, asked.inputs, _outputs(error.live, manager))
            raise PartialError(found, error.reasons) from error
        return wanted.id, _outputs(live, manager)

    def update(self, asked: Asked) -> Object:
        """Change the object; in a preview only try it."""
        wanted = self._wanted(asked)
        manager = _manager(asked)
        if asked.preview:
            return _outputs(self._objects.try_update(self._in_scope(wanted), manager), manager)
        wanted = self._in_scope(wanted)
        try:
            live = self._objects.update(wanted, manager, naming.timeout_seconds(asked.inputs, asked.timeout), asked.log)
        except NotReadyError as error:
            found = Found(wanted.id, asked.inputs, _outputs(error.live, manager))
            raise PartialError(found, error.reasons) from error
        return _outputs(live, manager)

    def read(self, asked: Asked) -> Found | None:
        """The object as it is, and the inputs that would leave it so."""
        kind = _kind(asked.token, asked.inputs)
        namespace, name = self._place(kind, asked.id)
        live = self._objects.read(kind, namespace, name)
        if live is None:
            return None
        manager = _manager(asked)
        if not asked.inputs:
            return Found(identity(namespace, name), drift.inputs_of(live), _outputs(live, manager))
        wanted = self._in_scope(self._wanted(asked))
        inputs = self._objects.inputs_now(wanted, live, manager)
        found = Found(asked.id, inputs, _outputs(live, manager))
        state = self._objects.state(wanted, live)
        if not state.ready:
            raise PartialError(found, [state.message])
        return found

    def delete(self, asked: Asked) -> None:
        """Delete the object and wait until it is gone."""
        kind = _kind(asked.token, asked.inputs or asked.outputs)
        namespace, name = self._place(kind, asked.id)
        inputs = naming.in_namespace(asked.inputs or asked.outputs, namespace)
        inputs["metadata"] = {**inputs["metadata"], "name": name}
        wanted = Wanted(asked.urn, kind, inputs, is_patch(asked.token))
        timeout = naming.timeout_seconds(inputs, asked.timeout)
        self._objects.delete(wanted, _manager(asked), timeout, asked.log)

    def _wanted(self, asked: Asked) -> Wanted:
        return Wanted(asked.urn, _kind(asked.token, asked.inputs), asked.inputs, is_patch(asked.token))

    def _place(self, kind: Kind, told: str) -> tuple[str | None, str]:
        """Namespace and name of an ID; whoever imports an object may leave the provider's own namespace out."""
        namespace, name = parse_identity(told)
        served = self._cluster.serves(kind)
        return namespace or (self._namespace if served is not None and served.namespaced else None), name

    def _in_scope(self, wanted: Wanted) -> Wanted:
        """Without the namespace that was assumed before the API served the kind."""
        served = self._cluster.serves(wanted.kind)
        if served is None or served.namespaced or wanted.namespace != self._namespace:
            return wanted
        return Wanted(wanted.urn, wanted.kind, naming.in_namespace(wanted.inputs, None), wanted.patch)

    def _comparable(self, kind: Kind, inputs: Object, namespaced: bool) -> Object:
        plain = diff.comparable(kind, inputs)
        if inputs.get("metadata") is UNKNOWN:
            return plain
        namespace = naming.metadata(plain).get("namespace") or self._namespace
        return naming.in_namespace(plain, namespace if namespaced else None)

    def _is_unready_job(self, asked: Asked, kind: Kind) -> bool:
        if kind.name != "Job" or not naming.is_set(asked.inputs, naming.REPLACE_UNREADY):
            return False
        live = self._objects.read(kind, *parse_identity(asked.id))
        return live is not None and not self._objects.state(self._wanted(asked), live).ready


def _kind(token: str, inputs: Mapping[str, Any]) -> Kind:
    """The kind that the inputs name, else the token: the two differ in tokens of old versions."""
    kind = kind_of_token(token)
    told = inputs.get("apiVersion"), inputs.get("kind")
    if all(isinstance(each, str) for each in told):
        kind = kind_of(str(told[0]), str(told[1]))
    return plain_kind(kind) if is_patch(token) else kind


def _both(asked: Asked) -> tuple[Object, Object]:
    return asked.old_inputs, asked.inputs


def _manager(asked: Asked) -> str:
    return asked.outputs.get(MANAGER) or naming.field_manager(asked.urn)


def _outputs(live: Object, manager: str) -> Object:
    shown = drift.outputs_of(live) if isinstance(live.get("metadata"), dict) else live
    return {**shown, MANAGER: manager}
