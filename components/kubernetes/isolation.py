"""The egress profile as NetworkPolicies.

Kubernetes joins the rules of all policies that select a pod: what one opens no other closes. So each function here
opens as little as it can, and by listing what is allowed, never by an exception.

Three things a NetworkPolicy does not do, so that nobody counts on them: it opens no IPv6 (`public_ranges` has IPv4
ranges alone, so IPv6 stays shut under every profile), it does not stop name servers from passing questions on to the
outside (every profile but `closed` has the cluster's name servers), and it says nothing about pods on the node's own
network.
"""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from components.egress import METADATA_RANGES, NEVER_REACHED, EgressProfile, public_ranges
from components.egress_proxy import PROXY_PORT
from components.kubernetes.labels import NAMESPACE_LABEL

DNS_PORT = 53

EVERY_ADDRESS = public_ranges(METADATA_RANGES)
"""All of IPv4 but the metadata services: where an API server is differs from cluster to cluster."""

Spec = dict[str, Any]
"""The `spec` of a NetworkPolicy, as Kubernetes writes it."""


class EgressRules(TypedDict):
    """What user pods may reach beside their hub."""

    profile: EgressProfile
    """The egress profile."""
    domains: list[str]
    """Domains that the profile `domains` opens."""
    ports: list[int]
    """TCP ports that the profile `ports` opens."""
    excluded: NotRequired[list[str]]
    """Ranges that stay shut beside `NEVER_REACHED`: a cluster's own public addresses, such as its nodes'."""


class PodTarget(TypedDict):
    """Pods that something may come from or go to."""

    namespace: NotRequired[str]
    """Name of their namespace. Default: that of the policy."""
    namespaceLabels: NotRequired[dict[str, str]]
    """Labels that their namespaces have, instead of one name, for namespaces that come and go."""
    labels: dict[str, str]
    """Labels that they all have; with none, every pod of the namespace."""


CLUSTER_DNS: PodTarget = {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}
"""The cluster's name servers; CoreDNS keeps the label of what it replaced."""


def deny_all_policy() -> Spec:
    """Nothing goes into or out of any pod of the namespace but what another policy opens."""
    return {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def user_egress_policy(egress: EgressRules, *, user_pods: dict[str, str], proxy: PodTarget | None) -> Spec:
    """What the profile lets pods with the labels `user_pods` reach; `proxy` are the egress proxy's pods, if it runs."""
    return {
        "podSelector": {"matchLabels": user_pods},
        "policyTypes": ["Egress"],
        "egress": _egress_rules(egress, proxy),
    }


def public_egress_policy(*, pods: dict[str, str], ports: Sequence[int], excluded: Sequence[str] = ()) -> Spec:
    """Name servers and public addresses on `ports`, for pods that work for users: the egress proxy's."""
    return {
        "podSelector": {"matchLabels": pods},
        "policyTypes": ["Egress"],
        "egress": [_dns_rule(), *_public_rules(excluded, ports)],
    }


def name_server_policy(*, pods: dict[str, str]) -> Spec:
    """The cluster's name servers, for pods that find others by name."""
    return {"podSelector": {"matchLabels": pods}, "policyTypes": ["Egress"], "egress": [_dns_rule()]}


def allow_ingress_policy(*, pods: dict[str, str], port: int, sources: Sequence[PodTarget]) -> Spec:
    """`sources`, and nobody where there is none, reach `pods` on one TCP port."""
    # An empty `from` would stand for everybody.
    rules = [{"from": [_peer(source) for source in sources], "ports": [_tcp(port)]}] if sources else []
    return {"podSelector": {"matchLabels": pods}, "policyTypes": ["Ingress"], "ingress": rules}


def allow_egress_to_policy(*, pods: dict[str, str], targets: Sequence[PodTarget], ports: Sequence[int]) -> Spec:
    """`pods` reach `targets` on TCP ports; nothing where either list is empty."""
    # An empty `to` or `ports` would stand for everything.
    full = bool(targets) and bool(ports)
    rules = [{"to": [_peer(target) for target in targets], "ports": [_tcp(port) for port in ports]}] if full else []
    return {"podSelector": {"matchLabels": pods}, "policyTypes": ["Egress"], "egress": rules}


def api_server_rule(ports: Sequence[int], ranges: Sequence[str] = ()) -> Spec:
    """The Kubernetes API on TCP `ports`, for pods of the platform; `ranges` are its machines', if they are known."""
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in ranges or EVERY_ADDRESS]
    return {"to": blocks, "ports": [_tcp(port) for port in ports]}


def _egress_rules(egress: EgressRules, proxy: PodTarget | None) -> list[Spec]:
    profile, excluded = EgressProfile(egress["profile"]), egress.get("excluded", [])
    if profile is EgressProfile.CLOSED:
        return []
    if profile is EgressProfile.DOMAINS:
        return [_dns_rule(), *([{"to": [_peer(proxy)], "ports": [_tcp(PROXY_PORT)]}] if proxy else [])]
    if profile is EgressProfile.PORTS:
        return [_dns_rule(), *(_public_rules(excluded, egress["ports"]) if egress["ports"] else [])]
    return [_dns_rule(), *_public_rules(excluded)]


def _dns_rule() -> Spec:
    return {
        "to": [_peer(CLUSTER_DNS)],
        "ports": [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")],
    }


def _public_rules(excluded: Sequence[str], ports: Sequence[int] = ()) -> list[Spec]:
    """Public addresses on `ports`, on every one where none is given."""
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in public_ranges((*NEVER_REACHED, *excluded))]
    limit = {"ports": [_tcp(port) for port in sorted(set(ports))]} if ports else {}
    # An empty `to` would stand for every address.
    return [{"to": blocks, **limit}] if blocks else []


def _peer(target: PodTarget) -> Spec:
    peer: Spec = {"podSelector": {"matchLabels": target["labels"]} if target["labels"] else {}}
    namespace = target.get("namespace")
    selected = {NAMESPACE_LABEL: namespace} if namespace else target.get("namespaceLabels")
    return {**peer, "namespaceSelector": {"matchLabels": selected}} if selected else peer


def _tcp(port: int) -> Spec:
    return {"protocol": "TCP", "port": int(port)}
