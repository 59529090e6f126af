"""The stack that `Pulumi.tmpnb.yaml` describes passes the pack, and a single bad change to it does not."""

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from components import EgressProfile, TmpnbNodePool
from components.settings import parse_settings
from policies import resource_types as types
from policies.pack import POLICIES
from tests.policies.judging import Change, Properties, changed, levels, previewed, told
from tests.policies.kubernetes_cases import GONE
from tests.policies.kubernetes_cases import changed as edited
from tests.stacks import ROOT
from tests.unit.recording import Registration, record

LEVELS = levels("tmpnb")


def pool(**changes: str) -> Callable[[], object]:
    """The stack's program, with other configuration."""
    config = yaml.safe_load((ROOT / "Pulumi.tmpnb.yaml").read_text())["config"]
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings = parse_settings({**texts, **{f"hubstack:{key}": text for key, text in changes.items()}})
    return lambda: TmpnbNodePool("lab", settings.tmpnb_node_pool())


@functools.cache
def graph() -> list[Registration]:
    """What the stack registers in an update."""
    return record(pool()).registrations


@functools.cache
def opened() -> list[Registration]:
    """The same with an open egress profile."""
    return record(pool(egressProfile=EgressProfile.OPEN.value)).registrations


def test_every_policy_of_the_pack_is_mandatory():
    assert {name for name, level in LEVELS.items() if level["enforcementLevel"] == "mandatory"} == {
        policy.name for policy in POLICIES
    }


def test_the_stack_passes_and_leaves_nothing_open():
    assert told(graph(), LEVELS) == []


def test_nothing_is_undecided_at_the_first_preview_when_no_image_is_known():
    preview = previewed(pool())

    [node] = [r for r in preview if (r.name, r.type) == NODE]
    assert "sha256" not in json.dumps(node.properties["images"])
    assert told(preview, LEVELS) == []


def test_an_open_profile_passes_where_it_is_allowed_and_nowhere_else():
    assert told(opened(), LEVELS, allowOpen=True) == []
    assert {check for check, _, _ in told(opened(), LEVELS)} == {"guard-ranges"}


def at(path: str, value: Any = GONE) -> Change:
    """Another value at a path of the group's properties; none takes it away."""
    return decoded(lambda properties: edited(properties, path, value))


def decoded(change: Callable[[Properties], Properties]) -> Change:
    """A change of a group's properties with its description as an object."""

    def edit(properties: Properties) -> None:
        result = change({**properties, "spec": json.loads(properties["spec"])})
        properties.clear()
        properties.update({**result, "spec": json.dumps(result["spec"])})

    return edit


def within(container: str, path: str, value: Any = GONE) -> Change:
    """Another value at a path of a container."""
    return at(f"spec/containers/{container}/{path}", value)


def in_text(name: str, path: str, value: Any = GONE) -> Change:
    """Another value at a path of a JSON text that a container gets."""

    def change(properties: Properties) -> Properties:
        texts = properties["spec"]["texts"]
        texts[name] = json.dumps(edited(json.loads(texts[name]), path, value))
        return properties

    return decoded(change)


def in_settings(path: str, value: Any = GONE) -> Change:
    return in_text("settings.json", path, value)


def guarded(change: Callable[[list[str]], list[str]]) -> Change:
    """Another command of the guard, and its health command after it."""

    def edit(properties: Properties) -> Properties:
        guard = properties["spec"]["containers"]["egress-guard"]
        guard["command"] = change(guard["command"])
        guard["health"] = [*guard["command"][:3], "--check", *guard["command"][3:]]
        return properties

    return decoded(edit)


NODE, OTHER = ("lab-tmp01", types.CONTAINER_GROUP), ("lab-tmp02", types.CONTAINER_GROUP)
REDIRECTOR = ("lab-redirector", types.CONTAINER_GROUP)
PUBLISHED = {"published": 8001.0, "target": 8001.0, "address": "127.0.0.1"}

Mutant = tuple[tuple[str, str], Change, str, str]
"""A group, what becomes of it, the check that refuses it, and words of its message."""

