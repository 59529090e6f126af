"""What pods may do on the node that they run on."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.pods import containers
from policies.reader import UNKNOWN, Value, entries, is_number, items, read
from policies.registry import REGISTRY
from policies.resource_types import POD

HARMLESS = ("NET_BIND_SERVICE",)
"""Capabilities that a container may add under the Pod Security Standard `restricted`."""

PROFILES = ("RuntimeDefault", "Localhost")


@REGISTRY.check(
    "pod-privileged",
    family="exposure",
    severity="critical",
    types=(POD,),
    remediation="Remove it: a privileged container is root on its node.",
)
def pod_privileged(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container is privileged or sees the node's /proc (CIS Kubernetes 5.2.2, 5.2.11; Pod Security baseline)."""
    bad = {"privileged": (None, False), "procMount": (None, "Default")}
    for container in containers(pod):
        for key, fine in bad.items():
            value = read(container.given, "securityContext", key)
            if value is UNKNOWN:
                yield undecided(f"{container.what}'s securityContext.{key}")
            elif value not in fine:
                yield violation(f"{container.what} has {key} {value!r}")
        windows = container.security("windowsOptions")
        process = read(windows, "hostProcess")
        if process is UNKNOWN:
            yield undecided(f"{container.what}'s windowsOptions.hostProcess")
        elif process:
            yield violation(f"{container.what} is a process of its node (windowsOptions.hostProcess)")


@REGISTRY.check(
    "pod-escalation",
    family="exposure",
    severity="high",
    types=(POD,),
    remediation="Set securityContext.allowPrivilegeEscalation of each container to false; Kubernetes' default is true.",
)
def pod_escalation(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container gains rights by a setuid program (CIS Kubernetes 5.2.6)."""
    for container in containers(pod):
        value = read(container.given, "securityContext", "allowPrivilegeEscalation")
        if value is UNKNOWN:
            yield undecided(f"{container.what}'s securityContext.allowPrivilegeEscalation")
        elif value is not False:
            yield violation(f"{container.what} may gain rights (allowPrivilegeEscalation is {value!r})")


@REGISTRY.check(
    "pod-capabilities-added",
    family="exposure",
    severity="critical",
    types=(POD,),
    remediation="Remove them from securityContext.capabilities.add.",
)
def pod_capabilities_added(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container adds capabilities (CIS Kubernetes 5.2.8, 5.2.9)."""
    for container in containers(pod):
        for added in items(container.given, "securityContext", "capabilities", "add"):
            if added is UNKNOWN:
                yield undecided(f"{container.what}'s securityContext.capabilities.add")
            elif added not in HARMLESS:
                yield violation(f"{container.what} adds the capability {added!r}")


@REGISTRY.check(
    "pod-capabilities-dropped",
    family="exposure",
    severity="medium",
    types=(POD,),
    remediation='Set securityContext.capabilities.drop of each container to ["ALL"].',
)
def pod_capabilities_dropped(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every container gives up all capabilities (CIS Kubernetes 5.2.10)."""
    for container in containers(pod):
        dropped = list(items(container.given, "securityContext", "capabilities", "drop"))
        if "ALL" in dropped:
            continue
        if UNKNOWN in dropped:
            yield undecided(f"{container.what}'s securityContext.capabilities.drop")
        else:
            yield violation(f"{container.what} keeps capabilities (capabilities.drop is {dropped!r})")


@REGISTRY.check(
    "pod-root",
    family="exposure",
    severity="high",
    types=(POD,),
    remediation="Set runAsNonRoot to true, and runAsUser to another user than 0 if it is set.",
)
def pod_root(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container runs as root (CIS Kubernetes 5.2.7)."""
    for container in containers(pod):
        user, never = container.security("runAsUser"), container.security("runAsNonRoot")
        if is_number(user) and user == 0:
            yield violation(f"{container.what} runs as root (runAsUser is 0)")
        elif never is True or is_number(user):
            continue
        elif UNKNOWN in (user, never):
            yield undecided(f"{container.what}'s securityContext.runAsNonRoot")
        else:
            yield violation(f"{container.what} runs as root if its image does (runAsNonRoot is {never!r})")


@REGISTRY.check(
    "pod-seccomp",
    family="exposure",
    severity="medium",
    types=(POD,),
    remediation="Set securityContext.seccompProfile.type of the pod to RuntimeDefault; Kubernetes' default is none.",
)
def pod_seccomp(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every container's system calls are filtered (CIS Kubernetes 5.7.2)."""
    for container in containers(pod):
        profile = container.security("seccompProfile")
        kind = read(profile, "type")
        if kind is UNKNOWN:
            yield undecided(f"{container.what}'s securityContext.seccompProfile.type")
        elif kind not in PROFILES:
            yield violation(f"{container.what} may make any system call (seccompProfile.type is {kind!r})")


@REGISTRY.check(
    "pod-host-namespaces",
    family="exposure",
    severity="critical",
    types=(POD,),
    remediation="Remove it.",
)
def pod_host_namespaces(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No pod shares its node's network, processes or memory (CIS Kubernetes 5.2.3, 5.2.4, 5.2.5).

    NetworkPolicies say nothing about pods on the node's network.
    """
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        value = read(pod, "spec", key)
        if value is UNKNOWN:
            yield undecided(f"spec.{key}")
        elif value:
            yield violation(f"shares its node's namespaces ({key} is {value!r})")


@REGISTRY.check(
    "pod-host-path",
    family="exposure",
    severity="critical",
    types=(POD,),
    remediation="Mount a claim, an emptyDir, a ConfigMap or a Secret instead.",
)
def pod_host_path(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No pod mounts a folder of its node (CIS Kubernetes 5.2.12)."""
    for volume in items(pod, "spec", "volumes"):
        path = read(volume, "hostPath")
        # A volume has one source: one that is known is not its node's folder.
        other = any(key not in ("name", "hostPath") and value is not None for key, value in entries(volume))
        if volume is UNKNOWN or (path is UNKNOWN and not other):
            yield undecided("spec.volumes")
        elif path is not None and path is not UNKNOWN:
            yield violation(f"mounts {read(path, 'path')!r} of its node")


@REGISTRY.check(
    "pod-host-port",
    family="exposure",
    severity="high",
    types=(POD,),
    remediation="Remove hostPort; a Service or a route leads to the pod.",
)
def pod_host_port(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container takes a port of its node (CIS Kubernetes 5.2.13)."""
    for container in containers(pod):
        for port in items(container.given, "ports"):
            number = read(port, "hostPort")
            if number is UNKNOWN:
                yield undecided(f"{container.what}'s ports")
            elif number:
                yield violation(f"{container.what} takes port {number!r} of its node")
