"""A group of containers as data: what each is made from, what the host grants it, in which order they go."""

import copy
from typing import Any, cast

from runtime.container_group import (
    GroupSpec,
    container_digest,
    files_of,
    host_config,
    joined_networks,
    removal_order,
)

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