BAD_CHANGES: list[Mutant] = [
    # What a container is limited to.
    (NODE, within("proxy", "memory_bytes"), "container-memory-limit", "container proxy: has no memory limit"),
    (REDIRECTOR, within("redirector", "cpu", 0), "container-cpu-limit", "container redirector: has no CPU limit"),
    (NODE, within("service", "processes", 0), "container-processes-limit", "container service"),
    # What it is handed.
    (NODE, within("proxy", "engine_socket", True), "docker-socket", "with role 'proxy'"),
    (NODE, within("service", "command/2", "runtime.start_proxy"), "docker-socket", "with role 'node-service'"),
    (REDIRECTOR, within("redirector", "role", "node-service"), "node-quota-complete", "no limit on cpu"),
    (NODE, within("service", "cap_add", ["SYS_ADMIN"]), "no-privileges", "adds 'SYS_ADMIN'"),
    (NODE, within("proxy", "cap_add", ["NET_ADMIN"]), "no-privileges", "adds 'NET_ADMIN'"),
    (NODE, within("egress-guard", "cap_add/+", "SYS_ADMIN"), "no-privileges", "adds 'SYS_ADMIN'"),
    (NODE, within("egress-guard", "role", "proxy"), "no-host-network", "network mode 'host'"),
    (NODE, within("proxy", "privileged", True), "container-group-readable", "the key 'privileged'"),
    (NODE, within("proxy", "health"), "container-health-check", "container proxy"),
    (NODE, within("proxy", "image", "hub"), "container-group-readable", "the image 'hub'"),
    (NODE, at("images/node", "hubstack/tmpnb-node:latest"), "image-pinned", "another image tomorrow"),
    (NODE, at("images/notebook", "jupyter/minimal-notebook"), "node-image-pinned", "NOTEBOOK_IMAGE"),
    (
        NODE,
        within("proxy", "environment/CONFIGPROXY_AUTH_TOKEN", "x"),
        "secret-in-environment",
        "CONFIGPROXY_AUTH_TOKEN",
    ),
    # What it shows.
    (NODE, within("proxy", "ports", [PUBLISHED]), "published-port", "container proxy: publishes port 8001"),
    (NODE, within("service", "ports/0/address", "0.0.0.0"), "node-admin-loopback", "on '0.0.0.0'"),
    (NODE, at("engine", "tcp://tmp01.example.org:2375"), "engine-tls", "2375"),
    (REDIRECTOR, at("engine", "http://tmp01.example.org:2376"), "engine-tls", "http://"),
    (REDIRECTOR, in_text("redirector.json", "nodes/0/url", "http://a"), "redirector-nodes-over-tls", "'tmp01'"),
    (REDIRECTOR, in_text("redirector.json", "nodes/1/stats", "http://a"), "redirector-nodes-over-tls", "'tmp02'"),
    # Networks.
    (NODE, at("spec/networks/control/internal", False), "network-internal", "network control"),
    (NODE, at("spec/networks/servers/internal", False), "node-way-out", "does not open"),
    (NODE, at("spec/networks/servers/apart"), "network-icc", "reach each other"),
    (NODE, at("spec/networks/servers/apart", False), "network-masquerade", "without their guard"),
    (NODE, within("proxy", "networks", {}), "container-default-bridge", "names no network"),
    (REDIRECTOR, within("redirector", "host_network", True), "no-host-network", "'host'"),
    (NODE, in_settings("network", "lab-tmp01-front"), "node-network", "'lab-tmp01-front'"),
    # The guard.
    (NODE, at("spec/containers/egress-guard"), "node-guard", "has no egress guard"),
    (NODE, at("spec/networks/servers/bridge", "other0"), "node-guard", "'other0'"),
    (NODE, at("spec/networks/servers/subnet", "10.217.8.0/21"), "node-guard", "10.217.8.0/21"),
    (NODE, within("egress-guard", "command", ["sleep", "infinity"]), "node-guard", "has no egress guard"),
    (NODE, within("egress-guard", "health", ["true"]), "node-guard-awaited", "healthy without its rules"),
    (NODE, in_settings("guard", "lab-tmp02-egress-guard"), "node-guard-awaited", "'lab-tmp02-egress-guard'"),
    (NODE, guarded(lambda words: [w for w in words if w != "0.0.0.0/0"]), "guard-ranges", "169.254.0.0/16"),
    (NODE, guarded(lambda words: [*words[:3], "--gate=10.217.8.9", *words[3:]]), "node-gates", "10.217.8.9"),
    (NODE, within("proxy", "networks/servers/address", "10.217.8.9"), "node-gates", "10.217.11.254"),
    (NODE, in_settings("resolver", True), "node-resolver", "resolve names"),
    (NODE, at("spec/probe"), "node-proof", "tries nothing"),
    (NODE, at("spec/probe/network", "front"), "node-proof", "'front'"),
    (NODE, at("spec/probe/forbidden", []), "node-proof", "168.63.129.16"),
    # Quotas.
    *((NODE, in_settings(f"quota/{key}"), "node-quota-complete", key) for key in ("processes", "home_bytes")),
    *((NODE, in_settings(f"quota/{key}", 0), "node-quota-complete", key) for key in ("open_files", "max_age_seconds")),
    (NODE, in_settings("quota/cpu", 64), "node-quota-maximum", "cpu of 64"),
    (NODE, in_settings("quota/home_bytes", 2**30), "node-quota-fits", "of home and /tmp"),
    (NODE, in_settings("capacity", 1001), "node-capacity", "1001"),
    (NODE, in_settings("capacity", 0), "node-capacity", "holds 0 servers"),
    (NODE, in_settings("quota/memory_bytes", 2**39), "node-capacity", "maxNodeMemoryBytes"),
    (OTHER, in_settings("quota/memory_bytes", 2**38), "engine-memory", "unix:///var/run/docker.sock"),
    (OTHER, in_settings("capacity", 997), "pool-servers", "1001 servers"),
    (NODE, in_settings("visitors/burst", 10**6), "visitor-limit", "visitors.burst"),
    (REDIRECTOR, in_text("redirector.json", "visitors/per_minute", 0), "redirect-limit", "visitors.per_minute"),
    (NODE, within("service", "command/3", "/etc/settings.json"), "node-quota-complete", "no limit on cpu"),
    # Secrets.
    (NODE, at("spec/texts/Caddyfile", "ab" * 32), "container-group-secrets", "the secret"),
]


