"""What users' pods of an EphemeralHub may do and reach, and where the probe runs that proves it."""

import json
from typing import Any

import pytest

from components import EgressProfile
from components.kubernetes.tenancy import pod_security_labels
from tests.unit.ephemeral_hub import ARGS, DOMAINS, EVERYTHING, POLICY, before, build, of_type, release, values


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


TAINT = {"key": "hub.jupyter.org/dedicated", "operator": "Equal", "value": "user", "effect": "NoSchedule"}
GPU = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("more", "tolerated", "nodes"),
    [
        ({}, [TAINT, {**TAINT, "key": "hub.jupyter.org_dedicated"}], {}),
        ({"scheduling": {"userPods": {"tolerations": []}}}, [], {}),
        (
            {"scheduling": {"userPods": {"tolerations": [TAINT]}}, "singleuser": {"extraTolerations": [GPU]}},
            [TAINT, GPU],
            {},
        ),
        (
            {"scheduling": {"userPods": {"tolerations": [], "nodeAffinity": {"matchNodePurpose": "require"}}}},
            [],
            {"hub.jupyter.org/node-purpose": "user"},
        ),
    ],
)
def test_the_probe_runs_on_nodes_that_are_for_users_alone_as_the_charts_users_do(
    more: dict[str, Any], tolerated: list[Any], nodes: dict[str, str]
):
    recorder = build(values=more, nodeSelector={"pool": "visitors"})
    [job] = of_type(recorder, "kubernetes:batch/v1:Job").values()
    pod = job.properties["spec"]["template"]["spec"]
    given = release(recorder).properties["values"]

    assert pod.get("tolerations", []) == tolerated
    assert pod["nodeSelector"] == {**nodes, "pool": "visitors"}
    users = [*given["scheduling"]["userPods"]["tolerations"], *given["singleuser"].get("extraTolerations", [])]
    assert users == tolerated


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


def test_the_namespace_refuses_pods_with_privileges():
    [namespace] = of_type(build(), "kubernetes:core/v1:Namespace").values()

    assert pod_security_labels("restricted").items() <= namespace.properties["metadata"]["labels"].items()
