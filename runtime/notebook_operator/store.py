"""The operator's view of the cluster: the newest that it has heard of each object."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.notebook_operator import names

Key = tuple[str, str, str]
"""Kind, namespace (empty for none) and name."""


def key_of(body: Mapping[str, Any]) -> Key:
    """Key of an object."""
    return body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]


LARGEST_BYTES = 64 << 10
"""Size of an object of a user's that is kept whole. What people write has a few kB; the API server takes 1.5 MB of each, by
which one user's objects would fill the memory that the operator has for all."""
LARGEST_PART_BYTES = 4 << 10
"""Size of a part that is kept of a larger object."""
LARGEST_STATUS_BYTES = 32 << 10
"""Size of a status that is kept; what the operator writes is smaller."""
LONGEST_ANNOTATION = 1024
LIMITED = frozenset({"Notebook", "NotebookRequest", "PersistentVolumeClaim"})
"""Kinds that users may write. What the operator makes is little larger than what it makes it of."""
STOPPING = (names.STOPPED, names.CULLED, names.LAST_ACTIVITY)
"""Annotations that count for a notebook however large it is."""
SIZE = "sizeBytes"
"""Field of a larger object's metadata, which the API does not have: how large it is."""


def kept(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is kept of an object: of a user's that is too large only what it takes to tell of it and to stop it."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if body["kind"] not in LIMITED:
        return {**body, "metadata": metadata}
    written = {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}
    status = body.get("status")
    told = {"status": status} if status and _size(status) <= LARGEST_STATUS_BYTES else {}
    size = _size(written)
    if size <= LARGEST_BYTES:
        return {**written, **told}
    held: Mapping[str, str] = metadata.get("annotations") or {}
    annotations = {name: held[name][:LONGEST_ANNOTATION] for name in STOPPING if name in held}
    identity = {**_small(metadata), "annotations": annotations, SIZE: size}
    return {**_small(written), "metadata": identity, "spec": _small(body.get("spec") or {}), **told}


def shorten(body: Mapping[str, Any]) -> None:
    """Free what is not kept of an object, in place: whoever it came from holds it for a while, too."""
    less = kept(body)
    for key, part in body.items():
        if isinstance(part, dict) and part is not less.get(key):
            part.clear()
            part.update(less.get(key, {}))


def excess(body: Mapping[str, Any]) -> str | None:
    """What is told of an object that is too large to be read; None for any other."""
    size = body["metadata"].get(SIZE)
    return f"it has {size} bytes as JSON, and may have {LARGEST_BYTES}" if size else None


def _small(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if _size(value) <= LARGEST_PART_BYTES}


def _size(value: Any) -> int:
    """Bytes of a plain value's JSON text."""
    return len(json.dumps(value, separators=(",", ":")))


class Store:
    """Objects by key.

    What the watches tell and what the API server answers to the operator's own changes come in any order; of two states of
    an object the newer stays, so that no decision is made on one that the operator itself has changed already.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}

    def put(self, body: Mapping[str, Any]) -> None:
        """Take an object in, unless a newer state of it is here."""
        kind, namespace, name = key_of(body)
        held = self._objects.setdefault(kind, {}).get((namespace, name))
        if held and int(held["metadata"]["resourceVersion"]) > int(body["metadata"]["resourceVersion"]):
            return
        self._objects[kind][namespace, name] = kept(body)

    def drop(self, body: Mapping[str, Any]) -> None:
        """Forget a deleted object, but not one that took its place."""
        kind, namespace, name = key_of(body)
        held = self._objects.get(kind, {}).get((namespace, name))
        if held and held["metadata"]["uid"] == body["metadata"]["uid"]:
            del self._objects[kind][namespace, name]

    def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The object; None if there is none."""
        return self._objects.get(kind, {}).get((namespace, name))

    def of(self, kind: str, namespace: str | None = None) -> Iterator[Mapping[str, Any]]:
        """The objects of a kind, in one namespace or in all."""
        for (where, _), body in list(self._objects.get(kind, {}).items()):
            if namespace is None or where == namespace:
                yield body
