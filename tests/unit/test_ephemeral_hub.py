"""The graph that EphemeralHub registers, the values that it gives the chart, and what it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import EgressProfile, EphemeralHub, EphemeralHubArgs
from components.kubernetes.chart_values import (
    CHART_IMAGES,
    Access,
    FrontKind,
    HubSecrets,
    chart_values,
    system_rooms,
)
from components.kubernetes.hub_arguments import check_ephemeral_hub, hub_chart, tenancy_args
from components.kubernetes.hub_rights import ephemeral_needs
from components.kubernetes.occupancy import occupancy_mistakes
from components.kubernetes.quantities import parse_quantity
from components.kubernetes.tenancy import pod_security_labels
from components.settings import parse_settings
from tests.stacks import ROOT
from tests.unit.recording import Recorder, Registration, record

PASSWORD = "correct horse"
DIGEST = "sha256:" + "0" * 64
ARGS: EphemeralHubArgs = {"image": "registry.example.org/hubstack/notebook:1.0"}
DOMAINS: dict[str, Any] = {"egressDomains": ["github.com"], "egressProxyImage": "registry.example.org/egress-proxy:1"}
SHARED: dict[str, Any] = {"shared": {"server": "10.0.0.7", "share": "/homes/hub", "mountOptions": ["vers=4.2"]}}
EVERYTHING: dict[str, Any] = {
    **DOMAINS,
    **SHARED,
    "domain": "try.example.org",
    "front": {"kind": FrontKind.LETSENCRYPT, "email": "owner@example.org"},
    "password": PASSWORD,
    "userScheduler": True,
    "contentLinks": [{"name": "course", "repository": "https://github.com/example/course"}],
}

SECRET = "4dabf18193072939515e22adb298388d"
"""Key of an envelope that holds a secret, on its way to the engine."""

POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
RELEASE = "kubernetes:helm.sh/v3:Release"

SCHEMA = Path(os.environ.get("HUBSTACK_CHART_SCHEMA", ROOT.parent / "shared/data/z2jh-values.partial.schema.json"))
"""The chart's own schema, without what it requires of values that are joined with its defaults."""


def build(**args: object) -> Recorder:
    return record(lambda: EphemeralHub("lab", {**ARGS, **args}))  # pyright: ignore[reportArgumentType]


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def release(recorder: Recorder) -> Registration:
    [found] = of_type(recorder, RELEASE).values()
    return found


def values(**args: object) -> dict[str, Any]:
    chart = hub_chart("lab", {**ARGS, **args})  # pyright: ignore[reportArgumentType]
    return chart_values(chart, HubSecrets("a" * 64, "b" * 64, "c" * 64, "d" * 64))


def mistakes(name: str = "lab", **args: object) -> dict[str, str]:
    found = check_ephemeral_hub(name, {**ARGS, **args})  # pyright: ignore[reportArgumentType]
    return {error["property_path"]: error["reason"] for error in found}


def plain_texts(part: object) -> Iterator[str]:
    """Every text that is in no envelope of a secret."""
    if isinstance(part, Mapping):
        if SECRET not in part:
            for key, value in part.items():
                yield str(key)
                yield from plain_texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from plain_texts(value)
    else:
        yield str(part)


def before(recorder: Recorder, later: Registration) -> set[str]:
    """URNs of all that must be there before a resource is made."""
    waits = {r.urn: r.dependencies for r in recorder.registrations}
    found: set[str] = set()
    left = [later.urn]
    while left:
        new = set(waits.get(left.pop(), ())) - found
        found |= new
        left += new
    return found


def test_every_resource_lies_below_the_component_and_its_outputs_are_those_declared():
    recorder = build(**EVERYTHING)
    [hub] = [r for r in recorder.registrations if r.type == "hubstack:index:EphemeralHub"]
    parents = {r.urn: r.parent for r in recorder.registrations}

    def is_below(urn: str) -> bool:
        return urn == hub.urn or (urn in parents and is_below(parents[urn]))

    # The stack is registered by the first program of a process alone.
    assert {r.type for r in recorder.registrations if not is_below(r.urn)} <= {"pulumi:pulumi:Stack"}
    assert recorder.outputs[hub.urn] == sorted(EphemeralHub.__annotations__)


def test_a_hub_never_runs_without_its_quota_its_policies_its_password_and_its_way_out():
    recorder = build(**EVERYTHING)
    waited = before(recorder, release(recorder))
    needed = [
        r.urn
        for kind in (
            POLICY,
            "kubernetes:core/v1:ResourceQuota",
            "kubernetes:core/v1:LimitRange",
            "kubernetes:core/v1:Secret",
            "kubernetes:core/v1:PersistentVolumeClaim",
            "kubernetes:apps/v1:Deployment",
        )
        for r in of_type(recorder, kind).values()
    ]

    assert len(needed) >= 9
    assert set(needed) <= waited


