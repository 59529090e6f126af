"""A stack that the real engine deploys to a real cluster: how it gets there, and what is left of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import kubernetes_provider
from tests.engine.cluster import Cluster, helm_program, until

PAUSE = "hubstack.test/pause:v0"
"""Image of every pod's sandbox on the cluster's node."""

KINDS = (
    *("namespaces", "customresourcedefinitions", "clusterroles", "clusterrolebindings", "persistentvolumes"),
    *("validatingadmissionpolicies", "validatingadmissionpolicybindings", "all", "persistentvolumeclaims"),
    *("configmaps", "secrets", "roles", "rolebindings", "networkpolicies", "httproutes", "resourcequotas"),
)
"""Kinds of all that the stacks and their users make."""


@contextmanager
def reaching(cluster: Cluster, folder: Path) -> Iterator[None]:
    """The CLI deploys to `cluster` with the tests' own provider, whose program is put into `folder`."""
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setenv("KUBECONFIG", str(cluster.kubeconfig))
        monkey.setenv("HUBSTACK_HELM", helm_program())
        for name, value in kubernetes_provider.environment(folder, path=os.environ["PATH"]).items():
            monkey.setenv(name, value)
        yield


def everything(cluster: Cluster) -> set[str]:
    """Names of all that lies in the cluster, but what it makes of itself."""
    form = "--output=jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{'\\n'}{end}"
    return set(ask(cluster, "get", ",".join(KINDS), "--all-namespaces", form).split())


def gone(cluster: Cluster, before: set[str]) -> None:
    """Wait until the cluster holds nothing but what it held `before`."""
    left: set[str] = set()

    def nothing_is_left() -> bool:
        nonlocal left
        left = everything(cluster) - before
        return not left

    try:
        until(nothing_is_left, 120, pause=2)
    except pytest.fail.Exception:
        pytest.fail(f"this is left: {sorted(left)}")


def ask(cluster: Cluster, *words: str, given: str | None = None, expect: int = 0) -> str:
    """What kubectl printed, errors included."""
    done = cluster.kubectl(*words, given=given)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr
