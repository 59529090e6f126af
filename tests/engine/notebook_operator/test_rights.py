"""What the operator may do, and that it leaves alone what is not in a profile of its own stack."""

import pytest

from runtime.notebook_operator import access, names
from tests.engine.notebook_operator.steps import replicas, wait_for
from tests.engine.notebooks import (
    OPERATOR_NAMESPACE,
    STACK,
    Api,
    Operator,
    RefusedError,
    eventually,
    notebook,
    profile,
    ready_condition,
)

pytestmark = pytest.mark.kubernetes


def test_the_operator_reads_no_secret_outside_profiles(api: Api, home: str) -> None:
    subject = f"system:serviceaccount:{OPERATOR_NAMESPACE}:operator"

    def may(namespace: str, verb: str, resource: str, group: str = "") -> bool:
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": subject, "groups": ["system:authenticated"], "resourceAttributes": attributes},
        }
        return api.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]

    assert may(home, "get", "secrets")
    for verb, resource in (("get", "secrets"), ("create", "pods"), ("delete", "pods"), ("patch", "services")):
        assert not may("kube-system", verb, resource)
    assert not may(home, "delete", "persistentvolumeclaims")
    assert not may("", "delete", "namespaces")


def test_it_cannot_give_itself_or_others_more_than_it_may(api: Api, home: str, operator: Operator) -> None:
    own = Api(operator.kubeconfig)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "more", "namespace": "kube-system"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "operator"}],
    }
    with pytest.raises(RefusedError, match="attempting to grant RBAC permissions not currently held"):
        own.create(binding)
    owners = {**binding, "roleRef": {**binding["roleRef"], "name": access.ADMIN_ROLE}}
    with pytest.raises(RefusedError):
        own.create(owners)


def test_a_notebook_outside_a_profile_is_told_what_it_lacks(api: Api, operator: Operator, tenant: str) -> None:
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}})
    api.create(notebook(tenant))
    wait_for(api, tenant, "NoAccess")
    assert "Profile" in ready_condition(api.get("Notebook", tenant, "training"))["message"]
    assert api.list("StatefulSet", tenant) == []


def test_another_stacks_notebooks_are_left_to_its_operator(
    api: Api, home: str, operator: Operator, request: pytest.FixtureRequest
) -> None:
    elsewhere = f"{home}-other"
    request.addfinalizer(lambda: api.delete("Namespace", "", elsewhere))
    request.addfinalizer(lambda: api.delete("Profile", "", elsewhere))
    api.create(profile(elsewhere, "other"))
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}})
    eventually(lambda: operator.waiting() == 0)
    claiming = notebook(elsewhere)
    claiming["metadata"]["labels"] = {names.STACK: STACK}
    api.create(claiming)
    api.create(notebook(home, "own"))
    eventually(lambda: replicas(api, home, "own") == 1)
    eventually(lambda: operator.waiting() == 0)
    assert "status" not in (api.get("Notebook", elsewhere, "training") or {})
    assert replicas(api, elsewhere) is None
