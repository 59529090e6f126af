"""What the deployment tells the operator: one JSON file, written by the stack, read once when the operator starts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

SETTINGS_FILE = Path("/etc/notebook-operator/settings.json")

FORWARDED = "http://localhost:8888"
"""Where `kubectl port-forward <name>-0 8888` has a notebook on its user's machine."""

PROFILE_KINDS: Mapping[str, str] = {
    "ConfigMap": "v1",
    "LimitRange": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ResourceQuota": "v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ServiceAccount": "v1",
}
"""What a profile's namespace can be furnished with, and the version of each kind."""


class RouteKind(str, Enum):
    """How a notebook is reached from outside the cluster."""

    HTTP_ROUTE = "HTTPRoute"
    """Gateway API."""
    MAPPING = "Mapping"
    """Emissary."""
    NONE = "none"
    """Not at all; users forward a port with `kubectl`."""


@dataclass(frozen=True)
class Route:
    """Where notebooks are attached to the outside."""

    kind: RouteKind
    parents: tuple[Mapping[str, Any], ...] = ()
    """`parentRefs` of an HTTPRoute: `name`, `namespace` and, for one listener, `sectionName`."""


@dataclass(frozen=True)
class NotebookDefaults:
    """What holds for a notebook that does not say otherwise."""

    image: str | None
    """Image of notebooks that are asked for by name alone; it is started as JupyterLab. None: they must bring one."""
    idleSeconds: int
    """A notebook without activity for this long is stopped. A notebook can shorten it, not lengthen it."""
    maxAgeSeconds: int
    """A notebook this old is stopped, whatever it does."""
    homeBytes: int
    """Size of a home; 0 makes none."""
    storageClass: str | None
    """Storage class of homes; None is the cluster's default."""
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """`requests` and `limits` of a notebook's first container."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables of a notebook's first container, such as the egress proxy."""
    resolvesNames: bool = True
    """Whether policies let notebooks ask name servers."""
    nodeSelector: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels of the nodes of notebooks whose template names none."""
    tolerations: Sequence[Mapping[str, Any]] = ()
    """Taints that notebooks tolerate whose template names none."""


@dataclass(frozen=True)
class ProfileDefaults:
    """What every profile's namespace has."""

    namespaceLabels: Mapping[str, str] = field(default_factory=dict[str, str])
    manifests: tuple[Mapping[str, Any], ...] = ()
    """Objects of `PROFILE_KINDS` without a namespace; the values `$(owner)` and `$(namespace)` are replaced."""
    keepNamespaces: bool = True
    """Whether a namespace outlives its profile, and the homes in it with it, unless the profile says otherwise."""
    imagePullSecrets: Sequence[str] = ()
    """Secrets of the operator's namespace, which is called as the stack, that are copied into every profile's."""


@dataclass(frozen=True)
class Settings:
    """The operator's part of a stack."""

    stack: str
    """Value of the label `hubstack.stack` of all that the operator makes."""
    domain: str
    """Host name that notebooks are reached by."""
    basePath: str
    """Path above all notebooks, such as `/notebook`."""
    route: Route
    requestTimeoutSeconds: int
    """How long a request to a notebook may take."""
    notebook: NotebookDefaults
    profile: ProfileDefaults
    notebooks: int
    """Most notebooks that run at once."""

    def url(self, namespace: str, name: str) -> str:
        """Where a browser finds a notebook."""
        front = FORWARDED if self.route.kind is RouteKind.NONE else f"https://{self.domain}"
        return f"{front}{route_prefix(self.basePath, namespace, name)}/"


def route_prefix(base_path: str, namespace: str, name: str) -> str:
    """Path that a notebook has to itself, without a slash at its end."""
    return f"{base_path}/{namespace}/{name}"


def parse_settings(document: Mapping[str, Any]) -> Settings:
    """Read the stack's JSON document.

    Raises:
        KeyError, TypeError, ValueError: a key is missing or unknown, or a value makes no sense; the message names it.
    """
    fields = dict(document)
    route = dict(fields.pop("route"))
    profile = dict(fields.pop("profile"))
    fleet = dict(fields.pop("fleet"))
    settings = Settings(
        route=Route(kind=RouteKind(route.pop("kind")), parents=tuple(route.pop("parents", ())), **route),
        notebook=NotebookDefaults(**fields.pop("notebook")),
        profile=ProfileDefaults(manifests=tuple(profile.pop("manifests", ())), **profile),
        notebooks=fleet.pop("notebooks"),
        **fields,
        **fleet,
    )
    if not settings.basePath.startswith("/") or settings.basePath.endswith("/"):
        raise ValueError(f"basePath must begin with / and not end with it, not {settings.basePath!r}")
    for limit in ("idleSeconds", "maxAgeSeconds"):
        if getattr(settings.notebook, limit) <= 0:
            raise ValueError(f"notebook.{limit} must be positive, not {getattr(settings.notebook, limit)}")
    for manifest in settings.profile.manifests:
        kind = manifest["kind"]
        if PROFILE_KINDS.get(kind) != manifest["apiVersion"]:
            allowed = ", ".join(f"{name} of {version}" for name, version in PROFILE_KINDS.items())
            raise ValueError(f"profile.manifests: {kind} of {manifest['apiVersion']} is none of {allowed}")
    return settings


def load_settings(path: Path = SETTINGS_FILE) -> Settings:
    """Read the settings that the stack mounted."""
    return parse_settings(json.loads(path.read_text()))