@pytest.mark.parametrize(("where", "change", "check", "words"), BAD_CHANGES)
def test_a_bad_change_is_refused_with_its_reason(where: tuple[str, str], change: Change, check: str, words: str):
    found = told(changed(graph(), where, change), LEVELS)

    assert [finding for found_by, _, finding in found if found_by == check and words in finding.message]


@pytest.mark.parametrize(
    ("capacity", "refused"), [(32, set()), (33, {"engine-memory"}), (65, {"engine-memory", "node-capacity"})]
)
def test_servers_that_may_take_more_than_32_gibibytes_are_refused_as_the_stack_is_shipped(
    capacity: int, refused: set[str]
):
    nodes = [{"name": name, "capacity": capacity} for name in ("tmp01", "tmp02")]
    registered = record(pool(tmpnb=json.dumps({"nodes": nodes, "visitorBurst": 4}))).registrations

    assert {check for check, _, _ in told(registered, LEVELS)} == refused


OPEN_CHANGES: list[tuple[Change, str]] = [
    (guarded(lambda words: [word for word in words if word != "169.254.0.0/16"]), "guard-ranges"),
    (guarded(lambda words: [word for word in words if word != "168.63.129.16/32"]), "guard-ranges"),
    (guarded(lambda words: [word for word in words if word != "10.0.0.0/8"]), "guard-ranges"),
    (at("spec/networks/servers/apart"), "network-masquerade"),
    (at("spec/networks/edge/internal", False), "network-internal"),
]


@pytest.mark.parametrize(("change", "check"), OPEN_CHANGES)
def test_an_open_profile_opens_no_more_than_public_addresses(change: Change, check: str):
    found = told(changed(opened(), NODE, change), LEVELS, allowOpen=True)

    assert check in {found_by for found_by, _, _ in found}
