"""The stacks of `Pulumi.ephemeral.yaml` and `Pulumi.platform.yaml` pass the pack, and a single bad change does not."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import EphemeralHub, NotebookPlatform
from components.settings import StackSettings, parse_settings
from policies import resource_types as types
from policies.pack import POLICIES
from tests.policies.judging import Change, Properties, Told, changed, levels, previewed, told
from tests.policies.kubernetes_cases import GONE
from tests.policies.kubernetes_cases import changed as edited
from tests.stacks import ROOT
from tests.unit.recording import Registration, record

STACKS = ("ephemeral", "platform")


def written(stack: str) -> StackSettings:
    """The settings of a stack file."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    own = {key: value for key, value in config.items() if key.startswith("hubstack:")}
    return parse_settings({key: value if isinstance(value, str) else json.dumps(value) for key, value in own.items()})


PROGRAMS: dict[str, Callable[[], object]] = {
    "ephemeral": lambda: EphemeralHub("lab", written("ephemeral").ephemeral_hub()),
    "platform": lambda: NotebookPlatform("lab", written("platform").notebook_platform()),
}


@functools.cache
def graph(stack: str) -> list[Registration]:
    """What a stack registers in an update."""
    return record(PROGRAMS[stack]).registrations


@functools.cache
def good(stack: str) -> list[Told]:
    """What the pack says of the stack as it is."""
    return told(graph(stack), levels(stack))


@pytest.mark.parametrize("stack", STACKS)
def test_every_policy_of_the_pack_is_mandatory(stack: str):
    assert {name for name, level in levels(stack).items() if level["enforcementLevel"] == "mandatory"} == {
        policy.name for policy in POLICIES
    }


@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_passes_and_leaves_nothing_open(stack: str):
    assert good(stack) == []


@pytest.mark.parametrize("stack", STACKS)
def test_nothing_is_undecided_at_the_first_preview(stack: str):
    assert told(previewed(PROGRAMS[stack]), levels(stack)) == []


IMAGE = "registry.example.org/hubstack/notebook:1.0"
PROXY_IMAGE = "registry.example.org/hubstack/egress-proxy:1.0"

PROFILES: dict[str, Properties] = {
    "closed": {},
    "domains": {"egressDomains": ["github.com"], "egressProxyImage": PROXY_IMAGE},
    "ports": {"egressPorts": [443]},
    "open": {},
}
"""Every egress profile, with what it needs."""

FRONTS: dict[str, Properties] = {
    "none": {},
    "ingress with the controller's certificate": {"kind": "ingress"},
    "ingress with a secret": {"kind": "ingress", "tlsSecret": "hub-tls", "ingressClass": "traefik"},
    "gateway": {"kind": "gateway", "gateway": "web", "gatewaySection": "https"},
    "Traefik's gateway": {"kind": "gateway", "gateway": "traefik", "gatewaySection": "websecure"},
    "letsencrypt": {"kind": "letsencrypt", "email": "owner@example.org"},
    "secret": {"kind": "secret", "tlsSecret": "hub-tls"},
    "offload": {"kind": "offload"},
}
"""Every kind of front, and what may be left out of it."""


def visitors_hub(**args: Any) -> Callable[[], object]:
    """A program with a hub for visitors alone."""
    return lambda: EphemeralHub("lab", {"image": IMAGE, "domain": "try.example.org", **args})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_hub_passes_under_every_egress_profile(profile: str):
    program = visitors_hub(egressProfile=profile, front=FRONTS["letsencrypt"], **PROFILES[profile])

    assert told(record(program).registrations, levels("ephemeral"), allowOpen=profile == "open") == []
    assert told(previewed(program), levels("ephemeral"), allowOpen=profile == "open") == []


@pytest.mark.parametrize("front", FRONTS)
def test_a_hub_passes_behind_every_front(front: str):
    program = visitors_hub(egressProfile="closed", front=FRONTS[front])

    assert told(record(program).registrations, levels("ephemeral")) == []


@pytest.mark.parametrize("access", ["password", "shared-password", "open"])
def test_a_hub_passes_with_every_access(access: str):
    program = visitors_hub(access=access, openToTheWorld=access == "open")

    assert told(record(program).registrations, levels("ephemeral"), allowOpenHub=access == "open") == []


