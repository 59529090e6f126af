"""The graph that NotebookPlatform registers, what it tells its operator, and what it refuses."""

import json
import os
import subprocess
import sys
from typing import Any

import pulumi
import pytest
import yaml

from components import NotebookPlatform, NotebookPlatformArgs
from components.egress import EgressProfile
from components.kubernetes.custom_resources import DEFINITIONS
from components.kubernetes.notebook_admission import VOLUME_KINDS, notebook_policy
from components.kubernetes.notebook_routes import RouteKind, notebook_url
from components.kubernetes.operator_access import notebook_roles, operator_roles, requester_rules
from components.kubernetes.platform_arguments import check_notebook_platform
from components.kubernetes.platform_rights import DEPLOYED
from components.kubernetes.platform_settings import operator_settings
from components.kubernetes.quantities import parse_quantity
from runtime.notebook_operator import settings as operator
from runtime.notebook_operator.names import namespace_names
from tests.stacks import ROOT
from tests.unit.recording import Recorder, Registration, record

ARGS: NotebookPlatformArgs = {
    "operatorImage": "registry.example.org/hubstack/operator:1.0",
    "notebookImage": "registry.example.org/hubstack/notebook:1.0",
    "egressProxyImage": "registry.example.org/hubstack/egress-proxy:1.0",
    "domain": "nb.example.org",
    "route": {"gateway": "notebooks", "gatewayNamespace": "gateway-system", "listener": "https"},
    "egressDomains": ["pypi.org"],
}
ADA = {"user": "ada@example.org", "name": "training"}
PROFILE = "kubernetes:kubeflow.org/v1:Profile"
NOTEBOOK = "kubernetes:kubeflow.org/v1:Notebook"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
ADMISSION = "kubernetes:admissionregistration.k8s.io/v1"


def build(**args: object) -> Recorder:
    return record(lambda: NotebookPlatform("lab", {**ARGS, **args}))  # pyright: ignore[reportArgumentType]


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def settings(**args: object) -> dict[str, Any]:
    return operator_settings("lab", {**ARGS, **args})  # pyright: ignore[reportArgumentType]


