"""What a real API server says of a deployer's rights, before anything is made."""

from collections.abc import Iterator
from typing import Any

import pytest
from lightkube import SingleConfig
from lightkube.config.kubeconfig import User

from components.kubernetes.access_check import cluster_mistakes
from components.kubernetes.platform_rights import platform_rights
from components.kubernetes.rights import granted_rights, needed_rights
from tests.engine.cluster import Cluster
from tests.engine.cluster_api import ClusterApi, Manifest, administrator, cluster_api
from tests.unit.test_notebook_platform import ARGS

__all__ = ["cluster_api"]

pytestmark = pytest.mark.kubernetes

NAMESPACE = "rights-test"
RBAC = "rbac.authorization.k8s.io"
RULES: list[Any] = [
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "delete", "get", "patch"]},
    {"apiGroups": [RBAC], "resources": ["clusterroles"], "verbs": ["create", "delete", "get", "patch"]},
]


@pytest.fixture(scope="module")
def deployer(cluster: Cluster, cluster_api: ClusterApi) -> Iterator[SingleConfig]:
    """A kubeconfig of somebody who may make ConfigMaps and ClusterRoles, and nothing else."""
    metadata = {"name": NAMESPACE, "namespace": NAMESPACE}
    subject = {"kind": "ServiceAccount", **metadata}
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": NAMESPACE}
    things: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": NAMESPACE}, "rules": RULES},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAMESPACE},
            "roleRef": role,
            "subjects": [subject],
        },
    ]
    try:
        for thing in things:
            assert cluster_api.apply(thing).message == ""
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        where = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{NAMESPACE}/token"
        token = cluster_api.client.post(where, json=asked).json()["status"]["token"]
        yield administrator(cluster)._replace(user=User(token=token))
    finally:
        for thing in reversed(things):
            cluster_api.delete(thing)


def reasons(found: list[Any]) -> list[str]:
    return [error["reason"].partition("you may not ")[2] for error in found]


def test_who_has_all_rights_that_are_needed_hears_of_no_mistake(deployer: SingleConfig):
    assert cluster_mistakes(deployer, needed_rights(["core/v1:ConfigMap"])) == []


def test_every_missing_right_is_named_and_no_other(deployer: SingleConfig):
    found = cluster_mistakes(deployer, needed_rights(["core/v1:ConfigMap", "core/v1:Secret"], "somewhere"))

    assert reasons(found) == [f"{verb} secrets in namespace somewhere" for verb in ("create", "delete", "get", "patch")]


def test_who_makes_roles_needs_the_rights_that_they_hand_on(deployer: SingleConfig):
    rules: Any = [{"apiGroups": [""], "resources": ["configmaps", "nodes"], "verbs": ["get"]}]

    found = cluster_mistakes(deployer, [], granted_rights(rules))

    assert reasons(found) == ["get nodes"]


def test_a_platform_names_all_that_its_deployer_lacks(deployer: SingleConfig):
    found = set(reasons(cluster_mistakes(deployer, *platform_rights(ARGS))))

    assert {"create customresourcedefinitions.apiextensions.k8s.io", "create namespaces", "get secrets"} <= found
    assert not {line for line in found if "configmaps" in line and line.split()[0] in RULES[0]["verbs"]}


def test_an_administrator_may_deploy_a_platform(cluster: Cluster):
    assert cluster_mistakes(administrator(cluster), *platform_rights(ARGS)) == []


def test_a_token_that_the_cluster_does_not_know_is_said_to_be_one(deployer: SingleConfig):
    [found] = cluster_mistakes(deployer._replace(user=User(token="unknown")), needed_rights(["core/v1:Secret"]))

    assert "refuses to say what you may do: " in found["reason"]
