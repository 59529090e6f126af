"""A hub's chart by its values: what they say, what the chart does where they are silent, and how they are undone."""

import base64
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi_policy.proxy import unknown_checking_proxy

from policies import resource_types as types
from policies.kubernetes.hub_values import digest
from policies.kubernetes.objects import pod_specs
from policies.reader import read
from policies.registry import REGISTRY, StackResource
from tests.policies.kubernetes_cases import (
    DEFAULTS,
    GONE,
    UNKNOWN,
    Properties,
    changed,
    messages,
    resource,
    stack_messages,
    stack_verdict,
    verdict,
)

VALUES: Properties = {
    "hub": {
        "config": {"JupyterHub": {"authenticator_class": "shared-password"}},
        "activeServerLimit": 50,
        "existingSecret": "hub-password",
        "cookieSecret": "b" * 64,
    },
    "proxy": {"service": {"type": "ClusterIP"}},
    "ingress": {"enabled": True, "hosts": ["a.example.org"], "tls": [{"hosts": ["a.example.org"], "secretName": "a"}]},
    "cull": {"enabled": True, "timeout": 1800, "maxAge": 21600},
    "singleuser": {
        "image": {"name": "quay.io/jupyter/scipy-notebook", "tag": "2024-03-18"},
        "cpu": {"limit": 2},
        "memory": {"limit": "2G"},
        "extraResource": {"limits": {"ephemeral-storage": "4Gi"}},
        "cloudMetadata": {"blockWithIptables": False},
        "extraPodConfig": {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}},
        "networkPolicy": {
            "egressAllowRules": {
                "nonPrivateIPs": False,
                "dnsPortsPrivateIPs": False,
                "dnsPortsCloudMetadataServer": False,
            }
        },
        "storage": {
            "type": "none",
            "extraVolumes": {"shm": {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}},
            "extraVolumeMounts": {
                "shm": {"name": "shm", "mountPath": "/dev/shm"},
                "shared": {"name": "shared", "mountPath": "/home/jovyan/shared-readonly", "readOnly": True},
            },
        },
    },
}
VALUES["hub"]["config"]["KubeSpawner"] = {"container_security_context": {"capabilities": {"drop": ["ALL"]}}}

RULES = "singleuser/networkPolicy/egressAllowRules"


def release(*changes: tuple[str, Any], **properties: Any) -> Properties:
    """A good release of the chart with changes to its values."""
    values = copy.deepcopy(VALUES)
    for path, value in changes:
        values = changed(values, path, value)
    return {
        "chart": "jupyterhub",
        "version": "4.4.0",
        "namespace": "hub",
        "name": "hub",
        "values": values,
        **properties,
    }


def profile(**override: Any) -> tuple[str, Any]:
    return "singleuser/profileList", [{"display_name": "large", "kubespawner_override": override}]


def choice(**override: Any) -> tuple[str, Any]:
    options = {"image": {"choices": {"new": {"kubespawner_override": override}}}}
    return "singleuser/profileList", [{"display_name": "large", "profile_options": options}]


def code(text: str) -> tuple[str, Any]:
    return "hub/extraConfig", {"10-code": text}


CODE = "import os\nc.JupyterHub.authenticator_class = os.environ['CLASS']\n"
SPAWNER = "hub/config/KubeSpawner"
BAD_CONTAINER = {"name": "bad", "image": "a:1"}
SHARED_MOUNT = {"name": "shared", "mount_path": "/home/jovyan/shared-readonly"}

