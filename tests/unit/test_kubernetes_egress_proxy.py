"""What EgressProxy registers: rules of the network, and a pod without rights."""

import pulumi
import pulumi_random as random
import pytest

from components.kubernetes.egress_proxy import (
    EgressProxy,
    EgressProxyArgs,
    check_egress_proxy,
    deployment_spec,
    network_policies,
    proxy_address,
    proxy_environment,
    room,
)
from components.kubernetes.isolation import deny_all_policy, user_egress_policy
from components.kubernetes.tenancy import limit_range_spec, resource_quota_spec
from policies.network_policies import Union
from tests.unit.kubernetes_pods import assert_restricted, assert_within
from tests.unit.recording import Recorder, Registration, record

USERS = {"component": "singleuser-server"}
PROXY = {"hubstack.role": "egress-proxy"}
ARGS: EgressProxyArgs = {
    "stack": "lab",
    "namespace": "lab-users",
    "image": "registry.example.org/egress-proxy:1",
    "domains": ["pypi.org", ".example.org"],
    "clients": [{"labels": USERS}],
}


def build(**args: object) -> Recorder:
    return record(lambda: EgressProxy("lab-proxy", {**ARGS, **args}))  # pyright: ignore[reportArgumentType]


def of_type(recorder: Recorder, kind: str) -> list[Registration]:
    return [r for r in recorder.registrations if r.type.endswith(f":{kind}")]


def test_clients_reach_the_proxy_and_nobody_else_does():
    specs = [deny_all_policy(), *network_policies(ARGS).values()]
    found = Union.of(specs, PROXY, "lab-users", "Ingress")

    assert found.reaches_pod(USERS, "lab-users", 3128)
    assert not found.reaches_pod(USERS, "lab-users", 80)
    assert not found.reaches_pod({"component": "hub"}, "lab-users", 3128)
    assert not found.reaches_pod(USERS, "other", 3128)
    assert found.segments() == ()


def test_the_proxy_reaches_public_addresses_on_443_and_name_servers_alone():
    found = Union.of(
        [deny_all_policy(), *network_policies({**ARGS, "excluded": ["203.0.113.0/24"]}).values()],
        PROXY,
        "lab-users",
        "Egress",
    )

    assert found.reaches_address("1.1.1.1", 443)
    assert found.reaches_pod({"k8s-app": "kube-dns"}, "kube-system", 53, "UDP")
    assert [found.reaches_address("1.1.1.1", port) for port in (22, 53, 80, 8443)] == [False] * 4
    for inside in ("169.254.169.254", "10.96.0.1", "100.64.0.1", "203.0.113.7", "fd00:ec2::254"):
        assert not found.reaches_address(inside, 443)
    assert not found.reaches_pod(USERS, "lab-users", 8888)


def test_a_users_way_to_the_proxy_is_open_at_both_ends():
    egress = user_egress_policy(
        {"profile": "domains", "domains": ["pypi.org"], "ports": []},  # pyright: ignore[reportArgumentType]
        user_pods=USERS,
        proxy={"labels": PROXY},
    )

    assert Union.of([egress], USERS, "lab-users", "Egress").reaches_pod(PROXY, "lab-users", 3128)


def test_the_pod_is_restricted_with_limits_for_everything():
    pod = deployment_spec(ARGS, "")["template"]["spec"]

    assert_restricted(pod)
    assert pod["volumes"] == [{"name": "configuration", "configMap": {"name": "egress-proxy"}}]
    assert pod["containers"][0]["volumeMounts"][0]["readOnly"] is True


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_quotas_room_holds_all_replicas_and_the_overlap_of_an_update(replicas: int):
    system = {"egress-proxy": room(replicas)}
    spec = deployment_spec({**ARGS, "replicas": replicas}, "")
    most = spec["replicas"] + spec["strategy"]["rollingUpdate"]["maxSurge"]

    assert_within(spec["template"]["spec"], most, system)
    assert limit_range_spec({}, system=system)
    assert resource_quota_spec({}, {"servers": 1}, system=system)["hard"]["services"] == "2"


def test_a_changed_list_starts_new_pods_and_an_unchanged_one_does_not():
    def template(domains: list[str]) -> object:
        [deployment] = of_type(build(domains=domains), "Deployment")
        return deployment.properties["spec"]["template"]

    assert template(["a.org", "b.org"]) == template(["b.org", "a.org", "a.org"])
    assert template(["a.org"]) != template(["b.org"])


def test_no_pod_starts_before_its_rules_are_there():
    recorder = build()
    [deployment] = of_type(recorder, "Deployment")
    earlier = [*of_type(recorder, "ConfigMap"), *of_type(recorder, "NetworkPolicy")]

    assert len(earlier) == 3
    assert {one.urn for one in earlier} <= set(deployment.dependencies)


def test_the_service_selects_the_pods_of_the_deployment():
    recorder = build()
    [service], [deployment] = of_type(recorder, "Service"), of_type(recorder, "Deployment")
    spec = deployment.properties["spec"]

    assert service.properties["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["selector"]["matchLabels"] == service.properties["spec"]["selector"]
    assert service.properties["metadata"]["name"] == "egress-proxy"
    assert "type" not in service.properties["spec"], "a ClusterIP: nobody outside reaches it"


@pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (2, 1)])
def test_several_replicas_have_a_disruption_budget(replicas: int, budgets: int):
    assert len(of_type(build(replicas=replicas), "PodDisruptionBudget")) == budgets


def test_everything_is_a_child_of_the_component_and_labelled():
    recorder = build(replicas=2)
    [component] = of_type(recorder, "EgressProxy")
    children = [r for r in recorder.registrations if r.type.startswith("kubernetes:")]

    assert len(children) == 6
    assert all(child.parent == component.urn for child in children)
    labels = {"hubstack.stack": "lab", "hubstack.role": "egress-proxy"}
    assert all(child.properties["metadata"]["labels"] == labels for child in children)
    assert all(child.properties["metadata"]["namespace"] == "lab-users" for child in children)
    assert recorder.outputs[component.urn] == ["address"]


def test_what_the_component_depends_on_is_there_before_any_part():
    def program() -> None:
        first = random.RandomId("first", byte_length=4)
        EgressProxy("lab-proxy", {**ARGS, "replicas": 2}, pulumi.ResourceOptions(depends_on=[first]))

    children = [r for r in record(program).registrations if r.type.startswith("kubernetes:")]
    waiting = [r for r in children if any(urn.endswith("::first") for urn in r.dependencies)]

    assert len(waiting) == 5, "all but the Deployment, which waits for these"


def test_programs_find_the_proxy_and_reach_the_cluster_without_it():
    environment = proxy_environment(proxy_address("lab-users"), "lab-users")

    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == "http://egress-proxy.lab-users:3128"
    assert environment["NO_PROXY"] == environment["no_proxy"]
    assert {"localhost", "127.0.0.1", ".svc", ".cluster.local", ".lab-users"} <= set(environment["NO_PROXY"].split(","))
    assert not {"HTTP_PROXY", "http_proxy", "ALL_PROXY"} & set(environment), "the hub's API is plain HTTP"


def test_every_mistake_is_reported_at_once():
    errors = check_egress_proxy({**ARGS, "domains": ["*.org", "10.0.0.1"], "excluded": ["here"], "replicas": 0})

    assert [error["property_path"] for error in errors] == [
        "egressDomains[0]",
        "egressDomains[1]",
        "egressExcluded[0]",
        "replicas",
    ]
    with pytest.raises(pulumi.InputPropertiesError, match="lab-proxy cannot be deployed"):
        build(replicas=11)