def test_a_hub_whose_chart_is_a_folder_passes(tmp_path: Path):
    chart = tmp_path / "jupyterhub"
    chart.mkdir()

    assert told(record(visitors_hub(chart=str(chart))).registrations, levels("ephemeral")) == []


def test_a_gateway_without_a_listener_is_refused_as_its_documentation_says():
    program = visitors_hub(front={"kind": "gateway", "gateway": "web"})
    [(check, _, finding)] = told(record(program).registrations, levels("ephemeral"))

    assert (check, finding.undecided) == ("hub-tls", False)
    assert "sectionName" in finding.message


def at(path: str, value: Any = GONE) -> Change:
    """Another value at a path of the properties; none takes it away."""

    def change(properties: Properties) -> None:
        result = edited(properties, path, value)
        properties.clear()
        properties.update(result)

    return change


def in_settings(path: str, value: Any = GONE) -> Change:
    """Another value at a path of the operator's settings."""

    def change(properties: Properties) -> None:
        settings = edited(json.loads(properties["data"]["settings.json"]), path, value)
        properties["data"]["settings.json"] = json.dumps(settings)

    return change


def manifest(kind: str, spec: Properties) -> Properties:
    api = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "v1"
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "more"}, "spec": spec}


RELEASE = ("lab-release", types.RELEASE)
PROXY = ("lab-egress-proxy-deployment", types.DEPLOYMENT)
PROBE = ("lab-probe-job", types.JOB)
SETTINGS = ("lab-notebook-operator", types.CONFIG_MAP)
OPERATOR = ("lab-notebook-operator", types.DEPLOYMENT)
ROLE = ("lab-hubstack-notebook-operator", types.CLUSTER_ROLE)
REQUESTERS = ("lab-hubstack-notebook-requester", types.CLUSTER_ROLE_BINDING)
NOTEBOOK = ("lab-ada-example-org-cfe00dde-training", types.NOTEBOOK)

