"""The rights that a deployer needs on a cluster, and which of them are missing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.kubernetes.tenancy import PolicyRule

MANAGED = ("create", "delete", "get", "patch")
"""What the provider does with every object."""

AWAITED = ("list", "watch")
"""What it does beside with objects that it waits for, and with the pods and events that say why they are not ready."""

AT_ONCE = 16
"""Questions at a time; each takes an API server a millisecond."""


@dataclass(frozen=True, order=True)
class Right:
    """One thing that somebody may do."""

    group: str
    resource: str
    verb: str
    subresource: str = ""
    namespace: str = ""
    """Where; everywhere if it is empty."""

    def __str__(self) -> str:
        """The right as `kubectl auth can-i` takes it."""
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        kind = f"{kind}/{self.subresource}" if self.subresource else kind
        return f"{self.verb} {kind} in namespace {self.namespace}" if self.namespace else f"{self.verb} {kind}"


@dataclass(frozen=True)
class Kind:
    """A kind of object that a stack makes."""

    group: str
    resource: str
    awaited: bool = False
    """Whether the provider waits until such an object is ready."""
    everywhere: bool = False
    """Whether it lies in no namespace."""


KINDS: Mapping[str, Kind] = {
    "admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy": Kind(
        "admissionregistration.k8s.io", "validatingadmissionpolicies", everywhere=True
    ),
    "admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding": Kind(
        "admissionregistration.k8s.io", "validatingadmissionpolicybindings", everywhere=True
    ),
    "apiextensions.k8s.io/v1:CustomResourceDefinition": Kind(
        "apiextensions.k8s.io", "customresourcedefinitions", awaited=True, everywhere=True
    ),
    "apps/v1:DaemonSet": Kind("apps", "daemonsets", awaited=True),
    "apps/v1:Deployment": Kind("apps", "deployments", awaited=True),
    "batch/v1:Job": Kind("batch", "jobs", awaited=True),
    "core/v1:ConfigMap": Kind("", "configmaps"),
    "core/v1:LimitRange": Kind("", "limitranges"),
    "core/v1:Namespace": Kind("", "namespaces", everywhere=True),
    "core/v1:PersistentVolume": Kind("", "persistentvolumes", everywhere=True),
    "core/v1:PersistentVolumeClaim": Kind("", "persistentvolumeclaims", awaited=True),
    "core/v1:ResourceQuota": Kind("", "resourcequotas"),
    "core/v1:Secret": Kind("", "secrets"),
    "core/v1:Service": Kind("", "services", awaited=True),
    "core/v1:ServiceAccount": Kind("", "serviceaccounts"),
    "kubeflow.org/v1:Notebook": Kind("kubeflow.org", "notebooks", awaited=True),
    "kubeflow.org/v1:Profile": Kind("kubeflow.org", "profiles", awaited=True, everywhere=True),
    "networking.k8s.io/v1:NetworkPolicy": Kind("networking.k8s.io", "networkpolicies"),
    "policy/v1:PodDisruptionBudget": Kind("policy", "poddisruptionbudgets"),
    "rbac.authorization.k8s.io/v1:ClusterRole": Kind("rbac.authorization.k8s.io", "clusterroles", everywhere=True),
    "rbac.authorization.k8s.io/v1:ClusterRoleBinding": Kind(
        "rbac.authorization.k8s.io", "clusterrolebindings", everywhere=True
    ),
    "rbac.authorization.k8s.io/v1:Role": Kind("rbac.authorization.k8s.io", "roles"),
    "rbac.authorization.k8s.io/v1:RoleBinding": Kind("rbac.authorization.k8s.io", "rolebindings"),
}
"""What each of Pulumi's types, without `kubernetes:` before it, is to the API server."""

ESCALATE = Right("rbac.authorization.k8s.io", "clusterroles", "escalate")
"""Lets somebody make roles with more rights than they have themselves."""


def needed_rights(types: Iterable[str], namespace: str = "") -> list[Right]:
    """What the provider does with objects of the given types.

    Args:
        types: keys of `KINDS`.
        namespace: where all of them go that lie in one; empty where they go to several.

    Raises:
        KeyError: a type is not in `KINDS`.
    """
    found: set[Right] = set()
    for kind in (KINDS[one] for one in types):
        place = "" if kind.everywhere else namespace
        verbs = (*MANAGED, *AWAITED) if kind.awaited else MANAGED
        found |= {Right(kind.group, kind.resource, verb, namespace=place) for verb in verbs}
        if kind.awaited and not kind.everywhere:
            found |= {
                Right("", resource, verb, namespace=place)
                for resource in ("events", "pods")
                for verb in ("get", *AWAITED)
            }
    return sorted(found)


def granted_rights(rules: Iterable[PolicyRule]) -> list[Right]:
    """What roles with these rules hand on, which nobody can who has it not, but for `ESCALATE`.

    Rules for single names are taken for every name: who has the one has the other in practice.
    """
    found: set[Right] = set()
    for rule in rules:
        for group in rule["apiGroups"]:
            for kind in rule["resources"]:
                resource, _, subresource = kind.partition("/")
                found |= {Right(group, resource, verb, subresource) for verb in rule["verbs"]}
    return sorted(found)


def missing_rights(needed: Sequence[Right], granted: Sequence[Right], ask: Callable[[Right], bool]) -> list[Right]:
    """Those that the deployer lacks: of the needed all, of the granted only where roles cannot be made without.

    Args:
        needed: see `needed_rights`.
        granted: see `granted_rights`.
        ask: whether the deployer has a right; several are asked at once.
    """
    # One before the others: the client reads its types at the first answer, and several threads at once crash in it.
    if ask(Right("*", "*", "*")):
        return []
    wanted = sorted({*needed, *(() if ask(ESCALATE) else granted)})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [right for right, allowed in zip(wanted, pool.map(ask, wanted), strict=True) if not allowed]
