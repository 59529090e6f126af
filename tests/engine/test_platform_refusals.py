"""What `pulumi preview` of a platform says before anything is made, where the cluster or the settings are wrong."""

from pathlib import Path

import pytest
import yaml

from tests.stacks import ROOT, Stack, needs_pulumi

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