POD = "spec/template/spec"
SPAWNER = "values/hub/config/KubeSpawner"
RULES = "values/singleuser/networkPolicy/egressAllowRules"
TO_METADATA = {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": [{"port": 80}]}
HALVES = [{"to": [{"ipBlock": {"cidr": cidr}}]} for cidr in ("0.0.0.0/1", "128.0.0.0/1")]
READS_SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
BINDS_ALL = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"]}

Mutant = tuple[tuple[str, str], Change, str, str]
"""A resource, what becomes of it, the check that refuses it, and words of its message."""

BAD_CHANGES: dict[str, list[Mutant]] = {
    "ephemeral": [
        (RELEASE, at(f"{RULES}/nonPrivateIPs"), "hub-egress-rules", "every public address"),
        (RELEASE, at(f"{RULES}/nonPrivateIPs"), "pods-open-egress", "of all IPv4 addresses and ports"),
        (RELEASE, at(f"{RULES}/nonPrivateIPs"), "pods-never-reached", "100.64.0.0/10"),
        (RELEASE, at(f"{RULES}/dnsPortsPrivateIPs", True), "pods-never-reached", "10.0.0.0/8"),
        (RELEASE, at("values/singleuser/networkPolicy/egress", HALVES), "pods-open-egress", "users' pods"),
        (RELEASE, at("values/singleuser/networkPolicy/enabled", False), "hub-network-policy", "reach everything"),
        (RELEASE, at("values/cull/maxAge"), "hub-maximum-age", "cull.maxAge is 0"),
        (RELEASE, at("values/cull/enabled", False), "hub-cull", "never stops a server"),
        (RELEASE, at("values/hub/activeServerLimit"), "hub-server-limit", "does not cap"),
        (RELEASE, at("values/singleuser/memory"), "pod-memory-limit", "a user's pod: container notebook"),
        (RELEASE, at("values/singleuser/cpu/limit"), "pod-cpu-limit", "a user's pod: container notebook"),
        (RELEASE, at("values/singleuser/extraResource"), "pod-storage-limit", "a user's pod: container notebook"),
        (RELEASE, at("values/singleuser/cloudMetadata"), "pod-privileged", "init container block-cloud-metadata"),
        (RELEASE, at(f"{SPAWNER}/container_security_context", {}), "pod-capabilities-dropped", "a user's pod"),
        (RELEASE, at(f"{SPAWNER}/automount_service_account_token", True), "pod-token", "a user's pod"),
        (RELEASE, at("values/singleuser/image/tag", "latest"), "pod-image-pinned", "another image tomorrow"),
        (
            RELEASE,
            at("values/singleuser/profileList", [{"display_name": "big", "kubespawner_override": {"mem_limit": None}}]),
            "pod-memory-limit",
            "a user's pod with the profile big",
        ),
        (
            RELEASE,
            at("values/hub/config/JupyterHub/authenticator_class", "tmp"),
            "hub-authenticator",
            "lets everybody in",
        ),
        (
            RELEASE,
            at("values/hub/config/SharedPasswordAuthenticator", {"user_password": "correct horse"}),
            "hub-secret-in-values",
            "hub.config.SharedPasswordAuthenticator.user_password",
        ),
        (RELEASE, at("values/hub/loadRoles", {"user": {"scopes": ["admin:servers"]}}), "hub-roles", "every user"),
        (RELEASE, at("values/hub/config/JupyterHub/services", []), "hub-cull", "takes the culler away"),
        (RELEASE, at(f"{SPAWNER}/namespace", "elsewhere"), "hub-pods-held", "'elsewhere'"),
        (RELEASE, at("values/hub/existingSecret", "another"), "hub-secret-values", "none of the stack's"),
        (
            ("lab-access", types.KUBERNETES_SECRET),
            at("stringData/values.yaml", '{"hub": {"extraConfig": {"99-more": "import os"}}}'),
            "hub-secret-values",
            "hub.extraConfig.99-more",
        ),
        (RELEASE, at("values/hub/extraConfig/99-more", "import os"), "hub-code", "hub.extraConfig.99-more"),
        (RELEASE, at("values/proxy/https/enabled", False), "hub-tls", "without TLS"),
        (RELEASE, at("version"), "chart-version", "whatever version"),
        (RELEASE, at("chart", "basehub"), "chart-known", "what the chart 'basehub' makes"),
        (
            ("lab-user-egress", types.NETWORK_POLICY),
            at("spec/egress/+", TO_METADATA),
            "pods-never-reached",
            "169.254.0.0/16",
        ),
        (("lab-user-egress", types.NETWORK_POLICY), at("spec/egress", HALVES), "pods-open-egress", "users' pods"),
        (
            ("lab-default-deny", types.NETWORK_POLICY),
            at("spec/podSelector", {"matchLabels": {"app": "x"}}),
            "namespace-default-deny",
            "no default-deny NetworkPolicy for egress",
        ),
        (
            ("lab-default-deny", types.NETWORK_POLICY),
            at("spec/policyTypes", ["Ingress"]),
            "namespace-default-deny",
            "no default-deny NetworkPolicy for egress",
        ),
        (
            ("lab-tenancy-namespace", types.NAMESPACE),
            at("metadata/labels/pod-security.kubernetes.io~enforce", "privileged"),
            "namespace-pod-security",
            "takes any pod",
        ),
        (
            ("lab-tenancy-quota", types.RESOURCE_QUOTA),
            at("metadata/namespace", "x"),
            "users-namespace-quota",
            "has no quota",
        ),
        (
            ("lab-tenancy-limits", types.LIMIT_RANGE),
            at("metadata/namespace", "x"),
            "quota-with-limits",
            "without a LimitRange",
        ),
        (
            ("lab-tenancy-quota", types.RESOURCE_QUOTA),
            at("spec/hard/limits.ephemeral-storage"),
            "quota-complete",
            "limits.ephemeral-storage",
        ),
        (PROXY, at(f"{POD}/hostNetwork", True), "pod-host-namespaces", "hostNetwork"),
        (PROXY, at(f"{POD}/containers/0/resources/limits/memory"), "pod-memory-limit", "has no memory limit"),
        (PROXY, at(f"{POD}/containers/0/image", "squid"), "pod-image-pinned", "'squid'"),
        (PROXY, at(f"{POD}/securityContext", {}), "pod-root", "runs as root if its image does"),
        (PROBE, at(f"{POD}/automountServiceAccountToken", True), "pod-token", "default service account"),
        (
            ("lab-egress-proxy-service", types.KUBERNETES_SERVICE),
            at("spec/type", "NodePort"),
            "service-exposed",
            "NodePort",
        ),
    ],
    "platform": [
        (SETTINGS, in_settings("notebook/maxAgeSeconds"), "notebook-times", "maxAgeSeconds is None"),
        (SETTINGS, in_settings("fleet/notebooks", 0), "notebook-cap", "does not cap"),
        (SETTINGS, in_settings("profile/namespaceLabels", {}), "namespace-pod-security", "the profiles' namespace"),
        (SETTINGS, in_settings("profile/manifests", []), "namespace-default-deny", "no default-deny"),
        (SETTINGS, in_settings("profile/manifests", []), "users-namespace-quota", "has no quota"),
        (SETTINGS, in_settings("profile/manifests/1"), "quota-with-limits", "without a LimitRange"),
        (
            SETTINGS,
            in_settings("profile/manifests/+", manifest("NetworkPolicy", {"podSelector": {}, "egress": [TO_METADATA]})),
            "pods-never-reached",
            "169.254.0.0/16",
        ),
        (
            SETTINGS,
            in_settings("profile/manifests/+", manifest("NetworkPolicy", {"podSelector": {}, "egress": HALVES})),
            "pods-open-egress",
            "100% of all IPv4",
        ),
        (SETTINGS, in_settings("notebook/image", "notebook:latest"), "pod-image-pinned", "another image tomorrow"),
        (SETTINGS, in_settings("notebook/environment/API_TOKEN", "x"), "pod-secret-in-environment", "API_TOKEN"),
        (SETTINGS, in_settings("notebook/resources/limits/memory"), "pod-memory-limit", "a notebook of its settings"),
        (SETTINGS, in_settings("route/parents/0/sectionName"), "route-tls", "every listener"),
        (ROLE, at("rules/0/verbs", ["*"]), "role-stars", "verbs *"),
        (ROLE, at("rules/+", BINDS_ALL), "role-escalation", "bind every role"),
        (ROLE, at("rules/+", READS_SECRETS), "cluster-wide-secrets", "all secrets of the cluster"),
        (
            ROLE,
            at("rules/+", {"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}),
            "role-powers",
            "through its node",
        ),
        (
            REQUESTERS,
            at("subjects", [{"kind": "Group", "name": "system:unauthenticated"}]),
            "binding-anonymous",
            "system:unauthenticated",
        ),
        (REQUESTERS, at("roleRef/name", "cluster-admin"), "binding-cluster-admin", "cluster-admin"),
        (
            ("lab-requests", types.ADMISSION_BINDING),
            at("spec/validationActions", ["Warn"]),
            "admission-enforced",
            "Warn",
        ),
        (("lab-requests", types.ADMISSION_POLICY), at("spec/failurePolicy", "Ignore"), "admission-enforced", "Ignore"),
        (OPERATOR, at(f"{POD}/serviceAccountName"), "pod-token", "default service account"),
        (OPERATOR, at(f"{POD}/containers/0/securityContext/privileged", True), "pod-privileged", "privileged True"),
        (
            ("lab-prepull-daemonset", types.DAEMON_SET),
            at(f"{POD}/initContainers/0/resources"),
            "pod-storage-limit",
            "init container",
        ),
        (
            ("lab-prepull-daemonset", types.DAEMON_SET),
            at(f"{POD}/volumes", [{"name": "a", "hostPath": {"path": "/run/containerd"}}]),
            "pod-host-path",
            "/run/containerd",
        ),
        (NOTEBOOK, at(f"{POD}/securityContext", {"runAsUser": 0}), "pod-root", "runs as root"),
        (NOTEBOOK, at(f"{POD}/containers/0/resources/limits/memory", "64Gi"), "pod-maximum", "at most"),
        (
            ("lab-notebook-operator-api-server", types.NETWORK_POLICY),
            at("spec/egress/+", TO_METADATA),
            "pods-never-reached",
            "169.254.0.0/16",
        ),
    ],
}


@pytest.mark.parametrize(
    ("stack", "where", "change", "check", "words"),
    [(stack, *mutant) for stack, mutants in BAD_CHANGES.items() for mutant in mutants],
)
def test_a_bad_change_is_refused_with_its_reason(
    stack: str, where: tuple[str, str], change: Change, check: str, words: str
):
    new = [each for each in told(changed(graph(stack), where, change), levels(stack)) if each not in good(stack)]

    assert [finding for found, _, finding in new if found == check and words in finding.message]
