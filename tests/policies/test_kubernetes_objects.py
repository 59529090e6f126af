"""A bad pod is found wherever it hides, and an object by whatever token it comes."""

import re
from pathlib import Path
from typing import Any

import pulumi_kubernetes
import pytest
from pulumi_policy.proxy import unknown_checking_proxy

from policies import resource_types as types
from policies.kubernetes.objects import GROUPS, pod_specs, usual_token
from policies.kubernetes.pods import Container, containers
from policies.reader import UNKNOWN as NOT_KNOWN
from tests.policies.kubernetes_cases import (
    CONTAINER,
    GONE,
    POD,
    UNKNOWN,
    Properties,
    changed,
    messages,
    settings_map,
    verdict,
)

BAD = changed(POD, "spec/containers/0/securityContext/privileged", True)
SDK_TOKENS = re.findall(r'"(kubernetes:[^"]+)": "', Path(pulumi_kubernetes.__file__).read_text())
EMBEDDING = {token.rsplit(":", 1)[1] for token in (types.POD, types.POD_TEMPLATE, types.CRON_JOB, types.JOB)} | {
    token.rsplit(":", 1)[1]
    for token in (
        types.DEPLOYMENT,
        types.STATEFUL_SET,
        types.DAEMON_SET,
        types.REPLICA_SET,
        types.REPLICATION_CONTROLLER,
    )
}


def embedding(pod: Any, kind: str) -> Properties:
    """A pod in an object of a kind."""
    match kind:
        case "Pod":
            return pod if isinstance(pod, dict) else {"spec": pod}
        case "PodTemplate":
            return {"template": pod}
        case "CronJob":
            return {"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": pod}}}}
        case _:
            return {"spec": {"replicas": 1, "template": pod}}


def by_token(pod: Any, token: str) -> Properties:
    """A pod in an object with a token of the SDK: a list holds the object once more."""
    kind = token.rsplit(":", 1)[1]
    if kind.endswith("List"):
        return {"items": [embedding(POD, kind.removesuffix("List")), embedding(pod, kind.removesuffix("List"))]}
    return embedding(pod, kind.removesuffix("Patch"))


TOKENS = [token for token in SDK_TOKENS if re.sub("(List|Patch)$", "", token.rsplit(":", 1)[1]) in EMBEDDING]


def test_the_sdk_has_every_kind_that_embeds_pods_in_many_versions():
    kinds = {token.rsplit(":", 1)[1] for token in TOKENS}

    assert kinds == {f"{kind}{form}" for kind in EMBEDDING for form in ("", "List", "Patch")}
    assert {token.split(":")[1] for token in TOKENS} >= {
        "extensions/v1beta1",
        "apps/v1beta1",
        "apps/v1beta2",
        "batch/v2alpha1",
    }


@pytest.mark.parametrize("token", TOKENS)
def test_a_bad_pod_is_found_in_every_kind_and_version(token: str):
    assert verdict("pod-privileged", token, by_token(BAD, token)) == "refused"
    assert verdict("pod-privileged", token, by_token(UNKNOWN, token)) == "undecided"
    # What a patch leaves out may be there all the same.
    missing = changed(POD, "spec/containers/0/resources", GONE)
    expected = "undecided" if token.endswith("Patch") else "refused"
    assert verdict("pod-memory-limit", token, by_token(missing, token)) == expected
    complete = changed(POD, "spec/initContainers", [])
    assert verdict("pod-memory-limit", token, by_token(complete, token)) == "passes"


