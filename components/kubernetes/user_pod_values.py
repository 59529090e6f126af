"""Values of the chart for users' pods: limits, no privileges, nothing that outlives them, and where they run."""

from typing import Any

from components.kubernetes.chart_notation import Values, egress_rules, hub_size
from components.kubernetes.hub_chart import APP, HubChart
from components.kubernetes.images import split_image
from components.kubernetes.labels import labels
from components.kubernetes.quantities import parse_quantity, size_quantity
from components.kubernetes.tenancy import user_resources
from components.quotas import user_quota_document
from runtime.hub.culling import activity_interval_seconds
from runtime.notebook_operator.pod import NO_NAMES

USER_PODS = {"app": APP, "component": "singleuser-server"}
"""Labels of every user's pod, by which NetworkPolicies select it."""

HUB_ACCESS = {"hub.jupyter.org/network-access-hub": "true"}
"""The chart's label of pods that may reach the hub."""

USER_TOLERATIONS = [
    {"key": key, "operator": "Equal", "value": "user", "effect": "NoSchedule"}
    for key in ("hub.jupyter.org/dedicated", "hub.jupyter.org_dedicated")
]
"""Taints of nodes for users that their pods tolerate, the chart's own; some clouds take no slash in a taint."""

USER_NODES = {"hub.jupyter.org/node-purpose": "user"}
"""The chart's label of nodes for users."""

USER_ROLE = "user-server"
"""Role of a user's pod in the label `hubstack.role`."""

HOME = "/home/jovyan"
SHARED_FOLDER = f"{HOME}/shared-readonly"
SHARED_SUB_PATH = "_shared"
"""Folder of a hub's file system that its administrators share with everybody, by a convention of 2i2c's hubs."""

SHARED_CLAIM = "shared"
"""Name of the claim on another hub's file system."""

DEADLINE_MARGIN_SECONDS = 600
"""How much longer than its greatest age a server's pod may live: the hub ends servers in its own order."""

SHARED_MEMORY_PART = 4
"""`/dev/shm` is this part of a server's memory, which it counts towards; the default of 64M is too small for PyTorch."""

RESTRICTED_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""What the Pod Security Standard `restricted` asks of users' pods; the chart's own have it by default."""


def singleuser_values(chart: HubChart) -> Values:
    """A user's pod: image, limits, and no privileges."""
    name, tag = split_image(chart.image)
    amounts = user_resources(chart.user)
    requests, limits = amounts["requests"], amounts["limits"]
    memory = hub_size(limits["memory"])
    interval = activity_interval_seconds(int(user_quota_document(chart.user)["idle_seconds"]))
    return {
        "hub": {
            "config": {
                "KubeSpawner": {
                    "pod_security_context": RESTRICTED_POD,
                    "container_security_context": RESTRICTED_CONTAINER,
                    "automount_service_account_token": False,
                }
            }
        },
        "singleuser": {
            "image": {"name": name, "tag": tag, "pullPolicy": "IfNotPresent"},
            "cmd": "jupyterhub-singleuser",
            "defaultUrl": "/lab",
            "startTimeout": 300,
            "initContainers": [],
            "uid": 1000,
            "fsGid": 100,
            "allowPrivilegeEscalation": False,
            "cpu": {"limit": parse_quantity(limits["cpu"]), "guarantee": parse_quantity(requests["cpu"])},
            "memory": {"limit": memory, "guarantee": hub_size(requests["memory"])},
            "extraResource": {
                "limits": {"ephemeral-storage": limits["ephemeral-storage"]},
                "guarantees": {"ephemeral-storage": requests["ephemeral-storage"]},
            },
            # A kernel that computes with no browser is known by what the server itself tells, every 5 minutes by default.
            "extraEnv": dict(sorted({**chart.environment, "JUPYTERHUB_ACTIVITY_INTERVAL": str(interval)}.items())),
            "extraLabels": {**HUB_ACCESS, **labels(chart.stack, USER_ROLE)},
            "extraPodConfig": {
                # Addresses of the namespace's Services are nothing that a user's program needs to know.
                "enableServiceLinks": False,
                # The kubelet ends what a hub that is down or gone cannot.
                "activeDeadlineSeconds": int(user_quota_document(chart.user)["max_age_seconds"])
                + DEADLINE_MARGIN_SECONDS,
                **(NO_NAMES if chart.by_address else {}),
            },
            "nodeSelector": dict(sorted(chart.node_selector.items())),
        },
    }


def storage_values(chart: HubChart) -> Values:
    """Where a user may write: parts of the node's disk with a size, gone with the pod."""
    document = user_quota_document(chart.user)
    shared_memory = int(document["memory_bytes"]) // SHARED_MEMORY_PART
    volumes: Values = {
        "home": {"name": "home", "emptyDir": {"sizeLimit": size_quantity(int(document["home_bytes"]))}},
        "tmp": {"name": "tmp", "emptyDir": {"sizeLimit": size_quantity(int(document["tmp_bytes"]))}},
        "shm": {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size_quantity(shared_memory)}},
    }
    mounts: Values = {
        "home": {"name": "home", "mountPath": HOME},
        "tmp": {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (a mount of the pod's own)
        "shm": {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
    }
    if chart.shared:
        volumes["shared"] = {
            "name": "shared",
            "persistentVolumeClaim": {"claimName": SHARED_CLAIM, "readOnly": True},
        }
        mounts["shared"] = {
            "name": "shared",
            "mountPath": SHARED_FOLDER,
            "subPath": SHARED_SUB_PATH,
            "readOnly": True,
        }
    return {
        "singleuser": {
            "storage": {
                "type": "none",
                "homeMountPath": HOME,
                "extraVolumes": volumes,
                "extraVolumeMounts": mounts,
            }
        }
    }


def network_values() -> Values:
    """The chart's policy for users' pods: the hub may be reached, and every rule that opens more is off.

    What the egress profile opens is a policy of the stack's own: the chart's rules would open too much, such as
    100.64.0.0/10, and Kubernetes joins what policies open.
    """
    return {
        "singleuser": {
            # The container that would do it is privileged, and stops one address alone; the policies stop all of them.
            "cloudMetadata": {"blockWithIptables": False},
            "networkPolicy": {
                "enabled": True,
                "ingress": [],
                "egress": [],
                "allowedIngressPorts": [],
                "interNamespaceAccessLabels": "ignore",
                "egressAllowRules": egress_rules(dns=False),
            },
        }
    }


def user_place(values: Values) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The nodes that users' pods run on by the chart's values, for others in their place: labels, and taints."""
    user, scheduling = values["singleuser"], values["scheduling"]["userPods"]
    required = USER_NODES if scheduling["nodeAffinity"]["matchNodePurpose"] == "require" else {}
    return {**required, **user["nodeSelector"]}, [*scheduling["tolerations"], *user.get("extraTolerations", [])]
