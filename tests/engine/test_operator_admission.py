"""What a platform's operator, were it somebody else's, could do to the cluster: the API server judges where it writes."""

from collections.abc import Iterator
from typing import Any

import pytest

from components.kubernetes.operator_admission import operator_user
from components.kubernetes.profile_manifests import profile_labels
from runtime.notebook_operator.access import ADMIN_ROLE, EDIT_ROLE, TENANT_ROLE
from tests.engine.cluster_api import Answer, ClusterApi, Manifest, cluster_api
from tests.engine.test_platform_admission import ADA, ADAS, STACK, container, notebook, platform, request, until

__all__ = ["cluster_api", "platform"]

pytestmark = pytest.mark.kubernetes

OPERATOR = operator_user(STACK)
PREFIX = f"{STACK}-rights"
KUBEFLOW = {"app.kubernetes.io/part-of": "kubeflow-profile"}
RBAC = "rbac.authorization.k8s.io"


def space(name: str, labels: dict[str, str] | None = None, owner: str | None = "carol") -> Manifest:
    annotations = {"annotations": {"owner": owner}} if owner else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}, **annotations}}


def binding(namespace: str, role: str = TENANT_ROLE, user: str = OPERATOR) -> Manifest:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "notebook-operator", "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }


@pytest.fixture(scope="module")
def api(platform: ClusterApi) -> ClusterApi:
    """The platform, once the rules for its operator are in force."""
    until("no rule is in force", lambda: bind(platform, "kube-system").status == 403)
    until("no rule is in force", lambda: relabel(platform, "kube-system", {"a": "b"}).status == 403)
    return platform


@pytest.fixture
def spaces(api: ClusterApi) -> Iterator[list[Manifest]]:
    """Namespaces that go after the test."""
    found: list[Manifest] = []
    yield found
    for one in found:
        api.delete(one)


def bind(api: ClusterApi, namespace: str, *role: str) -> Answer:
    return api.create(binding(namespace, *role), user=OPERATOR, dry_run=True)


def relabel(api: ClusterApi, name: str, labels: dict[str, Any]) -> Answer:
    return api.merge(space(name), {"metadata": {"labels": labels}}, user=OPERATOR, dry_run=True)


@pytest.mark.parametrize("namespace", ["kube-system", "default", STACK])
def test_it_binds_itself_no_role_where_no_profile_is(api: ClusterApi, namespace: str):
    for role in (TENANT_ROLE, ADMIN_ROLE, EDIT_ROLE):
        answer = bind(api, namespace, role)

        assert answer.status == 403, answer
    assert f"binds roles in namespaces of profiles of the stack {STACK} alone" in bind(api, namespace).message


def test_it_binds_itself_its_role_in_a_profiles_namespace_and_gives_it_nobody_else(api: ClusterApi):
    assert bind(api, ADAS).message == ""
    assert "nobody but the operator has the role" in bind(api, ADAS, TENANT_ROLE, ADA).message


def test_the_namespace_of_another_platform_is_closed_to_it(api: ClusterApi, spaces: list[Manifest]):
    other = space(f"{PREFIX}-other", profile_labels("other"))
    spaces.append(other)
    assert api.apply(other).message == ""

    assert bind(api, f"{PREFIX}-other").status == 403
    assert relabel(api, f"{PREFIX}-other", profile_labels(STACK)).status == 403


@pytest.mark.parametrize("name", ["kube-system", "default", STACK])
def test_it_makes_no_profiles_namespace_of_one_that_is_there(api: ClusterApi, name: str):
    answer = relabel(api, name, profile_labels(STACK))

    assert answer.status == 403
    assert f"changes namespaces of profiles of the stack {STACK} alone" in answer.message


@pytest.mark.parametrize(
    "labels",
    [
        {"pod-security.kubernetes.io/enforce": "privileged"},
        {"pod-security.kubernetes.io/enforce": None},
        {"pod-security.kubernetes.io/enforce-version": "v1.0"},
        {"hubstack.stack": None},
        {"hubstack.role": "tenancy"},
        {"app.kubernetes.io/part-of": None},
    ],
    ids=str,
)
def test_it_does_not_weaken_what_protects_a_profile(api: ClusterApi, labels: dict[str, Any]):
    answer = relabel(api, ADAS, labels)

    assert answer.status == 403, labels
    assert "a profile's namespace has its labels" in answer.message


