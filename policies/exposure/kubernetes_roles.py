"""Who may do what in a cluster."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.objects import objects
from policies.network_policies import selects
from policies.reader import UNKNOWN, Partial, Value, as_mapping, entries, holds_unknown, items, plain, read
from policies.registry import REGISTRY, StackResource
from policies.resource_types import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, KUBERNETES_ROLE, ROLE_BINDING

ROLES = (KUBERNETES_ROLE, CLUSTER_ROLE)
BINDINGS = (ROLE_BINDING, CLUSTER_ROLE_BINDING)
STAR = "*"
READING = {"get", "list", "watch", STAR}
WRITING = {"create", "update", "patch", "delete", STAR}
EVERYBODY = ("system:anonymous", "system:unauthenticated")
AGGREGATED = "rbac.authorization.k8s.io/aggregate-to-"

BUILT_IN: dict[str, bool] = {"admin": True, "cluster-admin": True, "edit": True, "view": False}
"""Kubernetes' own roles, and whether they read secrets."""


@dataclass(frozen=True)
class Power:
    """A right that leads to others."""

    resource: str
    verbs: set[str]
    what: str
    benchmark: str


POWERS = (
    Power("nodes/proxy", READING | WRITING, "reaches every pod through its node", "CIS Kubernetes 5.1.10"),
    Power("pods/exec", {"create", "get", STAR}, "runs commands in pods", "NSA Kubernetes guide"),
    Power("pods/attach", {"create", "get", STAR}, "runs commands in pods", "NSA Kubernetes guide"),
    Power(
        "serviceaccounts/token", {"create", STAR}, "makes itself any service account's token", "CIS Kubernetes 5.1.13"
    ),
    Power(
        "certificatesigningrequests/approval",
        {"update", "patch", STAR},
        "makes itself anybody",
        "CIS Kubernetes 5.1.11",
    ),
    Power("persistentvolumes", {"create", "update", "patch", STAR}, "mounts a node's folders", "CIS Kubernetes 5.1.9"),
    Power(
        "validatingwebhookconfigurations",
        WRITING,
        "reads and refuses all that the cluster is told",
        "CIS Kubernetes 5.1.12",
    ),
    Power("mutatingwebhookconfigurations", WRITING, "changes all that the cluster is told", "CIS Kubernetes 5.1.12"),
)


@dataclass(frozen=True)
class Rule:
    """One rule of a role."""

    groups: list[Value]
    resources: list[Value]
    verbs: list[Value]
    names: list[Value]
    paths: list[Value]

    @property
    def lists(self) -> dict[str, list[Value]]:
        """What it lists, by Kubernetes' names."""
        return {
            "apiGroups": self.groups,
            "resources": self.resources,
            "verbs": self.verbs,
            "nonResourceURLs": self.paths,
        }


def _rules(role: Value) -> Iterator[Rule]:
    for rule in items(role, "rules"):
        yield Rule(
            *(list(items(rule, key)) for key in ("apiGroups", "resources", "verbs", "resourceNames", "nonResourceURLs"))
        )


def _unknown(role: Value) -> Iterator[Finding]:
    if any(UNKNOWN in given for rule in _rules(role) for given in rule.lists.values()):
        yield undecided("rules")


