"""What counts together in a namespace: NetworkPolicies as one union, a quota with its limit range."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import resource_types as types
from policies.kubernetes.spaces import NOTEBOOK_LABELS
from policies.registry import REGISTRY, StackResource
from tests.policies.kubernetes_cases import (
    CONTAINER,
    DEFAULTS,
    GONE,
    UNKNOWN,
    Properties,
    changed,
    resource,
    settings_map,
    stack_messages,
    stack_verdict,
)
from tests.policies.test_kubernetes_access import SECRETS
from tests.policies.test_kubernetes_hub_chart import RULES, choice, code, release
from tests.policies.test_kubernetes_hub_chart import profile as hub_profile
from tests.policies.test_kubernetes_objects import SETTINGS, notebook

NAMESPACE = resource(types.NAMESPACE, "hub-namespace", {"metadata": {"name": "hub"}})
USERS = {"app": "jupyterhub", "component": "singleuser-server"}
METADATA = "169.254.169.254/32"
FROM_NAMESPACE = {"metadata": [NAMESPACE.urn]}


def policy(
    *egress: Any,
    select: Any = None,
    name: str = "policy",
    namespace: Any = "hub",
    of: str = types.NETWORK_POLICY,
    **spec: Any,
) -> StackResource:
    selector = {"matchLabels": USERS} if select is None else select
    given = {"podSelector": selector, "policyTypes": ["Egress"], "egress": list(egress), **spec}
    return resource(of, name, {"metadata": {"namespace": namespace}, "spec": given})


def to(*cidrs: Any, ports: Any = None, leave_out: Any = None) -> Properties:
    blocks = [{"cidr": cidr, **({"except": leave_out} if leave_out else {})} for cidr in cidrs]
    return {"to": [{"ipBlock": block} for block in blocks], **({"ports": ports} if ports else {})}


DENY_ALL = policy(select={}, name="deny-all", policyTypes=["Ingress", "Egress"])


def hub(*changes: tuple[str, Any], **properties: Any) -> StackResource:
    return resource(types.RELEASE, "hub", release(*changes, **properties))


def no_chart_policy(**properties: Any) -> StackResource:
    return hub(("singleuser/networkPolicy", {"enabled": False}), **properties)


def deployment(labels: Properties, namespace: Any = "hub") -> StackResource:
    template = {"metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}}
    return resource(types.DEPLOYMENT, "app", {"metadata": {"namespace": namespace}, "spec": {"template": template}})


def other(token: str, spec: Any) -> StackResource:
    """A policy that another engine than Kubernetes' own reads."""
    return resource(f"kubernetes:{token}", "other", {"metadata": {"namespace": "hub"}, "spec": spec})


