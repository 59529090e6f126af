"""Where the API serves a kind: tokens of the engine, the API's discovery documents and REST paths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PACKAGE = "kubernetes"
PATCH = "Patch"


@dataclass(frozen=True)
class Kind:
    """A kind in a version of an API group; the core group has an empty name."""

    group: str
    version: str
    name: str

    @property
    def api_version(self) -> str:
        """As objects write it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_path(self) -> str:
        """Where the API describes the group's version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def __str__(self) -> str:
        return f"{self.api_version}/{self.name}"


@dataclass(frozen=True)
class Served:
    """How the API serves a kind."""

    kind: Kind
    plural: str
    namespaced: bool

    def collection(self, namespace: str | None) -> str:
        """Path of the kind's objects; in every namespace if `namespace` is none."""
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.kind.group_path}{within}/{self.plural}"

    def object(self, namespace: str | None, name: str) -> str:
        """Path of one object."""
        return f"{self.collection(namespace)}/{name}"


def kind_of_token(token: str) -> Kind:
    """The kind that a type token means: `kubernetes:apps/v1:Deployment`; `core/v1` is the group without a name.

    Raises:
        ValueError: it is no token of a kind.
    """
    parts = token.split(":")
    if len(parts) != 3 or parts[0] != PACKAGE or not parts[1] or not parts[2]:
        raise ValueError(f"{token} is not the token of a Kubernetes kind")
    return kind_of(parts[1].removeprefix("core/"), parts[2])


def kind_of(api_version: str, name: str) -> Kind:
    """The kind that an object's `apiVersion` and `kind` name."""
    group, _, version = api_version.rpartition("/")
    return Kind(group, version, name)


def is_patch(token: str) -> bool:
    """Whether the type manages some fields of an object that something else made: `kubernetes:core/v1:NodePatch`."""
    name = token.rsplit(":", maxsplit=1)[-1]
    return name.endswith(PATCH) and name != PATCH


def plain_kind(kind: Kind) -> Kind:
    """The kind that a `…Patch` type is about."""
    return Kind(kind.group, kind.version, kind.name.removesuffix(PATCH))


def served_kinds(group: str, version: str, discovered: Mapping[str, Any]) -> dict[str, Served]:
    """The kinds of a discovery document (an `APIResourceList`), subresources left out."""
    resources: Iterable[Mapping[str, Any]] = discovered.get("resources", [])
    return {
        resource["kind"]: Served(Kind(group, version, resource["kind"]), resource["name"], resource["namespaced"])
        for resource in resources
        if "/" not in resource["name"]
    }


def defined_kinds(definition: Mapping[str, Any]) -> list[Served]:
    """The kinds that a CustomResourceDefinition will make the API serve."""
    spec = definition.get("spec", {})
    names = spec.get("names", {})
    namespaced = spec.get("scope") == "Namespaced"
    kinds = [Kind(spec.get("group", ""), version["name"], names["kind"]) for version in spec.get("versions", [])]
    return [Served(kind, names["plural"], namespaced) for kind in kinds]


def identity(namespace: str | None, name: str) -> str:
    """The resource's ID for the engine: `namespace/name`, or `name`."""
    return f"{namespace}/{name}" if namespace else name


def parse_identity(text: str) -> tuple[str | None, str]:
    """Namespace and name of an ID."""
    namespace, _, name = text.rpartition("/")
    return namespace or None, name
