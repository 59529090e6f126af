"""What a hub's chart lets users' servers reach, by its values."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.hub_pods import user_pods
from policies.kubernetes.hub_values import EGRESS_RULES, Values, on_hub_values
from policies.reader import UNKNOWN, Value
from policies.registry import REGISTRY
from policies.resource_types import CHART, RELEASE

NETWORK_POLICY = "singleuser.networkPolicy"

PLACING: dict[str, tuple[Value, ...]] = {
    "common_labels": (None,),
    "component_label": (None, "singleuser-server"),
    "enable_user_namespaces": (None, False),
    "namespace": (None,),
}
"""KubeSpawner's traits that decide whether the policies of the hub's namespace select users' pods, and what they may be."""

OPENING = {
    "cloudMetadataServer": "the metadata service",
    "dnsPortsCloudMetadataServer": "the metadata service's name server",
    "dnsPortsPrivateIPs": "whatever answers on port 53 of the private ranges",
    "nonPrivateIPs": "every public address",
    "privateIPs": "the private ranges",
}
"""What each of the chart's rules opens; that for the cluster's own name servers is the one that all need."""


@REGISTRY.check(
    "hub-network-policy",
    family="egress",
    severity="critical",
    types=(RELEASE, CHART),
    remediation=f"Set {NETWORK_POLICY}.enabled to true.",
)
@on_hub_values
def hub_network_policy(values: Values, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Users' servers are held by the chart's NetworkPolicy (CIS Kubernetes 5.3.2)."""
    enabled = values.get(f"{NETWORK_POLICY}.enabled")
    if enabled is UNKNOWN:
        yield undecided(f"{NETWORK_POLICY}.enabled")
    elif enabled is not True:
        yield violation(f"lets users' servers reach everything ({NETWORK_POLICY}.enabled is {enabled!r})")


@REGISTRY.check(
    "hub-pods-held",
    family="egress",
    severity="critical",
    types=(RELEASE, CHART),
    remediation="Leave it as the chart has it.",
)
@on_hub_values
def hub_pods_held(values: Values, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Users' pods stay in the hub's namespace, with the labels by which NetworkPolicies select them (CIS Kubernetes 5.3.2)."""
    for which, traits in user_pods(values):
        for trait, harmless in PLACING.items():
            value = traits.get(trait)
            if value is UNKNOWN:
                yield undecided(f"KubeSpawner's {trait}{which}")
            elif value not in harmless:
                yield violation(f"takes users' pods{which} from their policies (KubeSpawner's {trait} is {value!r})")


@REGISTRY.check(
    "hub-egress-rules",
    family="egress",
    severity="critical",
    types=(RELEASE, CHART),
    remediation=f"Set it to false, and list what is needed in {NETWORK_POLICY}.egress.",
)
@on_hub_values
def hub_egress_rules(values: Values, config: Mapping[str, Any]) -> Iterator[Finding]:
    """None of the chart's rules for users' servers is left open; three of them are by default (NSA Kubernetes guide)."""
    for key, what in OPENING.items():
        path = f"{NETWORK_POLICY}.egressAllowRules.{key}"
        value = values.get(path)
        if value is UNKNOWN:
            yield undecided(path)
        elif value and not (key == "nonPrivateIPs" and config.get("allowOpen")):
            default = ", the chart's default" if value == EGRESS_RULES[key] else ""
            yield violation(f"lets users' servers reach {what} ({path} is {value!r}{default})")