def test_the_probe_runs_in_the_place_of_a_users_pod_when_all_the_rest_is_there():
    recorder = build(**EVERYTHING)
    [job] = of_type(recorder, "kubernetes:batch/v1:Job").values()
    labels = job.properties["spec"]["template"]["metadata"]["labels"]

    assert release(recorder).urn in before(recorder, job)
    assert {"app": "jupyterhub", "component": "singleuser-server", "release": "lab"}.items() <= labels.items()
    [container] = job.properties["spec"]["template"]["spec"]["containers"]
    assert container["image"] == ARGS["image"]
    assert "$PROXY_API_SERVICE_HOST" in json.dumps(container["command"])


def test_servers_and_their_probe_run_on_the_nodes_that_are_chosen():
    recorder = build(nodeSelector={"pool": "visitors"})
    [job] = of_type(recorder, "kubernetes:batch/v1:Job").values()

    assert job.properties["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "visitors"}
    assert release(recorder).properties["values"]["singleuser"]["nodeSelector"] == {"pool": "visitors"}


def test_the_password_and_the_tokens_are_in_envelopes_of_secrets_alone():
    recorder = build(**EVERYTHING)
    secrets = (PASSWORD, "ab" * 32)

    for registration in recorder.registrations:
        if registration.type.startswith("random:"):
            continue
        leaked = [text for text in plain_texts(registration.properties) for secret in secrets if secret in text]
        assert leaked == [], registration.name
    assert PASSWORD in json.dumps(of_type(recorder, "kubernetes:core/v1:Secret")["lab-access"].properties)


def test_the_password_goes_by_a_secret_of_its_own_and_not_by_the_charts_values():
    recorder = build(password=PASSWORD)
    given = release(recorder).properties["values"]

    assert PASSWORD not in json.dumps(given)
    assert given["hub"]["existingSecret"] == "hub-access"
    [secret] = of_type(recorder, "kubernetes:core/v1:Secret").values()
    told = json.loads(secret.properties["stringData"]["value"]["values.yaml"])
    assert told == {"hub": {"config": {"SharedPasswordAuthenticator": {"user_password": PASSWORD}}}}


def test_another_password_restarts_the_hub_and_its_mark_tells_nothing_of_it():
    import hashlib

    def mark(password: str) -> str:
        annotations = release(build(password=password)).properties["values"]["hub"]["annotations"]
        return annotations["hubstack.io/password"]["value"]

    assert mark(PASSWORD) == mark(PASSWORD)
    assert mark(PASSWORD) != mark(f"{PASSWORD}!")
    assert mark(PASSWORD) != hashlib.sha256(PASSWORD.encode()).hexdigest()


def test_what_the_hub_must_keep_is_random_once_and_kept_in_the_state():
    recorder = build()
    tokens = of_type(recorder, "random:index/randomId:RandomId")
    hub = release(recorder).properties["values"]["hub"]

    assert sorted(tokens) == ["lab-cookie-secret", "lab-crypt-key", "lab-proxy-token"]
    assert hub["cookieSecret"]["value"] == "ab" * 32
    assert hub["config"]["ConfigurableHTTPProxy"]["auth_token"]["value"] == "ab" * 32
    assert [key["value"] for key in hub["config"]["CryptKeeper"]["keys"]] == ["ab" * 32]
    assert list(of_type(recorder, "random:index/randomPassword:RandomPassword")) == ["lab-password"]


def test_a_password_that_is_not_known_yet_is_checked_when_it_is():
    def short() -> None:
        EphemeralHub("lab", {**ARGS, "password": pulumi.Output.secret("short")})

    with pytest.raises(pulumi.RunError, match="it has 5 characters; at least 8") as caught:
        record(short)
    assert "short" not in str(caught.value)


def test_an_open_hub_has_no_password_and_makes_users_by_itself():
    recorder = build(access=Access.OPEN, openToTheWorld=True)
    hub = release(recorder).properties["values"]["hub"]

    assert of_type(recorder, "kubernetes:core/v1:Secret") == {}
    assert of_type(recorder, "random:index/randomPassword:RandomPassword") == {}
    assert "existingSecret" not in hub
    assert hub["config"]["JupyterHub"]["authenticator_class"] == "tmp"
    assert "10-visitors" not in hub["extraConfig"]


@pytest.mark.parametrize("access", Access)
def test_everybody_whom_the_access_lets_in_is_let_in_and_nobody_is_an_administrator(access: Access):
    hub = values(access=access)["hub"]

    assert hub["config"]["Authenticator"] == {"allow_all": True, "enable_auth_state": False, "admin_users": []}
    assert hub["config"]["JupyterHub"]["admin_access"] is False
    assert ("VisitorAuthenticator" in json.dumps(hub["extraConfig"])) == (access is Access.PASSWORD)


def test_nothing_of_a_user_outlives_their_server_and_all_that_they_write_has_a_size():
    singleuser = values(userQuota={"home": "2G", "tmp": "512M", "memory": "1G"})["singleuser"]
    storage = singleuser["storage"]

    assert (storage["type"], singleuser["initContainers"]) == ("none", [])
    assert storage["extraVolumes"] == {
        "home": {"name": "home", "emptyDir": {"sizeLimit": "2Gi"}},
        "tmp": {"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}},
        "shm": {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
    }
    assert {key: mount["mountPath"] for key, mount in storage["extraVolumeMounts"].items()} == {
        "home": "/home/jovyan",
        "tmp": "/tmp",
        "shm": "/dev/shm",
    }
    limit = parse_quantity(singleuser["extraResource"]["limits"]["ephemeral-storage"])
    assert limit >= 2.5 * 2**30
    assert singleuser["extraResource"]["guarantees"] == singleuser["extraResource"]["limits"]


def test_another_hubs_shared_folder_is_read_only_at_every_level():
    recorder = build(**SHARED)
    [volume] = of_type(recorder, "kubernetes:core/v1:PersistentVolume").values()
    [claim] = of_type(recorder, "kubernetes:core/v1:PersistentVolumeClaim").values()
    storage = values(**SHARED)["singleuser"]["storage"]

    spec = volume.properties["spec"]
    assert spec["nfs"] == {"server": "10.0.0.7", "path": "/homes/hub", "readOnly": True}
    assert spec["mountOptions"] == ["vers=4.2", "ro"]
    assert spec["accessModes"] == claim.properties["spec"]["accessModes"] == ["ReadOnlyMany"]
    assert (spec["persistentVolumeReclaimPolicy"], spec["storageClassName"]) == ("Retain", "")
    assert spec["claimRef"] == {"namespace": "lab", "name": "shared"}
    assert claim.properties["spec"]["volumeName"] == volume.properties["metadata"]["name"] == "lab-shared"
    assert claim.properties["spec"]["storageClassName"] == ""
    assert storage["extraVolumes"]["shared"]["persistentVolumeClaim"] == {"claimName": "shared", "readOnly": True}
    assert storage["extraVolumeMounts"]["shared"] == {
        "name": "shared",
        "mountPath": "/home/jovyan/shared-readonly",
        "subPath": "_shared",
        "readOnly": True,
    }


def test_users_pods_have_no_privileges_and_no_token_and_end_with_their_hub():
    given = values(userQuota={"maxAge": 7200})
    spawner = given["hub"]["config"]["KubeSpawner"]

    assert spawner["automount_service_account_token"] is False
    assert spawner["pod_security_context"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert spawner["container_security_context"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert given["singleuser"]["cloudMetadata"] == {"blockWithIptables": False}
    assert given["singleuser"]["extraPodConfig"] == {"enableServiceLinks": False, "activeDeadlineSeconds": 7800}
    assert "modify_pod_hook = belong_to_the_hub" in given["hub"]["extraConfig"]["30-user-pods"]


def test_the_chart_opens_nothing_for_users_and_no_metadata_service_for_anybody():
    given = values()
    policies = [
        given["singleuser"]["networkPolicy"],
        given["hub"]["networkPolicy"],
        given["proxy"]["chp"]["networkPolicy"],
        given["proxy"]["traefik"]["networkPolicy"],
    ]
    switches = {
        *("cloudMetadataServer", "dnsPortsCloudMetadataServer", "dnsPortsKubeSystemNamespace", "dnsPortsPrivateIPs"),
        *("nonPrivateIPs", "privateIPs"),
    }

    assert all(set(policy["egressAllowRules"]) == switches and policy["enabled"] for policy in policies)
    assert not any(policies[0]["egressAllowRules"].values())
    for policy in policies[1:]:
        assert [key for key, on in policy["egressAllowRules"].items() if on] == ["dnsPortsKubeSystemNamespace"]
    ports = [port["port"] for rule in given["hub"]["networkPolicy"]["egress"] for port in rule["ports"]]
    assert ports == [443, 6443]


def test_under_the_profile_domains_the_proxy_is_the_only_way_out():
    recorder = build(**DOMAINS)
    policy = of_type(recorder, POLICY)["lab-user-egress"].properties["spec"]
    environment = release(recorder).properties["values"]["singleuser"]["extraEnv"]

    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == "http://egress-proxy.lab:3128"
    assert policy["podSelector"] == {"matchLabels": {"app": "jupyterhub", "component": "singleuser-server"}}
    assert [[port["port"] for port in rule["ports"]] for rule in policy["egress"]] == [[53, 53], [3128]]


def test_under_the_profile_closed_servers_know_the_hub_by_its_address_because_no_name_is_resolved():
    recorder = build(egressProfile=EgressProfile.CLOSED)
    given = release(recorder).properties["values"]
    [job] = of_type(recorder, "kubernetes:batch/v1:Job").values()

    assert of_type(recorder, POLICY)["lab-user-egress"].properties["spec"]["egress"] == []
    assert "hub_connect_url = hub_address(os.environ)" in given["hub"]["extraConfig"]["20-hub-address"]
    assert "$HUB_SERVICE_HOST" in json.dumps(job.properties["spec"])
    assert "20-hub-address" not in values()["hub"]["extraConfig"]
    pod = given["singleuser"]["extraPodConfig"]
    assert (pod["dnsPolicy"], pod["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]}), "look-ups fail at once"
    assert (
        "dnsPolicy" not in values(egressDomains=["pypi.org"], egressProxyImage="a/b:1")["singleuser"]["extraPodConfig"]
    )


def test_what_asks_the_kubernetes_api_may_and_nothing_else_of_the_namespace_goes_out():
    policies = of_type(build(userScheduler=True, apiServerPorts=[16443]), POLICY)

    assert policies["lab-default-deny"].properties["spec"]["podSelector"] == {}
    for title, component in (("image-awaiter", "image-puller"), ("user-scheduler", "user-scheduler")):
        spec = policies[f"lab-{title}"].properties["spec"]
        assert spec["podSelector"]["matchLabels"]["component"] == component
        assert [port["port"] for port in spec["egress"][1]["ports"]] == [443, 16443]
    assert "lab-user-scheduler" not in of_type(build(), POLICY)


@given(servers=st.integers(1, 1000), nodes=st.integers(1, 1000))
def test_limits_of_the_hub_are_within_the_namespaces_quota(servers: int, nodes: int):
    from components.kubernetes.tenancy import resource_quota_spec

    args: EphemeralHubArgs = {**ARGS, "fleetQuota": {"servers": servers}, "nodes": nodes}
    hub = values(**args)["hub"]
    tenancy = tenancy_args("lab", args, hub_chart("lab", args))
    hard = resource_quota_spec({}, {"servers": servers}, system=tenancy.get("system", {}))["hard"]

    assert hub["activeServerLimit"] == servers
    assert 1 <= hub["concurrentSpawnLimit"] <= servers
    # The hub, its proxy, the awaiter, two pullers on each node and the probe.
    assert parse_quantity(hard["pods"]) >= servers + 3 + 2 * nodes + 1
    assert parse_quantity(hard["limits.memory"]) >= (servers + 1) * 2**30


def test_a_load_balancer_has_room_in_the_quota_and_nothing_else_may_open_a_port():
    def counted(kind: FrontKind, key: str) -> int:
        chart = hub_chart("lab", {**ARGS, "front": {"kind": kind}})
        return sum(int(room.get(key, 0)) for room in system_rooms(chart, 1).values())

    for kind in FrontKind:
        balanced = kind in (FrontKind.LETSENCRYPT, FrontKind.SECRET, FrontKind.OFFLOAD)
        assert counted(kind, "loadBalancers") == int(balanced)
        assert counted(kind, "nodePorts") == {True: 2, False: 0}[balanced] - (kind is FrontKind.OFFLOAD)


def test_amounts_are_in_the_hubs_units_and_not_in_those_of_kubernetes():
    singleuser = values(userQuota={"cpu": 0.5, "memory": "1.5GiB"})["singleuser"]

    assert singleuser["cpu"] == {"limit": 0.5, "guarantee": 0.125}
    assert singleuser["memory"] == {"limit": "1536M", "guarantee": "1536M"}


def test_servers_end_by_idleness_and_age_and_users_only_if_asked():
    given = values(userQuota={"idle": 600, "maxAge": 3600})

    assert given["cull"] == {
        "enabled": True,
        "users": False,
        "timeout": 600,
        "maxAge": 3600,
        "every": 60,
        "concurrency": 10,
    }
    assert given["hub"]["config"]["JupyterHub"]["last_activity_interval"] == 60
    assert values(cullUsers=True)["cull"]["users"] is True


def test_a_visitor_who_comes_back_after_the_greatest_age_is_somebody_new():
    config = values(userQuota={"maxAge": 82800})["hub"]["config"]

    assert config["JupyterHub"]["cookie_max_age_days"] == 1.0


def test_images_are_on_the_nodes_before_the_hub_is_updated():
    given = values(extraImages=["quay.io/jupyter/r-notebook:2025-03-14", f"quay.io/jupyter/base@{DIGEST}"])

    assert given["prePuller"]["hook"]["enabled"] is given["prePuller"]["continuous"]["enabled"] is True
    assert given["prePuller"]["extraImages"] == {
        "extra-1": {"name": "quay.io/jupyter/r-notebook", "tag": "2025-03-14"},
        "extra-2": {"name": "quay.io/jupyter/base@sha256", "tag": "0" * 64},
    }


def test_the_charts_own_images_can_come_from_a_mirror():
    given = values(chartImages={key: f"mirror.example.org/{key.lower()}:1" for key in CHART_IMAGES})

    for key, path in CHART_IMAGES.items():
        part: Any = given
        for step in path.split("."):
            part = part[step]
        assert part == {"name": f"mirror.example.org/{key.lower()}", "tag": "1"}


def test_nine_variables_of_a_home_page_are_empty():
    variables = values()["custom"]["homepage"]["templateVars"]

    assert [text for block in variables.values() for text in block.values()] == [""] * 9


@pytest.mark.parametrize(
    ("front", "service", "https"),
    [
        ({}, "ClusterIP", {"enabled": False}),
        ({"kind": FrontKind.INGRESS}, "ClusterIP", {"enabled": False}),
        ({"kind": FrontKind.GATEWAY, "gateway": "g"}, "ClusterIP", {"enabled": False}),
        (
            {"kind": FrontKind.LETSENCRYPT, "email": "owner@example.org"},
            "LoadBalancer",
            {
                "enabled": True,
                "type": "letsencrypt",
                "hosts": ["try.example.org"],
                "letsencrypt": {"contactEmail": "owner@example.org"},
            },
        ),
        (
            {"kind": FrontKind.SECRET, "tlsSecret": "hub-tls"},
            "LoadBalancer",
            {"enabled": True, "type": "secret", "secret": {"name": "hub-tls"}},
        ),
        ({"kind": FrontKind.OFFLOAD}, "LoadBalancer", {"enabled": True, "type": "offload"}),
    ],
)
def test_tls_ends_where_the_front_says(front: dict[str, Any], service: str, https: dict[str, Any]):
    proxy = values(front=front, domain="try.example.org")["proxy"]

    assert proxy["service"]["type"] == service
    assert proxy["https"] == https
    # Where TLS ends before the proxy, nothing would send browsers from HTTP to HTTPS.
    assert proxy["service"].get("disableHttpPort", False) == (front.get("kind") is FrontKind.OFFLOAD)


def test_an_ingress_has_the_name_the_class_and_the_certificate():
    front = {"kind": "ingress", "ingressClass": "traefik", "tlsSecret": "hub-tls", "annotations": {"a": "b"}}

    assert values(front=front, domain="try.example.org")["ingress"] == {
        "enabled": True,
        "ingressClassName": "traefik",
        "hosts": ["try.example.org"],
        "tls": [{"hosts": ["try.example.org"], "secretName": "hub-tls"}],
        "annotations": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("version", "parent"),
    [
        ("4.4.0", {"gateway": {"name": "web", "namespace": "gateways", "sectionName": "https"}}),
        (
            "5.0.0",
            {"parentRefs": [{"kind": "Gateway", "name": "web", "namespace": "gateways", "sectionName": "https"}]},
        ),
    ],
)
def test_a_route_names_its_gateway_as_the_charts_version_wants(version: str, parent: dict[str, Any]):
    front = {"kind": "gateway", "gateway": "web", "gatewayNamespace": "gateways", "gatewaySection": "https"}
    route = values(front=front, domain="try.example.org", chartVersion=version)["httpRoute"]

    assert route == {"enabled": True, "hostnames": ["try.example.org"], "annotations": {}, **parent}


@pytest.mark.parametrize(
    ("given", "chart", "version", "repository"),
    [
        ({}, "jupyterhub", "4.4.0", "https://hub.jupyter.org/helm-chart/"),
        ({"chartRepository": "https://mirror.example.org"}, "jupyterhub", "4.4.0", "https://mirror.example.org"),
        ({"chart": "oci://r.example.org/jupyterhub"}, "oci://r.example.org/jupyterhub", "4.4.0", None),
        ({"chart": "./tests"}, "./tests", None, None),
    ],
)
def test_the_chart_comes_from_a_repository_a_mirror_a_registry_or_this_machine(
    given: dict[str, Any], chart: str, version: str | None, repository: str | None
):
    properties = release(build(**given)).properties

    assert (properties["chart"], properties.get("version")) == (chart, version)
    assert properties.get("repositoryOpts", {}).get("repo") == repository
    assert properties["name"] == properties["namespace"] == "lab"
    assert (properties["atomic"], properties["cleanupOnFail"], properties["timeout"]) == (False, True, 1200)


@pytest.mark.parametrize("keep", [True, False])
def test_the_hubs_database_outlives_the_stack_unless_it_says_otherwise(keep: bool):
    recorder = build(dataProtection=keep)
    [namespace] = of_type(recorder, "kubernetes:core/v1:Namespace").values()
    claim = release(recorder).properties["values"]["hub"]["db"]["pvc"]

    assert namespace.retain_on_delete is keep
    assert (claim["annotations"] == {"helm.sh/resource-policy": "keep"}) is keep


def test_the_namespace_refuses_pods_with_privileges():
    [namespace] = of_type(build(), "kubernetes:core/v1:Namespace").values()

    assert pod_security_labels("restricted").items() <= namespace.properties["metadata"]["labels"].items()


def existing(labels: dict[str, str]) -> Recorder:
    answers = {"kubernetes:core/v1:Namespace": lambda _: {"metadata": {"name": "lab", "labels": labels}}}
    return record(lambda: EphemeralHub("lab", {**ARGS, "createNamespace": False}), answers)


def test_a_namespace_that_is_there_is_used_if_it_is_guarded():
    recorder = existing({"pod-security.kubernetes.io/enforce": "restricted", "hubstack.stack": "lab"})

    assert of_type(recorder, "kubernetes:core/v1:Namespace") == {}
    [quota] = of_type(recorder, "kubernetes:core/v1:ResourceQuota").values()
    assert quota.properties["metadata"]["namespace"] == "lab"


def test_a_namespace_that_is_unguarded_or_somebody_elses_is_refused():
    with pytest.raises(pulumi.RunError) as caught:
        existing({"hubstack.stack": "other"})

    assert "kubectl label --overwrite namespace lab pod-security.kubernetes.io/enforce=restricted" in str(caught.value)
    assert "it belongs to the stack 'other'" in str(caught.value)


def test_a_second_hub_in_a_namespace_is_refused_and_in_its_own_it_is_not():
    def two(second: str) -> None:
        EphemeralHub("lab", {**ARGS, "namespace": "lab"})
        EphemeralHub("lab2", {**ARGS, "namespace": second})

    record(lambda: two("lab2"))
    with pytest.raises(pulumi.InputPropertiesError) as caught:
        record(lambda: two("lab"))

    assert caught.value.errors is not None
    assert [error["reason"] for error in caught.value.errors] == ["lab has a hub already, lab; each needs its own"]


def test_a_namespace_with_another_releases_hub_is_refused_before_anything_is_made():
    guarded = {**pod_security_labels(), "hubstack.stack": "lab"}

    def told(labels: dict[str, str] | None, release: str | None, *, create: bool = True) -> list[str]:
        return occupancy_mistakes("ns", labels, release, stack="lab", create=create)

    assert told(None, None) == []
    assert told(guarded, "lab") == []
    assert told(guarded, "lab", create=False) == []
    assert told(guarded, "other") == ["the namespace ns has a hub already, of the release other; each needs its own"]
    assert told({}, None) == ["the namespace ns is there already; choose another, or set createNamespace to false"]
    assert told({"hubstack.stack": "b"}, None) == [
        "the namespace ns belongs to the stack b; choose another, or set createNamespace to false"
    ]
    assert told(None, None, create=False) == ["there is no namespace ns; make it, or let the stack by createNamespace"]


def test_rights_are_asked_for_where_they_are_needed():
    needed, granted = ephemeral_needs("lab", ARGS)
    asked = {str(right) for right in needed}

    assert "create networkpolicies.networking.k8s.io in namespace lab" in asked
    assert "create namespaces" in asked
    assert not any("clusterroles" in right or "ingresses" in right or "persistentvolumes" in right for right in asked)
    assert "delete pods in namespace lab" in {str(right) for right in granted}
    more, _ = ephemeral_needs("lab", {**ARGS, **EVERYTHING, "front": {"kind": FrontKind.INGRESS}})
    asked = {str(right) for right in more}
    assert {"create clusterroles.rbac.authorization.k8s.io", "create persistentvolumes"} <= asked
    assert "create ingresses.networking.k8s.io in namespace lab" in asked


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an image without a tag": ({"image": "jupyter/base"}, "image", "has no tag"),
    "the tag latest": ({"image": "jupyter/base:latest"}, "image", "latest"),
    "no image": ({"image": ""}, "image", "is no image"),
    "a further image without a tag": ({"extraImages": ["a/b:1", "a/c"]}, "extraImages[1]", "has no tag"),
    "an image that the chart has not": ({"chartImages": {"hubb": "a/b:1"}}, "chartImages.hubb", "no such image"),
    "a short password": ({"password": "short"}, "password", "5 characters; at least 8"),
    "a password beyond ASCII": ({"password": "straßenbahn"}, "password", "ASCII"),
    "a password for an open hub": (
        {"access": "open", "openToTheWorld": True, "password": PASSWORD},
        "password",
        "leave it out",
    ),
    "open without saying so twice": ({"access": "open"}, "access", "set openToTheWorld"),
    "open to the world with a password": ({"openToTheWorld": True}, "openToTheWorld", "leave it out"),
    "an unknown access": ({"access": "dummy"}, "access", "one of password"),
    "memory in Kubernetes' unit": ({"userQuota": {"memory": "2Gi"}}, "userQuota.memory", "such as 512M or 2G"),
    "a quota smaller than one user": ({"userQuota": {"memory": "64M"}}, "userQuota.memory", "at least 128M"),
    "no server at all": ({"fleetQuota": {"servers": 0}}, "fleetQuota.servers", "between 1 and 1000"),
    "an age below the idle time": ({"userQuota": {"idle": 600, "maxAge": 60}}, "userQuota.maxAge", "below idle"),
    "latest chart": ({"chartVersion": "latest"}, "chartVersion", "name one exactly"),
    "a range of charts": ({"chartVersion": ">=4"}, "chartVersion", "name one exactly"),
    "an old chart": ({"chartVersion": "3.3.8"}, "chartVersion", "older than 4.3.0"),
    "a chart that is not there": ({"chart": "./no/chart.tgz"}, "chart", "no archive or folder"),
    "a repository of a local chart": (
        {"chart": "./tests", "chartRepository": "https://a.b"},
        "chartRepository",
        "leave it out",
    ),
    "no address of a repository": ({"chartRepository": "mirror"}, "chartRepository", "is no address"),
    "the cluster's own namespace": ({"namespace": "kube-system"}, "namespace", "belongs to the cluster"),
    "no name of a namespace": ({"namespace": "Lab_1"}, "namespace", "is no name of a namespace"),
    "a shared folder without a server": ({"shared": {"share": "/homes"}}, "shared.server", "needs the NFS server"),
    "a shared folder without a path": ({"shared": {"server": "a", "share": "homes"}}, "shared.share", "is no path"),
    "a shared folder to write to": (
        {"shared": {"server": "a", "share": "/h", "mountOptions": ["rw"]}},
        "shared.mountOptions",
        "only read",
    ),
    "domains without a proxy": ({"egressDomains": ["pypi.org"]}, "egressProxyImage", "is no image"),
    "domains under another profile": (
        {**DOMAINS, "egressProfile": EgressProfile.OPEN},
        "egressDomains",
        "does not use it",
    ),
    "an unknown front": ({"front": {"kind": "tunnel"}}, "front.kind", "one of none"),
    "Let's Encrypt without an address": (
        {"front": {"kind": "letsencrypt"}, "domain": "a.example.org"},
        "front.email",
        "letsencrypt needs it",
    ),
    "a field of another front": ({"front": {"kind": "none", "email": "a@b"}}, "front.email", "no use for it"),
    "a front without a name": ({"front": {"kind": "offload"}}, "domain", "no name that users could type"),
    "no port": ({"apiServerPorts": [0]}, "apiServerPorts[0]", "is not a TCP port"),
    "no node": ({"nodes": 0}, "nodes", "between 1 and 1000"),
    "no time": ({"timeout": 5}, "timeout", "between 60 and 7200"),
    "no size": ({"databaseSize": "big"}, "databaseSize", "is not a size"),
    "a link that servers cannot follow": (
        {"contentLinks": [{"name": "a", "repository": "https://gitlab.com/a/b"}], **DOMAINS},
        "contentLinks[0].repository",
        "add it to egressDomains",
    ),
    "a link with a token": (
        {"contentLinks": [{"name": "a", "repository": "https://me:token@github.com/a/b"}], **DOMAINS},
        "contentLinks[0].repository",
        "password or a token",
    ),
    "a value that an argument decides": (
        {"values": {"singleuser": {"networkPolicy": {"enabled": False}}}},
        "values.singleuser.networkPolicy.enabled",
        "set egressProfile",
    ),
    "a value in the place of all that is below it": ({"values": {"singleuser": None}}, "values.singleuser", "cannot"),
    "a section that the chart has not": (
        {"values": {"singeluser": {}}},
        "values.singeluser",
        "did you mean singleuser",
    ),
    "a profile with memory in Kubernetes' unit": (
        {"values": {"singleuser": {"profileList": [{"kubespawner_override": {"mem_limit": "2Gi"}}]}}},
        "values.singleuser.profileList[0].kubespawner_override.mem_limit",
        "K, M, G or T",
    ),
    "a profile above the quota": (
        {"values": {"singleuser": {"profileList": [{"kubespawner_override": {"cpu_limit": 9}}]}}},
        "values.singleuser.profileList[0].kubespawner_override.cpu_limit",
        "raise userQuota.cpu",
    ),
    "a profile with privileges": (
        {"values": {"singleuser": {"profileList": [{"kubespawner_override": {"privileged": True}}]}}},
        "values.singleuser.profileList[0].kubespawner_override.privileged",
        "safety or quota",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_refused_by_its_argument_and_with_what_to_do(what: str):
    args, path, reason = WRONG[what]
    found = mistakes(**args)

    assert reason in found.pop(path), what
    assert found == {}, what


def test_every_mistake_is_listed_at_once():
    args = {"image": "jupyter/base", "password": "short", "userQuota": {"memory": "2Gi"}, "shared": {"share": "/h"}}

    assert set(mistakes("n" * 54, **args)) == {"name", "image", "password", "userQuota.memory", "shared.server"}
    with pytest.raises(pulumi.InputPropertiesError) as caught:
        build(**args)
    assert len(caught.value.errors or []) == 4


def test_links_lead_through_the_hub_to_the_content():
    recorder = build(**EVERYTHING)
    [hub] = [r for r in recorder.registrations if r.type == "hubstack:index:EphemeralHub"]

    assert "contentLinks" in recorder.outputs[hub.urn]
    assert mistakes(**EVERYTHING) == {}


def test_further_values_are_laid_over_the_stacks_own():
    more = {"hub": {"templateVars": {"announcement": "Closed on Friday"}}, "custom": {"homepage": {"a": 1}}}
    given = release(build(values=more)).properties["values"]

    assert given["hub"]["templateVars"] == {"announcement": "Closed on Friday"}
    assert given["hub"]["db"]["type"] == "sqlite-pvc"
    assert set(given["custom"]["homepage"]) == {"templateVars", "a"}


SIZES = st.sampled_from(["256M", "1G", "1.5G", "16G"])
ARGUMENTS = st.fixed_dictionaries(
    {"image": st.sampled_from(["a/b:1", f"r.example.org:5000/a/b@{DIGEST}", f"a:2025@{DIGEST}"])},
    optional={
        "access": st.sampled_from(Access),
        "cullUsers": st.booleans(),
        "dataProtection": st.booleans(),
        "databaseSize": SIZES,
        "egressProfile": st.sampled_from(EgressProfile),
        "extraImages": st.lists(st.just("a/b:1"), max_size=3),
        "fleetQuota": st.fixed_dictionaries({"servers": st.integers(1, 1000)}),
        "nodeSelector": st.dictionaries(st.sampled_from(["a", "b"]), st.just("c")),
        "shared": st.just({"server": "s", "share": "/h"}),
        "userQuota": st.fixed_dictionaries(
            {}, optional={"cpu": st.floats(0.1, 128), "memory": SIZES, "home": SIZES, "idle": st.integers(60, 3600)}
        ),
        "userScheduler": st.booleans(),
        "apiServerPorts": st.lists(st.integers(1, 65535), max_size=3),
        "chartImages": st.dictionaries(st.sampled_from(sorted(CHART_IMAGES)), st.just("m.example.org/x:1")),
        "imagePullSecrets": st.lists(st.just("registry"), max_size=1),
        "front": st.one_of(
            st.just({"kind": "none"}),
            st.just({"kind": "ingress", "ingressClass": "c", "tlsSecret": "t", "annotations": {"a": "b"}}),
            st.just({"kind": "gateway", "gateway": "g", "gatewaySection": "s"}),
            st.just({"kind": "letsencrypt", "email": "owner@example.org"}),
            st.just({"kind": "secret", "tlsSecret": "t"}),
            st.just({"kind": "offload", "annotations": {"a": "b"}}),
        ),
    },
)


@given(ARGUMENTS)
def test_the_charts_own_schema_accepts_the_values_of_any_arguments(args: dict[str, Any]):
    if not SCHEMA.exists():
        pytest.skip("the chart's schema is not here; HUBSTACK_CHART_SCHEMA names the file")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    given = values(**args, domain="try.example.org")

    assert [error.message for error in validator.iter_errors(given)] == []
    # What the hub itself refuses although the schema does not.
    assert given["singleuser"]["memory"]["limit"].endswith("M")
    assert not any(given["singleuser"]["networkPolicy"]["egressAllowRules"].values())
    assert given["hub"]["concurrentSpawnLimit"] <= given["hub"]["activeServerLimit"]


def test_the_schema_would_refuse_what_is_wrong():
    if not SCHEMA.exists():
        pytest.skip("the chart's schema is not here; HUBSTACK_CHART_SCHEMA names the file")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))

    assert not validator.is_valid({"nfs": {"enabled": True}})
    assert not validator.is_valid({"singleuser": {"cpu": {"limit": "500m"}}})


GRAPH = """
import json
from tests.unit.test_ephemeral_hub import EVERYTHING, build
print(json.dumps([[r.urn, r.properties, r.dependencies] for r in build(**EVERYTHING).registrations], sort_keys=True))
"""


def test_the_graph_is_the_same_under_any_hash_seed():
    def graph(seed: str) -> list[Any]:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "ignore"}
        told = subprocess.run(
            [sys.executable, "-c", GRAPH], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return sorted(json.loads(told.stdout), key=str)

    assert graph("1") == graph("2")


def test_mistakes_in_a_stacks_configuration_are_told_by_its_keys():
    raw = {
        "hubstack:topology": "ephemeral",
        "hubstack:notebookImage": "jupyter/base",
        "hubstack:users": '["ada"]',
        "hubstack:ephemeral": json.dumps({"access": "open", "front": {"kind": "ingress"}, "timeout": 5}),
    }
    with pytest.raises(pulumi.RunError) as caught:
        parse_settings(raw)
    told = str(caught.value)

    assert "5 mistake(s)" in told
    for key in ("notebookImage", "users", "ephemeral.access", "ephemeral.timeout", "domain"):
        assert f"hubstack:{key}: " in told, key


def test_unknown_and_missing_keys_below_ephemeral_are_told_where_they_are():
    given = {"acces": "open", "shared": {"share": "/h", "sever": "a"}, "contentLinks": [{"name": "a", "repo": "b"}]}
    with pytest.raises(pulumi.RunError) as caught:
        parse_settings({"hubstack:topology": "ephemeral", "hubstack:ephemeral": json.dumps(given)})
    told = str(caught.value)

    assert "hubstack:ephemeral.acces: there is no such key; did you mean access?" in told
    assert "hubstack:ephemeral.shared.sever: there is no such key; did you mean server?" in told
    assert "hubstack:ephemeral.shared.server: Field required" in told
    assert "hubstack:ephemeral.contentLinks.0.repository: Field required" in told
