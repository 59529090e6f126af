"""A group of containers: what each is made from, what the host grants it, in which order they go, how it travels."""

import contextlib
import copy
import json
from typing import Any, cast

import pulumi
import pytest
from pulumi.dynamic import DiffResult

from components.docker import container_group
from components.docker.container_group import ContainerGroup, group_text
from components.docker.inspection import EngineUnreachableError
from runtime.container_group import (
    GroupSpec,
    container_digest,
    faces,
    files_of,
    host_config,
    joined_networks,
    removal_order,
)
from runtime.group_proof import ReachError
from runtime.group_readiness import DeploymentError
from tests.unit.group_engine import START, GroupEngine
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


def test_visitors_reach_what_has_a_port_beyond_the_hosts_own():
    ports = [
        {"published": port, "target": 1, "address": address} for port, address in ((1, "127.0.0.1"), (2, "0.0.0.0"))
    ]

    assert faces(GROUP) == []
    assert faces(changed(ports=ports)) == ["service"]


def test_an_engine_starts_containers_again_unless_that_is_left_to_somebody_else():
    assert host_config(GROUP, "service")["restart_policy"] == {"Name": "unless-stopped"}
    assert host_config(changed(restarts=False), "service")["restart_policy"] == {"Name": "no"}


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
    monkeypatch.setattr(container_group, "engine_client", lambda _: contextlib.nullcontext(GroupEngine()))
    monkeypatch.setattr(container_group, "deploy", lambda _client, spec, *_: given.append(spec))

    made = PROVIDER.create(properties())
    updated = PROVIDER.update("pool-tmp01", properties(), properties(changed(cpu=2.0)))

    assert given == [GROUP, changed(cpu=2.0)]
    assert made.id == "pool-tmp01"
    assert updated.outs is not None
    assert json.loads(updated.outs["spec"]) == changed(cpu=2.0)


# A group that cannot be made, and an engine that is lost.

OPEN = changed(ports=[{"published": 443, "target": 8443, "address": "0.0.0.0"}])
PROVED = cast(
    "GroupSpec", {**OPEN, "probe": {"image": "notebook", "network": "control", "address": "10.1.1.9", "forbidden": []}}
)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> GroupEngine:
    """The engine of all groups; time passes without waiting."""
    made = GroupEngine()
    monkeypatch.setattr("runtime.group_readiness.time.sleep", lambda _: None)
    monkeypatch.setattr(container_group, "engine_client", lambda _: contextlib.nullcontext(made))
    return made


def test_a_group_that_could_not_be_made_leaves_nothing_on_the_engine(engine: GroupEngine):
    engine.ends.add("service")
    engine.health["service"] = ["starting"]
    spec = changed(restarts=False)

    with pytest.raises(DeploymentError, match="service does not work"):
        PROVIDER.create(
            properties(cast("GroupSpec", {**spec, "farewell": {"container": "guard", "command": ["drain"]}}))
        )

    assert (engine.there, engine.networks_there, engine.volumes_there) == ({}, {}, set())
    assert "run drain in guard" not in engine.done, "there is nobody to say farewell to"


def test_a_new_group_whose_servers_reach_too_much_leaves_nothing_on_the_engine(engine: GroupEngine):
    engine.answered = True

    with pytest.raises(ReachError):
        PROVIDER.create(properties(PROVED))

    assert (engine.there, engine.networks_there, engine.volumes_there) == ({}, {}, set())


def test_a_group_that_visitors_use_although_the_state_has_lost_it_is_not_removed(
    engine: GroupEngine, monkeypatch: pytest.MonkeyPatch
):
    PROVIDER.create(properties(OPEN))
    engine.health["guard"] = ["unhealthy"]

    def restart(_: float) -> None:
        engine.there[f"{START}guard"]["RestartCount"] += 1

    monkeypatch.setattr("runtime.group_readiness.time.sleep", restart)
    with pytest.raises(DeploymentError, match="guard does not work"):
        PROVIDER.create(properties(OPEN))

    assert engine.running() == {"guard", "service"}


def test_what_stays_behind_of_a_group_that_could_not_be_made_is_told_with_the_reason(engine: GroupEngine):
    engine.answered = True
    engine.refuses["remove guard"] = "device or resource busy"

    with pytest.raises(DeploymentError, match=r"(?s)egress profile says.*still there: .*resource busy"):
        PROVIDER.create(properties(PROVED))


def test_who_mends_what_closed_a_group_is_told_to_look_at_the_engine_again(engine: GroupEngine):
    PROVIDER.create(properties(PROVED))
    engine.answered = True

    with pytest.raises(ReachError, match=r"(?s)visitors are not let in.*up --refresh"):
        PROVIDER.update("pool-tmp01", properties(PROVED), properties(PROVED))

    found = PROVIDER.read("pool-tmp01", properties(PROVED)).outs
    assert found
    assert found["differences"] == ["container service does not run"]


def unreachable(_: str) -> Any:
    raise EngineUnreachableError("no Docker engine answers at ssh://a (timed out)")


ASKS = {
    "delete": lambda: PROVIDER.delete("pool-tmp01", properties()),
    "read": lambda: PROVIDER.read("pool-tmp01", properties()),
}


@pytest.mark.parametrize("asked", [*ASKS, "create", "update"])
def test_an_engine_that_does_not_answer_stops_an_update_that_says_what_to_do_if_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, asked: str
):
    monkeypatch.setattr(container_group, "engine_client", unreachable)
    monkeypatch.setenv("HUBSTACK_LOST_ENGINES", "ssh://b, ssh://another")
    making = {
        "create": lambda: PROVIDER.create(properties()),
        "update": lambda: PROVIDER.update("pool-tmp01", properties(), properties()),
    }

    with pytest.raises(
        EngineUnreachableError, match=r"(?s)timed out.*gone for good, set HUBSTACK_LOST_ENGINES=ssh://a"
    ):
        (ASKS | making)[asked]()


def test_what_was_on_a_lost_engine_is_forgotten_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
):
    told: list[str] = []
    monkeypatch.setattr(pulumi, "warn", told.append)
    monkeypatch.setattr(container_group, "engine_client", unreachable)
    monkeypatch.setenv("HUBSTACK_LOST_ENGINES", "ssh://b, ssh://a")

    PROVIDER.delete("pool-tmp01", properties())

    assert [warning.partition(",")[0] for warning in told] == ["pool-tmp01 is forgotten and not removed"]


def test_a_refresh_takes_what_is_on_a_lost_engine_to_be_as_it_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(container_group, "engine_client", unreachable)
    monkeypatch.setenv("HUBSTACK_LOST_ENGINES", "ssh://a")

    found = PROVIDER.read("pool-tmp01", properties())

    assert (found.id, found.outs) == ("pool-tmp01", properties())


def test_an_engine_that_is_called_lost_and_answers_is_cleaned_up_all_the_same(
    engine: GroupEngine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HUBSTACK_LOST_ENGINES", "ssh://a")
    PROVIDER.create(properties())
    PROVIDER.delete("pool-tmp01", properties())

    assert engine.there == {}