@REGISTRY.check(
    "role-stars",
    family="exposure",
    severity="high",
    types=ROLES,
    remediation="Name each group, resource and verb: a star holds for what the cluster will have, too.",
)
def role_stars(_name: str, role: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No role has stars (CIS Kubernetes 5.1.3)."""
    yield from _unknown(role)
    for rule in _rules(role):
        for key, given in rule.lists.items():
            stars = [value for value in given if value is not UNKNOWN and STAR in str(value)]
            if stars:
                yield violation(f"allows {key} {', '.join(map(str, stars))}")


@REGISTRY.check(
    "role-escalation",
    family="exposure",
    severity="critical",
    types=ROLES,
    remediation="Remove the verb, or name the roles that may be bound in resourceNames.",
)
def role_escalation(_name: str, role: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No role lets its holder have more rights than it gives (CIS Kubernetes 5.1.8)."""
    yield from _unknown(role)
    for rule in _rules(role):
        for verb in sorted({str(verb) for verb in rule.verbs} & {"escalate", "impersonate"}):
            yield violation(f"allows to {verb} {', '.join(map(str, rule.resources))}")
        if "bind" in rule.verbs:
            great = sorted({str(name) for name in rule.names} & {name for name, secrets in BUILT_IN.items() if secrets})
            if not rule.names or great:
                yield violation(f"allows to bind {' and '.join(great) or 'every role'}")
            elif UNKNOWN in rule.names:
                yield undecided("resourceNames of the roles that may be bound")


@REGISTRY.check(
    "role-powers",
    family="exposure",
    severity="high",
    types=ROLES,
    remediation="Remove the right, or name the objects that it holds for in resourceNames.",
)
def role_powers(_name: str, role: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No role has a right that stands for all others (CIS Kubernetes 5.1.9 to 5.1.13)."""
    yield from _unknown(role)
    for rule in _rules(role):
        for power in POWERS:
            kind, _, part = power.resource.partition("/")
            named = {power.resource, *((f"{kind}/*", f"*/{part}") if part else ())}
            if named & set(map(str, rule.resources)) and power.verbs & set(map(str, rule.verbs)) and not rule.names:
                yield violation(f"{power.what} ({power.resource}; {power.benchmark})")


@REGISTRY.check(
    "role-aggregated",
    family="exposure",
    severity="high",
    types=(CLUSTER_ROLE,),
    remediation="Remove the label, or the rule.",
)
def role_aggregated(_name: str, role: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No role adds secrets to those that whoever holds `view` may read (CIS Kubernetes 5.1.2)."""
    if read(role, "metadata", "labels", f"{AGGREGATED}view") in (None, "false"):
        return
    yield from _unknown(role)
    if any(_reads_secrets(rule) for rule in _rules(role)):
        yield violation("gives everybody with the role view the secrets that it reads")


@REGISTRY.check(
    "binding-anonymous",
    family="exposure",
    severity="critical",
    types=BINDINGS,
    remediation="Name the users, groups or service accounts.",
)
def binding_anonymous(_name: str, binding: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Nobody has a role without saying who they are (NSA Kubernetes guide: authentication and authorization)."""
    for subject in items(binding, "subjects"):
        name = read(subject, "name")
        if name is UNKNOWN:
            yield undecided("subjects")
        elif name in EVERYBODY:
            yield violation(f"gives {name} the role {read(binding, 'roleRef', 'name')!r}")


@REGISTRY.check(
    "binding-cluster-admin",
    family="exposure",
    severity="critical",
    types=BINDINGS,
    remediation="Make a role of the rights that are needed.",
)
def binding_cluster_admin(_name: str, binding: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Nobody is given everything (CIS Kubernetes 5.1.1, 5.1.7)."""
    role = read(binding, "roleRef", "name")
    if role is UNKNOWN:
        yield undecided("roleRef.name")
    elif role == "cluster-admin":
        yield violation("gives the role cluster-admin")
    if any(read(subject, "name") == "system:masters" for subject in items(binding, "subjects")):
        yield violation("gives a role to the group system:masters, which nothing holds back")


@REGISTRY.check(
    "binding-default-account",
    family="exposure",
    severity="high",
    types=BINDINGS,
    remediation="Make a service account of its own for what needs the role.",
)
def binding_default_account(_name: str, binding: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A namespace's default service account, which any pod has, gets no role (CIS Kubernetes 5.1.5)."""
    for subject in items(binding, "subjects"):
        kind, name = read(subject, "kind"), read(subject, "name")
        if name == "default" and kind in ("ServiceAccount", UNKNOWN):
            yield violation("gives a role to the default service account of a namespace")
        elif name in ("system:serviceaccounts", UNKNOWN) or str(name).startswith("system:serviceaccounts:"):
            yield undecided("subjects") if name is UNKNOWN else violation(f"gives a role to {name}, all pods")


def _reads_secrets(rule: Rule) -> bool:
    return (
        bool({"", STAR} & set(map(str, rule.groups)))
        and bool({"secrets", STAR} & set(map(str, rule.resources)))
        and bool(READING & set(map(str, rule.verbs)))
        and not rule.names
    )


@dataclass(frozen=True)
class _Role:
    urn: str
    name: Value
    labels: dict[str, str]
    properties: Value


def _roles(resources: Sequence[StackResource]) -> list[_Role]:
    found: list[_Role] = []
    for resource in resources:
        for token, role in objects(resource.type, resource.inputs):
            if token == CLUSTER_ROLE:
                labels = {key: value for key, value in entries(role, "metadata", "labels") if isinstance(value, str)}
                found.append(_Role(resource.urn, read(role, "metadata", "name"), labels, role))
    return found


def _with_aggregated(role: _Role, roles: Sequence[_Role]) -> Iterator[Value]:
    """A role and those whose rules it takes over."""
    yield role.properties
    for selector in items(role.properties, "aggregationRule", "clusterRoleSelectors"):
        wanted = plain(selector)
        if not holds_unknown(wanted) and not isinstance(wanted, Partial):
            yield from (other.properties for other in roles if _is_selected(as_mapping(wanted), other.labels))


def _is_selected(selector: Mapping[str, Value], labels: Mapping[str, str]) -> bool:
    try:
        return selects(selector, labels)
    except (ValueError, TypeError, AttributeError):
        return False


@REGISTRY.stack_check(
    "cluster-wide-secrets",
    severity="critical",
    remediation="Grant the role in the namespaces where it is needed, by RoleBindings, or name the secrets.",
)
def cluster_wide_secrets(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """Nobody reads the secrets of all namespaces, by no role and none that it takes over (CIS Kubernetes 5.1.2)."""
    roles = _roles(resources)
    for resource in resources:
        for token, binding in objects(resource.type, resource.inputs):
            if token == CLUSTER_ROLE_BINDING:
                yield from ((resource, finding) for finding in _bound(resource, binding, roles))


def _bound(resource: StackResource, binding: Value, roles: Sequence[_Role]) -> Iterator[Finding]:
    name = read(binding, "roleRef", "name")
    sources = resource.dependencies.get("roleRef", ())
    meant = [role for role in roles if (role.urn in sources if name is UNKNOWN else role.name == name)]
    if not meant and str(name) in BUILT_IN:
        if BUILT_IN[str(name)]:
            yield violation(f"gives all secrets of the cluster by the role {name}")
    elif not meant and not str(name).startswith("system:"):
        yield undecided(f"what the role {name!r}, which is none of this stack, allows")
    for role in meant:
        parts = list(_with_aggregated(role, roles))
        if any(_reads_secrets(rule) for part in parts for rule in _rules(part)):
            yield violation(f"gives all secrets of the cluster by the role {name!r}")
        elif any(UNKNOWN in given for part in parts for rule in _rules(part) for given in rule.lists.values()):
            yield undecided(f"a rule of the role {name!r}")
        elif read(role.properties, "aggregationRule") is not None:
            yield undecided(f"which roles of the cluster the role {name!r} takes over")
