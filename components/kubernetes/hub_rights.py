"""What a deployer must be allowed to do for an `EphemeralHub`."""

from dataclasses import replace

from components.kubernetes.chart_values import FrontKind, front_kind
from components.kubernetes.hub_arguments import EphemeralHubArgs, hub_namespace
from components.kubernetes.rights import Right, granted_rights, needed_rights
from components.kubernetes.tenancy import PolicyRule

DEPLOYED = (
    "apps/v1:Deployment",
    "batch/v1:Job",
    "core/v1:ConfigMap",
    "core/v1:LimitRange",
    "core/v1:Namespace",
    "core/v1:ResourceQuota",
    "core/v1:Secret",
    "core/v1:Service",
    "networking.k8s.io/v1:NetworkPolicy",
)
"""Types that the component makes in any case, without `kubernetes:` before them."""

CHART_KINDS = (
    ("", "configmaps"),
    ("", "persistentvolumeclaims"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("batch", "jobs"),
    ("networking.k8s.io", "networkpolicies"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
)
"""Groups and kinds of objects that the chart makes in any case; Helm keeps its releases in Secrets."""

CHART_VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")
"""What Helm does with them."""

CHART_ROLE: PolicyRule = {
    "apiGroups": [""],
    "resources": ["pods", "persistentvolumeclaims", "secrets", "services"],
    "verbs": ["get", "watch", "list", "create", "delete"],
}
"""What the chart lets the hub do in its namespace, which only somebody who may it too can grant."""


def ephemeral_needs(name: str, args: EphemeralHubArgs) -> tuple[list[Right], list[Right]]:
    """What the deployer must be allowed, and what the chart's roles hand on; see `components.kubernetes.access_check`."""
    namespace = hub_namespace(name, args)
    types = [*DEPLOYED, *(("core/v1:PersistentVolume", "core/v1:PersistentVolumeClaim") if "shared" in args else ())]
    kinds = [*CHART_KINDS]
    kind = front_kind(args.get("front", {}))
    if kind is FrontKind.INGRESS:
        kinds.append(("networking.k8s.io", "ingresses"))
    if kind is FrontKind.GATEWAY:
        kinds.append(("gateway.networking.k8s.io", "httproutes"))
    needed = needed_rights(types, namespace)
    needed += [Right(group, resource, verb, namespace=namespace) for group, resource in kinds for verb in CHART_VERBS]
    if args.get("userScheduler", False):
        roles = ("clusterroles", "clusterrolebindings")
        needed += [Right("rbac.authorization.k8s.io", role, verb) for role in roles for verb in CHART_VERBS]
    granted = [replace(right, namespace=namespace) for right in granted_rights([CHART_ROLE])]
    return sorted(set(needed)), granted