CASES: list[tuple[str, Properties, str]] = [
    # What users' servers may reach.
    ("hub-network-policy", release(("singleuser/networkPolicy/enabled", False)), "refused"),
    ("hub-network-policy", release(("singleuser/networkPolicy/enabled", UNKNOWN)), "undecided"),
    ("hub-network-policy", release(("singleuser", GONE)), "passes"),
    ("hub-network-policy", release(("singleuser/networkPolicy/enabled", None)), "passes"),
    ("hub-network-policy", release(("singleuser/networkPolicy/enabled", None), allowNullValues=True), "refused"),
    ("hub-egress-rules", release(("singleuser", GONE)), "refused"),
    *(
        ("hub-egress-rules", release((f"{RULES}/{key}", value)), expected)
        for key in (
            "nonPrivateIPs",
            "dnsPortsPrivateIPs",
            "dnsPortsCloudMetadataServer",
            "privateIPs",
            "cloudMetadataServer",
        )
        for value, expected in ((True, "refused"), (False, "passes"), (UNKNOWN, "undecided"))
    ),
    ("hub-egress-rules", release((f"{RULES}/nonPrivateIPs", GONE)), "refused"),
    ("hub-egress-rules", release((f"{RULES}/dnsPortsPrivateIPs", GONE)), "refused"),
    ("hub-egress-rules", release((f"{RULES}/privateIPs", None)), "passes"),
    ("hub-egress-rules", release((f"{RULES}/dnsPortsKubeSystemNamespace", True)), "passes"),
    # How many servers, for how long.
    ("hub-server-limit", release(("hub/activeServerLimit", GONE)), "refused"),
    ("hub-server-limit", release(("hub/activeServerLimit", 0)), "refused"),
    ("hub-server-limit", release(("hub/activeServerLimit", 1001)), "refused"),
    ("hub-server-limit", release(("hub/activeServerLimit", UNKNOWN)), "undecided"),
    ("hub-server-limit", release(("hub/config/JupyterHub/active_server_limit", 0)), "refused"),
    ("hub-server-limit", release(code("c.JupyterHub.active_server_limit = 0")), "refused"),
    ("hub-named-servers", release(("hub/allowNamedServers", True)), "refused"),
    ("hub-named-servers", release(("hub/allowNamedServers", True), ("hub/namedServerLimitPerUser", 3)), "passes"),
    ("hub-named-servers", release(("hub/allowNamedServers", UNKNOWN)), "undecided"),
    ("hub-cull", release(("cull/enabled", False)), "refused"),
    ("hub-cull", release(("cull", GONE)), "passes"),
    ("hub-cull", release(("cull/timeout", 0)), "refused"),
    ("hub-cull", release(("cull/timeout", UNKNOWN)), "undecided"),
    ("hub-maximum-age", release(("cull/maxAge", GONE)), "refused"),
    ("hub-maximum-age", release(("cull", GONE)), "refused"),
    ("hub-maximum-age", release(("cull/maxAge", 604801)), "refused"),
    ("hub-maximum-age", release(("cull/maxAge", UNKNOWN)), "undecided"),
    # The chart adds its culler to lists that these replace.
    *(
        ("hub-cull", release(change), expected)
        for change, expected in (
            (("hub/config/JupyterHub/services", []), "refused"),
            (("hub/config/JupyterHub/load_roles", [{"name": "reader"}]), "refused"),
            (("hub/config/JupyterHub/services", UNKNOWN), "undecided"),
            (code("c.JupyterHub.services = [{'name': 'reader'}]"), "refused"),
            (code("c.JupyterHub.load_roles = []"), "refused"),
            (("hub/services", {"reader": {"apiToken": "x"}}), "passes"),
            (("hub/loadRoles", {"reader": {"scopes": ["list:users"], "services": ["reader"]}}), "passes"),
        )
    ),
    # What takes users' pods from the policies of their namespace.
    *(
        ("hub-pods-held", release(change), expected)
        for change, expected in (
            ((f"{SPAWNER}/common_labels", {"app": "x"}), "refused"),
            ((f"{SPAWNER}/component_label", "x"), "refused"),
            ((f"{SPAWNER}/component_label", "singleuser-server"), "passes"),
            ((f"{SPAWNER}/namespace", "elsewhere"), "refused"),
            ((f"{SPAWNER}/namespace", UNKNOWN), "undecided"),
            ((f"{SPAWNER}/enable_user_namespaces", True), "refused"),
            ((f"{SPAWNER}/enable_user_namespaces", False), "passes"),
            (code("c.KubeSpawner.namespace = 'elsewhere'"), "refused"),
            (profile(common_labels={"app": "x"}), "refused"),
            (choice(component_label="x"), "refused"),
        )
    ),
    # Who gets in, and how.
    ("hub-authenticator", release(("hub/config", GONE)), "refused"),
    *(
        ("hub-authenticator", release(("hub/config/JupyterHub/authenticator_class", name)), expected)
        for name, expected in (
            ("dummy", "refused"),
            ("tmp", "refused"),
            ("null", "refused"),
            ("jupyterhub.auth.DummyAuthenticator", "refused"),
            ("tmpauthenticator.TmpAuthenticator", "refused"),
            ("jupyterhub.auth.NullAuthenticator", "refused"),
            ("github", "passes"),
            (UNKNOWN, "undecided"),
        )
    ),
    ("hub-authenticator", release(code("c.JupyterHub.authenticator_class = 'dummy'")), "refused"),
    ("hub-tls", release(("proxy", GONE)), "refused"),
    ("hub-tls", release(("proxy/service/type", "NodePort")), "refused"),
    ("hub-tls", release(("proxy/service/type", UNKNOWN)), "undecided"),
    (
        "hub-tls",
        release(("proxy/service/type", "LoadBalancer"), ("proxy/https", {"enabled": True, "hosts": ["a"]})),
        "passes",
    ),
    ("hub-tls", release(("proxy/service/type", "LoadBalancer"), ("proxy/https", {"enabled": True})), "refused"),
    ("hub-tls", release(("proxy/https", {"enabled": True, "type": "offload"})), "passes"),
    *(
        ("hub-tls", release(("proxy/https", {"enabled": True, "hosts": ["a"], "type": kind})), expected)
        for kind, expected in (("", "refused"), ("none", "refused"), ("manual", "passes"), (UNKNOWN, "undecided"))
    ),
    ("hub-tls", release(("hub/service", {"type": "LoadBalancer"})), "refused"),
    ("hub-tls", release(("hub/service", {"type": "NodePort"})), "refused"),
    ("hub-tls", release(("hub/service", {"type": "ClusterIP"})), "passes"),
    ("hub-tls", release(("hub/service", {"type": UNKNOWN})), "undecided"),
    ("hub-tls", release(("ingress/tls/0/hosts", ["b.example.org"])), "refused"),
    ("hub-tls", release(("ingress/hosts/+", "b.example.org")), "refused"),
    ("hub-tls", release(("ingress/hosts", GONE)), "refused"),
    ("hub-tls", release(("ingress/hosts/+", UNKNOWN)), "undecided"),
    # Without a Secret it is the controller's own certificate, and without hosts it stands for all of them.
    ("hub-tls", release(("ingress/tls", [{"hosts": ["a.example.org"]}])), "passes"),
    ("hub-tls", release(("ingress/tls", [{"secretName": "a"}])), "passes"),
    ("hub-tls", release(("ingress/tls", GONE)), "refused"),
    ("hub-tls", release(("ingress/tls", UNKNOWN)), "undecided"),
    ("hub-tls", release(("httpRoute", {"enabled": True})), "refused"),
    *(
        ("hub-tls", release(("httpRoute", {"enabled": True, "gateway": {"name": "g", "sectionName": name}})), expected)
        for name, expected in (
            ("https", "passes"),
            ("websecure", "passes"),
            ("web", "undecided"),
            ("insecure", "undecided"),
            (UNKNOWN, "undecided"),
        )
    ),
    ("hub-tls", release(("httpRoute", {"enabled": True, "parentRefs": [{"name": "g"}]})), "refused"),
    ("hub-secret-in-values", release(("hub/config/SharedPasswordAuthenticator", {"user_password": "x"})), "refused"),
    (
        "hub-secret-in-values",
        release(("hub/config/SharedPasswordAuthenticator", {"user_password": UNKNOWN})),
        "refused",
    ),
    ("hub-secret-in-values", release(("hub/config/SharedPasswordAuthenticator", UNKNOWN)), "undecided"),
    ("hub-secret-in-values", release(("hub/config/VisitorAuthenticator", {"user_password": "x"})), "refused"),
    ("hub-secret-in-values", release(("hub/config/AnyOther", {"admin_password": UNKNOWN})), "refused"),
    ("hub-secret-in-values", release(("hub/config/VisitorAuthenticator", {"user_password": ""})), "passes"),
    ("hub-secret-in-values", release(("hub/config/GitHubOAuthenticator", {"client_secret": "x"})), "refused"),
    ("hub-secret-in-values", release(("proxy/https", {"manual": {"key": "x"}})), "refused"),
    ("hub-secret-in-values", release(("proxy/secretToken", "x")), "passes"),
    ("hub-images-pinned", release(("singleuser/image/tag", "latest")), "refused"),
    ("hub-images-pinned", release(("hub/image", {"name": "a", "tag": "main"})), "refused"),
    ("hub-images-pinned", release(("hub/image", {"name": "a", "tag": "main@sha256:abc"})), "passes"),
    ("hub-images-pinned", release(("prePuller/extraImages", {"a": {"name": "a"}})), "refused"),
    ("hub-images-pinned", release(("prePuller/extraImages", {"a": {"name": "a", "tag": "1"}})), "passes"),
    ("hub-images-pinned", {"chart": "jupyterhub", "values": UNKNOWN}, "undecided"),
    ("hub-code", release(code("c.KubeSpawner.cpu_limit = 1.0\n'text'")), "passes"),
    ("hub-code", release(code(CODE)), "undecided"),
    ("hub-code", release(code("this is no Python")), "undecided"),
    ("hub-code", release(code(UNKNOWN)), "undecided"),  # pyright: ignore[reportArgumentType]
    ("hub-code", release(("hub/extraConfig", UNKNOWN)), "undecided"),
    (
        "hub-code",
        release(("hub/extraFiles", {"a": {"mountPath": "/x/jupyterhub_config.d/a.py", "stringData": CODE}})),
        "undecided",
    ),
    ("hub-code", release(("hub/extraFiles", {"a": {"mountPath": "/x/logo.svg", "stringData": CODE}})), "passes"),
    *(
        ("hub-code", release(("hub/extraFiles", {"a": {"mountPath": place, "stringData": CODE}})), expected)
        for place, expected in (
            ("/usr/local/etc/jupyterhub/jupyterhub_config.py", "undecided"),
            ("/usr/local/etc/../lib/python3.12/site-packages/z2jh.py", "undecided"),
            ("/usr/local/share/jupyterhub/static/external/logo.svg", "passes"),
        )
    ),
    # What runs in the place of the chart's own programs, or beside them.
    *(
        ("hub-code", release((f"hub/{key}", value)), expected)
        for key, value, expected in (
            ("args", ["jupyterhub", "--config", "/mine.py"], "undecided"),
            ("args", [], "passes"),
            ("command", ["sh", "-c", "true"], "undecided"),
            ("command", UNKNOWN, "undecided"),
            ("extraContainers", [BAD_CONTAINER], "undecided"),
            ("initContainers", [BAD_CONTAINER], "undecided"),
            ("extraVolumeMounts", [{"name": "a", "mountPath": "/usr/local/etc/jupyterhub"}], "undecided"),
            ("extraVolumeMounts", [{"name": "a", "mountPath": "/usr/local"}], "undecided"),
            ("extraVolumeMounts", [{"name": "a", "mountPath": "/"}], "undecided"),
            ("extraVolumeMounts", [{"name": "a", "mountPath": UNKNOWN}], "undecided"),
            ("extraVolumeMounts", UNKNOWN, "undecided"),
            ("extraVolumeMounts", [{"name": "a", "mountPath": "/usr/local/share/jupyterhub/templates"}], "passes"),
            ("config/JupyterHub/spawner_class", "mine.Spawner", "refused"),
            ("config/JupyterHub/spawner_class", UNKNOWN, "undecided"),
            ("config/JupyterHub/spawner_class", "kubespawner.KubeSpawner", "passes"),
        )
    ),
    ("hub-code", release(code("c.JupyterHub.spawner_class = 'simple'")), "refused"),
    # Roles that make users masters of others.
    *(
        ("hub-roles", release(("hub/loadRoles", {"a": role})), expected)
        for role, expected in (
            ({"scopes": ["admin:users"], "users": ["ada"]}, "refused"),
            ({"scopes": ["access:servers"], "groups": ["teachers"]}, "refused"),
            ({"scopes": ["servers!group=class"], "groups": ["teachers"]}, "refused"),
            ({"name": "user", "scopes": ["self", "admin:servers"]}, "refused"),
            ({"name": "server", "scopes": ["tokens"]}, "refused"),
            ({"name": "admin", "users": ["ada"]}, "refused"),
            ({"scopes": UNKNOWN, "users": ["ada"]}, "undecided"),
            ({"name": "user", "scopes": ["self", "shares!user", "admin:servers!user"]}, "passes"),
            ({"scopes": ["list:users", "read:hub"], "users": ["ada"]}, "passes"),
            ({"scopes": ["admin:users"], "services": ["sync"]}, "passes"),
        )
    ),
    ("hub-roles", release(("hub/loadRoles", UNKNOWN)), "undecided"),
    ("hub-roles", release(("hub/loadRoles", {"user": {"scopes": ["admin:servers"]}})), "refused"),
    ("chart-version", release(version=None), "refused"),
    ("chart-version", release(version=">=4"), "refused"),
    ("chart-version", release(version="4.x"), "refused"),
    ("chart-version", release(version="^4.4.0"), "refused"),
    ("chart-version", release(version="4.4.0-beta.1"), "passes"),
    ("chart-version", release(version=UNKNOWN), "undecided"),
    *(
        ("chart-version", release(version=None, chart=chart), expected)
        for chart, expected in (
            ("./jupyterhub-4.4.0.tgz", "passes"),
            ("charts/jupyterhub-4.4.0.tgz", "passes"),
            ("./charts/jupyterhub", "passes"),
            ("../jupyterhub", "passes"),
            ("/srv/charts/jupyterhub", "passes"),
            # Helm's name for a chart of a repository.
            ("jupyterhub/jupyterhub", "refused"),
            ("https://a.example.org/jupyterhub.tgz", "refused"),
        )
    ),
    ("chart-version", release(version=None, chart="oci://registry.example.org/jupyterhub"), "refused"),
    ("chart-known", release(), "passes"),
    ("chart-known", release(chart="oci://registry.example.org/charts/jupyterhub"), "passes"),
    ("chart-known", release(chart="/a/jupyterhub-4.4.0.tgz"), "passes"),
    ("chart-known", release(chart="basehub"), "undecided"),
    ("chart-known", release(postrender="./change"), "undecided"),
    ("chart-known", release(createNamespace=True), "refused"),
]

