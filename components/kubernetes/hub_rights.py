"""What a deployer must be allowed to do for an `EphemeralHub`."""

from dataclasses import replace

from components.kubernetes.hub_arguments import EphemeralHubArgs, hub_namespace
from components.kubernetes.hub_front import FrontKind, front_kind
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

_LOOK = ("get", "list", "watch")

SCHEDULER_ROLE: tuple[PolicyRule, ...] = (
    {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]},
    {"apiGroups": [""], "resources": ["nodes", "namespaces"], "verbs": [*_LOOK]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", *_LOOK]},
    {"apiGroups": [""], "resources": ["bindings", "pods/binding"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch", "update"]},
    {"apiGroups": [""], "resources": ["replicationcontrollers", "services"], "verbs": [*_LOOK]},
    {"apiGroups": ["apps", "extensions"], "resources": ["replicasets"], "verbs": [*_LOOK]},
    {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": [*_LOOK]},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": [*_LOOK]},
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    {
        "apiGroups": ["storage.k8s.io"],
        "resources": ["csidrivers", "csinodes", "csistoragecapacities", "storageclasses"],
        "verbs": [*_LOOK],
    },
    {
        "apiGroups": [""],
        "resources": ["persistentvolumeclaims", "persistentvolumes"],
        "verbs": ["patch", "update", *_LOOK],
    },
)
"""What the ClusterRole of the chart's user scheduler has in chart 4: Kubernetes' own roles `system:kube-scheduler` (1.30)
and `system:volume-scheduler`. Charts with a newer scheduler hand on a little more."""


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
    if args.get("userScheduler", False):
        kinds.append(("policy", "poddisruptionbudgets"))
    needed = needed_rights(types, namespace)
    needed += [Right(group, resource, verb, namespace=namespace) for group, resource in kinds for verb in CHART_VERBS]
    granted = [replace(right, namespace=namespace) for right in granted_rights([CHART_ROLE])]
    if args.get("userScheduler", False):
        roles = ("clusterroles", "clusterrolebindings")
        needed += [Right("rbac.authorization.k8s.io", role, verb) for role in roles for verb in CHART_VERBS]
        granted += granted_rights(SCHEDULER_ROLE)
    return sorted(set(needed)), granted
