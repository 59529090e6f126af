"""The operator's view of the cluster: the newest that it has heard of each object."""

from collections.abc import Iterator, Mapping
from typing import Any

Key = tuple[str, str, str]
"""Kind, namespace (empty for none) and name."""


def key_of(body: Mapping[str, Any]) -> Key:
    """Key of an object."""
    return body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]


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
        metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
        self._objects[kind][namespace, name] = {**body, "metadata": metadata}

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