POD_CASES: list[tuple[str, Properties, str]] = [
    ("pod-memory-limit", release(("singleuser/memory", GONE)), "refused"),
    ("pod-memory-limit", release(("singleuser/memory/limit", UNKNOWN)), "undecided"),
    ("pod-cpu-limit", release(("singleuser/cpu/limit", None)), "refused"),
    ("pod-storage-limit", release(("singleuser/extraResource", GONE)), "refused"),
    ("pod-maximum", release(("singleuser/memory/limit", "64G")), "refused"),
    # The chart's own way to shut the metadata service is a privileged container before each of users'.
    ("pod-privileged", release(("singleuser/cloudMetadata", GONE)), "refused"),
    ("pod-privileged", release(("singleuser/cloudMetadata/blockWithIptables", UNKNOWN)), "undecided"),
    ("pod-escalation", release(("singleuser/allowPrivilegeEscalation", True)), "refused"),
    ("pod-escalation", release(("singleuser/allowPrivilegeEscalation", None), allowNullValues=True), "refused"),
    ("pod-root", release(("singleuser/uid", 0)), "refused"),
    ("pod-seccomp", release(("singleuser/extraPodConfig", GONE)), "refused"),
    ("pod-capabilities-dropped", release((f"{SPAWNER}/container_security_context", GONE)), "refused"),
    ("pod-token", release(("singleuser/serviceAccountName", "someone")), "refused"),
    ("pod-host-namespaces", release(("singleuser/extraPodConfig/hostNetwork", True)), "refused"),
    (
        "pod-host-path",
        release(("singleuser/storage/extraVolumes/a", {"name": "a", "hostPath": {"path": "/"}})),
        "refused",
    ),
    (
        "pod-host-path",
        release(("singleuser/storage/extraVolumes", [{"name": "a", "hostPath": {"path": "/"}}])),
        "refused",
    ),
    ("pod-scratch-size", release(("singleuser/storage/extraVolumes/shm/emptyDir", {})), "refused"),
    ("pod-read-only-mount", release(("singleuser/storage/extraVolumeMounts/shared/readOnly", GONE)), "refused"),
    ("pod-image-pinned", release(("singleuser/image/tag", "latest")), "refused"),
    ("pod-image-pinned", release(("singleuser/image/tag", "latest@sha256:abc")), "passes"),
    ("pod-secret-in-environment", release(("singleuser/extraEnv", {"API_TOKEN": "x"})), "refused"),
    ("pod-secret-in-environment", release(("singleuser/extraEnv", [{"name": "API_TOKEN", "value": "x"}])), "refused"),
    (
        "pod-secret-in-environment",
        release(("singleuser/extraEnv", {"API_TOKEN": {"valueFrom": {"secretKeyRef": {"name": "a"}}}})),
        "passes",
    ),
    ("pod-memory-limit", release(("singleuser/initContainers", [BAD_CONTAINER])), "refused"),
    ("pod-memory-limit", release(("singleuser/extraContainers", [BAD_CONTAINER])), "refused"),
    ("pod-memory-limit", release(("singleuser/extraContainers", UNKNOWN)), "undecided"),
    # KubeSpawner takes fields of a pod, a container, a volume and a mount by either name, and what lies in them as it is.
    ("pod-host-namespaces", release(("singleuser/extraPodConfig/host_network", True)), "refused"),
    ("pod-host-namespaces", release(("singleuser/extraPodConfig/host_pid", True)), "refused"),
    ("pod-host-namespaces", release(profile(extra_pod_config={"host_ipc": True})), "refused"),
    ("pod-token", release(("singleuser/extraPodConfig/automount_service_account_token", True)), "refused"),
    (
        "pod-host-path",
        release(("singleuser/storage/extraVolumes/a", {"name": "a", "host_path": {"path": "/"}})),
        "refused",
    ),
    (
        "pod-scratch-size",
        release(("singleuser/storage/extraVolumes/a", {"name": "a", "empty_dir": {"size_limit": "1Gi"}})),
        "refused",
    ),
    (
        "pod-scratch-size",
        release(("singleuser/storage/extraVolumes/a", {"name": "a", "empty_dir": {"sizeLimit": "1Gi"}})),
        "passes",
    ),
    (
        "pod-read-only-mount",
        release(("singleuser/storage/extraVolumeMounts/shared", {**SHARED_MOUNT, "read_only": False})),
        "refused",
    ),
    (
        "pod-read-only-mount",
        release(("singleuser/storage/extraVolumeMounts/shared", {**SHARED_MOUNT, "read_only": True})),
        "passes",
    ),
    (
        "pod-privileged",
        release((f"{SPAWNER}/extra_container_config", {"security_context": {"privileged": True}})),
        "refused",
    ),
    *(
        ("pod-privileged", release((key, [{**BAD_CONTAINER, "security_context": {"privileged": True}}])), "refused")
        for key in ("singleuser/initContainers", "singleuser/extraContainers")
    ),
    # KubeSpawner's own traits win over the chart's values, and its code over these.
    ("pod-privileged", release((f"{SPAWNER}/privileged", True)), "refused"),
    ("pod-memory-limit", release((f"{SPAWNER}/mem_limit", 0)), "refused"),
    ("pod-memory-limit", release(("singleuser/memory", GONE), ("hub/config/Spawner", {"mem_limit": "1G"})), "passes"),
    ("pod-memory-limit", release(("hub/config/Spawner", {"mem_limit": None})), "passes"),
    ("pod-memory-limit", release(("hub/config/KubeSpawner", UNKNOWN)), "undecided"),
    ("pod-memory-limit", release(code("c.KubeSpawner.mem_limit = None")), "refused"),
    ("pod-privileged", release(code("c.KubeSpawner.privileged = True")), "refused"),
    ("pod-host-namespaces", release(code("c.KubeSpawner.extra_pod_config = {'hostNetwork': True}")), "refused"),
    # A profile, or a choice within one, that undoes what holds for all others.
    ("pod-memory-limit", release(profile(mem_limit="4G")), "passes"),
    ("pod-memory-limit", release(profile(mem_limit=None)), "refused"),
    ("pod-maximum", release(profile(mem_limit="64G")), "refused"),
    ("pod-privileged", release(profile(privileged=True)), "refused"),
    ("pod-storage-limit", release(profile(extra_resource_limits={"nvidia.com/gpu": "1"})), "passes"),
    ("pod-storage-limit", release(profile(extra_resource_limits={"ephemeral-storage": None})), "refused"),
    ("pod-memory-limit", release(profile(init_containers=[BAD_CONTAINER])), "refused"),
    ("pod-host-namespaces", release(profile(extra_pod_config={"hostPID": True})), "refused"),
    ("pod-image-pinned", release(choice(image="a:latest")), "refused"),
    ("pod-cpu-limit", release(choice(cpu_limit=0)), "refused"),
    ("pod-memory-limit", release(("singleuser/profileList", UNKNOWN)), "undecided"),
    ("pod-memory-limit", release(profile(mem_limit=UNKNOWN)), "undecided"),
    (
        "pod-memory-limit",
        release(("singleuser/profileList", [{"profile_options": {"a": {"choices": UNKNOWN}}}])),
        "undecided",
    ),
    # What is not at hand at all.
    ("pod-memory-limit", {"chart": "jupyterhub", "values": UNKNOWN}, "undecided"),
    ("pod-memory-limit", {"chart": UNKNOWN, "values": {}}, "refused"),
    ("pod-memory-limit", {"chart": "jupyterhub"}, "refused"),
    ("pod-memory-limit", {"chart": "another", "values": {}}, "passes"),
    ("pod-memory-limit", release(("singleuser/memory", GONE), valueYamlFiles=["a.yaml"]), "undecided"),
]


