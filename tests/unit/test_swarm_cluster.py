"""The graph that SwarmCluster registers, as the engine sees it."""

import base64
import json

import pulumi
import pytest

from components import EgressProfile, SwarmCluster, SwarmClusterArgs
from components.swarm_cluster import check_swarm_cluster
from tests.unit.recording import Recorder, Registration, record

USERS: SwarmClusterArgs = {"users": [{"name": "ada"}, {"name": "root", "admin": True}]}
SERVICE = "docker:index/service:Service"


def build(**args: object) -> Recorder:
    return record(lambda: SwarmCluster("hub", {**USERS, **args}))  # pyright: ignore[reportArgumentType]


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def test_every_resource_is_a_child_of_the_component():
    recorder = build()
    [component] = [r for r in recorder.registrations if r.type == "hubstack:index:SwarmCluster"]

    assert all(
        r.parent == component.urn for r in recorder.registrations if r is not component and "Stack" not in r.type
    )


def test_only_the_front_network_has_a_way_out():
    networks = of_type(build(), "docker:index/network:Network")

    assert {name: n.properties["internal"] for name, n in networks.items()} == {
        "hub-control": True,
        "hub-edge": True,
        "hub-front": False,
    }


def test_the_proxys_api_and_the_hub_share_a_network_with_nobody_else():
    services = of_type(build(), SERVICE)
    joined = {
        name: {network["id"] for network in s.properties["taskSpec"].get("networksAdvanceds", [])}
        for name, s in services.items()
    }

    assert {name for name, networks in joined.items() if "hub-control-id" in networks} == {"hub-hub", "hub-proxy"}


def test_the_engines_socket_goes_to_the_hub_alone():
    services = of_type(build(), SERVICE)
    mounts = {
        name: json.dumps(s.properties["taskSpec"]["containerSpec"].get("mounts", [])) for name, s in services.items()
    }

    assert [name for name, text in mounts.items() if "docker.sock" in text] == ["hub-hub"]


def test_homes_and_database_are_retained_unless_the_stack_says_otherwise():
    kind = "docker:index/volume:Volume"

    assert all(v.retain_on_delete for v in of_type(build(), kind).values())
    assert not any(v.retain_on_delete for v in of_type(build(dataProtection=False), kind).values())


def test_what_keeps_data_or_rules_has_time_to_end():
    services = of_type(build(egressProfile=EgressProfile.OPEN), SERVICE)
    periods = {name: s.properties["taskSpec"]["containerSpec"].get("stopGracePeriod") for name, s in services.items()}

    assert {name for name, period in periods.items() if period == "55s"} == {"hub-hub", "hub-egress-guard"}


def test_an_open_profile_brings_the_guard_before_any_server():
    recorder = build(egressProfile=EgressProfile.OPEN)
    order = [r.name for r in recorder.registrations]

    assert "hub-egress-guard" in of_type(recorder, SERVICE)
    assert "hub-egress-guard" not in of_type(build(), SERVICE)
    assert order.index("hub-egress-guard") < order.index("hub-servers")


def test_secrets_are_registered_as_secrets():
    for secret in of_type(build(), "docker:index/secret:Secret").values():
        assert secret.properties["data"]["4dabf18193072939515e22adb298388d"] == "1b47061264138c4ac30d75fd1eb44270"


def test_the_hubs_settings_say_what_the_arguments_say():
    recorder = build(userQuota={"memory": "3G"}, fleetQuota={"servers": 7}, egressProfile=EgressProfile.CLOSED)
    data = of_type(recorder, "docker:index/serviceConfig:ServiceConfig")["hub-hub-settings"].properties["data"]

    settings = json.loads(base64.b64decode(data))

    assert settings["quota"]["memory_bytes"] == 3 * 2**30
    assert settings["fleet"] == {"servers": 7}
    assert settings["egress"]["profile"] == "closed"
    assert settings["users"] == [{"name": "ada", "admin": False}, {"name": "root", "admin": True}]


def test_the_graph_is_the_same_every_time():
    def shape() -> list[tuple[str, str, str]]:
        return sorted((r.type, r.name, json.dumps(r.properties, sort_keys=True)) for r in build().registrations)

    assert shape() == shape()


def test_the_registered_outputs_are_the_annotated_ones():
    recorder = build()
    [component] = [r for r in recorder.registrations if r.type == "hubstack:index:SwarmCluster"]

    assert recorder.outputs[component.urn] == sorted(SwarmCluster.__annotations__)


def test_every_mistake_in_the_arguments_is_reported_at_once():
    errors = check_swarm_cluster(
        {
            "users": [{"name": "ada"}, {"name": "ada"}],
            "port": 0,
            "addressPool": "1.2.3.4/8",
            "password": "short",
            "notebookImage": "notebook:latest",
            "fleetQuota": {"servers": 0},
        }
    )

    paths = {error["property_path"] for error in errors}
    assert paths == {"users", "port", "addressPool", "password", "notebookImage", "fleetQuota.servers"}


def test_wrong_arguments_stop_the_component_before_it_registers_a_child():
    with pytest.raises(pulumi.InputPropertiesError, match="cannot be deployed"):
        build(port=0)
