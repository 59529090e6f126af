"""Where a platform's pods run and whose credentials pull their images."""

from typing import Any

from components.kubernetes.platform_arguments import check_notebook_platform
from components.kubernetes.platform_rights import PULLING, platform_rights
from runtime.notebook_operator.pod import pod_spec
from runtime.notebook_operator.settings import parse_settings
from tests.unit.notebooks import notebook
from tests.unit.test_notebook_platform import ARGS, build, manifest, of_type, settings

NODES: dict[str, Any] = {"pool": "notebooks"}
TAINTS: list[dict[str, Any]] = [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]
PULLED = [{"name": "registry"}]


def pods(**args: Any) -> dict[str, dict[str, Any]]:
    """Specs of the pods that the stack itself makes, by what makes them."""
    recorder = build(**args)
    kinds = ("apps/v1:Deployment", "apps/v1:DaemonSet", "batch/v1:Job")
    found = {name: r for kind in kinds for name, r in of_type(recorder, f"kubernetes:{kind}").items()}
    return {name: r.properties["spec"]["template"]["spec"] for name, r in found.items()}


def test_every_pod_of_the_stack_has_the_credentials_of_the_registry():
    found = pods(imagePullSecrets=["registry"])

    assert len(found) == 4
    assert {name: pod.get("imagePullSecrets") for name, pod in found.items()} == dict.fromkeys(found, PULLED)
    assert not [name for name, pod in pods().items() if "imagePullSecrets" in pod]


def test_the_operator_reads_these_secrets_of_its_namespace_and_no_other():
    recorder = build(imagePullSecrets=["registry"])
    [role] = of_type(recorder, "kubernetes:rbac.authorization.k8s.io/v1:Role").values()
    [binding] = of_type(recorder, "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding").values()

    assert role.properties["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["registry"]}
    ]
    assert role.properties["metadata"]["namespace"] == binding.properties["metadata"]["namespace"] == "lab"
    assert [subject["name"] for subject in binding.properties["subjects"]] == ["notebook-operator"]
    assert not of_type(build(), "kubernetes:rbac.authorization.k8s.io/v1:Role")


def test_who_deploys_credentials_is_asked_for_the_right_to_make_that_role():
    made = {r.type.removeprefix("kubernetes:") for r in build(imagePullSecrets=["registry"]).registrations}
    needed, _ = platform_rights({**ARGS, "imagePullSecrets": ["registry"]})

    assert set(PULLING) <= made
    assert {("create", "roles"), ("create", "rolebindings")} <= {(one.verb, one.resource) for one in needed}
    assert "roles" not in {one.resource for one in platform_rights(ARGS)[0]}


def test_the_operator_is_told_what_to_copy_and_there_is_room_for_it():
    def room(**args: Any) -> int:
        return int(manifest("ResourceQuota", "kf-resource-quota", **args)["spec"]["hard"]["secrets"])

    assert settings(imagePullSecrets=["registry"])["profile"]["imagePullSecrets"] == ["registry"]
    assert room(imagePullSecrets=["registry"]) == room() + 1


def test_a_users_secrets_are_bounded_by_the_notebooks_that_a_user_may_have():
    def room(number: int) -> int:
        hard = manifest("ResourceQuota", "kf-resource-quota", notebooksPerUser=number)["spec"]["hard"]
        return int(hard["secrets"])

    assert (room(2), room(5)) == (12, 15)


def test_images_are_pulled_and_egress_is_proved_on_the_nodes_of_notebooks():
    found = pods(nodeSelector=NODES, tolerations=TAINTS)

    for name in ("lab-prepull-daemonset", "lab-egress-probe-job"):
        assert (found[name]["nodeSelector"], found[name]["tolerations"]) == (NODES, TAINTS), name
    assert "nodeSelector" not in found["lab-notebook-operator"]


def test_notebooks_run_on_these_nodes_unless_they_say_otherwise():
    told = parse_settings(settings(nodeSelector=NODES, tolerations=TAINTS))
    own = pod_spec(notebook(nodeSelector={"gpu": "yes"}, tolerations=[]), told)
    pod, anywhere = pod_spec(notebook(), told), pod_spec(notebook(), parse_settings(settings()))

    assert (pod["nodeSelector"], pod["tolerations"]) == (NODES, TAINTS)
    assert (own["nodeSelector"], own["tolerations"]) == ({"gpu": "yes"}, [])
    assert not {"nodeSelector", "tolerations"} & anywhere.keys()


def test_a_name_that_no_secret_has_or_a_notebooks_has_is_a_mistake():
    found = check_notebook_platform("lab", {**ARGS, "imagePullSecrets": ["registry", "user:password", "ada-token"]})

    assert [mistake["property_path"] for mistake in found] == ["imagePullSecrets[1]", "imagePullSecrets[2]"]
    assert "'user:password' is no name of a Secret" in found[0]["reason"]
    assert "'ada-token' could be the Secret of a notebook" in found[1]["reason"]


def test_egress_is_proved_anew_when_what_keeps_users_in_changes():
    def proof(**args: Any) -> str:
        [job] = of_type(build(**args), "kubernetes:batch/v1:Job").values()
        return job.properties["metadata"]["name"]

    assert proof() == proof()
    others = [
        proof(route={"gateway": "notebooks", "gatewayNamespace": "elsewhere"}),
        proof(egressProxyImage="registry.example.org/hubstack/egress-proxy:2.0"),
        proof(egressDomains=["pypi.org", "example.org"]),
    ]
    assert len({proof(), *others}) == 4
