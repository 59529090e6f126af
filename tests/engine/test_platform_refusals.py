"""What `pulumi preview` of a platform says before anything is made, where the cluster or the settings are wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.kubernetes.custom_resources import definitions
from components.kubernetes.operator_access import OPERATOR_ROLE
from components.kubernetes.platform_preflight import platform_mistakes
from tests.engine.cluster import Cluster
from tests.engine.cluster_api import ClusterApi, Manifest, administrator, cluster_api
from tests.stacks import ROOT, Stack, needs_pulumi
from tests.unit.test_notebook_platform import ARGS

__all__ = ["cluster_api"]

pytestmark = pytest.mark.engine


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """The platform that the project ships, with its state in a folder of its own."""
    needs_pulumi()
    shipped = yaml.safe_load((ROOT / "Pulumi.platform.yaml").read_text())["config"]
    config = {key.removeprefix("hubstack:"): value for key, value in shipped.items() if key.startswith("hubstack:")}
    return Stack("refusals", tmp_path, config)


def refused(stack: Stack) -> str:
    return stack.run("preview", "--stack", stack.name, expect=1)


def test_a_machine_without_a_kubeconfig_hears_how_to_name_one(stack: Stack, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")

    told = refused(stack)

    assert "no cluster to deploy to: there is no file /nowhere/config; name one with KUBECONFIG" in told
    assert "Traceback" not in told


def test_a_cluster_that_does_not_answer_is_named(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "gone",
        "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "deployer", "user": {"token": "t"}}],
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "deployer"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    assert "no cluster answers at http://127.0.0.1:1 (context gone): " in refused(stack)


def test_mistakes_in_the_settings_are_listed_at_once_before_any_cluster_is_asked(stack: Stack):
    platform = {"operatorImage": "operator", "route": "HTTPRoute", "namespaceQuota": {"limits.memory": "1Gb"}}
    stack.write_config({"topology": "platform", "domain": "nb.example.org", "platform": platform})

    told = refused(stack)

    assert "the stack's configuration has 5 mistake(s)" in told
    for mistake in (
        "hubstack:platform.operatorImage: operator has no tag",
        "hubstack:notebookImage: '' is no image",
        "hubstack:platform.gateway: a route of kind HTTPRoute needs the name of the Gateway",
        "hubstack:platform.gatewayNamespace: a route of kind HTTPRoute needs the namespace of the Gateway",
        "hubstack:platform.namespaceQuota.limits.memory: '1Gb' is no amount",
    ):
        assert mistake in told


@pytest.fixture
def left_behind(cluster_api: ClusterApi) -> Iterator[None]:
    """The kinds of another stack's platform, whose operator is gone."""
    kinds = [*definitions("first").values()]
    try:
        for kind in kinds:
            assert cluster_api.apply(kind).message == ""
        yield
    finally:
        for kind in kinds:
            cluster_api.delete(kind)


@pytest.fixture
def first_platform(cluster_api: ClusterApi, left_behind: None) -> Iterator[None]:
    """Another stack's platform, as far as it is told by."""
    binding: Manifest = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": OPERATOR_ROLE, "labels": {"hubstack.stack": "first"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OPERATOR_ROLE},
    }
    try:
        assert cluster_api.apply(binding).message == ""
        yield
    finally:
        cluster_api.delete(binding)


@pytest.mark.kubernetes
def test_a_second_platform_is_refused_before_it_takes_anything_from_the_first(
    stack: Stack, cluster: Cluster, first_platform: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))

    told = refused(stack)

    assert "the platform cannot be deployed, for 4 reason(s)" in told
    taken = [("ClusterRoleBinding", OPERATOR_ROLE), *(("CustomResourceDefinition", kind) for kind in definitions("x"))]
    for kind, name in taken:
        assert f"the {kind} {name} belongs to the platform of the stack first; a cluster has one platform" in told


@pytest.mark.kubernetes
def test_kinds_that_another_platform_left_behind_are_taken_up(cluster: Cluster, left_behind: None):
    assert platform_mistakes(administrator(cluster), "second", ARGS) == []
