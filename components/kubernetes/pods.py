"""Pods as the Pod Security Standard `restricted` wants them, with limits for everything."""

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
"""A part of an object, as Kubernetes writes it."""

UID, GID = 65534, 65534
"""Nobody: for programs that own no files."""


def restricted_pod(containers: Sequence[Spec], *, uid: int = UID, gid: int = GID) -> Spec:
    """Spec of a pod whose containers run as `uid`, without a token, a host's namespaces or links to other services."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": gid,
            "fsGroup": gid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
    }


def restricted_container(name: str, image: str, *, requests: Mapping[str, str], limits: Mapping[str, str]) -> Spec:
    """A container without privileges on a read-only root."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": dict(requests), "limits": dict(limits)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
