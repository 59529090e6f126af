"""What a platform would take from another stack, and the names that decide it."""

import pytest

from components import NotebookPlatform
from components.kubernetes.platform_objects import fixed_names
from components.kubernetes.platform_preflight import takeover_mistakes
from tests.unit.recording import record
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
