"""The test cluster's API server, asked as its administrator or as anybody else, without a client's comforts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from lightkube import KubeConfig, SingleConfig
from lightkube.config import client_adapter

from tests.engine.cluster import Cluster

PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "CustomResourceDefinition": "customresourcedefinitions",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "Job": "jobs",
    "LimitRange": "limitranges",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "Notebook": "notebooks",
    "NotebookRequest": "notebookrequests",
    "Pod": "pods",
    "Profile": "profiles",
    "ResourceQuota": "resourcequotas",
    "RoleBinding": "rolebindings",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "SubjectAccessReview": "subjectaccessreviews",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: Manifest
    warning: str

    @property
    def message(self) -> str:
        """Why it refused, if it did."""
        return str(self.body.get("message", "")) if self.status >= 400 else ""


@dataclass(frozen=True)
class ClusterApi:
    """Requests to the test cluster."""

    client: httpx2.Client

    def create(
        self, manifest: Manifest, user: str | None = None, groups: Sequence[str] = (), *, dry_run: bool = False
    ) -> Answer:
        """Create an object as somebody, by default the administrator."""
        headers = [("content-type", "application/json")]
        if user:
            headers += [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]
        query = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self._answer("POST", path(manifest), query, headers, json.dumps(manifest))

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Answer:
        """Apply an object as the administrator, with strict validation of its fields."""
        query = {"fieldManager": "tests", "force": "true", "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        headers = [("content-type", "application/apply-patch+yaml")]
        return self._answer("PATCH", path(manifest, named=True), query, headers, json.dumps(manifest))

    def merge(self, manifest: Manifest, change: Manifest, user: str | None = None, *, dry_run: bool = False) -> Answer:
        """Change parts of an object as somebody, by default the administrator."""
        headers = [("content-type", "application/merge-patch+json")]
        headers += [("Impersonate-User", user)] if user else []
        query = {"dryRun": "All"} if dry_run else {}
        return self._answer("PATCH", path(manifest, named=True), query, headers, json.dumps(change))

    def get(self, manifest: Manifest) -> Answer:
        """Read an object."""
        return self._answer("GET", path(manifest, named=True), {}, [], None)

    def delete(self, manifest: Manifest) -> Answer:
        """Delete an object."""
        return self._answer("DELETE", path(manifest, named=True), {}, [], None)

    def may(self, user: str, groups: Sequence[str], attributes: Manifest) -> bool:
        """Whether somebody is allowed something, by what roles say."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
        }
        return bool(self.create(review).body["status"]["allowed"])

    def _answer(
        self, method: str, where: str, query: dict[str, str], headers: list[tuple[str, str]], content: str | None
    ) -> Answer:
        found = self.client.request(method, where, params=query, headers=headers, content=content)
        return Answer(found.status_code, found.json(), found.headers.get("warning", ""))


def path(manifest: Manifest, *, named: bool = False) -> str:
    """Where the API server has objects of a manifest's kind, or with `named` the object itself."""
    version, metadata = manifest["apiVersion"], manifest.get("metadata", {})
    parts = ["", "apis" if "/" in version else "api", version]
    if "namespace" in metadata:
        parts += ["namespaces", metadata["namespace"]]
    return "/".join([*parts, PLURALS[manifest["kind"]], *([metadata["name"]] if named else [])])


def administrator(cluster: Cluster) -> SingleConfig:
    """Where the test cluster is, and its administrator's credentials."""
    found = KubeConfig.from_file(cluster.kubeconfig).get()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def cluster_api(cluster: Cluster):
    """Requests to the test cluster."""
    parameters = client_adapter.ConnectionParams(timeout=httpx2.Timeout(30), trust_env=False)
    with client_adapter.Client(administrator(cluster), parameters) as client:
        yield ClusterApi(client)
