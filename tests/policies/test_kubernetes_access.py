"""Roles, bindings, services, routes, namespaces, volumes and quotas: what each check says of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi_policy.proxy import unknown_checking_proxy

from policies import resource_types as types
from policies.registry import REGISTRY
from tests.policies.kubernetes_cases import (
    DEFAULTS,
    UNKNOWN,
    Properties,
    resource,
    stack_messages,
    stack_verdict,
    verdict,
)

ROLE, BINDING = types.CLUSTER_ROLE, types.CLUSTER_ROLE_BINDING


def rule(resources: Any = ("pods",), verbs: Any = ("get",), groups: Any = ("",), **more: Any) -> Properties:
    return {"apiGroups": _list(groups), "resources": _list(resources), "verbs": _list(verbs), **more}


def _list(given: Any) -> Any:
    return list(given) if isinstance(given, tuple) else given


def role(*rules: Properties, **more: Any) -> Properties:
    return {"metadata": {"name": "r"}, "rules": list(rules), **more}


def binding(name: Any = "r", *subjects: Properties) -> Properties:
    return {"roleRef": {"kind": "ClusterRole", "name": name}, "subjects": list(subjects)}


def account(name: Any, namespace: str = "users") -> Properties:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def quota(**hard: Any) -> Properties:
    return {"spec": {"hard": {key.replace("_", "."): value for key, value in hard.items()}}}


FULL = {"limits.cpu": "8", "limits.memory": "8Gi", "limits.ephemeral-storage": "9Gi"}
AMOUNTS = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}


def ingress(*tls: Any, hosts: tuple[Any, ...] = ("a.example.org",)) -> Properties:
    return {"spec": {"tls": list(tls), "rules": [{"host": host} for host in hosts]}}


def route(*parents: Any, **spec: Any) -> Properties:
    return {"spec": {"parentRefs": list(parents), **spec}}


def volume(**spec: Any) -> Properties:
    return {"spec": {"accessModes": ["ReadOnlyMany"], "nfs": {"server": "s", "path": "/"}, **spec}}


CASES: list[tuple[str, str, Properties, str]] = [
    ("role-stars", ROLE, role(rule()), "passes"),
    ("role-stars", ROLE, role(), "passes"),
    ("role-stars", ROLE, role(rule(verbs=("*",))), "refused"),
    ("role-stars", ROLE, role(rule(resources=("*",))), "refused"),
    ("role-stars", ROLE, role(rule(resources=("pods/*",))), "refused"),
    ("role-stars", ROLE, role(rule(groups=("*",))), "refused"),
    ("role-stars", ROLE, role(rule(), rule(verbs=("*",))), "refused"),
    ("role-stars", ROLE, role({"nonResourceURLs": ["*"], "verbs": ["get"]}), "refused"),
    ("role-stars", ROLE, role(rule(verbs=UNKNOWN)), "undecided"),
    ("role-stars", ROLE, {"rules": UNKNOWN}, "undecided"),
    ("role-stars", types.KUBERNETES_ROLE, role(rule(verbs=("*",))), "refused"),
    ("role-stars", "kubernetes:rbac.authorization.k8s.io/v1beta1:Role", role(rule(verbs=("*",))), "refused"),
    (
        "role-stars",
        "kubernetes:rbac.authorization.k8s.io/v1:RoleList",
        {"items": [role(rule(verbs=("*",)))]},
        "refused",
    ),
    ("role-escalation", ROLE, role(rule(("clusterroles",), ("escalate",))), "refused"),
    ("role-escalation", ROLE, role(rule(("users",), ("impersonate",))), "refused"),
    ("role-escalation", ROLE, role(rule(("clusterroles",), ("bind",))), "refused"),
    ("role-escalation", ROLE, role(rule(("clusterroles",), ("bind",), resourceNames=["a"])), "passes"),
    (
        "role-escalation",
        ROLE,
        role(rule(("clusterroles",), ("bind",), resourceNames=["a", "cluster-admin"])),
        "refused",
    ),
    ("role-escalation", ROLE, role(rule(("clusterroles",), ("bind",), resourceNames=[UNKNOWN])), "undecided"),
    ("role-escalation", ROLE, role(rule(("clusterroles",), ("get", "create"))), "passes"),
    ("role-escalation", ROLE, {"rules": UNKNOWN}, "undecided"),
    ("role-powers", ROLE, role(rule(("nodes/proxy",), ("get",))), "refused"),
    ("role-powers", ROLE, role(rule(("nodes/*",), ("get",))), "refused"),
    ("role-powers", ROLE, role(rule(("*/proxy",), ("get",))), "refused"),
    ("role-powers", ROLE, role(rule(("nodes",), ("get",))), "passes"),
    ("role-powers", ROLE, role(rule(("pods/exec",), ("create",))), "refused"),
    ("role-powers", ROLE, role(rule(("pods/exec",), ("create",), resourceNames=["one"])), "passes"),
    ("role-powers", ROLE, role(rule(("serviceaccounts/token",), ("create",))), "refused"),
    ("role-powers", ROLE, role(rule(("persistentvolumes",), ("create",))), "refused"),
    ("role-powers", ROLE, role(rule(("persistentvolumes",), ("get",))), "passes"),
    ("role-powers", ROLE, role(rule(("validatingwebhookconfigurations",), ("patch",))), "refused"),
    ("role-powers", ROLE, role(rule(("persistentvolumes",), UNKNOWN)), "undecided"),
    ("role-aggregated", ROLE, role(rule(("secrets",), ("get",))), "passes"),
    (
        "role-aggregated",
        ROLE,
        role(
            rule(("secrets",), ("get",)), metadata={"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}
        ),
        "refused",
    ),
    (
        "role-aggregated",
        ROLE,
        role(rule(UNKNOWN, ("get",)), metadata={"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}),
        "undecided",
    ),
    ("binding-anonymous", BINDING, binding("r", {"kind": "User", "name": "system:anonymous"}), "refused"),
    ("binding-anonymous", BINDING, binding("r", {"kind": "Group", "name": "system:unauthenticated"}), "refused"),
    ("binding-anonymous", BINDING, binding("r", account("a"), {"kind": "Group", "name": UNKNOWN}), "undecided"),
    ("binding-anonymous", BINDING, binding("r", account("a")), "passes"),
    ("binding-anonymous", types.ROLE_BINDING, binding("r", {"kind": "User", "name": "system:anonymous"}), "refused"),
    ("binding-cluster-admin", BINDING, binding("cluster-admin", account("a")), "refused"),
    ("binding-cluster-admin", BINDING, binding("r", {"kind": "Group", "name": "system:masters"}), "refused"),
    ("binding-cluster-admin", BINDING, binding(UNKNOWN, account("a")), "undecided"),
    ("binding-cluster-admin", BINDING, binding("r", account("a")), "passes"),
    ("binding-default-account", BINDING, binding("r", account("default")), "refused"),
    ("binding-default-account", BINDING, binding("r", account("operator"), account("default")), "refused"),
    ("binding-default-account", BINDING, binding("r", {"kind": "Group", "name": "system:serviceaccounts"}), "refused"),
    (
        "binding-default-account",
        BINDING,
        binding("r", {"kind": "Group", "name": "system:serviceaccounts:users"}),
        "refused",
    ),
    ("binding-default-account", BINDING, binding("r", account(UNKNOWN)), "undecided"),
    ("binding-default-account", BINDING, binding("r", {"kind": "User", "name": "default"}), "passes"),
    ("service-exposed", types.KUBERNETES_SERVICE, {"spec": {}}, "passes"),
    ("service-exposed", types.KUBERNETES_SERVICE, {"spec": {"type": "LoadBalancer"}}, "refused"),
    ("service-exposed", types.KUBERNETES_SERVICE, {"spec": {"type": "NodePort"}}, "refused"),
    ("service-exposed", types.KUBERNETES_SERVICE, {"spec": {"externalIPs": ["203.0.113.1"]}}, "refused"),
    ("service-exposed", types.KUBERNETES_SERVICE, {"spec": {"type": UNKNOWN}}, "undecided"),
    ("service-exposed", types.KUBERNETES_SERVICE, {"spec": {"externalIPs": UNKNOWN}}, "undecided"),
    ("service-exposed", "kubernetes:core/v1:ServiceList", {"items": [{"spec": {"type": "NodePort"}}]}, "refused"),
    ("ingress-tls", types.INGRESS, ingress(), "refused"),
    ("ingress-tls", types.INGRESS, ingress({"hosts": ["a.example.org"], "secretName": "a"}), "passes"),
    ("ingress-tls", types.INGRESS, ingress({"secretName": "a"}), "passes"),
    ("ingress-tls", types.INGRESS, ingress({"hosts": ["b.example.org"]}), "refused"),
    (
        "ingress-tls",
        types.INGRESS,
        ingress({"hosts": ["a.example.org"]}, hosts=("a.example.org", "b.example.org")),
        "refused",
    ),
    ("ingress-tls", types.INGRESS, ingress({"hosts": ["a.example.org"]}, hosts=()), "refused"),
    ("ingress-tls", types.INGRESS, {"spec": {"tls": UNKNOWN}}, "undecided"),
    ("ingress-tls", types.INGRESS, ingress({"hosts": [UNKNOWN]}), "undecided"),
    ("ingress-tls", "kubernetes:extensions/v1beta1:Ingress", ingress(), "refused"),
    ("route-tls", types.HTTP_ROUTE, route({"name": "g", "sectionName": "https"}), "passes"),
    ("route-tls", types.HTTP_ROUTE, route({"name": "g", "port": 443.0}), "passes"),
    ("route-tls", types.HTTP_ROUTE, route({"name": "g"}), "refused"),
    ("route-tls", types.HTTP_ROUTE, route({"name": "g", "sectionName": "https"}, {"name": "h"}), "refused"),
    ("route-tls", types.HTTP_ROUTE, route(), "refused"),
    ("route-tls", types.HTTP_ROUTE, route({"name": "g", "sectionName": "web"}), "undecided"),
    ("route-tls", types.HTTP_ROUTE, route({"name": "g", "sectionName": UNKNOWN}), "undecided"),
    ("route-tls", "kubernetes:gateway.networking.k8s.io/v1beta1:HTTPRoute", route({"name": "g"}), "refused"),
    (
        "route-tls",
        types.HTTP_ROUTE,
        route(
            {"name": "g"}, rules=[{"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}]}]
        ),
        "passes",
    ),
    ("namespace-pod-security", types.NAMESPACE, {"metadata": {"name": "a"}}, "refused"),
    *(
        (
            "namespace-pod-security",
            types.NAMESPACE,
            {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}},
            expected,
        )
        for level, expected in (
            ("restricted", "passes"),
            ("baseline", "passes"),
            ("privileged", "refused"),
            (UNKNOWN, "undecided"),
        )
    ),
    (
        "namespace-pod-security",
        types.NAMESPACE,
        {"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}},
        "refused",
    ),
    ("namespace-pod-security", "kubernetes:core/v1:NamespacePatch", {"metadata": {"name": "a"}}, "undecided"),
    ("volume-of-a-node", types.PERSISTENT_VOLUME, volume(), "passes"),
    ("volume-of-a-node", types.PERSISTENT_VOLUME, volume(hostPath={"path": "/"}), "refused"),
    ("volume-of-a-node", types.PERSISTENT_VOLUME, volume(local={"path": "/"}), "refused"),
    ("volume-of-a-node", types.PERSISTENT_VOLUME, volume(hostPath=UNKNOWN), "undecided"),
    ("volume-read-only", types.PERSISTENT_VOLUME, volume(), "refused"),
    ("volume-read-only", types.PERSISTENT_VOLUME, volume(nfs={"server": "s", "readOnly": True}), "passes"),
    ("volume-read-only", types.PERSISTENT_VOLUME, volume(mountOptions=["vers=4.2", "ro"]), "passes"),
    ("volume-read-only", types.PERSISTENT_VOLUME, volume(accessModes=["ReadWriteMany"]), "passes"),
    ("volume-read-only", types.PERSISTENT_VOLUME, volume(accessModes=UNKNOWN), "undecided"),
    ("volume-read-only", types.PERSISTENT_VOLUME, volume(nfs={"server": "s", "readOnly": UNKNOWN}), "undecided"),
    (
        "admission-enforced",
        types.ADMISSION_BINDING,
        {"spec": {"policyName": "a", "validationActions": ["Deny"]}},
        "passes",
    ),
    (
        "admission-enforced",
        types.ADMISSION_BINDING,
        {"spec": {"policyName": "a", "validationActions": ["Warn", "Audit"]}},
        "refused",
    ),
    ("admission-enforced", types.ADMISSION_BINDING, {"spec": {"policyName": "a"}}, "refused"),
    (
        "admission-enforced",
        types.ADMISSION_BINDING,
        {"spec": {"policyName": "a", "validationActions": UNKNOWN}},
        "undecided",
    ),
    ("admission-enforced", types.ADMISSION_POLICY, {"spec": {}}, "passes"),
    ("admission-enforced", types.ADMISSION_POLICY, {"spec": {"failurePolicy": "Ignore"}}, "refused"),
    ("admission-enforced", types.ADMISSION_POLICY, {"spec": {"failurePolicy": UNKNOWN}}, "undecided"),
    ("quota-complete", types.RESOURCE_QUOTA, {"spec": {"hard": {**FULL, "pods": "5"}}}, "passes"),
    ("quota-complete", types.RESOURCE_QUOTA, {"spec": {"hard": {**FULL, "count/pods": 5}}}, "passes"),
    ("quota-complete", types.RESOURCE_QUOTA, {"spec": {"hard": FULL}}, "refused"),
    *(
        ("quota-complete", types.RESOURCE_QUOTA, {"spec": {"hard": {**FULL, "pods": 5, key: value}}}, expected)
        for key in FULL
        for value, expected in ((None, "refused"), ("lots", "refused"), (UNKNOWN, "passes"))
    ),
    ("quota-complete", types.RESOURCE_QUOTA, {"spec": {}}, "refused"),
    ("quota-complete", types.RESOURCE_QUOTA, {"spec": {"hard": UNKNOWN}}, "undecided"),
    ("quota-complete", "kubernetes:core/v1:ResourceQuotaPatch", {"spec": {"hard": {"pods": 5}}}, "undecided"),
    (
        "limit-range-complete",
        types.LIMIT_RANGE,
        {"spec": {"limits": [{"type": "Container", "default": AMOUNTS, "max": AMOUNTS}]}},
        "passes",
    ),
    (
        "limit-range-complete",
        types.LIMIT_RANGE,
        {"spec": {"limits": [{"type": "Container", "default": AMOUNTS}]}},
        "refused",
    ),
    (
        "limit-range-complete",
        types.LIMIT_RANGE,
        {"spec": {"limits": [{"type": "Pod", "default": AMOUNTS, "max": AMOUNTS}]}},
        "refused",
    ),
    ("limit-range-complete", types.LIMIT_RANGE, {"spec": {"limits": UNKNOWN}}, "undecided"),
    ("limit-range-complete", types.LIMIT_RANGE, {"spec": {}}, "refused"),
]

CHECKED = sorted({check for check, _, _, _ in CASES})


@pytest.mark.parametrize(("check", "type_", "properties", "expected"), CASES)
def test_a_check_says_what_it_should(check: str, type_: str, properties: Properties, expected: str):
    assert verdict(check, type_, properties) == expected


@pytest.mark.parametrize("check", CHECKED)
def test_each_check_passes_something_refuses_something_leaves_something_and_can_be_switched_off(check: str):
    verdicts = {expected for each, _, _, expected in CASES if each == check}
    type_, bad = next((kind, given) for each, kind, given, expected in CASES if (each, expected) == (check, "refused"))

    assert verdicts == {"passes", "refused", "undecided"}
    assert verdict(check, type_, bad, disabled=[check]) == "passes"


# Secrets of all namespaces, which no object shows alone.

READER = resource(ROLE, "r", role(rule(("secrets",), ("list",))))


def bound(*others: Any, name: Any = "r", **dependencies: Any) -> list[Any]:
    return [*others, resource(BINDING, "b", binding(name, account("a")), dependencies)]


SECRETS: list[tuple[list[Any], str]] = [
    ([READER], "passes"),
    (bound(READER), "refused"),
    ([READER, resource(types.ROLE_BINDING, "b", binding("r", account("a")))], "passes"),
    (bound(resource(ROLE, "r", role(rule(("secrets",), ("create",))))), "passes"),
    (bound(resource(ROLE, "r", role(rule(("secrets",), ("get",), resourceNames=["one"])))), "passes"),
    (bound(resource(ROLE, "r", role(rule(("*",), ("get",), ("*",))))), "refused"),
    (bound(resource(ROLE, "r", role(rule(("configmaps",), ("get",))))), "passes"),
    (bound(resource(ROLE, "r", role(rule(UNKNOWN, ("get",))))), "undecided"),
    (bound(resource(ROLE, "r", role(rule(("secrets",), ("get",), ("apps",))))), "passes"),
    (bound(name="edit"), "refused"),
    (bound(name="view"), "passes"),
    (bound(name="system:node-proxier"), "passes"),
    (bound(name="somebody-elses"), "undecided"),
    (bound(READER, name=UNKNOWN), "undecided"),
    (bound(READER, name=UNKNOWN, roleRef=[READER.urn]), "refused"),
    (
        bound(
            resource(ROLE, "r", role(aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"to": "r"}}]})),
            resource(
                ROLE,
                "part",
                {**role(rule(("secrets",), ("get",))), "metadata": {"name": "part", "labels": {"to": "r"}}},
            ),
        ),
        "refused",
    ),
    (
        bound(
            resource(ROLE, "r", role(aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"to": "r"}}]})),
            resource(
                ROLE,
                "part",
                {**role(rule(("secrets",), ("get",))), "metadata": {"name": "part", "labels": {"to": "x"}}},
            ),
        ),
        "undecided",
    ),
    ([], "passes"),
]


@pytest.mark.parametrize(("resources", "expected"), SECRETS)
def test_secrets_of_all_namespaces(resources: list[Any], expected: str):
    assert stack_verdict("cluster-wide-secrets", resources) == expected
    assert stack_verdict("cluster-wide-secrets", resources, disabled=["cluster-wide-secrets"]) == "passes"


def test_the_finding_stands_at_the_binding():
    assert stack_messages("cluster-wide-secrets", bound(READER)) == [
        ("b", "gives all secrets of the cluster by the role 'r'")
    ]


def test_every_check_has_cases_in_one_of_the_files():
    from tests.policies import test_kubernetes_hub_chart as chart
    from tests.policies import test_kubernetes_objects as objects
    from tests.policies import test_kubernetes_pods as pods

    ours = {check.id for check in REGISTRY.checks if any(token.startswith("kubernetes:") for token in check.types)}
    tried = {each for each, *_ in (*CASES, *pods.CASES, *objects.SETTINGS_CASES, *chart.CASES)} | {"manifests-known"}

    assert ours == tried
    assert len(ours) > 20


KEYS = [
    "rules",
    "verbs",
    "resources",
    "roleRef",
    "name",
    "subjects",
    "spec",
    "tls",
    "hosts",
    "parentRefs",
    "limits",
    "hard",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=16,
)


@given(st.dictionaries(st.sampled_from(KEYS), values))
def test_no_properties_make_a_check_fail_to_answer(properties: Properties):
    for kind in sorted({type_ for _, type_, _, _ in CASES}):
        list(REGISTRY.findings(None, kind, "x", unknown_checking_proxy(properties), DEFAULTS))
        list(REGISTRY.stack_findings([resource(kind, "x", properties)], DEFAULTS))
