"""A group of containers: what each is made from, what the host grants it, in which order they go, how it travels."""

import contextlib
import copy
import json
from typing import Any, cast

import pytest
from pulumi.dynamic import DiffResult

from components.docker import container_group
from components.docker.container_group import ContainerGroup, group_text
from runtime.container_group import (
    GroupSpec,
    container_digest,
    files_of,
    host_config,
    joined_networks,
    removal_order,
)
from tests.unit.recording import record

GROUP = cast(
    "GroupSpec",
    {
        "stack": "pool",
        "group": "tmp01",
        "networks": {
            "front": {"subnet": "10.1.0.0/26", "internal": False},
            "control": {"subnet": "10.1.1.0/26", "internal": True},
        },
        "containers": {
            "guard": {
                "role": "egress-guard",
                "image": "node",
                "command": ["guard"],
                "cpu": 0.25,
                "memory_bytes": 1000,
                "processes": 8,
                "host_network": True,
                "cap_add": ["NET_ADMIN"],
            },
            "service": {
                "role": "node-service",
                "image": "node",
                "command": ["serve"],
                "cpu": 1.0,
                "memory_bytes": 2000,
                "processes": 16,
                "networks": {"front": {}, "control": {"aliases": ["service"]}},
                "texts": ["settings.json"],
                "secrets": ["token"],
                "image_variables": {"NOTEBOOK_IMAGE": "notebook"},
                "ports": [{"published": 10001, "target": 10000, "address": "127.0.0.1"}],
            },
        },
        "order": ["guard", "service"],
        "texts": {"settings.json": "{}"},
    },
)
IMAGES = {"node": "sha256:1", "notebook": "sha256:2"}


def changed(**service: Any) -> GroupSpec:
    spec = copy.deepcopy(GROUP)
    spec["containers"]["service"].update(service)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    return spec


def test_a_container_is_made_anew_when_anything_that_it_is_made_from_changes():
    before = container_digest(GROUP, "service", IMAGES)
    text = {**GROUP, "texts": {"settings.json": '{"capacity": 2}'}}
    network = copy.deepcopy(GROUP)
    network["networks"]["front"]["subnet"] = "10.2.0.0/26"

    for spec, images in (
        (changed(cpu=2.0), IMAGES),
        (text, IMAGES),
        (network, IMAGES),
        (GROUP, {**IMAGES, "notebook": "sha256:3"}),
        (GROUP, {**IMAGES, "node": "sha256:3"}),
    ):
        assert container_digest(cast("GroupSpec", spec), "service", images) != before


def test_what_a_container_has_no_part_in_leaves_it_as_it_is():
    images = {**IMAGES, "notebook": "sha256:3"}

    assert container_digest(GROUP, "guard", images) == container_digest(GROUP, "guard", IMAGES)


def test_texts_that_are_read_again_need_no_restart():
    spec = changed(reloads=True)
    other = {**spec, "texts": {"settings.json": "other"}}

    assert container_digest(spec, "service", IMAGES) == container_digest(cast("GroupSpec", other), "service", IMAGES)


def test_secrets_are_readable_by_nobody_else_and_in_no_digest():
    files = files_of(GROUP, "service", {"token": "a-secret", "unused": "another"})

    assert files == {"settings.json": (b"{}", 0o444), "token": (b"a-secret", 0o400)}
    assert "a-secret" not in container_digest(GROUP, "service", IMAGES)


def test_the_host_grants_limits_and_nothing_that_is_not_named():
    granted = host_config(GROUP, "service")

    assert (granted["mem_limit"], granted["memswap_limit"]) == (2000, 2000)
    assert granted["read_only"] is True
    assert granted["cap_drop"] == ["ALL"]
    assert granted["cap_add"] is None
    assert granted["security_opt"] == ["no-new-privileges"]
    assert granted["network_mode"] == "pool-tmp01-control"
    assert granted["port_bindings"] == {10000: ("127.0.0.1", 10001)}
    assert not any("docker.sock" in bind for bind in granted["binds"])
    assert host_config(GROUP, "guard")["network_mode"] == "host"


