"""The NetworkPolicy of users' pods that the chart makes of its values."""

import ipaddress
from typing import Any

from policies.iam_documents import as_list
from policies.kubernetes.hub_pods import chart_labels
from policies.kubernetes.hub_values import EGRESS_RULES, Values
from policies.network_policies import NAMESPACE_NAME
from policies.reader import UNKNOWN, Value

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""What the chart takes for private."""

DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]

Rule = dict[str, Any]


def hub_policy(values: Values, release: str) -> Value:
    """The spec of the policy (`templates/singleuser/netpol.yaml`); None without one, `UNKNOWN` if that is not known."""
    enabled = values.get("singleuser.networkPolicy.enabled")
    if enabled is UNKNOWN:
        return UNKNOWN
    if not enabled:
        return None
    own = chart_labels(values, release)
    return {
        "podSelector": {"matchLabels": own},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": _ingress(values),
        "egress": [*_platform(own), *_allowed(values), *_listed(values.get("singleuser.networkPolicy.egress"))],
    }


def _listed(given: Value) -> list[Value]:
    return [UNKNOWN] if given is UNKNOWN else as_list(given)


def _ingress(values: Values) -> list[Value]:
    ports = _listed(values.get("singleuser.networkPolicy.allowedIngressPorts"))
    access: Rule = {"matchLabels": {"hub.jupyter.org/network-access-singleuser": "true"}}
    sources: list[Rule] = [{"podSelector": access}]
    elsewhere = values.get("singleuser.networkPolicy.interNamespaceAccessLabels")
    if elsewhere == "accept":
        sources = [{"podSelector": access, "namespaceSelector": {}}, {"namespaceSelector": access}]
    rules: list[Value] = [{"ports": [{"port": port} for port in ports]}] if ports else []
    rules += [{"ports": [{"port": "notebook-port"}], "from": sources}]
    rules += [UNKNOWN] if elsewhere is UNKNOWN else []
    return [*rules, *_listed(values.get("singleuser.networkPolicy.ingress"))]


def _platform(labels: dict[str, str]) -> list[Rule]:
    """What leads to the hub's own pods."""
    return [
        {
            "to": [{"podSelector": {"matchLabels": {**labels, "component": component}}}],
            "ports": [{"port": port} for port in ports],
        }
        for component, ports in (("hub", [8081]), ("proxy", [8000]), ("autohttps", [8080, 8443]))
    ]


def _allowed(values: Values) -> list[Value]:
    """What `egressAllowRules` open (`templates/_helpers-netpol.tpl`)."""
    rules = {key: values.get(f"singleuser.networkPolicy.egressAllowRules.{key}") for key in EGRESS_RULES}
    metadata = _metadata(values.get("singleuser.cloudMetadata.ip"))
    private = [{"ipBlock": {"cidr": cidr}} for cidr in PRIVATE]
    system = {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "kube-system"}}}
    opened: dict[str, Value] = {
        "dnsPortsCloudMetadataServer": _to([metadata], DNS),
        "dnsPortsKubeSystemNamespace": _to([system], DNS),
        "dnsPortsPrivateIPs": _to(private, DNS),
        "nonPrivateIPs": _world(metadata),
        "privateIPs": _to(private),
        "cloudMetadataServer": _to([metadata]),
    }
    found = [UNKNOWN if rules[key] is UNKNOWN else rule for key, rule in opened.items() if rules[key]]
    return list(found)


def _to(peers: list[Value], ports: list[Rule] | None = None) -> Rule:
    return {"to": peers, **({"ports": ports} if ports else {})}


def _metadata(ip: Value) -> Value:
    try:
        return {"ipBlock": {"cidr": str(ipaddress.ip_network(f"{ip}/32"))}}
    except ValueError:
        return UNKNOWN


def _world(metadata: Value) -> Value:
    excepted = [*PRIVATE, UNKNOWN if metadata is UNKNOWN else metadata["ipBlock"]["cidr"]]
    return _to([{"ipBlock": {"cidr": "0.0.0.0/0", "except": excepted}}])
