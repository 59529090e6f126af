"""What notebooks are attached to from outside, and where browsers find them; the operator makes each route."""

import re
from enum import Enum
from typing import NotRequired, TypedDict

import pulumi

from components.kubernetes.isolation import PodTarget
from runtime.notebook_operator.settings import FORWARDED

BASE_PATH = "/notebook"
"""Path above all notebooks, as in Kubeflow."""

REQUEST_TIMEOUT_SECONDS = 300
"""How long a request may take; long cells and websockets need it (seed 002: `timeout_ms: 300000`)."""

_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_PLACES = ("gateway", "gatewayNamespace", "listener")


class RouteKind(str, Enum):
    """How a notebook is reached from outside the cluster."""

    HTTP_ROUTE = "HTTPRoute"
    """An HTTPRoute of the Gateway API."""
    MAPPING = "Mapping"
    """A Mapping of Emissary (Ambassador), `getambassador.io/v3alpha1`."""
    NONE = "none"
    """Not at all; users forward a port with `kubectl`."""


class NotebookRoute(TypedDict):
    """What notebooks are attached to; it is the cluster's, not the stack's."""

    kind: NotRequired[RouteKind]
    """`HTTPRoute`, `Mapping` or `none`. Default `HTTPRoute`."""
    gateway: NotRequired[str]
    """Name of the Gateway of an `HTTPRoute`. Its listener must admit namespaces with the label `hubstack.role: profile`."""
    gatewayNamespace: NotRequired[str]
    """Namespace of the Gateway, or of Emissary. Needed with either."""
    listener: NotRequired[str]
    """The Gateway's listener. Default: every one that fits the domain."""
    sources: NotRequired[list[str]]
    """Namespaces of the pods that pass requests on. Default: `gatewayNamespace`."""


def route_kind(route: NotebookRoute) -> RouteKind:
    """How notebooks are reached."""
    return RouteKind(route.get("kind", RouteKind.HTTP_ROUTE))


def route_parents(route: NotebookRoute) -> list[dict[str, str]]:
    """`parentRefs` of every HTTPRoute."""
    if "gateway" not in route:
        return []
    parent = {"name": route["gateway"], "namespace": route.get("gatewayNamespace", "")}
    return [{**parent, "sectionName": route["listener"]} if "listener" in route else parent]


def route_sources(route: NotebookRoute) -> list[PodTarget]:
    """The pods that pass requests on to notebooks."""
    gateway = [route["gatewayNamespace"]] if "gatewayNamespace" in route else []
    return [{"namespace": namespace, "labels": {}} for namespace in sorted(set(route.get("sources", gateway)))]


def notebook_url(route: NotebookRoute, domain: str, namespace: str, name: str) -> str:
    """Address of a notebook; without a route, that of `kubectl port-forward <name>-0 8888` on the user's machine."""
    front = FORWARDED if route_kind(route) is RouteKind.NONE else f"https://{domain}"
    return f"{front}{BASE_PATH}/{namespace}/{name}/"


_NEEDED = {
    RouteKind.HTTP_ROUTE: {"gateway": "name of the Gateway", "gatewayNamespace": "namespace of the Gateway"},
    RouteKind.MAPPING: {"gatewayNamespace": "namespace of Emissary"},
    RouteKind.NONE: {},
}

_MEANINGLESS = {
    RouteKind.HTTP_ROUTE: (),
    RouteKind.MAPPING: ("route.gateway", "route.listener"),
    RouteKind.NONE: ("route.gateway", "route.gatewayNamespace", "route.listener"),
}


def check_route(route: NotebookRoute, domain: str) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments `route` and `domain`."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    known = [kind.value for kind in RouteKind]
    if route.get("kind", RouteKind.HTTP_ROUTE) not in known:
        wrong("route.kind", f"{route.get('kind')!r} is not known; one of {', '.join(known)}")
        return errors
    kind = route_kind(route)
    if kind is not RouteKind.NONE and not _DOMAIN.fullmatch(domain):
        wrong("domain", f"{domain!r} is no host name; write it like notebooks.example.org")
    for field, meaning in _NEEDED[kind].items():
        if not route.get(field):
            wrong(f"route.{field}", f"a route of kind {kind.value} needs the {meaning}")
    given = {f"route.{place}": str(route.get(place)) for place in _PLACES if route.get(place)}
    given |= {f"route.sources[{number}]": source for number, source in enumerate(route.get("sources", []))}
    for path, name in given.items():
        if not _OBJECT_NAME.fullmatch(name):
            wrong(path, f"{name!r} is no name in Kubernetes; small letters, digits and dashes, at most 63")
        if path in _MEANINGLESS[kind]:
            wrong(path, f"means nothing with the kind {kind.value}; leave it out")
    return errors
