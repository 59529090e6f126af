"""The values that EphemeralHub gives the chart: sizes, ages, limits and images, and what the chart's schema says of them."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import EgressProfile, EphemeralHubArgs
from components.kubernetes.hub_arguments import hub_chart, tenancy_args
from components.kubernetes.hub_chart import CHART_IMAGES, Access
from components.kubernetes.quantities import parse_quantity
from tests.stacks import ROOT
from tests.unit.ephemeral_hub import ARGS, build, release, values

DIGEST = "sha256:" + "0" * 64

SCHEMA = Path(os.environ.get("HUBSTACK_CHART_SCHEMA", ROOT.parent / "shared/data/z2jh-values.partial.schema.json"))
"""The chart's own schema, without what it requires of values that are joined with its defaults."""


def test_nothing_of_a_user_outlives_their_server_and_all_that_they_write_has_a_size():
    singleuser = values(userQuota={"home": "2G", "tmp": "512M", "memory": "1G"})["singleuser"]
    storage = singleuser["storage"]

    assert (storage["type"], singleuser["initContainers"]) == ("none", [])
    assert storage["extraVolumes"] == {
        "home": {"name": "home", "emptyDir": {"sizeLimit": "2Gi"}},
        "tmp": {"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}},
        "shm": {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
    }
    assert {key: mount["mountPath"] for key, mount in storage["extraVolumeMounts"].items()} == {
        "home": "/home/jovyan",
        "tmp": "/tmp",
        "shm": "/dev/shm",
    }
    limit = parse_quantity(singleuser["extraResource"]["limits"]["ephemeral-storage"])
    assert limit >= 2.5 * 2**30
    assert singleuser["extraResource"]["guarantees"] == singleuser["extraResource"]["limits"]


@given(servers=st.integers(1, 1000), nodes=st.integers(1, 1000))
def test_limits_of_the_hub_are_within_the_namespaces_quota(servers: int, nodes: int):
    from components.kubernetes.tenancy import resource_quota_spec

    args: EphemeralHubArgs = {**ARGS, "fleetQuota": {"servers": servers}, "nodes": nodes}
    hub = values(**args)["hub"]
    tenancy = tenancy_args("lab", args, hub_chart("lab", args))
    hard = resource_quota_spec({}, {"servers": servers}, system=tenancy.get("system", {}))["hard"]

    assert hub["activeServerLimit"] == servers
    assert 1 <= hub["concurrentSpawnLimit"] <= servers
    # The hub, its proxy, the awaiter, two pullers on each node and the probe.
    assert parse_quantity(hard["pods"]) >= servers + 3 + 2 * nodes + 1
    assert parse_quantity(hard["limits.memory"]) >= (servers + 1) * 2**30


def test_amounts_are_in_the_hubs_units_and_not_in_those_of_kubernetes():
    singleuser = values(userQuota={"cpu": 0.5, "memory": "1.5GiB"})["singleuser"]

    assert singleuser["cpu"] == {"limit": 0.5, "guarantee": 0.125}
    assert singleuser["memory"] == {"limit": "1536M", "guarantee": "1536M"}


def test_servers_end_by_idleness_and_age_and_users_only_if_asked():
    given = values(userQuota={"idle": 600, "maxAge": 3600})

    assert given["cull"] == {
        "enabled": True,
        "users": False,
        "timeout": 600,
        "maxAge": 3600,
        "every": 60,
        "concurrency": 10,
    }
    assert given["hub"]["config"]["JupyterHub"]["last_activity_interval"] == 60
    assert values(cullUsers=True)["cull"]["users"] is True


@pytest.mark.parametrize(("idle", "interval"), [(60, 10), (300, 50), (3600, 60)])
def test_a_server_tells_of_its_activity_often_enough_for_its_idle_time(idle: int, interval: int):
    given = values(userQuota={"idle": idle}, egressDomains=["pypi.org"], egressProxyImage="a/b:1")
    environment = given["singleuser"]["extraEnv"]

    assert environment["JUPYTERHUB_ACTIVITY_INTERVAL"] == str(interval)
    assert given["hub"]["config"]["JupyterHub"]["last_activity_interval"] == given["cull"]["every"] == interval
    assert "HTTPS_PROXY" in environment


def test_images_are_on_the_nodes_before_the_hub_is_updated():
    given = values(extraImages=["quay.io/jupyter/r-notebook:2025-03-14", f"quay.io/jupyter/base@{DIGEST}"])

    assert given["prePuller"]["hook"]["enabled"] is given["prePuller"]["continuous"]["enabled"] is True
    assert given["prePuller"]["extraImages"] == {
        "extra-1": {"name": "quay.io/jupyter/r-notebook", "tag": "2025-03-14"},
        "extra-2": {"name": "quay.io/jupyter/base@sha256", "tag": "0" * 64},
    }


def test_the_charts_own_images_can_come_from_a_mirror():
    given = values(chartImages={key: f"mirror.example.org/{key.lower()}:1" for key in CHART_IMAGES})

    for key, path in CHART_IMAGES.items():
        part: Any = given
        for step in path.split("."):
            part = part[step]
        assert part == {"name": f"mirror.example.org/{key.lower()}", "tag": "1"}


def test_nine_variables_of_a_home_page_are_empty():
    variables = values()["custom"]["homepage"]["templateVars"]

    assert [text for block in variables.values() for text in block.values()] == [""] * 9


def test_further_values_are_laid_over_the_stacks_own():
    more = {"hub": {"templateVars": {"announcement": "Closed on Friday"}}, "custom": {"homepage": {"a": 1}}}
    given = release(build(values=more)).properties["values"]

    assert given["hub"]["templateVars"] == {"announcement": "Closed on Friday"}
    assert given["hub"]["db"]["type"] == "sqlite-pvc"
    assert set(given["custom"]["homepage"]) == {"templateVars", "a"}


SIZES = st.sampled_from(["256M", "1G", "1.5G", "16G"])
ARGUMENTS = st.fixed_dictionaries(
    {"image": st.sampled_from(["a/b:1", f"r.example.org:5000/a/b@{DIGEST}", f"a:2025@{DIGEST}"])},
    optional={
        "access": st.sampled_from(Access),
        "cullUsers": st.booleans(),
        "dataProtection": st.booleans(),
        "databaseSize": SIZES,
        "egressProfile": st.sampled_from(EgressProfile),
        "extraImages": st.lists(st.just("a/b:1"), max_size=3),
        "fleetQuota": st.fixed_dictionaries({"servers": st.integers(1, 1000)}),
        "nodeSelector": st.dictionaries(st.sampled_from(["a", "b"]), st.just("c")),
        "shared": st.just({"server": "s", "share": "/h"}),
        "userQuota": st.fixed_dictionaries(
            {}, optional={"cpu": st.floats(0.1, 128), "memory": SIZES, "home": SIZES, "idle": st.integers(60, 3600)}
        ),
        "userScheduler": st.booleans(),
        "apiServerPorts": st.lists(st.integers(1, 65535), max_size=3),
        "chartImages": st.dictionaries(st.sampled_from(sorted(CHART_IMAGES)), st.just("m.example.org/x:1")),
        "imagePullSecrets": st.lists(st.just("registry"), max_size=1),
        "front": st.one_of(
            st.just({"kind": "none"}),
            st.just({"kind": "ingress", "ingressClass": "c", "tlsSecret": "t", "annotations": {"a": "b"}}),
            st.just({"kind": "gateway", "gateway": "g", "gatewaySection": "s"}),
            st.just({"kind": "letsencrypt", "email": "owner@example.org"}),
            st.just({"kind": "secret", "tlsSecret": "t"}),
            st.just({"kind": "offload", "annotations": {"a": "b"}}),
        ),
    },
)


@pytest.mark.chart_schema
@given(ARGUMENTS)
def test_the_charts_own_schema_accepts_the_values_of_any_arguments(args: dict[str, Any]):
    if not SCHEMA.exists():
        pytest.skip("the chart's schema is not here; HUBSTACK_CHART_SCHEMA names the file")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    given = values(**args, domain="try.example.org")

    assert [error.message for error in validator.iter_errors(given)] == []
    # What the hub itself refuses although the schema does not.
    assert given["singleuser"]["memory"]["limit"].endswith("M")
    assert not any(given["singleuser"]["networkPolicy"]["egressAllowRules"].values())
    assert given["hub"]["concurrentSpawnLimit"] <= given["hub"]["activeServerLimit"]


@pytest.mark.chart_schema
def test_the_schema_would_refuse_what_is_wrong():
    if not SCHEMA.exists():
        pytest.skip("the chart's schema is not here; HUBSTACK_CHART_SCHEMA names the file")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))

    assert not validator.is_valid({"nfs": {"enabled": True}})
    assert not validator.is_valid({"singleuser": {"cpu": {"limit": "500m"}}})
