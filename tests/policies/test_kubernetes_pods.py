"""Each check of pods: what passes, what is refused, what is missing, what is not known, in which container ever."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi_policy.proxy import unknown_checking_proxy

from policies import resource_types as types
from policies.kubernetes.pods import quantity
from policies.registry import REGISTRY
from tests.policies.kubernetes_cases import (
    CONTAINER,
    DEFAULTS,
    GONE,
    POD,
    UNKNOWN,
    Properties,
    messages,
    pod,
    pod_with,
    verdict,
)

LIMITS = "containers/0/resources/limits"
SECURITY = "containers/0/securityContext"
BARE = {"name": "bare", "image": "a:1"}

CASES: list[tuple[str, Properties, str]] = [
    # Limits of every container, wherever it stands in the list.
    ("pod-memory-limit", pod((f"{LIMITS}/memory", GONE)), "refused"),
    ("pod-memory-limit", pod((f"{LIMITS}/memory", "0")), "refused"),
    ("pod-memory-limit", pod((f"{LIMITS}/memory", "lots")), "refused"),
    ("pod-memory-limit", pod((f"{LIMITS}/memory", 2**30)), "passes"),
    ("pod-memory-limit", pod((f"{LIMITS}/memory", UNKNOWN)), "undecided"),
    ("pod-memory-limit", pod(("containers/0/resources", GONE)), "refused"),
    ("pod-memory-limit", pod(("containers/0/resources", {"requests": {"memory": "1Gi"}})), "refused"),
    ("pod-memory-limit", pod(("containers/0/resources", UNKNOWN)), "undecided"),
    ("pod-memory-limit", pod(("containers/+", BARE)), "refused"),
    ("pod-memory-limit", pod(("initContainers", [BARE])), "refused"),
    ("pod-memory-limit", pod(("initContainers", UNKNOWN)), "undecided"),
    ("pod-memory-limit", pod(("containers", UNKNOWN)), "undecided"),
    ("pod-memory-limit", pod(("ephemeralContainers", [BARE])), "passes"),
    ("pod-memory-limit", pod((f"{LIMITS}/memory", GONE), ("resources", {"limits": {"memory": "1Gi"}})), "passes"),
    ("pod-cpu-limit", pod((f"{LIMITS}/cpu", GONE)), "refused"),
    ("pod-cpu-limit", pod((f"{LIMITS}/cpu", "500m")), "passes"),
    ("pod-cpu-limit", pod((f"{LIMITS}/cpu", UNKNOWN)), "undecided"),
    ("pod-cpu-limit", pod(("containers/+", BARE)), "refused"),
    ("pod-storage-limit", pod((f"{LIMITS}/ephemeral-storage", GONE)), "refused"),
    ("pod-storage-limit", pod((f"{LIMITS}/ephemeral-storage", UNKNOWN)), "undecided"),
    ("pod-storage-limit", pod(("initContainers", [BARE])), "refused"),
    ("pod-maximum", pod((f"{LIMITS}/cpu", "8")), "passes"),
    ("pod-maximum", pod((f"{LIMITS}/cpu", "8001m")), "refused"),
    ("pod-maximum", pod((f"{LIMITS}/memory", "32Gi")), "passes"),
    ("pod-maximum", pod((f"{LIMITS}/memory", "33Gi")), "refused"),
    ("pod-maximum", pod((f"{LIMITS}/memory", UNKNOWN)), "passes"),
    ("pod-scratch-size", pod(("volumes", [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}])), "passes"),
    ("pod-scratch-size", pod(("volumes", [{"name": "a", "emptyDir": {}}])), "refused"),
    ("pod-scratch-size", pod(("volumes", [{"name": "a", "emptyDir": {"medium": "Memory"}}])), "refused"),
    ("pod-scratch-size", pod(("volumes", [{"name": "a", "secret": {"secretName": "s"}}])), "passes"),
    ("pod-scratch-size", pod(("volumes", [{"name": "a", "emptyDir": {"sizeLimit": UNKNOWN}}])), "undecided"),
    ("pod-scratch-size", pod(("volumes", UNKNOWN)), "undecided"),
    # Privileges.
    ("pod-privileged", pod((f"{SECURITY}/privileged", True)), "refused"),
    ("pod-privileged", pod((f"{SECURITY}/privileged", False)), "passes"),
    ("pod-privileged", pod((f"{SECURITY}/privileged", UNKNOWN)), "undecided"),
    ("pod-privileged", pod((f"{SECURITY}/procMount", "Unmasked")), "refused"),
    ("pod-privileged", pod((f"{SECURITY}/procMount", "Default")), "passes"),
    ("pod-privileged", pod(("securityContext/windowsOptions", {"hostProcess": True})), "refused"),
    ("pod-privileged", pod(("securityContext/windowsOptions", UNKNOWN)), "undecided"),
    ("pod-privileged", pod((SECURITY, UNKNOWN)), "undecided"),
    ("pod-escalation", pod((f"{SECURITY}/allowPrivilegeEscalation", True)), "refused"),
    ("pod-escalation", pod((f"{SECURITY}/allowPrivilegeEscalation", GONE)), "refused"),
    ("pod-escalation", pod((f"{SECURITY}/allowPrivilegeEscalation", UNKNOWN)), "undecided"),
    ("pod-escalation", pod((SECURITY, GONE)), "refused"),
    ("pod-capabilities-added", pod((f"{SECURITY}/capabilities/add", ["NET_ADMIN"])), "refused"),
    ("pod-capabilities-added", pod((f"{SECURITY}/capabilities/add", ["NET_BIND_SERVICE"])), "passes"),
    ("pod-capabilities-added", pod((f"{SECURITY}/capabilities/add", UNKNOWN)), "undecided"),
    ("pod-capabilities-added", pod((f"{SECURITY}/capabilities/add", [UNKNOWN])), "undecided"),
    ("pod-capabilities-dropped", pod((f"{SECURITY}/capabilities", GONE)), "refused"),
    ("pod-capabilities-dropped", pod((f"{SECURITY}/capabilities/drop", ["NET_RAW"])), "refused"),
    ("pod-capabilities-dropped", pod((f"{SECURITY}/capabilities/drop", UNKNOWN)), "undecided"),
    ("pod-root", pod(("securityContext/runAsUser", 0)), "refused"),
    ("pod-root", pod((f"{SECURITY}/runAsUser", 0)), "refused"),
    ("pod-root", pod((f"{SECURITY}/runAsUser", UNKNOWN), ("securityContext/runAsNonRoot", GONE)), "undecided"),
    ("pod-root", pod(("securityContext", GONE)), "refused"),
    ("pod-root", pod(("securityContext", {"runAsNonRoot": False})), "refused"),
    ("pod-root", pod(("securityContext", {"runAsUser": 1000})), "passes"),
    ("pod-root", pod(("securityContext", {"runAsNonRoot": True})), "passes"),
    ("pod-root", pod(("securityContext", {"runAsNonRoot": True}), (f"{SECURITY}/runAsNonRoot", False)), "refused"),
    ("pod-root", pod(("securityContext", UNKNOWN)), "undecided"),
    ("pod-seccomp", pod(("securityContext/seccompProfile", GONE)), "refused"),
    ("pod-seccomp", pod(("securityContext/seccompProfile/type", "Unconfined")), "refused"),
    ("pod-seccomp", pod(("securityContext/seccompProfile/type", "Localhost")), "passes"),
    ("pod-seccomp", pod(("securityContext/seccompProfile/type", UNKNOWN)), "undecided"),
    ("pod-seccomp", pod((f"{SECURITY}/seccompProfile", {"type": "Unconfined"})), "refused"),
    *(
        ("pod-host-namespaces", pod((key, value)), expected)
        for key in ("hostNetwork", "hostPID", "hostIPC")
        for value, expected in ((True, "refused"), (False, "passes"), (UNKNOWN, "undecided"))
    ),
    ("pod-host-path", pod(("volumes", [{"name": "a", "hostPath": {"path": "/"}}])), "refused"),
    ("pod-host-path", pod(("volumes", [{"name": "a", "hostPath": UNKNOWN}])), "undecided"),
    ("pod-host-path", pod(("volumes", [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}])), "passes"),
    ("pod-host-path", pod(("volumes", UNKNOWN)), "undecided"),
    ("pod-host-port", pod(("containers/0/ports", [{"containerPort": 80, "hostPort": 80}])), "refused"),
    ("pod-host-port", pod(("containers/0/ports", [{"containerPort": 80}])), "passes"),
    ("pod-host-port", pod(("containers/0/ports", [{"containerPort": 80, "hostPort": 0}])), "passes"),
    ("pod-host-port", pod(("containers/0/ports", UNKNOWN)), "undecided"),
    # What pods are handed.
    ("pod-image-pinned", pod(("containers/0/image", "a")), "refused"),
    ("pod-image-pinned", pod(("containers/0/image", "a:latest")), "refused"),
    ("pod-image-pinned", pod(("containers/0/image", "registry.example.org:5000/a")), "refused"),
    ("pod-image-pinned", pod(("containers/0/image", "registry.example.org:5000/a:1")), "passes"),
    ("pod-image-pinned", pod(("containers/0/image", "a:latest@sha256:abc")), "passes"),
    ("pod-image-pinned", pod(("containers/0/image", UNKNOWN)), "passes"),
    ("pod-image-pinned", pod(("initContainers", [{**CONTAINER, "image": "a:main"}])), "refused"),
    ("pod-token", pod(("automountServiceAccountToken", GONE)), "refused"),
    ("pod-token", pod(("automountServiceAccountToken", True)), "refused"),
    ("pod-token", pod(("automountServiceAccountToken", True), ("serviceAccountName", "default")), "refused"),
    ("pod-token", pod(("automountServiceAccountToken", True), ("serviceAccountName", "operator")), "passes"),
    ("pod-token", pod(("automountServiceAccountToken", True), ("serviceAccountName", UNKNOWN)), "undecided"),
    ("pod-token", pod(("automountServiceAccountToken", UNKNOWN)), "undecided"),
    (
        "pod-token",
        pod(("volumes", [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}])),
        "refused",
    ),
    ("pod-secret-in-environment", pod(("containers/0/env", [{"name": "DB_PASSWORD", "value": "x"}])), "refused"),
    ("pod-secret-in-environment", pod(("containers/0/env", [{"name": "DB_PASSWORD", "value": UNKNOWN}])), "refused"),
    ("pod-secret-in-environment", pod(("containers/0/env", [{"name": "TOKEN_FILE", "value": "/a"}])), "passes"),
    ("pod-secret-in-environment", pod(("containers/0/env", [{"name": "LANG", "value": UNKNOWN}])), "passes"),
    (
        "pod-secret-in-environment",
        pod(("containers/0/env", [{"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}])),
        "passes",
    ),
    ("pod-secret-in-environment", pod(("containers/0/env", UNKNOWN)), "undecided"),
    (
        "pod-secret-in-environment",
        pod(("initContainers", [{**CONTAINER, "env": [{"name": "TOKEN", "value": "x"}]}])),
        "refused",
    ),
    ("pod-read-only-mount", pod(("containers/0/volumeMounts", [{"mountPath": "/home/a/shared-readonly"}])), "refused"),
    (
        "pod-read-only-mount",
        pod(("containers/0/volumeMounts", [{"mountPath": "/home/a/shared-readonly", "readOnly": True}])),
        "passes",
    ),
    (
        "pod-read-only-mount",
        pod(("containers/0/volumeMounts", [{"mountPath": "/read_only/read-only", "readOnly": UNKNOWN}])),
        "undecided",
    ),
    ("pod-read-only-mount", pod(("containers/0/volumeMounts", [{"mountPath": "/home/a"}])), "passes"),
]

CHECKS = sorted({check.id for check in REGISTRY.checks if check.types == (types.POD,)})


@pytest.mark.parametrize(("check", "properties", "expected"), CASES)
def test_a_check_of_pods_says_what_it_should(check: str, properties: Properties, expected: str):
    assert verdict(check, types.POD, properties) == expected


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_of_pods_passes_the_good_one_and_refuses_another(check: str):
    verdicts = {expected for each, _, expected in CASES if each == check}

    assert verdict(check, types.POD, POD) == "passes"
    assert {"refused"} <= verdicts


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_of_pods_can_be_switched_off(check: str):
    bad = next(properties for each, properties, expected in CASES if (each, expected) == (check, "refused"))

    assert verdict(check, types.POD, bad, disabled=[check]) == "passes"
    assert verdict(check, types.POD, bad, disabled=["another"]) == "refused"


BAD_CONTAINERS: list[tuple[str, Properties]] = [
    ("pod-privileged", {"securityContext": {"privileged": True}}),
    ("pod-escalation", {"securityContext": {}}),
    ("pod-capabilities-added", {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}}),
    ("pod-capabilities-dropped", {"securityContext": {"allowPrivilegeEscalation": False}}),
    ("pod-root", {"securityContext": {"runAsUser": 0}}),
    ("pod-seccomp", {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
    ("pod-host-port", {"ports": [{"hostPort": 22}]}),
    ("pod-image-pinned", {"image": "a:latest"}),
    ("pod-secret-in-environment", {"env": [{"name": "API_TOKEN", "value": "x"}]}),
]


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(("check", "container"), BAD_CONTAINERS)
def test_a_bad_container_is_found_whatever_its_kind_and_place(check: str, container: Properties, kind: str):
    assert verdict(check, types.POD, pod_with(kind, **container)) == "refused"


def test_a_finding_names_the_container():
    [message] = messages("pod-memory-limit", types.POD, pod(("initContainers", [BARE])))

    assert message.startswith("init container bare has no memory limit (resources.limits.memory is None")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("500m", 0.5),
        ("2Gi", 2 * 2**30),
        ("2G", 2e9),
        ("1e3", 1000),
        ("12E2", 1200),
        ("1E", 1e18),
        (" 1k ", 1000),
        (3.0, 3),
        ("", None),
        ("1 Gi", None),
        ("Gi", None),
        (None, None),
        (True, None),
    ],
)
def test_amounts_are_read_as_kubernetes_reads_them(text: Any, amount: float | None):
    assert quantity(text) == amount


values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(UNKNOWN),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "spec",
                    "template",
                    "containers",
                    "initContainers",
                    "securityContext",
                    "resources",
                    "limits",
                    "volumes",
                    "env",
                    "name",
                    "value",
                    "ports",
                    "capabilities",
                    "add",
                    "drop",
                    "hostPath",
                    "emptyDir",
                    "metadata",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=16,
)


@given(st.dictionaries(st.sampled_from(["spec", "metadata", "template", "items", "data"]), values))
def test_no_properties_make_a_check_fail_to_answer(properties: Properties):
    for kind in (
        "core/v1:Pod",
        "apps/v1:Deployment",
        "core/v1:PodList",
        "apps/v1:DeploymentPatch",
        "kubeflow.org/v1:Notebook",
    ):
        list(REGISTRY.findings(None, f"kubernetes:{kind}", "x", unknown_checking_proxy(properties), DEFAULTS))