@pytest.mark.parametrize(("check", "properties", "expected"), [*CASES, *POD_CASES])
def test_a_check_of_the_chart_says_what_it_should(check: str, properties: Properties, expected: str):
    assert verdict(check, types.RELEASE, properties) == expected


@pytest.mark.parametrize("type_", [types.RELEASE, types.CHART])
def test_a_good_release_passes_every_check(type_: str):
    found = REGISTRY.findings(None, type_, "hub", unknown_checking_proxy(release()), DEFAULTS)

    assert [(check.id, finding.message) for check, finding in found] == []


@pytest.mark.parametrize("check", sorted({check for check, _, _ in CASES if check not in ("hub-code",)}))
def test_each_check_refuses_something_leaves_something_and_can_be_switched_off(check: str):
    verdicts = {expected for each, _, expected in CASES if each == check}
    bad = next(properties for each, properties, expected in CASES if (each, expected) == (check, "refused"))

    assert verdicts >= {"refused", "undecided"}
    assert verdict(check, types.RELEASE, release()) == "passes"
    assert verdict(check, types.RELEASE, bad, disabled=[check]) == "passes"


def test_what_the_organisation_allows_passes():
    opened = release((f"{RULES}/nonPrivateIPs", True))
    anybody = release(("hub/config/JupyterHub/authenticator_class", "tmp"))

    assert verdict("hub-egress-rules", types.RELEASE, opened, allowOpen=True) == "passes"
    assert (
        verdict("hub-egress-rules", types.RELEASE, release((f"{RULES}/privateIPs", True)), allowOpen=True) == "refused"
    )
    assert verdict("hub-authenticator", types.RELEASE, anybody, allowOpenHub=True) == "passes"
    assert verdict("hub-code", types.RELEASE, release(code(CODE)), reviewedCode=[digest(CODE)]) == "passes"
    assert verdict("hub-code", types.RELEASE, release(code(CODE)), reviewedCode=[digest("other")]) == "undecided"
    debug = release(("hub/args", ["jupyterhub", "--debug"]))
    assert verdict("hub-code", types.RELEASE, debug, reviewedCode=[digest('["jupyterhub", "--debug"]')]) == "passes"
    assert verdict("chart-known", types.RELEASE, release(chart="basehub"), knownCharts=["basehub"]) == "passes"


