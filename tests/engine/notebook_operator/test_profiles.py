"""Profiles and requests: the namespaces that they make, and who may use them."""

import pytest
import yaml

from runtime.notebook_operator import names
from tests.engine.notebook_operator.steps import start, wait_for_profile
from tests.engine.notebooks import MANIFESTS, STACK, Api, Operator, RefusedError, eventually, profile, ready_condition

pytestmark = pytest.mark.kubernetes


def test_kubeflows_profile_works_unchanged(api: Api, operator: Operator, tenant: str) -> None:
    thing = yaml.safe_load((MANIFESTS / "kubeflow-profile.yaml").read_text())
    annotations = profile(tenant)["metadata"]["annotations"]
    api.create({**thing, "metadata": {"name": tenant, "annotations": annotations, "labels": {names.STACK: STACK}}})
    wait_for_profile(api, tenant)
    quota = api.get("ResourceQuota", tenant, "kf-resource-quota")
    assert quota
    assert quota["spec"]["hard"]["requests.storage"] == "5Gi"


def test_an_owner_may_use_notebooks_in_the_profile_and_nobody_else(api: Api, home: str) -> None:
    def may(user: str, verb: str) -> bool:
        attributes = {"namespace": home, "verb": verb, "group": "kubeflow.org", "resource": "notebooks"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }
        return api.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]

    assert may("alice", "create")
    assert not may("bob", "create")
    assert not may("bob", "get")


def test_a_namespace_of_somebody_else_is_not_taken(api: Api, operator: Operator, tenant: str) -> None:
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}})
    api.create(profile(tenant))
    eventually(lambda: ready_condition(api.get("Profile", "", tenant)).get("reason") == "NamespaceTaken")
    assert api.list("RoleBinding", tenant) == []


def test_a_namespace_with_homes_outlives_its_profile(api: Api, operator: Operator, tenant: str) -> None:
    thing = profile(tenant)
    del thing["metadata"]["annotations"]
    api.create(thing)
    wait_for_profile(api, tenant)
    start(api, tenant)
    api.delete("Profile", "", tenant)
    eventually(lambda: api.get("RoleBinding", tenant, "namespaceAdmin") is None, "the owner keeps the rights")
    namespace = api.get("Namespace", "", tenant)
    assert namespace
    assert "deletionTimestamp" not in namespace["metadata"]
    assert api.get("PersistentVolumeClaim", tenant, "training-home")
    api.create(thing)
    wait_for_profile(api, tenant)
    assert api.get("RoleBinding", tenant, "namespaceAdmin")


def test_a_request_makes_the_namespace_with_the_first_notebook_and_reuses_it(
    api: Api, operator: Operator, tenant: str
) -> None:
    user = tenant
    for number in (1, 2):
        api.create(
            {
                "apiVersion": "hubstack.io/v1alpha1",
                "kind": "NotebookRequest",
                "metadata": {"name": f"{tenant}-{number}", "labels": {names.STACK: STACK}},
                "spec": {"user": user, "name": f"n{number}"},
            }
        )
    for number in (1, 2):
        eventually(
            lambda number=number: (
                ready_condition(api.get("NotebookRequest", "", f"{tenant}-{number}")).get("status") == "True"
            )
        )
        state = api.get("NotebookRequest", "", f"{tenant}-{number}")["status"]  # pyright: ignore[reportOptionalSubscript]
        assert state["namespace"] == user
        assert state["url"] == f"https://nb.example.org/notebook/{user}/n{number}/"
        assert api.get("Notebook", user, f"n{number}")
    owned = [thing for thing in api.list("Profile") if thing["spec"]["owner"]["name"] == user]
    assert len(owned) == 1
    with pytest.raises(RefusedError, match="a request is not changed"):
        api.patch("NotebookRequest", "", f"{tenant}-1", {"spec": {"user": "mallory"}})
