"""What stands in a platform's way: what it would take from another stack, and namespaces that are not its users'."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from components import NotebookPlatform
from components.kubernetes.access_check import find_configuration
from components.kubernetes.platform_objects import fixed_names
from components.kubernetes.platform_preflight import platform_mistakes, takeover_mistakes
from tests.unit.recording import record
from tests.unit.test_cluster_access import kubeconfig
from tests.unit.test_ephemeral_hub_preflight import cluster
from tests.unit.test_notebook_platform import ARGS

OURS, THEIRS = {"hubstack.stack": "lab"}, {"hubstack.stack": "other"}
BINDING = ("ClusterRoleBinding", "hubstack-notebook-operator")
KIND = ("CustomResourceDefinition", "notebooks.kubeflow.org")


def test_the_names_are_those_of_all_that_the_stack_makes_outside_namespaces():
    found = record(lambda: NotebookPlatform("lab", ARGS)).registrations
    made = {
        (one.type.rpartition(":")[2], one.properties["metadata"]["name"])
        for one in found
        if one.type.startswith("kubernetes:") and "namespace" not in one.properties["metadata"]
    }
    named = {(kind, name) for kind, names in fixed_names("lab", ARGS).items() for name in names}

    # The namespace and the probe's Profile are called as the stack.
    assert {(kind, name) for kind, name in made if not name.startswith("lab")} == named


def test_a_cluster_without_a_platform_and_ones_own_are_free():
    assert takeover_mistakes({}, "lab") == []
    assert takeover_mistakes({BINDING: OURS, KIND: OURS}, "lab") == []


@pytest.mark.parametrize("kind", ["ClusterRoleBinding", "ClusterRole", "ValidatingAdmissionPolicy"])
def test_a_second_platform_is_refused_with_all_that_the_first_has(kind: str):
    found = {(kind, "hubstack-x"): THEIRS, KIND: THEIRS}

    assert set(takeover_mistakes(found, "lab")) == {
        f"the {what} {name} belongs to the platform of the stack other; a cluster has one platform"
        for what, name in (KIND, (kind, "hubstack-x"))
    }


def test_kinds_that_a_platform_left_behind_are_free():
    assert takeover_mistakes({KIND: THEIRS}, "lab") == []
    assert takeover_mistakes({KIND: THEIRS, BINDING: OURS}, "lab") == []


def test_what_is_of_no_stack_is_taken_over_by_a_label_alone():
    [kubeflows, role] = takeover_mistakes({KIND: {}, ("ClusterRole", "hubstack-x"): {"team": "a"}}, "lab")

    assert "kubectl label ClusterRole hubstack-x hubstack.stack=lab" in kubeflows + role
    assert "kubectl label CustomResourceDefinition notebooks.kubeflow.org hubstack.stack=lab" in kubeflows + role


def namespace(labels: Mapping[str, str], **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "ada", "labels": labels, "annotations": annotations}}


def told_of(found: dict[str, Any]) -> list[str]:
    """What is said where `found` is in the namespace ada of a stack that makes ada a notebook, and bob one."""
    with cluster(lambda _: True, {"/api/v1/namespaces/ada": found}) as server:
        configuration = find_configuration({"kubeconfig": kubeconfig(server)}, {})
        notebooks: Any = [{"user": user, "name": "mine"} for user in ("ada", "bob")]
        return platform_mistakes(configuration, "lab", {**ARGS, "notebooks": notebooks})


ADAS = {"app.kubernetes.io/part-of": "kubeflow-profile"}
ADVICE = "take ada out of notebooks: a NotebookRequest of theirs takes another name"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (namespace({}), "is there already and not ada's"),
        (namespace({}, owner="ada"), "is there already and not ada's"),
        (namespace(ADAS, owner="ada@example.org"), "is there already and not ada's"),
        (namespace({**ADAS, **THEIRS}, owner="ada"), "belongs to the stack other"),
    ],
)
def test_a_notebook_whose_namespace_is_somebody_elses_is_told_before_anything_is_made(
    found: dict[str, Any], reason: str
):
    assert told_of(found) == [f"the namespace ada {reason}; {ADVICE}"]


@pytest.mark.parametrize("labels", [ADAS, {**ADAS, **OURS}])
def test_a_namespace_of_the_users_own_takes_their_notebook(labels: dict[str, str]):
    assert told_of(namespace(labels, owner="ada")) == []


def test_a_login_that_fails_is_told_once_and_as_no_cluster_that_answers():
    written = yaml.safe_load(kubeconfig())
    written["users"][0]["user"] = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}

    [told] = platform_mistakes(find_configuration({"kubeconfig": yaml.safe_dump(written)}, {}), "lab", ARGS)

    assert told.startswith("no cluster answers at http://127.0.0.1:1 (context lab): ")
