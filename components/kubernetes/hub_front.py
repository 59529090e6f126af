"""What stands before a hub of the chart, and where TLS ends."""

from enum import Enum
from typing import NotRequired, TypedDict

from components.kubernetes.chart_notation import Values, major


class FrontKind(str, Enum):
    """What stands before the hub, and where TLS ends."""

    NONE = "none"
    """Nothing: a Service inside the cluster, without TLS."""
    INGRESS = "ingress"
    """An Ingress."""
    GATEWAY = "gateway"
    """An HTTPRoute of a Gateway, whose listener has the certificate."""
    LETSENCRYPT = "letsencrypt"
    """A load balancer; the hub gets its certificate from Let's Encrypt."""
    SECRET = "secret"  # noqa: S105
    """A load balancer; the certificate is in a Secret of the namespace."""
    OFFLOAD = "offload"
    """A load balancer at which TLS ends."""


class Front(TypedDict):
    """What stands before the hub."""

    kind: NotRequired[FrontKind]
    """What it is. Default `none`."""
    email: NotRequired[str]
    """Whom Let's Encrypt writes to; needed for `letsencrypt`."""
    tlsSecret: NotRequired[str]
    """Secret of the namespace with key and certificate; needed for `secret`. For `ingress`, default: the controller's own."""
    ingressClass: NotRequired[str]
    """Class of the Ingress. Default: the cluster's."""
    gateway: NotRequired[str]
    """Name of the Gateway; needed for `gateway`."""
    gatewayNamespace: NotRequired[str]
    """Its namespace. Default: the hub's."""
    gatewaySection: NotRequired[str]
    """Its listener. Default: every one that takes the domain, of which one may be without TLS: the policy pack wants a
    listener by name, and knows those whose name has `https`, `tls` or `websecure` in it."""
    annotations: NotRequired[dict[str, str]]
    """Annotations of the Ingress, HTTPRoute or load balancer's Service. Default: none."""


LOAD_BALANCERS = (FrontKind.LETSENCRYPT, FrontKind.SECRET, FrontKind.OFFLOAD)


def front_kind(front: Front) -> FrontKind:
    """What stands before the hub."""
    return FrontKind(front.get("kind", FrontKind.NONE))


def front_values(front: Front, domain: str, chart_version: str) -> Values:
    """How the hub is reached from outside the cluster, and where TLS ends."""
    kind, annotations = front_kind(front), dict(sorted(front.get("annotations", {}).items()))
    if kind in LOAD_BALANCERS:
        service: Values = {"type": "LoadBalancer", "annotations": annotations}
        # Where TLS ends before the proxy, nothing of the chart's sends browsers from HTTP to HTTPS.
        service["disableHttpPort"] = kind is FrontKind.OFFLOAD
        return {"proxy": {"service": service, "https": _https(kind, front, domain)}}
    inside: Values = {"proxy": {"service": {"type": "ClusterIP"}, "https": {"enabled": False}}}
    if kind is FrontKind.INGRESS:
        secret = front.get("tlsSecret")
        # Without a Secret it is the controller's own certificate; without an entry many would serve plain HTTP.
        tls: Values = {"hosts": [domain], **({"secretName": secret} if secret else {})}
        ingress: Values = {"enabled": True, "hosts": [domain], "tls": [tls], "annotations": annotations}
        if front.get("ingressClass"):
            ingress["ingressClassName"] = front.get("ingressClass")
        return {**inside, "ingress": ingress}
    if kind is FrontKind.GATEWAY:
        parent = {
            key: value
            for key, value in (
                ("name", front.get("gateway")),
                ("namespace", front.get("gatewayNamespace")),
                ("sectionName", front.get("gatewaySection")),
            )
            if value
        }
        route: Values = {"enabled": True, "hostnames": [domain], "annotations": annotations}
        # One Gateway until chart 4, any number of parents from 5 on; each refuses the other's key.
        route |= {"gateway": parent} if major(chart_version) < 5 else {"parentRefs": [{"kind": "Gateway", **parent}]}  # noqa: PLR2004
        return {**inside, "httpRoute": route}
    return inside


def _https(kind: FrontKind, front: Front, domain: str) -> Values:
    """Where TLS ends when a load balancer stands before the hub."""
    https: Values = {"enabled": True, "type": kind.value}
    if kind is FrontKind.LETSENCRYPT:
        https |= {"hosts": [domain], "letsencrypt": {"contactEmail": front.get("email")}}
    if kind is FrontKind.SECRET:
        https["secret"] = {"name": front.get("tlsSecret")}
    return https