def test_a_finding_says_that_a_default_of_the_chart_is_what_opens():
    [message] = messages("hub-egress-rules", types.RELEASE, release((f"{RULES}/nonPrivateIPs", GONE)))

    assert message == (
        "lets users' servers reach every public address "
        "(singleuser.networkPolicy.egressAllowRules.nonPrivateIPs is True, the chart's default)"
    )


def test_a_finding_about_a_users_pod_says_whose_it_is():
    [message] = messages("pod-memory-limit", types.RELEASE, release(profile(mem_limit=None)))

    assert message.startswith("a user's pod with the profile large: container notebook has no memory limit")


def test_undecided_code_is_named_by_what_has_to_be_written_down():
    [message] = messages("hub-code", types.RELEASE, release(code(CODE)))

    assert digest(CODE) in message


def secret(text: Any, key: str = "stringData", **metadata: Any) -> StackResource:
    given = {"metadata": {"name": "hub-password", "namespace": "hub", **metadata}, key: {"values.yaml": text}}
    return resource("kubernetes:core/v1:Secret", "secret", given)


PASSWORD = '{"hub": {"config": {"SharedPasswordAuthenticator": {"user_password": "correct horse"}}}}'
OAUTH = "hub:\n  config:\n    GitHubOAuthenticator:\n      client_secret: a\n  cookieSecret: b\n"
HIDDEN = '{"hub": {"extraConfig": {"10-code": "import os"}}}'

