"""The graph that EphemeralHub registers: what it is made of, in which order, and what outlives it."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from components import EphemeralHub
from tests.stacks import ROOT
from tests.unit.ephemeral_hub import (
    ARGS,
    DOMAINS,
    EVERYTHING,
    POLICY,
    SHARED,
    before,
    build,
    mistakes,
    of_type,
    release,
    values,
)
from tests.unit.recording import record


def test_every_resource_lies_below_the_component_and_its_outputs_are_those_declared():
    recorder = build(**EVERYTHING)
    [hub] = [r for r in recorder.registrations if r.type == "hubstack:index:EphemeralHub"]
    parents = {r.urn: r.parent for r in recorder.registrations}

    def is_below(urn: str) -> bool:
        return urn == hub.urn or (urn in parents and is_below(parents[urn]))

    # The stack is registered by the first program of a process alone.
    assert {r.type for r in recorder.registrations if not is_below(r.urn)} <= {"pulumi:pulumi:Stack"}
    assert recorder.outputs[hub.urn] == sorted(EphemeralHub.__annotations__)


def test_a_hub_never_runs_without_its_quota_its_policies_its_password_and_its_way_out():
    recorder = build(**EVERYTHING)
    waited = before(recorder, release(recorder))
    needed = [
        r.urn
        for kind in (
            POLICY,
            "kubernetes:core/v1:ResourceQuota",
            "kubernetes:core/v1:LimitRange",
            "kubernetes:core/v1:Secret",
            "kubernetes:core/v1:PersistentVolumeClaim",
            "kubernetes:apps/v1:Deployment",
        )
        for r in of_type(recorder, kind).values()
    ]

    assert len(needed) >= 9
    assert set(needed) <= waited


def test_another_hubs_shared_folder_is_read_only_at_every_level():
    recorder = build(**SHARED)
    [volume] = of_type(recorder, "kubernetes:core/v1:PersistentVolume").values()
    [claim] = of_type(recorder, "kubernetes:core/v1:PersistentVolumeClaim").values()
    storage = values(**SHARED)["singleuser"]["storage"]

    spec = volume.properties["spec"]
    assert spec["nfs"] == {"server": "10.0.0.7", "path": "/homes/hub", "readOnly": True}
    assert spec["mountOptions"] == ["vers=4.2", "ro"]
    assert spec["accessModes"] == claim.properties["spec"]["accessModes"] == ["ReadOnlyMany"]
    assert (spec["persistentVolumeReclaimPolicy"], spec["storageClassName"]) == ("Retain", "")
    assert spec["claimRef"] == {"namespace": "lab", "name": "shared"}
    assert claim.properties["spec"]["volumeName"] == volume.properties["metadata"]["name"] == "lab-shared"
    assert claim.properties["spec"]["storageClassName"] == ""
    assert storage["extraVolumes"]["shared"]["persistentVolumeClaim"] == {"claimName": "shared", "readOnly": True}
    assert storage["extraVolumeMounts"]["shared"] == {
        "name": "shared",
        "mountPath": "/home/jovyan/shared-readonly",
        "subPath": "_shared",
        "readOnly": True,
    }


@pytest.mark.parametrize(
    ("given", "chart", "version", "repository"),
    [
        ({}, "jupyterhub", "4.4.0", "https://hub.jupyter.org/helm-chart/"),
        ({"chartRepository": "https://mirror.example.org"}, "jupyterhub", "4.4.0", "https://mirror.example.org"),
        ({"chart": "oci://r.example.org/jupyterhub"}, "oci://r.example.org/jupyterhub", "4.4.0", None),
        ({"chart": "./tests/policies"}, "./tests/policies", None, None),
    ],
)
def test_the_chart_comes_from_a_repository_a_mirror_a_registry_or_this_machine(
    given: dict[str, Any], chart: str, version: str | None, repository: str | None
):
    properties = release(build(**given)).properties

    assert (properties["chart"], properties.get("version")) == (chart, version)
    assert properties.get("repositoryOpts", {}).get("repo") == repository
    assert properties["name"] == properties["namespace"] == "lab"
    assert (properties["atomic"], properties["cleanupOnFail"], properties["timeout"]) == (False, True, 1200)


@pytest.mark.parametrize("keep", [True, False])
def test_the_hubs_database_outlives_the_stack_unless_it_says_otherwise(keep: bool):
    recorder = build(dataProtection=keep)
    [namespace] = of_type(recorder, "kubernetes:core/v1:Namespace").values()
    claim = release(recorder).properties["values"]["hub"]["db"]["pvc"]

    assert namespace.retain_on_delete is keep
    assert (claim["annotations"] == {"helm.sh/resource-policy": "keep"}) is keep


@pytest.mark.parametrize("keep", [True, False])
def test_what_holds_users_pods_outlives_the_hub_as_they_do(keep: bool):
    policies = of_type(build(dataProtection=keep, **DOMAINS), POLICY)
    denying = policies["lab-default-deny"].properties

    assert {name for name, policy in policies.items() if policy.retain_on_delete} == {"lab-default-deny"}
    assert denying["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    # The next update finds it in a namespace that was kept, where a policy of the same name would be in its way.
    assert "name" not in denying["metadata"]
    assert denying["metadata"]["namespace"] == "lab"


@pytest.mark.parametrize(
    ("front", "address"),
    [
        ({"kind": "letsencrypt", "email": "owner@example.org"}, "https://try.example.org"),
        ({}, "http://proxy-public.lab"),
    ],
)
def test_links_lead_through_the_hub_to_the_content(front: dict[str, Any], address: str):
    told: list[dict[str, str]] = []

    def program() -> None:
        hub = EphemeralHub("lab", {**ARGS, **EVERYTHING, "front": front})  # pyright: ignore[reportArgumentType]
        hub.contentLinks.apply(told.append)

    record(program)

    repository = "https%3A%2F%2Fgithub.com%2Fexample%2Fcourse"
    pull = f"hub/user-redirect/git-pull?repo={repository}&urlpath=lab%2Ftree%2Fcourse"
    assert told == [{"course": f"{address}/{pull}"}]
    assert mistakes(**EVERYTHING) == {}


GRAPH = """
import json
from tests.unit.ephemeral_hub import EVERYTHING, build
print(json.dumps([[r.urn, r.properties, r.dependencies] for r in build(**EVERYTHING).registrations], sort_keys=True))
"""


def test_the_graph_is_the_same_under_any_hash_seed():
    def graph(seed: str) -> list[Any]:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "ignore"}
        told = subprocess.run(
            [sys.executable, "-c", GRAPH], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return sorted(json.loads(told.stdout), key=str)

    assert graph("1") == graph("2")
