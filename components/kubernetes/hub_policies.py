"""What the pods of an `EphemeralHub` reach: the stack's NetworkPolicies beside the chart's, and its egress proxy."""

from collections.abc import Sequence
from typing import Any

from components.kubernetes.chart_notation import Values
from components.kubernetes.egress_proxy import PROXY_PODS, EgressProxyArgs
from components.kubernetes.hub_arguments import DEFAULT_API_PORT, EphemeralHubArgs, egress_rules, hub_namespace
from components.kubernetes.hub_chart import APP
from components.kubernetes.isolation import CLUSTER_DNS, DNS_PORT, api_server_rule, deny_all_policy, user_egress_policy
from components.kubernetes.labels import NAMESPACE_LABEL
from components.kubernetes.user_pod_values import USER_PODS


def hub_policies(args: EphemeralHubArgs) -> dict[str, Any]:
    """Specs of the stack's policies, by their names. The chart's own open what its pods need from each other."""
    proxy = PROXY_PODS if args.get("egressDomains") else None
    # The chart has no policies of its own for pods that ask the Kubernetes API.
    ports = sorted({443, *map(int, args.get("apiServerPorts", [DEFAULT_API_PORT]))})
    specs = {
        "default-deny": deny_all_policy(),
        "user-egress": user_egress_policy(egress_rules(args), user_pods=USER_PODS, proxy=proxy),
        "image-awaiter": api_access_policy("image-puller", ports),
    }
    if args.get("userScheduler", False):
        specs["user-scheduler"] = api_access_policy("user-scheduler", ports)
    return specs


def api_access_policy(component: str, ports: Sequence[int]) -> Values:
    """Spec of a policy by which a component of the chart finds and asks the Kubernetes API, wherever its machines are."""
    names = {
        "podSelector": {"matchLabels": CLUSTER_DNS["labels"]},
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: CLUSTER_DNS.get("namespace", "")}},
    }
    resolve = [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]
    return {
        "podSelector": {"matchLabels": {"app": APP, "component": component}},
        "policyTypes": ["Egress"],
        "egress": [
            {"to": [names], "ports": resolve},
            api_server_rule(ports),
        ],
    }


def hub_proxy(name: str, args: EphemeralHubArgs) -> EgressProxyArgs:
    """The hub's egress proxy, which the profile `domains` needs where any domain is open."""
    return {
        "stack": name,
        "namespace": hub_namespace(name, args),
        "image": args.get("egressProxyImage", ""),
        "domains": args.get("egressDomains", []),
        "clients": [{"labels": USER_PODS}],
        "excluded": args.get("egressExcluded", []),
        "imagePullSecrets": args.get("imagePullSecrets", []),
    }