SECRETS: list[tuple[list[StackResource], str]] = [
    ([secret(PASSWORD)], "passes"),
    ([secret(OAUTH)], "passes"),
    ([secret('{"hub": {"config": {"VisitorAuthenticator": {"user_password": "a"}}}}')], "passes"),
    ([secret(base64.b64encode(PASSWORD.encode()).decode(), "data")], "passes"),
    ([secret("{}")], "passes"),
    # A password that the update generates: judged when it is there.
    ([secret(UNKNOWN)], "passes"),
    ([secret(HIDDEN)], "refused"),
    ([secret(base64.b64encode(HIDDEN.encode()).decode(), "data")], "refused"),
    ([secret('{"hub": {"config": {"JupyterHub": {"spawner_class": "simple"}}}}')], "refused"),
    ([secret('{"hub": {"config": {"GitHubOAuthenticator": {"client_secret": {"a": 1}}}}}')], "refused"),
    ([secret("text")], "refused"),
    ([secret("a: [")], "undecided"),
    ([], "undecided"),
    ([secret(HIDDEN, name="another")], "undecided"),
    ([secret(PASSWORD, namespace="another")], "undecided"),
    ([secret(PASSWORD, namespace=UNKNOWN)], "passes"),
]


@pytest.mark.parametrize(("secrets", "expected"), SECRETS)
def test_the_hubs_secret_holds_secrets_alone(secrets: list[StackResource], expected: str):
    hub = resource(types.RELEASE, "hub", release())

    assert stack_verdict("hub-secret-values", [hub, *secrets]) == expected
    assert stack_verdict("hub-secret-values", [hub, *secrets], disabled=["hub-secret-values"]) == "passes"