def test_a_namespace_that_it_makes_is_a_profiles(api: ClusterApi):
    assert api.create(space(f"{PREFIX}-new", profile_labels(STACK)), user=OPERATOR, dry_run=True).message == ""
    for labels in ({}, KUBEFLOW, profile_labels("other")):
        assert api.create(space(f"{PREFIX}-new", labels), user=OPERATOR, dry_run=True).status == 403, labels


def test_it_enters_a_new_namespace_at_once(api: ClusterApi, spaces: list[Manifest]):
    for number in range(5):
        new = space(f"{PREFIX}-new-{number}", profile_labels(STACK))
        spaces.append(new)
        assert api.create(new, user=OPERATOR).message == ""
        assert api.create(binding(f"{PREFIX}-new-{number}"), user=OPERATOR).message == ""


def test_it_takes_over_a_namespace_of_kubeflows_at_once(api: ClusterApi, spaces: list[Manifest]):
    for number in range(5):
        name = f"{PREFIX}-adopted-{number}"
        spaces.append(space(name, KUBEFLOW))
        assert api.apply(spaces[-1]).message == ""
        assert relabel(api, name, {"team": "a"}).status == 403
        taken = api.merge(spaces[-1], {"metadata": {"labels": profile_labels(STACK)}}, user=OPERATOR)
        assert taken.message == ""
        assert api.create(binding(name), user=OPERATOR).message == ""


def test_a_namespace_that_only_looks_like_kubeflows_is_closed_to_it(api: ClusterApi, spaces: list[Manifest]):
    name = f"{PREFIX}-nobodys"
    spaces.append(space(name, KUBEFLOW, owner=None))
    assert api.apply(spaces[-1]).message == ""

    assert bind(api, name).status == 403
    assert relabel(api, name, profile_labels(STACK)).status == 403


def test_nobody_else_is_judged_by_these_rules(api: ClusterApi):
    assert api.create(binding("default"), dry_run=True).message == ""
    assert api.merge(space("default"), {"metadata": {"labels": {"a": "b"}}}, dry_run=True).message == ""


def test_who_marks_a_notebook_as_another_platforms_is_refused(api: ClusterApi):
    mine, bad = notebook("marked"), {"metadata": {"labels": {"hubstack.stack": "other"}}}
    assert api.create(mine, user=ADA).message == ""
    try:
        refused = api.merge(mine, bad, user=ADA)
        own = api.merge(mine, {"metadata": {"labels": {"hubstack.stack": STACK}}}, user=ADA)
    finally:
        api.delete(mine)

    assert refused.status == 422
    assert "the label hubstack.stack says which platform's it is" in refused.message
    assert own.message == ""
    marked = request(ADA)
    marked["metadata"]["labels"] = {"hubstack.stack": "other"}
    assert "which platform's it is" in api.create(marked, user=ADA, groups=[f"{STACK}-users"], dry_run=True).message


def test_a_notebook_ends_within_half_a_minute(api: ClusterApi):
    slow = {"spec": {"containers": container(), "terminationGracePeriodSeconds": 31}}
    sentence = "terminationGracePeriodSeconds is at most 30"

    assert sentence in api.create(notebook(terminationGracePeriodSeconds=31), user=ADA, dry_run=True).message
    assert (
        sentence in api.create(request(ADA, template=slow), user=ADA, groups=[f"{STACK}-users"], dry_run=True).message
    )
    assert api.create(notebook(terminationGracePeriodSeconds=30), user=ADA, dry_run=True).message == ""


def test_a_notebook_of_before_a_rule_can_still_be_stopped(api: ClusterApi, cluster_api: ClusterApi):
    old = notebook("old")
    policy: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "hubstack-notebooks"},
    }
    held = cluster_api.get(policy).body
    cluster_api.delete(policy)
    old["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 600
    try:
        until("the rule stays in force", lambda: api.create(old, user=ADA).status == 201)
        again = {**held, "metadata": {key: held["metadata"][key] for key in ("name", "labels")}}
        assert api.create(again).message == ""
        worse = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 601}}}}
        until("no rule is in force", lambda: api.merge(old, worse, user=ADA, dry_run=True).status == 422)

        stopped = api.merge(old, {"metadata": {"annotations": {"kubeflow-resource-stopped": "now"}}}, user=ADA)
    finally:
        api.apply({**held, "metadata": {key: held["metadata"][key] for key in ("name", "labels")}})
        api.delete(old)

    assert stopped.message == ""
