"""The notebook operator's pod and what it may reach."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from components.kubernetes.isolation import PodTarget, allow_egress_to_policy, api_server_rule, name_server_policy
from components.kubernetes.labels import labels
from components.kubernetes.pods import restricted_container, restricted_pod
from components.kubernetes.profile_manifests import NOTEBOOK_PORT
from components.kubernetes.tenancy import Room

OPERATOR = "notebook-operator"
"""Name of the Deployment, its service account, its settings and its ClusterRole."""

OPERATOR_UID = 65532
"""User of images/operator."""

HEALTH_PORT = 8080

SETTINGS_FOLDER = "/etc/notebook-operator"
SETTINGS_FILE = "settings.json"

API_SERVER_PORTS = (443, 6443)
"""TCP ports of API servers: that of the Service `kubernetes`, and the usual one of what stands behind it."""

_LIMITS = {"cpu": "500m", "memory": "192Mi", "ephemeral-storage": "64Mi"}
"""Two hundred notebooks take the operator less than 150 MB (docs/benchmarks.md)."""

Spec = dict[str, Any]


def deployment_spec(stack: str, image: str, settings: str, pull_secrets: Sequence[str] = ()) -> Spec:
    """The Deployment's spec; other settings start a new pod.

    There is never a second pod beside the first: two operators would answer the same event.

    Args:
        stack: value of the label `hubstack.stack`.
        image: the operator's image.
        settings: content of its settings' file.
        pull_secrets: Secrets of its namespace with credentials of the image's registry.
    """
    # A busy node takes longer than Kubernetes' second; an operator that works through many notebooks is ready, too.
    probe = {"httpGet": {"path": "/healthz", "port": "health"}, "timeoutSeconds": 5}
    container = {
        **restricted_container(
            "operator", image, requests={**_LIMITS, "cpu": "50m", "memory": "128Mi"}, limits=_LIMITS
        ),
        "ports": [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        "startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 10},
        "livenessProbe": {**probe, "periodSeconds": 20, "failureThreshold": 3},
        "volumeMounts": [
            {"name": "settings", "mountPath": SETTINGS_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (a volume of the pod's own)
        ],
    }
    pod = restricted_pod([container], uid=OPERATOR_UID, gid=OPERATOR_UID)
    pod["serviceAccountName"] = OPERATOR
    pod["automountServiceAccountToken"] = True
    pod["terminationGracePeriodSeconds"] = 20
    pod["volumes"] = [
        {"name": "settings", "configMap": {"name": OPERATOR}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
    ]
    if pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in pull_secrets]
    checksum = hashlib.sha256(settings.encode()).hexdigest()
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels(stack, OPERATOR)},
        "template": {
            "metadata": {"labels": labels(stack, OPERATOR), "annotations": {"hubstack.io/settings": checksum}},
            "spec": pod,
        },
    }


def network_policies(stack: str, notebooks: Mapping[str, str], api_servers: Sequence[str]) -> dict[str, Spec]:
    """Specs of the operator's policies by what they open; nothing reaches the operator but its node's kubelet.

    Args:
        stack: value of the label `hubstack.stack`.
        notebooks: labels of the namespaces that notebooks are in.
        api_servers: ranges that the API servers are in; none for every address but the metadata services.
    """
    pods = labels(stack, OPERATOR)
    targets: list[PodTarget] = [{"namespaceLabels": dict(notebooks), "labels": {}}]
    return {
        "names": name_server_policy(pods=pods),
        "api-server": {
            "podSelector": {"matchLabels": pods},
            "policyTypes": ["Egress"],
            "egress": [api_server_rule(API_SERVER_PORTS, api_servers)],
        },
        "notebooks": allow_egress_to_policy(pods=pods, targets=targets, ports=[NOTEBOOK_PORT]),
    }


def room() -> Room:
    """What the operator takes of a namespace's quota."""
    return {"pods": 1, "cpu": 0.5, "memory": "192M", "scratch": "64M"}