def manifest(kind: str, name: str, **args: object) -> dict[str, Any]:
    found = settings(**args)["profile"]["manifests"]
    [one] = [m for m in found if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return one


def mistakes(**args: object) -> dict[str, str]:
    found = check_notebook_platform("lab", {**ARGS, **args})  # pyright: ignore[reportArgumentType]
    return {error["property_path"]: error["reason"] for error in found}


def before(recorder: Recorder, later: Registration) -> set[str]:
    """Types and names of all that must be there before a resource is made."""
    waits = {r.urn: r for r in recorder.registrations}
    found: set[str] = set()
    left = [later]
    while left:
        for urn in left.pop().dependencies:
            if urn not in found:
                found.add(urn)
                left.append(waits[urn])
    return {f"{waits[urn].type} {waits[urn].name}" for urn in found}


def test_every_resource_lies_below_the_component():
    recorder = build(notebooks=[ADA])
    [component] = [r for r in recorder.registrations if r.type == "hubstack:index:NotebookPlatform"]
    below = {component.urn, *(r.urn for r in recorder.registrations if r.parent == component.urn)}

    assert all(r.parent in below for r in recorder.registrations if r is not component and "Stack" not in r.type)


def test_everything_carries_the_stacks_label_and_a_role():
    for one in build(notebooks=[ADA]).registrations:
        if one.type.startswith("kubernetes:"):
            found = one.properties["metadata"]["labels"]
            assert found["hubstack.stack"] == "lab", one.name
            assert found["hubstack.role"], one.name


def test_definitions_and_peoples_profiles_are_retained_unless_the_stack_says_otherwise():
    kept = {r.name for r in build(notebooks=[ADA]).registrations if r.retain_on_delete}

    assert kept == {
        "lab-notebooks.kubeflow.org",
        "lab-profiles.kubeflow.org",
        "lab-notebookrequests.hubstack.io",
        f"lab-{namespace_names('ada@example.org')[0]}",
    }
    assert not [r.name for r in build(notebooks=[ADA], dataProtection=False).registrations if r.retain_on_delete]


def test_a_namespace_goes_with_its_profile_only_where_data_is_not_protected():
    def deleted(**args: object) -> dict[str, bool]:
        return {
            name.rpartition("lab-")[2].split("-")[0]: r.properties["metadata"]["annotations"].get(
                "notebooks.hubstack.io/delete-namespace"
            )
            == "true"
            for name, r in of_type(build(notebooks=[ADA], **args), PROFILE).items()
        }

    assert deleted() == {"probe": True, "ada": False}
    assert deleted(dataProtection=False) == {"probe": True, "ada": True}


def test_namespaces_that_users_asked_for_are_kept_where_data_is_protected():
    assert settings()["profile"]["keepNamespaces"] is True
    assert settings(dataProtection=False)["profile"]["keepNamespaces"] is False


@pytest.mark.parametrize("kind", ["notebooks", "profiles", "notebookrequests"])
def test_a_definition_reaches_the_engine_as_it_is_written(kind: str):
    written = yaml.safe_load((DEFINITIONS / f"{kind}.yaml").read_text())
    name = written["metadata"]["name"]

    registered = of_type(build(), "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition")[f"lab-{name}"]

    assert registered.properties["spec"] == written["spec"]
    assert registered.properties["metadata"]["name"] == name


def test_a_users_first_notebook_makes_their_profile_and_later_ones_share_it():
    def program() -> None:
        platform = NotebookPlatform("lab", ARGS)
        platform.notebook("ada", "first")
        platform.notebook(user="ada", name="second", image="registry.example.org/own:2", wait=False)
        platform.notebook("bob", "first")

    recorder = record(program)
    profiles = of_type(recorder, PROFILE)
    notebooks = of_type(recorder, NOTEBOOK)

    assert {name: r.properties["spec"]["owner"]["name"] for name, r in profiles.items()} == {
        "lab-lab-probe": "system:hubstack-probe",
        "lab-ada": "ada",
        "lab-bob": "bob",
    }
    assert sorted(notebooks) == ["lab-ada-first", "lab-ada-second", "lab-bob-first"]
    second = notebooks["lab-ada-second"]
    assert second.properties["metadata"]["namespace"] == "ada"
    assert second.properties["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.org/own:2"
    assert second.properties["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
    settled = {"pulumi.com/waitFor": "condition=Settled"}
    assert notebooks["lab-ada-first"].properties["metadata"]["annotations"] == settled, (
        "a stopped one is not waited for"
    )
    assert f"{PROFILE} lab-ada" in before(recorder, second)


def test_no_notebook_is_made_before_egress_is_proved_and_its_rules_stand():
    recorder = build(notebooks=[ADA])
    [notebook] = of_type(recorder, NOTEBOOK).values()
    earlier = before(recorder, notebook)

    assert "kubernetes:batch/v1:Job lab-egress-probe-job" in earlier
    assert "kubernetes:apps/v1:Deployment lab-notebook-operator" in earlier
    assert "kubernetes:apps/v1:Deployment lab-egress-proxy-deployment" in earlier
    assert "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding lab-notebooks" in earlier
    assert f"{POLICY} lab-deny-all" in earlier


def test_the_operator_starts_after_its_rights_its_limits_and_its_kinds():
    recorder = build()
    earlier = before(recorder, of_type(recorder, "kubernetes:apps/v1:Deployment")["lab-notebook-operator"])

    for needed in (
        "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition lab-notebooks.kubeflow.org",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding lab-hubstack-notebook-operator",
        "kubernetes:core/v1:ResourceQuota lab-tenancy-quota",
        "kubernetes:core/v1:LimitRange lab-tenancy-limits",
        f"{POLICY} lab-deny-all",
    ):
        assert needed in earlier


def test_the_operators_pod_has_a_token_limits_and_nothing_else_of_root():
    deployment = of_type(build(), "kubernetes:apps/v1:Deployment")["lab-notebook-operator"].properties["spec"]
    pod = deployment["template"]["spec"]
    [container] = pod["containers"]

    assert deployment["strategy"] == {"type": "Recreate"}
    assert deployment["replicas"] == 1
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("notebook-operator", True)
    assert pod["securityContext"]["runAsUser"] == 65532
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert parse_quantity(container["resources"]["limits"]["memory"]) <= 192 * 2**20
    assert {probe for probe in container if probe.endswith("Probe")} == {
        "startupProbe",
        "readinessProbe",
        "livenessProbe",
    }


def test_other_settings_start_the_operator_anew():
    def checksum(**args: object) -> str:
        deployment = of_type(build(**args), "kubernetes:apps/v1:Deployment")["lab-notebook-operator"]
        return deployment.properties["spec"]["template"]["metadata"]["annotations"]["hubstack.io/settings"]

    assert checksum() == checksum()
    assert checksum() != checksum(notebooksPerUser=4)


def test_the_operator_understands_its_settings():
    recorder = build()
    text = of_type(recorder, "kubernetes:core/v1:ConfigMap")["lab-notebook-operator"].properties["data"][
        "settings.json"
    ]

    read = operator.parse_settings(json.loads(text))

    assert read.domain == "nb.example.org"
    assert read.route.kind is operator.RouteKind.HTTP_ROUTE
    assert read.route.parents == ({"name": "notebooks", "namespace": "gateway-system", "sectionName": "https"},)
    assert read.requestTimeoutSeconds == 300
    assert read.notebook.homeBytes == 2 * 2**30
    assert read.notebook.environment["HTTPS_PROXY"] == "http://egress-proxy.lab:3128"
    assert read.notebooks == 20


def test_every_way_of_a_route_is_one_that_the_operator_knows():
    assert [kind.value for kind in RouteKind] == [kind.value for kind in operator.RouteKind]


@pytest.mark.parametrize(
    "route", [{"kind": RouteKind.NONE}, ARGS.get("route"), {"kind": "Mapping", "gatewayNamespace": "a"}]
)
def test_stack_and_operator_tell_one_address_of_a_notebook(route: dict[str, Any]):
    told = notebook_url(route, "nb.example.org", "ada", "mine")  # pyright: ignore[reportArgumentType]

    assert told == operator.parse_settings(settings(route=route)).url("ada", "mine")
    front = "http://localhost:8888" if route.get("kind") == RouteKind.NONE else "https://nb.example.org"
    assert told == f"{front}/notebook/ada/mine/"


def test_a_users_namespace_has_room_for_as_many_notebooks_as_a_user_may_have():
    hard = manifest("ResourceQuota", "kf-resource-quota", notebooksPerUser=2)["spec"]["hard"]

    assert hard["services"] == hard["pods"] == "2"
    assert hard["limits.memory"] == "2Gi"
    assert hard["requests.storage"] == "4Gi"


def test_nothing_is_counted_that_kubernetes_learns_of_only_after_minutes():
    assert not [key for key in manifest("ResourceQuota", "kf-resource-quota")["spec"]["hard"] if "count/" in key]


def test_limits_that_are_given_take_the_place_of_computed_ones():
    hard = manifest("ResourceQuota", "kf-resource-quota", namespaceQuota={"limits.memory": "1536Mi"})["spec"]["hard"]

    assert hard["limits.memory"] == "1536Mi"
    assert hard["requests.memory"] == "3Gi"


@pytest.mark.parametrize("kind", ["notebooks", "requests"])
def test_a_resource_beside_the_usual_is_let_in_where_the_quota_limits_it(kind: str):
    def rule(**args: object) -> dict[str, str]:
        policy = of_type(build(**args), f"{ADMISSION}:ValidatingAdmissionPolicy")[f"lab-{kind}"]
        [found] = [one for one in policy.properties["spec"]["validations"] if "resources are" in one["message"]]
        return found

    quota = {"requests.nvidia.com/gpu": "2"}
    hard = manifest("ResourceQuota", "kf-resource-quota", namespaceQuota=quota)["spec"]["hard"]
    given = rule(namespaceQuota=quota)

    assert rule()["message"].startswith(
        "a notebook's resources are cpu, memory, ephemeral-storage; others need a limit"
    )
    assert "['cpu', 'memory', 'ephemeral-storage']" in rule()["expression"]
    assert given["message"].startswith("a notebook's resources are cpu, memory, ephemeral-storage, nvidia.com/gpu;")
    assert "['cpu', 'memory', 'ephemeral-storage', 'nvidia.com/gpu']" in given["expression"]
    assert hard["requests.nvidia.com/gpu"] == "2"


def test_network_policies_select_every_pod_so_that_no_label_leads_out():
    for name in ("deny-all", "notebook-egress", "notebook-ingress"):
        assert not manifest("NetworkPolicy", name)["spec"]["podSelector"].get("matchLabels")


def test_notebooks_are_reached_by_the_gateway_and_the_operator_on_one_port():
    [rule] = manifest("NetworkPolicy", "notebook-ingress")["spec"]["ingress"]

    assert rule["ports"] == [{"protocol": "TCP", "port": 8888}]
    assert [(peer["namespaceSelector"]["matchLabels"], peer["podSelector"]) for peer in rule["from"]] == [
        ({"kubernetes.io/metadata.name": "gateway-system"}, {}),
        (
            {"kubernetes.io/metadata.name": "lab"},
            {"matchLabels": {"hubstack.stack": "lab", "hubstack.role": "notebook-operator"}},
        ),
    ]


def test_without_a_route_only_the_operator_reaches_notebooks_and_users_forward_a_port():
    args: dict[str, Any] = {"route": {"kind": RouteKind.NONE}, "domain": ""}
    [rule] = manifest("NetworkPolicy", "notebook-ingress", **args)["spec"]["ingress"]
    roles = of_type(build(**args), "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")

    assert len(rule["from"]) == 1
    assert "pods/portforward" in json.dumps(roles["lab-hubstack-notebook-edit"].properties)
    assert "pods/portforward" not in json.dumps(roles["lab-hubstack-notebook-view"].properties)
    assert "pods/portforward" not in json.dumps(notebook_roles(forwarded=False))


def test_by_default_no_domain_is_open_and_no_proxy_runs():
    recorder = build(egressDomains=[])
    [dns] = manifest("NetworkPolicy", "notebook-egress", egressDomains=[])["spec"]["egress"]

    assert {port["port"] for port in dns["ports"]} == {53}
    assert not [r.name for r in recorder.registrations if "egress-proxy" in r.name]
    assert settings(egressDomains=[])["notebook"]["environment"] == {}


def test_a_closed_notebook_reaches_nothing_and_nothing_is_required_of_its_probe():
    recorder = build(egressProfile=EgressProfile.CLOSED, egressDomains=[])
    [job] = of_type(recorder, "kubernetes:batch/v1:Job").values()
    [container] = job.properties["spec"]["template"]["spec"]["containers"]
    document = json.loads(container["command"][-1])

    assert manifest("NetworkPolicy", "notebook-egress", egressProfile="closed")["spec"]["egress"] == []
    assert document["required"] == []
    assert settings(egressProfile=EgressProfile.CLOSED, egressDomains=[])["notebook"]["resolvesNames"] is False
    assert settings()["notebook"]["resolvesNames"] is True
    assert "kubernetes.default.svc" in json.dumps(
        json.loads(
            next(iter(of_type(build(), "kubernetes:batch/v1:Job").values())).properties["spec"]["template"]["spec"][
                "containers"
            ][0]["command"][-1]
        )["required"]
    )


def test_the_probe_runs_in_a_namespace_made_like_a_users_and_fits_its_limits():
    recorder = build(userQuota={"cpu": 0.2, "memory": "128M", "tmp": "16M"})
    [job] = of_type(recorder, "kubernetes:batch/v1:Job").values()
    limits = job.properties["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    spec = manifest("LimitRange", "hubstack", userQuota={"cpu": 0.2, "memory": "128M", "tmp": "16M"})["spec"]
    [largest] = [one["max"] for one in spec["limits"] if one["type"] == "Container"]

    assert job.properties["metadata"]["namespace"] == "lab-probe"
    assert f"{PROFILE} lab-lab-probe" in before(recorder, job)
    assert job.properties["spec"]["template"]["metadata"]["labels"]["hubstack.role"] == "notebook"
    assert all(parse_quantity(limits[key]) <= parse_quantity(largest[key]) for key in limits)


def test_a_notebook_fits_the_limits_of_its_namespace():
    resources = settings()["notebook"]["resources"]
    spec = manifest("LimitRange", "hubstack")["spec"]
    [largest] = [one["max"] for one in spec["limits"] if one["type"] == "Container"]

    assert all(parse_quantity(resources["limits"][key]) <= parse_quantity(largest[key]) for key in largest)


def test_the_operator_reaches_names_the_api_server_and_notebooks_and_is_reached_by_nobody():
    policies = of_type(build(apiServers=["10.96.0.1/32", "192.0.2.7/32"]), POLICY)
    own = {name: r.properties["spec"] for name, r in policies.items() if "notebook-operator" in name}

    assert sorted(own) == [f"lab-notebook-operator-{end}" for end in ("api-server", "names", "notebooks")]
    assert all("ingress" not in spec for spec in own.values())
    [rule] = own["lab-notebook-operator-api-server"]["egress"]
    assert [peer["ipBlock"]["cidr"] for peer in rule["to"]] == ["10.96.0.1/32", "192.0.2.7/32"]
    assert [port["port"] for port in rule["ports"]] == [443, 6443]
    [rule] = own["lab-notebook-operator-notebooks"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8888}]
    assert [peer["namespaceSelector"]["matchLabels"] for peer in rule["to"]] == [
        {"hubstack.stack": "lab", "hubstack.role": "profile"}
    ]
    assert policies["lab-deny-all"].properties["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_label_that_policies_open_for_is_on_every_users_namespace_and_on_no_other():
    recorder = build()
    [namespace] = of_type(recorder, "kubernetes:core/v1:Namespace").values()
    wanted = {"hubstack.stack": "lab", "hubstack.role": "profile"}

    assert wanted.items() <= settings()["profile"]["namespaceLabels"].items()
    assert not wanted.items() <= namespace.properties["metadata"]["labels"].items()
    assert settings()["profile"]["namespaceLabels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def all_rules() -> list[tuple[str, Any]]:
    roles = {**operator_roles(), **{name: role["rules"] for name, role in notebook_roles(forwarded=True).items()}}
    roles["requester"] = requester_rules()
    return [(name, rule) for name, rules in roles.items() for rule in rules]


def test_no_role_has_a_star_and_nobody_runs_commands_in_pods_or_becomes_somebody_else():
    for name, rule in all_rules():
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
        assert not {"impersonate", "escalate"} & set(rule["verbs"]), name
        assert not {"pods/exec", "pods/attach", "nodes", "nodes/proxy"} & set(rule["resources"]), name
        assert "bind" not in rule["verbs"] or rule.get("resourceNames"), name


def test_people_change_nothing_that_keeps_them_apart():
    guarded = {"namespaces", "networkpolicies", "rolebindings", "roles", "profiles", "serviceaccounts", "statefulsets"}
    measured = {"limitranges", "resourcequotas"}
    for name, role in notebook_roles(forwarded=True).items():
        for rule in role["rules"]:
            assert not guarded & set(rule["resources"]), name
            assert not measured & set(rule["resources"]) or set(rule["verbs"]) <= {"get", "list", "watch"}, name
            assert "secrets" not in rule["resources"] or rule["verbs"] == ["get"], name


def test_who_may_only_look_gets_no_token_and_no_log():
    view = json.dumps(notebook_roles(forwarded=True)["hubstack-notebook-view"])

    assert "secrets" not in view
    assert "pods/log" not in view


def test_kubeflows_roles_take_over_the_rules_by_their_labels():
    labels = {name: list(role["labels"]) for name, role in notebook_roles(forwarded=False).items()}

    assert labels == {
        f"hubstack-notebook-{level}": [f"rbac.authorization.kubeflow.org/aggregate-to-kubeflow-{level}"]
        for level in ("view", "edit", "admin")
    }


def test_the_group_of_users_may_make_requests_and_nothing_more():
    bindings = of_type(build(userGroup="people"), "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding")
    groups = {
        r.properties["roleRef"]["name"]: s["name"]
        for r in bindings.values()
        for s in r.properties["subjects"]
        if s["kind"] == "Group"
    }

    assert groups == {"hubstack-notebook-requester": "people"}
    assert requester_rules() == [{"apiGroups": ["hubstack.io"], "resources": ["notebookrequests"], "verbs": ["create"]}]


def test_the_types_that_rights_are_checked_for_are_those_that_are_made():
    made = {r.type.removeprefix("kubernetes:") for r in build(notebooks=[ADA]).registrations if "kubernetes:" in r.type}

    assert {one for one in made if not one.startswith("hubstack:")} == set(DEPLOYED)


def test_the_graph_is_the_same_under_any_hash_seed():
    program = """
import json
from tests.unit.test_notebook_platform import ADA, build
found = build(notebooks=[ADA], egressDomains=["pypi.org", "example.org"]).registrations
print(json.dumps(sorted((r.urn, r.properties, r.dependencies) for r in found)))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(printed) == 1


def test_outputs_are_those_that_the_class_declares():
    recorder = build(notebooks=[ADA])
    [component] = [r for r in recorder.registrations if r.type == "hubstack:index:NotebookPlatform"]

    assert recorder.outputs[component.urn] == ["namespace", "urls", "userGroup"]
    assert set(NotebookPlatform.__annotations__) == {"namespace", "urls", "userGroup"}


@pytest.mark.parametrize(
    ("args", "path", "message"),
    [
        ({"operatorImage": "hubstack/operator"}, "operatorImage", "hubstack/operator has no tag"),
        ({"notebookImage": "jupyter:latest"}, "notebookImage", "moves"),
        ({"notebookImage": ""}, "notebookImage", "'' is no image"),
        ({"egressProxyImage": "squid"}, "egressProxyImage", "no tag"),
        ({"userQuota": {"memory": "1 gallon"}}, "userQuota.memory", "'1 gallon' is not a size"),
        ({"namespaceQuota": {"limits.memory": "512Mi"}}, "namespaceQuota.limits.memory", "no room for one server"),
        ({"namespaceQuota": {"limits.memory": "4GB"}}, "namespaceQuota.limits.memory", "'4GB' is no amount"),
        ({"notebooksPerUser": 0}, "notebooksPerUser", "0 is not between 1 and 50"),
        ({"fleetQuota": {"servers": 0}}, "fleetQuota.servers", "0 is not between"),
        ({"nodes": 0}, "nodes", "0 is below 1"),
        ({"domain": "localhost"}, "domain", "'localhost' is no host name"),
        ({"route": {"gatewayNamespace": "gateway-system"}}, "route.gateway", "needs the name of the Gateway"),
        ({"route": {"kind": "Mapping"}}, "route.gatewayNamespace", "needs the namespace of Emissary"),
        ({"route": {"kind": "Ingress"}}, "route.kind", "one of HTTPRoute, Mapping, none"),
        ({"route": {"kind": "none", "gateway": "one"}}, "route.gateway", "leave it out"),
        ({"route": {**ARGS["route"], "sources": ["Envoy"]}}, "route.sources[0]", "'Envoy' is no name"),
        ({"egressProfile": "wide"}, "egressProfile", "wide is not known"),
        ({"egressDomains": ["*.org"]}, "egressDomains[0]", "has a star"),
        ({"apiServers": ["10.0.0.1/8"]}, "apiServers[0]", "host bits set"),
        ({"userGroup": "system:unauthenticated"}, "userGroup", "no group of people who log in"),
        ({"notebooks": [{"user": "a b", "name": "one"}]}, "notebooks[0].user", "'a b' is no user name"),
        ({"notebooks": [{"user": "system:admin", "name": "one"}]}, "notebooks[0].user", "a part of Kubernetes"),
        ({"notebooks": [{"user": "ada", "name": "n" * 53}]}, "notebooks[0].name", "at most 52 characters"),
        ({"notebooks": [{"user": "ada", "name": "1st"}]}, "notebooks[0].name", "the first a letter"),
        ({"notebooks": [{"user": "ada", "name": "one", "image": "x"}]}, "notebooks[0].image", "x has no tag"),
        ({"notebooks": [ADA, ADA]}, "notebooks[1].name", "two notebooks training"),
        (
            {"notebooksPerUser": 1, "notebooks": [ADA, {**ADA, "name": "other"}]},
            "notebooks",
            "ada@example.org has 2, and notebooksPerUser is 1",
        ),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(args: dict[str, object], path: str, message: str):
    found = mistakes(**args)

    assert list(found) == [path]
    assert message in found[path]


def test_every_mistake_is_listed_at_once():
    with pytest.raises(pulumi.InputPropertiesError) as caught:
        build(operatorImage="x", notebooksPerUser=0, domain="?", notebooks=[{"user": "", "name": ""}])

    assert [error["property_path"] for error in caught.value.errors] == [
        "operatorImage",
        "domain",
        "notebooksPerUser",
        "notebooks[0].user",
        "notebooks[0].name",
    ]


def test_a_name_that_no_namespace_can_have_is_a_mistake_beside_the_others():
    with pytest.raises(pulumi.InputPropertiesError) as caught:
        record(lambda: NotebookPlatform("Lab.1", {**ARGS, "operatorImage": "x"}))

    assert [error["property_path"] for error in caught.value.errors] == ["name", "operatorImage"]


def test_a_program_makes_no_second_notebook_of_one_name_for_a_user():
    def program() -> None:
        platform = NotebookPlatform("lab", ARGS)
        platform.notebook("ada", "first")
        platform.notebook("ada", "first")

    with pytest.raises(pulumi.InputPropertiesError) as caught:
        record(program)

    assert caught.value.errors == [{"property_path": "notebook.name", "reason": "ada has a notebook first already"}]


def test_no_mistake_is_found_in_what_is_right():
    assert mistakes(notebooks=[ADA], operatorImage=f"operator@sha256:{'0' * 64}") == {}
    assert mistakes(route={"kind": "none"}, domain="") == {}
    assert mistakes(route={"kind": "Mapping", "gatewayNamespace": "emissary"}) == {}


def test_a_volume_is_mounted_by_the_cluster_or_not_at_all():
    assert "persistentVolumeClaim" in VOLUME_KINDS
    assert not {"csi", "hostPath", "iscsi", "nfs"} & set(VOLUME_KINDS)


def test_a_policys_words_name_what_to_leave_out():
    messages = [rule["message"] for rule in notebook_policy("lab")["validations"]]

    assert len(messages) == len(set(messages))
    assert all(len(message) < 256 for message in messages)
