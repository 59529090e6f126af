"""Nothing that an owner writes, holds or leaves behind keeps a notebook from being stopped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.notebook_operator import names
from tests.engine.notebook_operator.steps import annotate, replicas, settle, start, wait_for, wait_for_profile
from tests.engine.notebooks import Api, RefusedError, eventually, notebook, profile, ready_condition, running, settings

pytestmark = pytest.mark.kubernetes

NOWHERE_TO_MOUNT = {"volumeMounts": [{"name": "nowhere", "mountPath": "/data"}]}
UNMAKEABLE: dict[str, dict[str, Any]] = {
    "root": {"metadata": {"annotations": {names.USER_ID: "root"}}},
    "forever": {"metadata": {"annotations": {names.TIME_TO_LIVE: "9" * 5000}}},
    "mount": {"spec": notebook("x", "mount", container=NOWHERE_TO_MOUNT)["spec"]},
    "foreign": {"metadata": {"labels": {names.STACK: "other"}}},
}
"""What owners may write into notebooks that run, by the notebooks' names."""


def spoil(api: Api, namespace: str) -> None:
    for name, patch in UNMAKEABLE.items():
        start(api, namespace, name)
        api.patch("Notebook", namespace, name, patch)
    for name, told in (("root", "Invalid"), ("forever", "Invalid"), ("mount", "Refused")):
        wait_for(api, namespace, told, name)
    assert all(replicas(api, namespace, name) == 1 for name in UNMAKEABLE), "they are not ended by what they cannot be"


def test_what_an_owner_writes_into_a_notebook_keeps_it_from_no_stop(api: Api, home: str) -> None:
    spoil(api, home)
    for name in UNMAKEABLE:
        annotate(api, home, name, **{names.STOPPED: "x"})
    for name in UNMAKEABLE:
        wait_for(api, home, "Stopped", name)
        assert replicas(api, home, name) == 0
        eventually(lambda name=name: api.get("Pod", home, f"{name}-0") is None, f"the pod of {name} stays")


def test_what_an_owner_writes_into_a_notebook_keeps_it_from_no_greatest_age(
    api: Api, tmp_path: Path, tenant: str
) -> None:
    limits = {**settings()["notebook"], "maxAgeSeconds": 25}
    with running(api, tmp_path, stack=tenant, notebook=limits):
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        spoil(api, tenant)
        for name in UNMAKEABLE:
            wait_for(api, tenant, "Culled", name)
            assert replicas(api, tenant, name) == 0
            assert "greatest age of 25 s" in ready_condition(api.get("Notebook", tenant, name))["message"]


def test_a_notebook_that_is_deleted_and_held_or_leaves_its_set_behind_does_not_run_on(api: Api, home: str) -> None:
    start(api, home, "held")
    start(api, home, "left")
    api.patch("Notebook", home, "held", {"metadata": {"finalizers": ["example.org/mine"]}})
    try:
        api.delete("Notebook", home, "held")
        eventually(lambda: replicas(api, home, "held") == 0, "it runs on while its deletion is held up")
    finally:
        api.patch("Notebook", home, "held", {"metadata": {"finalizers": None}})
    api.ask("DELETE", f"{api.path('Notebook', home, 'left')}?propagationPolicy=Orphan")
    eventually(lambda: api.get("Notebook", home, "left") is None)
    eventually(lambda: replicas(api, home, "left") == 0, "it runs on without its notebook")
    eventually(lambda: api.get("Pod", home, "left-0") is None, "the pod stays")


@contextmanager
def unwritable(api: Api, namespace: str) -> Iterator[None]:
    """A namespace whose notebooks no longer pass the cluster's policies, so that nobody can change them."""
    folder = "/apis/admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["kubeflow.org"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["notebooks"],
    }
    policy = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": f"object.metadata.namespace != '{namespace}'", "message": "stricter by now"}],
    }
    binding = {"policyName": namespace, "validationActions": ["Deny"]}
    wanted = {"validatingadmissionpolicies": policy, "validatingadmissionpolicybindings": binding}
    kinds = {
        "validatingadmissionpolicies": "ValidatingAdmissionPolicy",
        "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
    }
    version = "admissionregistration.k8s.io/v1"
    try:
        for plural, spec in wanted.items():
            thing = {"apiVersion": version, "kind": kinds[plural], "metadata": {"name": namespace}, "spec": spec}
            api.make(f"{folder}/{plural}", thing)
        eventually(lambda: not writable(api, namespace), "the policy does not come into force")
        yield
    finally:
        for plural in wanted:
            api.ask("DELETE", f"{folder}/{plural}/{namespace}")
        eventually(lambda: writable(api, namespace), "the policy stays in force")


def writable(api: Api, namespace: str) -> bool:
    try:
        annotate(api, namespace, touched=str(time.monotonic()))
    except RefusedError:
        return False
    return True


def test_a_notebook_that_nobody_can_write_into_is_stopped_and_stays_so(api: Api, tmp_path: Path, tenant: str) -> None:
    limits = {**settings()["notebook"], "maxAgeSeconds": 20}
    with running(api, tmp_path, stack=tenant, notebook=limits) as operator:
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        start(api, tenant)
        with unwritable(api, tenant):
            wait_for(api, tenant, "Culled")
            eventually(lambda: api.get("Pod", tenant, "training-0") is None, "the pod stays")
            settle(api, operator, tenant)
            assert replicas(api, tenant) == 0
            assert names.STOPPED not in api.get("Notebook", tenant, "training")["metadata"]["annotations"]  # pyright: ignore[reportOptionalSubscript]
            operator.kill()
            operator.start()
            eventually(lambda: operator.waiting() == 0, "the operator does not come back")
            settle(api, operator, tenant)
            assert replicas(api, tenant) == 0, "another operator starts it again"
        eventually(
            lambda: names.STOPPED in api.get("Notebook", tenant, "training")["metadata"]["annotations"],  # pyright: ignore[reportOptionalSubscript]
            "it is not written down",
        )
        annotate(api, tenant, **{names.STOPPED: None})
        eventually(lambda: replicas(api, tenant) == 1, "it does not resume")
