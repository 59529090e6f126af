"""What Prepull registers: images pulled on each node by pods that do nothing."""

import pulumi
import pulumi_random as random
import pytest

from components.kubernetes.prepull import (
    PAUSE_IMAGE,
    Prepull,
    PrepullArgs,
    check_prepull,
    daemon_set_spec,
    prepull_room,
)
from tests.unit.kubernetes_pods import assert_restricted, assert_within
from tests.unit.recording import record

NOTEBOOK = "registry.example.org/notebook:1"
ARGS: PrepullArgs = {"stack": "lab", "namespace": "lab-users", "images": [NOTEBOOK, "registry.example.org/other:2"]}


def test_each_image_is_pulled_by_a_container_that_ends_at_once_before_one_that_stays():
    pod = daemon_set_spec(ARGS)["template"]["spec"]

    assert [(one["image"], one["command"]) for one in pod["initContainers"]] == [
        (image, ["true"]) for image in ARGS["images"]
    ]
    assert [one["image"] for one in pod["containers"]] == [PAUSE_IMAGE]
    assert all(one["imagePullPolicy"] == "IfNotPresent" for one in [*pod["initContainers"], *pod["containers"]])


def test_an_image_that_is_named_twice_is_pulled_once():
    assert len(daemon_set_spec({**ARGS, "images": [NOTEBOOK, NOTEBOOK]})["template"]["spec"]["initContainers"]) == 1


def test_the_pods_are_restricted_and_fit_the_room_that_is_made_for_them():
    pod = daemon_set_spec(ARGS)["template"]["spec"]

    assert_restricted(pod)
    assert_within(pod, 7, {"pre-puller": prepull_room(7)})


def test_the_pods_go_where_users_pods_do():
    taint = {"key": "hub.jupyter.org/dedicated", "operator": "Equal", "value": "user", "effect": "NoSchedule"}
    where = {"hub.jupyter.org/node-purpose": "user"}
    spec = daemon_set_spec(
        {**ARGS, "nodeSelector": where, "tolerations": [taint], "imagePullSecrets": ["key"], "pauseImage": "pause:1"}
    )
    pod = spec["template"]["spec"]

    assert (pod["nodeSelector"], pod["tolerations"], pod["imagePullSecrets"]) == (where, [taint], [{"name": "key"}])
    assert pod["containers"][0]["image"] == "pause:1"


def test_the_daemon_set_selects_its_own_pods_and_no_others():
    spec = daemon_set_spec(ARGS)

    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == {"hubstack.stack": "lab", "hubstack.role": "pre-puller"}


def test_the_component_registers_one_daemon_set_after_what_it_depends_on():
    def program() -> None:
        first = random.RandomId("first", byte_length=4)
        Prepull("lab-prepull", ARGS, pulumi.ResourceOptions(depends_on=[first]))

    recorder = record(program)
    [component] = [r for r in recorder.registrations if r.type.endswith(":Prepull")]
    [made] = [r for r in recorder.registrations if r.type.startswith("kubernetes:")]

    assert made.parent == component.urn
    assert made.properties["metadata"]["namespace"] == "lab-users"
    assert any(urn.endswith("::first") for urn in made.dependencies)
    assert recorder.outputs[component.urn] == ["daemonSet"]


@pytest.mark.parametrize("image", ["notebook", "notebook:latest", "registry.example.org:5000/notebook"])
def test_an_image_that_moves_is_refused(image: str):
    [error] = check_prepull({**ARGS, "images": [NOTEBOOK, image]})

    assert error["property_path"] == "images[1]"
    assert "is not pinned" in error["reason"]


@pytest.mark.parametrize("image", [NOTEBOOK, f"notebook@sha256:{'0' * 64}", "registry.example.org:5000/notebook:1"])
def test_an_image_with_a_tag_or_a_digest_is_taken(image: str):
    assert check_prepull({**ARGS, "images": [image]}) == []


def test_nothing_to_pull_is_a_mistake():
    with pytest.raises(pulumi.InputPropertiesError, match="lab-prepull cannot be deployed"):
        record(lambda: Prepull("lab-prepull", {**ARGS, "images": []}))