@pytest.mark.parametrize(
    ("token", "properties"),
    [
        # A custom resource of a built-in kind, which the SDK makes a token of its own for.
        ("kubernetes:v1:Pod", BAD),
        ("kubernetes:v1:PodPatch", BAD),
        ("kubernetes:v1:List", {"items": [{"apiVersion": "v1", "kind": "Pod", **BAD}]}),
        ("kubernetes:v1:List", {"items": [{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": BAD}}]}),
        (
            "kubernetes:v1:List",
            {"items": [{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", **BAD}]}]},
        ),
        # Kinds that this pack does not know and that have a template in the usual place.
        ("kubernetes:argoproj.io/v1alpha1:Rollout", {"spec": {"template": BAD}}),
        ("kubernetes:serving.knative.dev/v1:Service", {"spec": {"template": BAD}}),
        ("kubernetes:kubeflow.org/v1beta1:Notebook", {"spec": {"template": {"spec": BAD["spec"]}}}),
        ("kubernetes:kubeflow.org/v1alpha1:Notebook", {"spec": {"template": {"spec": BAD["spec"]}}}),
    ],
)
def test_a_bad_pod_is_found_in_custom_resources_and_lists_of_anything(token: str, properties: Properties):
    assert verdict("pod-privileged", token, properties) == "refused"


def test_a_patch_that_leaves_the_pods_alone_is_none_of_their_checks_business():
    assert verdict("pod-privileged", "kubernetes:apps/v1:DeploymentPatch", {"spec": {"replicas": 0}}) == "passes"


def test_a_finding_says_where_the_object_stands():
    properties = {"items": [{"metadata": {"name": "one"}, "spec": {"template": BAD}}]}

    assert messages("pod-privileged", "kubernetes:apps/v1:DeploymentList", properties) == [
        "item one: its pods: container main has privileged True"
    ]


@pytest.mark.parametrize("token", sorted(GROUPS))
def test_every_usual_token_is_its_own(token: str):
    assert usual_token(token) == token


def test_a_kind_of_another_group_is_another_kind():
    assert usual_token("kubernetes:serving.knative.dev/v1:Service") is None
    assert usual_token("kubernetes:networking.istio.io/v1:Ingress") is None
    assert usual_token("kubernetes:extensions/v1beta1:NetworkPolicy") == types.NETWORK_POLICY


def test_pods_of_a_resource_come_with_all_of_their_containers():
    properties = embedding(
        changed(changed(POD, "spec/initContainers", [CONTAINER]), "spec/ephemeralContainers", [CONTAINER]), "Job"
    )
    [pod] = pod_specs("kubernetes:batch/v1:JobList", unknown_checking_proxy({"items": [properties]}))

    assert [container.what for container in containers(pod)] == [
        "init container main",
        "container main",
        "debug container main",
    ]
    assert list(pod_specs("kubernetes:apps/v1:Deployment", unknown_checking_proxy({"spec": UNKNOWN}))) == [NOT_KNOWN]
    assert list(pod_specs("aws:ec2/instance:Instance", {"spec": {"template": POD}})) == []


def test_a_containers_setting_wins_over_its_pods():
    pod = {"spec": {"securityContext": {"runAsUser": 1, "runAsGroup": 2}}}

    assert Container("a", "containers", {"securityContext": {"runAsUser": 3}}, pod).security("runAsUser") == 3
    assert Container("a", "containers", {}, pod).security("runAsGroup") == 2
    assert Container("a", "containers", {"securityContext": NOT_KNOWN}, pod).security("runAsUser") is NOT_KNOWN


# The operator's Notebooks and its settings.


def notebook(**spec: Any) -> Properties:
    container = {"name": "training", "image": "a:1", "resources": CONTAINER["resources"]}
    return {"metadata": {"namespace": "ada"}, "spec": {"template": {"spec": {"containers": [container], **spec}}}}


POD_CHECKS = ("pod-token", "pod-root", "pod-seccomp", "pod-escalation", "pod-capabilities-dropped", "pod-memory-limit")


@pytest.mark.parametrize("check", POD_CHECKS)
def test_a_notebook_has_what_its_operator_adds(check: str):
    assert verdict(check, types.NOTEBOOK, notebook()) == "passes"


@pytest.mark.parametrize(
    ("check", "spec", "expected"),
    [
        ("pod-token", {"automountServiceAccountToken": True}, "passes"),
        ("pod-token", {"automountServiceAccountToken": True, "serviceAccountName": "default"}, "refused"),
        ("pod-root", {"securityContext": {"runAsUser": 0}}, "refused"),
        ("pod-seccomp", {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "refused"),
        ("pod-host-path", {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "refused"),
        (
            "pod-escalation",
            {"containers": [{**CONTAINER, "securityContext": {"allowPrivilegeEscalation": True}}]},
            "refused",
        ),
        # Limits that a notebook does not name are the platform's; a second container has none of those.
        ("pod-memory-limit", {"containers": [{"name": "a", "image": "a:1"}]}, "undecided"),
        ("pod-memory-limit", {"containers": [CONTAINER, {"name": "b", "image": "a:1"}]}, "refused"),
        ("pod-memory-limit", {"containers": UNKNOWN}, "undecided"),
    ],
)
def test_a_notebooks_own_word_wins(check: str, spec: Properties, expected: str):
    assert verdict(check, types.NOTEBOOK, notebook(**spec)) == expected


SETTINGS: Properties = {
    "stack": "lab",
    "route": {"kind": "HTTPRoute", "parents": [{"name": "edge", "namespace": "gateway", "sectionName": "https"}]},
    "notebook": {
        "image": "a:1",
        "idleSeconds": 3600,
        "maxAgeSeconds": 86400,
        "resources": CONTAINER["resources"],
        "environment": {"HTTPS_PROXY": "http://egress-proxy.platform:3128"},
    },
    "profile": {
        "namespaceLabels": {"pod-security.kubernetes.io/enforce": "restricted"},
        "manifests": [
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "q"},
                "spec": {
                    "hard": {"pods": "2", "limits.cpu": "2", "limits.memory": "2Gi", "limits.ephemeral-storage": "4Gi"}
                },
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": "hubstack-notebook-admin"},
                "subjects": [{"kind": "User", "name": "$(owner)"}],
            },
        ],
    },
    "fleet": {"notebooks": 20},
}

SETTINGS_CASES: list[tuple[str, Any, str]] = [
    ("operator-settings", SETTINGS, "passes"),
    ("operator-settings", "not JSON", "refused"),
    ("operator-settings", [], "refused"),
    ("operator-settings", changed(SETTINGS, "profile", GONE), "refused"),
    ("operator-settings", UNKNOWN, "undecided"),
    ("notebook-times", SETTINGS, "passes"),
    ("notebook-times", changed(SETTINGS, "notebook/maxAgeSeconds", GONE), "refused"),
    ("notebook-times", changed(SETTINGS, "notebook/idleSeconds", 0), "refused"),
    ("notebook-times", changed(SETTINGS, "notebook/maxAgeSeconds", 604801), "refused"),
    ("notebook-times", UNKNOWN, "undecided"),
    ("notebook-cap", SETTINGS, "passes"),
    ("notebook-cap", changed(SETTINGS, "fleet/notebooks", GONE), "refused"),
    ("notebook-cap", changed(SETTINGS, "fleet/notebooks", 1001), "refused"),
    ("notebook-cap", UNKNOWN, "undecided"),
    ("namespace-pod-security", SETTINGS, "passes"),
    ("namespace-pod-security", changed(SETTINGS, "profile/namespaceLabels", {}), "refused"),
    ("quota-complete", SETTINGS, "passes"),
    ("quota-complete", changed(SETTINGS, "profile/manifests/0/spec/hard/pods", GONE), "refused"),
    ("binding-cluster-admin", SETTINGS, "passes"),
    ("binding-cluster-admin", changed(SETTINGS, "profile/manifests/1/roleRef/name", "cluster-admin"), "refused"),
    ("pod-storage-limit", SETTINGS, "passes"),
    ("pod-storage-limit", changed(SETTINGS, "notebook/resources/limits/ephemeral-storage", GONE), "undecided"),
    ("pod-image-pinned", changed(SETTINGS, "notebook/image", "a:latest"), "refused"),
    ("pod-image-pinned", changed(SETTINGS, "notebook/image", None), "passes"),
    ("pod-secret-in-environment", changed(SETTINGS, "notebook/environment/API_TOKEN", "x"), "refused"),
    ("route-tls", SETTINGS, "passes"),
    ("route-tls", changed(SETTINGS, "route/parents/0/sectionName", GONE), "refused"),
    ("route-tls", changed(SETTINGS, "route/kind", "Mapping"), "passes"),
]


@pytest.mark.parametrize(("check", "settings", "expected"), SETTINGS_CASES)
def test_the_operators_settings_are_judged_by_what_it_makes_of_them(check: str, settings: Any, expected: str):
    properties = (
        {"metadata": {"name": "notebook-operator"}, "data": UNKNOWN} if settings is UNKNOWN else settings_map(settings)
    )

    assert verdict(check, types.CONFIG_MAP, properties) == expected


def test_settings_are_known_by_their_content_too_and_other_maps_are_left_alone():
    bad = changed(SETTINGS, "profile/namespaceLabels", {})

    assert verdict("namespace-pod-security", types.CONFIG_MAP, settings_map(bad, "renamed")) == "refused"
    assert verdict("operator-settings", types.CONFIG_MAP, settings_map({"colour": "red"}, "other")) == "passes"
    assert verdict("operator-settings", types.CONFIG_MAP, {"metadata": {"name": "x"}, "data": UNKNOWN}) == "passes"
    assert (
        verdict(
            "notebook-cap", types.CONFIG_MAP, settings_map(changed(SETTINGS, "fleet", {})), disabled=["notebook-cap"]
        )
        == "passes"
    )


def test_a_finding_in_the_settings_names_what_it_is_about():
    bad = changed(SETTINGS, "profile/manifests/1/roleRef/name", "cluster-admin")

    assert messages("binding-cluster-admin", types.CONFIG_MAP, settings_map(bad)) == [
        "RoleBinding b of its settings: gives the role cluster-admin"
    ]


def test_a_profiles_own_quota_is_judged_like_the_one_that_it_replaces():
    spec = {"owner": {"kind": "User", "name": "ada"}}

    assert verdict("quota-complete", types.PROFILE, {"spec": spec}) == "passes"
    assert (
        verdict("quota-complete", types.PROFILE, {"spec": {**spec, "resourceQuotaSpec": {"hard": {"cpu": 1}}}})
        == "refused"
    )


@pytest.mark.parametrize("token", types.YAML)
def test_files_of_manifests_are_undecided_until_they_are_known(token: str):
    # Their objects are resources of the stack, which are judged themselves.
    assert verdict("manifests-known", token, {"yaml": "kind: Pod", "files": ["a.yaml"]}) == "passes"
    assert verdict("manifests-known", token, {"yaml": UNKNOWN}) == "undecided"
    assert verdict("manifests-known", token, {"objs": [{"kind": "Pod", "spec": UNKNOWN}]}) == "undecided"
    assert verdict("manifests-known", token, {"yaml": UNKNOWN}, disabled=["manifests-known"]) == "passes"