def test_the_order_of_a_mapping_decides_nothing():
    turned = copy.deepcopy(GROUP)
    turned["containers"] = dict(reversed(GROUP["containers"].items()))
    turned["containers"]["service"]["networks"] = {"control": {"aliases": ["service"]}, "front": {}}

    assert host_config(turned, "service") == host_config(GROUP, "service")
    assert container_digest(turned, "service", IMAGES) == container_digest(GROUP, "service", IMAGES)


def test_what_makes_servers_goes_before_them_and_what_guards_them_after():
    there = [{"Names": [f"/pool-tmp01-{name}"]} for name in ("guard", "a-server", "service", "b-server")]

    order = [found["Names"][0].removeprefix("/pool-tmp01-") for found in removal_order(GROUP, there)]

    assert order == ["service", "a-server", "b-server", "guard"]


def test_a_container_is_on_its_own_networks_or_on_the_hosts():
    assert joined_networks(GROUP, "service") == {"pool-tmp01-front", "pool-tmp01-control"}
    assert joined_networks(GROUP, "guard") == {"host"}


# The group as a resource.

PROVIDER = container_group._ContainerGroupProvider()


def properties(group: GroupSpec = GROUP, **more: Any) -> dict[str, Any]:
    """What the engine keeps of a group that is as it should be."""
    kept = {
        "engine": "ssh://a",
        "spec": group_text(group),
        "images": IMAGES,
        "secrets": {"token": "a"},
        "differences": [],
    }
    return {**kept, **more}


def diff(new: dict[str, Any], old: dict[str, Any] | None = None) -> DiffResult:
    return PROVIDER.diff("pool-tmp01", old or properties(), new)


def test_a_description_travels_as_one_text_and_comes_back_as_it_was():
    recorder = record(
        lambda: ContainerGroup("a", {"engine": "ssh://a", "spec": GROUP, "images": IMAGES, "secrets": {"token": "a"}})
    )
    [made] = [r for r in recorder.registrations if r.name == "a"]

    assert json.loads(made.properties["spec"]) == GROUP
    assert type(json.loads(made.properties["spec"])["containers"]["service"]["memory_bytes"]) is int


def test_nothing_changes_where_only_the_order_of_keys_does():
    turned = copy.deepcopy(GROUP)
    turned["containers"] = dict(reversed(GROUP["containers"].items()))

    assert not diff(properties(turned)).changes


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({"spec": group_text(changed(cpu=2.0))}, []),
        ({"images": {**IMAGES, "node": "sha256:3"}}, []),
        ({"secrets": {"token": "b"}}, []),
        ({"engine": "ssh://b"}, ["engine"]),
        ({"spec": group_text(cast("GroupSpec", {**GROUP, "group": "tmp02"}))}, ["spec"]),
        ({"spec": group_text(cast("GroupSpec", {**GROUP, "stack": "lab"}))}, ["spec"]),
    ],
)
def test_another_engine_or_name_is_another_group_and_all_else_is_put_right(change: dict[str, Any], replaces: list[str]):
    found = diff(properties(**change))

    assert found.changes
    assert found.replaces == replaces


def test_what_a_refresh_found_wrong_is_put_right():
    found = diff(properties(), properties(differences=["container guard is missing"]))

    assert found.changes
    assert found.replaces == []


def test_an_engine_is_given_the_group_that_was_described(monkeypatch: pytest.MonkeyPatch):
    given: list[Any] = []
    monkeypatch.setattr(container_group, "engine_client", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(container_group, "deploy", lambda _client, spec, *_: given.append(spec))

    made = PROVIDER.create(properties())
    updated = PROVIDER.update("pool-tmp01", properties(), properties(changed(cpu=2.0)))

    assert given == [GROUP, changed(cpu=2.0)]
    assert made.id == "pool-tmp01"
    assert updated.outs is not None
    assert json.loads(updated.outs["spec"]) == changed(cpu=2.0)