PUBLIC = to(
    "0.0.0.0/0",
    leave_out=["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "168.63.129.16/32"],
)
DNS = {
    "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
    "ports": [{"port": 53, "protocol": "UDP"}],
}
HTTPS = [{"port": 443}]

NEVER_REACHED: list[tuple[list[StackResource], str]] = [
    ([], "passes"),
    ([policy(DNS)], "passes"),
    ([policy(PUBLIC)], "passes"),
    ([policy(to("0.0.0.0/0", ports=HTTPS))], "refused"),
    ([policy(to("0.0.0.0/0", leave_out=["10.0.0.0/8"]))], "refused"),
    # An exception for the one address leaves the services beside it.
    ([policy(to("0.0.0.0/0", leave_out=[METADATA, "168.63.129.16/32"]))], "refused"),
    ([policy(to("::/0"))], "refused"),
    ([policy(to("fd00:ec2::254/128"))], "refused"),
    ([policy(to("168.63.129.16/32"))], "refused"),
    ([policy({})], "refused"),
    ([policy({"to": []})], "refused"),
    ([policy({"to": [], "ports": HTTPS})], "refused"),
    # A range in two halves, in two policies of the same pods.
    ([policy(to("0.0.0.0/1", leave_out=["10.0.0.0/8"])), policy(to("128.0.0.0/1"), name="high")], "refused"),
    ([policy(PUBLIC), policy(to(METADATA), name="more")], "refused"),
    ([policy(PUBLIC), policy(to(METADATA, ports=[{"port": 79, "endPort": 81}]), name="more")], "refused"),
    ([policy(PUBLIC), policy(to(METADATA, ports=[{"port": 80, "protocol": "UDP"}]), name="more")], "refused"),
    # By labels, by expressions, and by not having a label.
    ([policy(to(METADATA), select={"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]})], "refused"),
    (
        [policy(to(METADATA), select={"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]})],
        "refused",
    ),
    ([policy(to(METADATA), select={"matchExpressions": [{"key": "a", "operator": "Exists"}]})], "refused"),
    ([policy(to(METADATA), select={"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]})], "refused"),
    # Neither policy shows it alone: each selects the pods of the deployment by another label.
    (
        [
            policy(PUBLIC, select={"matchLabels": {"tier": "x"}}),
            policy(to(METADATA), select={"matchLabels": {"app": "y"}}, name="more"),
            deployment({"tier": "x", "app": "y"}),
        ],
        "refused",
    ),
    # A policy for ingress alone opens nothing out, nor does one of another namespace hold anybody.
    ([policy(policyTypes=["Ingress"], ingress=[{}], egress=[to(METADATA)])], "passes"),
    ([no_chart_policy(), policy(DNS, namespace="other")], "refused"),
    # Users' pods reach no private range by address either; others may.
    ([hub(), policy(to("10.1.0.0/16"))], "refused"),
    ([hub(), policy(to("100.64.0.0/10", ports=HTTPS))], "refused"),
    ([policy(to("10.1.0.0/16"))], "passes"),
    # The chart's own policy counts, by its values and by its defaults.
    ([hub()], "passes"),
    ([hub(("singleuser", GONE))], "refused"),
    ([hub((f"{RULES}/dnsPortsPrivateIPs", True))], "refused"),
    ([hub((f"{RULES}/cloudMetadataServer", True))], "refused"),
    ([hub((f"{RULES}/nonPrivateIPs", True))], "refused"),
    ([hub(("singleuser/networkPolicy/egress", [to(METADATA)]))], "refused"),
    ([hub(("singleuser/networkPolicy/egress", [PUBLIC]))], "passes"),
    ([hub(("singleuser/networkPolicy/egress", UNKNOWN))], "undecided"),
    ([hub((f"{RULES}/nonPrivateIPs", UNKNOWN))], "undecided"),
    ([hub(("singleuser/networkPolicy/enabled", UNKNOWN))], "undecided"),
    ([no_chart_policy()], "refused"),
    ([no_chart_policy(), policy(DNS)], "passes"),
    ([no_chart_policy(), policy(DNS, select={"matchLabels": {"app": "other"}})], "refused"),
    ([hub(values=UNKNOWN)], "undecided"),
    ([hub(chart="another")], "passes"),
    # Labels that users' pods have by KubeSpawner's own trait, by its code or by a profile, and what these labels open.
    *(
        ([hub(change), policy(to("10.1.0.0/16"), select={"matchLabels": {"tier": "x"}})], expected)
        for change, expected in (
            (("singleuser/extraLabels", {"tier": "x"}), "refused"),
            (("hub/config/KubeSpawner/extra_labels", {"tier": "x"}), "refused"),
            (code("c.KubeSpawner.extra_labels = {'tier': 'x'}"), "refused"),
            (hub_profile(extra_labels={"tier": "x"}), "refused"),
            (choice(extra_labels={"tier": "x"}), "refused"),
            (hub_profile(extra_labels={"tier": "y"}), "passes"),
            (("hub/config/KubeSpawner/extra_labels", {"tier": UNKNOWN}), "undecided"),
            (hub_profile(extra_labels=UNKNOWN), "undecided"),
        )
    ),
    # Policies that other engines read may open more than all of Kubernetes' own.
    *(
        ([hub(), other(token, {"egress": [{}]})], "undecided")
        for token in (
            "cilium.io/v2:CiliumNetworkPolicy",
            "cilium.io/v2:CiliumClusterwideNetworkPolicy",
            "cilium.io/v2:CiliumNetworkPolicyPatch",
            "crd.projectcalico.org/v1:NetworkPolicy",
            "projectcalico.org/v3:GlobalNetworkPolicy",
            "policy.networking.k8s.io/v1alpha1:AdminNetworkPolicy",
            "policy.networking.k8s.io/v1alpha1:BaselineAdminNetworkPolicy",
        )
    ),
    ([hub(), other("cilium.io/v2:CiliumNetworkPolicy", {"ingress": [{}]})], "passes"),
    ([hub(), other("cilium.io/v2:CiliumNetworkPolicy", UNKNOWN)], "undecided"),
    ([hub(), resource("kubernetes:cilium.io/v2:CiliumNetworkPolicy", "c", {"specs": [{"egress": []}]})], "undecided"),
    (
        [
            hub(),
            resource("kubernetes:cilium.io/v2:CiliumNetworkPolicyList", "c", {"items": [{"spec": {"egress": [{}]}}]}),
        ],
        "undecided",
    ),
    # Notebooks that a program makes.
    ([resource(types.NOTEBOOK, "n", notebook())], "refused"),
    ([resource(types.NOTEBOOK, "n", notebook()), policy(DNS, select={}, namespace="ada")], "passes"),
    ([resource(types.NOTEBOOK, "n", notebook()), policy(to("10.0.0.0/8"), select={}, namespace="ada")], "refused"),
    # What is not known, and what Kubernetes would not take.
    ([policy(UNKNOWN)], "undecided"),
    ([policy(DNS, to(UNKNOWN))], "undecided"),
    ([policy({"to": [{"podSelector": {"matchLabels": {"app": UNKNOWN}}}]})], "undecided"),
    ([policy(to(METADATA), to(UNKNOWN))], "refused"),
    ([policy(DNS, select=UNKNOWN)], "undecided"),
    ([policy(DNS, select={"matchLabels": {"app": UNKNOWN}})], "undecided"),
    ([policy(DNS, policyTypes=UNKNOWN)], "undecided"),
    ([policy(DNS, namespace=UNKNOWN)], "undecided"),
    ([no_chart_policy(), policy(DNS, select=UNKNOWN)], "undecided"),
    ([policy(to("somewhere"))], "undecided"),
    ([policy(DNS, select={"matchExpressions": [{"key": "a", "operator": "Like"}]})], "undecided"),
    ([policy(DNS, of="kubernetes:networking.k8s.io/v1:NetworkPolicyPatch")], "undecided"),
    ([policy(to(METADATA), of="kubernetes:networking.k8s.io/v1:NetworkPolicyPatch")], "refused"),
    # By other tokens.
    ([policy(to(METADATA), of="kubernetes:extensions/v1beta1:NetworkPolicy")], "refused"),
    (
        [
            resource(
                "kubernetes:networking.k8s.io/v1:NetworkPolicyList",
                "list",
                {"items": [{"metadata": {"namespace": "hub"}, "spec": {"podSelector": {}, "egress": [to(METADATA)]}}]},
            )
        ],
        "refused",
    ),
]


@pytest.mark.parametrize(("resources", "expected"), NEVER_REACHED)
def test_what_pods_never_reach(resources: list[StackResource], expected: str):
    assert stack_verdict("pods-never-reached", resources) == expected
    assert stack_verdict("pods-never-reached", resources, allowOpen=True) == expected
    assert stack_verdict("pods-never-reached", resources[::-1]) == expected
    assert stack_verdict("pods-never-reached", resources, disabled=["pods-never-reached"]) == "passes"


OPEN: list[tuple[list[StackResource], str]] = [
    ([], "passes"),
    ([policy(DNS)], "passes"),
    ([policy(PUBLIC)], "refused"),
    ([policy({})], "refused"),
    ([policy(to("0.0.0.0/1"))], "passes"),
    ([policy(to("0.0.0.0/1")), policy(to("128.0.0.0/1"), name="high")], "refused"),
    ([policy(to("0.0.0.0/0", ports=HTTPS))], "passes"),
    ([policy(to("0.0.0.0/0", ports=[{"port": 1, "endPort": 32767}]))], "passes"),
    ([policy(to("0.0.0.0/0", ports=[{"port": 1, "endPort": 65535}]))], "refused"),
    (
        [
            policy(to("0.0.0.0/0", ports=[{"port": 1, "endPort": 32767}])),
            policy(to("0.0.0.0/0", ports=[{"port": 32768, "endPort": 65535}]), name="high"),
        ],
        "refused",
    ),
    ([policy(to("0.0.0.0/0", ports=[{"protocol": "UDP"}]))], "refused"),
    ([policy(to("2000::/3"))], "refused"),
    ([policy(to("2000::/4"))], "passes"),
    ([hub()], "passes"),
    ([hub((f"{RULES}/nonPrivateIPs", GONE))], "refused"),
    ([hub(("singleuser/networkPolicy/egress", [PUBLIC]))], "refused"),
    ([hub(("singleuser/networkPolicy/egress", [to("0.0.0.0/1")])), policy(to("128.0.0.0/1"))], "refused"),
    ([policy(UNKNOWN)], "passes"),
]


@pytest.mark.parametrize(("resources", "expected"), OPEN)
def test_the_way_out_to_the_world(resources: list[StackResource], expected: str):
    assert stack_verdict("pods-open-egress", resources) == expected
    assert stack_verdict("pods-open-egress", resources, allowOpen=True) == "passes"
    assert stack_verdict("pods-open-egress", resources, disabled=["pods-open-egress"]) == "passes"


DEFAULT_DENY: list[tuple[list[StackResource], str]] = [
    ([NAMESPACE], "passes"),
    ([NAMESPACE, hub(), DENY_ALL], "passes"),
    ([NAMESPACE, hub()], "refused"),
    ([hub()], "passes"),
    ([NAMESPACE, hub(namespace="another")], "passes"),
    ([NAMESPACE, hub(), policy(select={}, name="out")], "refused"),
    ([NAMESPACE, hub(), policy(select={}, name="in", policyTypes=["Ingress"])], "refused"),
    ([NAMESPACE, hub(), policy(select={}), policy(select={}, name="in", policyTypes=["Ingress"])], "passes"),
    # Without types and rules a policy is for ingress alone.
    ([NAMESPACE, hub(), policy(select={}, policyTypes=[])], "refused"),
    ([NAMESPACE, hub(), policy(DNS, select={}, policyTypes=[])], "passes"),
    # Selectors that leave pods out.
    ([NAMESPACE, hub(), policy(select={"matchLabels": USERS}, policyTypes=["Ingress", "Egress"])], "refused"),
    (
        [
            NAMESPACE,
            hub(),
            policy(
                select={"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]},
                policyTypes=["Ingress", "Egress"],
            ),
        ],
        "refused",
    ),
    ([NAMESPACE, hub(), policy(select={}, policyTypes=["Ingress", "Egress"], namespace="another")], "refused"),
    ([NAMESPACE, hub(), policy(select=UNKNOWN, policyTypes=["Ingress", "Egress"])], "undecided"),
    ([NAMESPACE, hub(namespace=UNKNOWN)], "undecided"),
    # A name that is not known yet, of a namespace that the stack makes.
    (
        [
            resource(types.NAMESPACE, "n", {"metadata": {"labels": {}}}),
            resource(
                types.RELEASE,
                "hub",
                release(namespace=UNKNOWN),
                {"namespace": [f"urn:pulumi:test::hubstack::{types.NAMESPACE}::n"]},
            ),
        ],
        "refused",
    ),
]


@pytest.mark.parametrize(("resources", "expected"), DEFAULT_DENY)
def test_namespaces_for_users_let_nothing_through_by_themselves(resources: list[StackResource], expected: str):
    assert stack_verdict("namespace-default-deny", resources) == expected
    assert stack_verdict("namespace-default-deny", resources, disabled=["namespace-default-deny"]) == "passes"


def quota(namespace: Any = "hub", of: str = types.RESOURCE_QUOTA, **dependencies: Any) -> StackResource:
    return resource(of, "quota", {"metadata": {"namespace": namespace}, "spec": {"hard": {"pods": "5"}}}, dependencies)


def scoped_quota(**scopes: Any) -> StackResource:
    spec = {"hard": {"pods": "5"}, **scopes}
    return resource(types.RESOURCE_QUOTA, "scoped", {"metadata": {"namespace": "hub"}, "spec": spec})


def limits(namespace: Any = "hub", **dependencies: Any) -> StackResource:
    return resource(types.LIMIT_RANGE, "limits", {"metadata": {"namespace": namespace}, "spec": {}}, dependencies)


PAIRS: list[tuple[list[StackResource], str]] = [
    ([], "passes"),
    ([quota(), limits()], "passes"),
    ([quota()], "refused"),
    ([scoped_quota(scopes=["Terminating"])], "refused"),
    ([limits()], "refused"),
    ([quota(), limits("another")], "refused"),
    ([quota(None), limits(None)], "passes"),
    ([quota(UNKNOWN), limits()], "undecided"),
    ([NAMESPACE, quota(UNKNOWN, **FROM_NAMESPACE), limits()], "passes"),
    ([quota(of="kubernetes:v1:ResourceQuota")], "refused"),
]


@pytest.mark.parametrize(("resources", "expected"), PAIRS)
def test_a_quota_and_a_limit_range_come_together(resources: list[StackResource], expected: str):
    assert stack_verdict("quota-with-limits", resources) == expected
    assert stack_verdict("quota-with-limits", resources, disabled=["quota-with-limits"]) == "passes"


QUOTAS: list[tuple[list[StackResource], str]] = [
    ([NAMESPACE], "passes"),
    ([NAMESPACE, hub()], "refused"),
    ([NAMESPACE, hub(), quota()], "passes"),
    ([NAMESPACE, hub(), quota("another")], "refused"),
    # A quota that counts some pods alone.
    ([NAMESPACE, hub(), scoped_quota(scopes=["Terminating"])], "refused"),
    ([NAMESPACE, hub(), scoped_quota(scopeSelector={"matchExpressions": []})], "refused"),
    ([NAMESPACE, hub(), scoped_quota(scopes=UNKNOWN)], "undecided"),
    ([NAMESPACE, hub(), scoped_quota(scopes=[])], "passes"),
    ([NAMESPACE, hub(), scoped_quota(scopes=["Terminating"]), quota()], "passes"),
    ([hub()], "passes"),
    ([NAMESPACE, hub(), quota(UNKNOWN)], "undecided"),
    ([NAMESPACE, hub(namespace=UNKNOWN), quota()], "undecided"),
]


@pytest.mark.parametrize(("resources", "expected"), QUOTAS)
def test_namespaces_for_users_have_a_quota(resources: list[StackResource], expected: str):
    assert stack_verdict("users-namespace-quota", resources) == expected
    assert stack_verdict("users-namespace-quota", resources, disabled=["users-namespace-quota"]) == "passes"


TABLES = {
    "pods-never-reached": NEVER_REACHED,
    "pods-open-egress": OPEN,
    "namespace-default-deny": DEFAULT_DENY,
    "quota-with-limits": PAIRS,
    "users-namespace-quota": QUOTAS,
    "cluster-wide-secrets": SECRETS,
}


def test_every_check_of_a_stack_refuses_passes_and_explains_itself():
    checks = [check for check in REGISTRY.stack_checks if "kubernetes" in check.judge.__module__]

    assert {check.id for check in checks} == set(TABLES)
    for check in checks:
        assert {expected for _, expected in TABLES[check.id]} >= {"passes", "refused"}
        assert check.severity in {"low", "medium", "high", "critical"}
        assert check.remediation.endswith(".")
        assert check.description.endswith(".")


# Namespaces that the notebook operator furnishes by its settings.


def furnished(*manifests: Properties) -> StackResource:
    settings = changed(SETTINGS, "profile/manifests", list(manifests))
    return resource(types.CONFIG_MAP, "settings", settings_map(settings))


def manifest(kind: str, spec: Properties) -> Properties:
    api = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "v1"
    return {"apiVersion": api, "kind": kind, "metadata": {"name": kind.lower()}, "spec": spec}


GOOD = [
    manifest("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
    manifest("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [DNS]}),
    manifest("ResourceQuota", {"hard": {"pods": 1}}),
    manifest("LimitRange", {"limits": []}),
]
JOINED = (
    "pods-never-reached",
    "pods-open-egress",
    "namespace-default-deny",
    "quota-with-limits",
    "users-namespace-quota",
)


def refused(resources: Sequence[StackResource]) -> set[str]:
    return {check for check in JOINED if stack_verdict(check, resources) != "passes"}


def without(number: int) -> list[Properties]:
    return [each for place, each in enumerate(GOOD) if place != number]


@pytest.mark.parametrize(
    ("manifests", "expected"),
    [
        (GOOD, set[str]()),
        (without(0), {"namespace-default-deny"}),
        (without(2), {"quota-with-limits", "users-namespace-quota"}),
        (without(3), {"quota-with-limits"}),
        ([*GOOD, manifest("NetworkPolicy", {"podSelector": {}, "egress": [to(METADATA)]})], {"pods-never-reached"}),
        ([*GOOD, manifest("NetworkPolicy", {"podSelector": {}, "egress": [PUBLIC]})], {"pods-open-egress"}),
        (
            [
                *GOOD,
                manifest(
                    "NetworkPolicy", {"podSelector": {"matchLabels": {"hubstack.role": "notebook"}}, "egress": [{}]}
                ),
            ],
            {"pods-never-reached", "pods-open-egress"},
        ),
        ([], {"pods-never-reached", "namespace-default-deny", "users-namespace-quota"}),
    ],
)
def test_every_profiles_namespace_is_judged_by_what_furnishes_it(manifests: list[Properties], expected: set[str]):
    assert refused([furnished(*manifests)]) == expected
    # What furnishes a profile's namespace is not in the operator's own, nor the other way round.
    elsewhere = resource(types.NETWORK_POLICY, "own", {"metadata": {"namespace": "platform"}, "spec": GOOD[0]["spec"]})
    assert refused([furnished(*manifests), elsewhere]) == expected


def profile(name: Any = "ada") -> StackResource:
    return resource(types.PROFILE, "profile", {"metadata": {"name": name}, "spec": {"owner": {"name": "ada"}}})


NOTEBOOK = resource(types.NOTEBOOK, "n", notebook())


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([profile(), NOTEBOOK, furnished(*GOOD)], set[str]()),
        ([profile("another"), NOTEBOOK, furnished(*GOOD)], {"pods-never-reached"}),
        ([profile(), NOTEBOOK], {"pods-never-reached", "namespace-default-deny", "users-namespace-quota"}),
        ([profile(), NOTEBOOK, furnished(*without(0)[1:])], {"pods-never-reached", "namespace-default-deny"}),
    ],
)
def test_a_profile_of_the_program_has_what_its_operator_furnishes_it_with(
    resources: list[StackResource], expected: set[str]
):
    assert refused(resources) == expected
    assert refused(resources[::-1]) == expected


def test_a_profile_is_undecided_while_the_settings_are():
    settings = resource(types.CONFIG_MAP, "settings", {"metadata": {"name": "notebook-operator"}, "data": UNKNOWN})

    assert stack_verdict("pods-never-reached", [profile(), NOTEBOOK, settings]) == "undecided"
    assert stack_verdict("namespace-default-deny", [profile(), NOTEBOOK, settings]) == "undecided"
    assert stack_verdict("users-namespace-quota", [profile(), NOTEBOOK, settings]) == "undecided"


def test_pods_in_a_template_are_in_the_namespace_of_what_embeds_them():
    job = {
        "metadata": {"namespace": "ada"},
        "spec": {"template": {"metadata": {"labels": NOTEBOOK_LABELS}, "spec": {}}},
    }
    rollout = resource("kubernetes:argoproj.io/v1alpha1:Rollout", "r", job)

    for runs in (
        resource(types.JOB, "j", job),
        rollout,
        resource("kubernetes:batch/v1:JobList", "l", {"items": [job]}),
    ):
        assert stack_verdict("pods-never-reached", [runs]) == "refused"
        assert stack_verdict("pods-never-reached", [runs, policy(select={}, namespace="ada")]) == "passes"


def test_a_finding_names_the_pods_the_namespace_the_range_and_the_ports():
    [(where, message)] = stack_messages("pods-never-reached", [hub(), policy(to("169.254.169.254/32", ports=HTTPS))])

    assert where == "hub"
    assert message == "lets users' pods in the namespace hub out to 169.254.0.0/16 on ports 443 to 443 (TCP)"


BLOCKS = st.sampled_from(
    ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "169.254.0.0/16", "10.0.0.0/8", "8.8.8.8/32", "::/0"]
)
RULE = st.builds(
    lambda blocks, ports: to(*blocks, ports=ports),
    st.lists(BLOCKS, min_size=1, max_size=2),
    st.sampled_from([None, HTTPS]),
)


@given(st.lists(RULE, max_size=4), RULE)
def test_one_more_rule_never_makes_a_refused_stack_pass(rules: list[Properties], more: Properties):
    before = [policy(each, name=str(number)) for number, each in enumerate(rules)]
    after = [*before, policy(more, name="more")]

    for check in ("pods-never-reached", "pods-open-egress"):
        if stack_verdict(check, before) == "refused":
            assert stack_verdict(check, after) == "refused"


@given(st.lists(RULE, min_size=1, max_size=4))
def test_rules_count_the_same_in_one_policy_and_in_many(rules: list[Properties]):
    one, many = [policy(*rules)], [policy(each, name=str(number)) for number, each in enumerate(rules)]

    for check in ("pods-never-reached", "pods-open-egress"):
        assert stack_verdict(check, one) == stack_verdict(check, many)


KEYS = [
    "metadata",
    "namespace",
    "spec",
    "podSelector",
    "policyTypes",
    "egress",
    "to",
    "ipBlock",
    "cidr",
    "except",
    "ports",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(
    values, st.sampled_from([types.NETWORK_POLICY, types.RELEASE, types.CONFIG_MAP, types.NAMESPACE, types.NOTEBOOK])
)
def test_nothing_makes_a_check_of_namespaces_fail_to_answer(properties: Any, type_: str):
    given = properties if isinstance(properties, dict) else {"spec": properties}

    list(REGISTRY.stack_findings([resource(type_, "x", copy.deepcopy(given))], DEFAULTS))