def test_a_hub_whose_secret_is_not_known_is_undecided_and_one_without_passes():
    unknown = resource(types.RELEASE, "hub", release(("hub/existingSecret", UNKNOWN)))
    without = resource(types.RELEASE, "hub", release(("hub/existingSecret", GONE)))

    assert stack_verdict("hub-secret-values", [unknown, secret(PASSWORD)]) == "undecided"
    assert stack_verdict("hub-secret-values", [without]) == "passes"


def test_what_a_secret_sets_beside_secrets_is_named():
    hub = resource(types.RELEASE, "hub", release())
    [(where, message)] = stack_messages("hub-secret-values", [hub, secret(HIDDEN)])

    assert where == "hub"
    assert "sets hub.extraConfig.10-code by the Secret 'hub-password'" in message


def test_each_profile_and_each_choice_is_a_pod_of_its_own():
    options = {"size": {"choices": {"s": {}, "l": {"kubespawner_override": {"mem_limit": "8G"}}}}}
    profiles = [{"display_name": "a"}, {"display_name": "b", "profile_options": options}]
    pods = list(pod_specs(types.RELEASE, unknown_checking_proxy(release(("singleuser/profileList", profiles)))))

    assert [read(pod, "spec", "containers", 0, "resources", "limits", "memory") for pod in pods] == [
        *["2G"] * 4,
        "8G",
    ]


VALUE_KEYS = ["singleuser", "networkPolicy", "egressAllowRules", "hub", "config", "KubeSpawner", "profileList", "cull"]
VALUE_KEYS += ["kubespawner_override", "extraConfig", "storage", "extraVolumes", "egress", "image", "proxy", "https"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(VALUE_KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_no_values_make_a_check_fail_to_answer(document: Any):
    properties = {"chart": "jupyterhub", "values": document}

    list(REGISTRY.findings(None, types.RELEASE, "x", unknown_checking_proxy(properties), DEFAULTS))
