"""Nodes of a pool and names of hosts, each with the others of its stack; what is not known; what the runtime grants."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN
from pulumi_policy.proxy import unknown_checking_proxy

import policies.pack  # noqa: F401  (registers the checks)
from policies import container_group
from policies import resource_types as types
from policies.exposure import container_groups, health_checks
from policies.quotas import nodes
from policies.reader import UNKNOWN as NOT_KNOWN
from policies.registry import REGISTRY, StackResource
from runtime import container_group as runtime_group
from runtime import group_deployment
from tests.policies.container_group_cases import (
    NODE,
    SETTINGS,
    edited,
    handed_over,
    node_settings,
    redirector,
    with_proxy,
)
from tests.policies.rows import CONFIGURATION

Properties = dict[str, Any]


def resource(
    type_: str,
    name: str,
    inputs: Properties,
    dependencies: Mapping[str, Sequence[str]] | None = None,
    id_: Any = NOT_KNOWN,
) -> StackResource:
    urn = f"urn:pulumi:test::hubstack::{type_}::{name}"
    return StackResource(type_, name, urn, id_, unknown_checking_proxy(inputs), dependencies=dependencies or {})


def group(inputs: Properties = NODE, name: str = "tmp01") -> StackResource:
    return resource(types.CONTAINER_GROUP, name, handed_over(inputs))


def on(engine: Any, name: str = "tmp02", **settings: Any) -> StackResource:
    """A node on an engine, with other settings of its service."""
    inputs = NODE
    for key, value in settings.items():
        inputs = node_settings(key, value)
    return group(edited(inputs, "engine", engine), name)


def record(name: Any = "tmp01.example.org", type_: Any = "A", **more: Any) -> StackResource:
    return resource(types.RECORD, f"record-{name}", {"name": name, "type": type_, "ttl": 60, **more})


def health_check(fqdn: Any = "tmp01.example.org", **more: Any) -> StackResource:
    return resource(types.HEALTH_CHECK, f"check-{fqdn}", {"fqdn": fqdn, "type": "HTTPS", **more})


def alarm(of: StackResource | None, watched: Any = UNKNOWN, **more: Any) -> StackResource:
    """An alarm on a check that is not made yet, or on one whose id is known."""
    told = {
        "namespace": "AWS/Route53",
        "metricName": "HealthCheckStatus",
        "dimensions": {"HealthCheckId": watched},
        "alarmActions": [UNKNOWN],
        "region": "us-east-1",
        **more,
    }
    return resource(types.METRIC_ALARM, "alarm", told, {"dimensions": [of.urn]} if of else None)


CHECK, CHECK_2 = health_check(), health_check("tmp02.example.org")
MADE = replace(CHECK, id="abc")

CERTIFICATE = resource(types.CERTIFICATE, "certificate", {})
PROOF = resource(
    types.RECORD,
    "proof",
    {"name": UNKNOWN, "type": UNKNOWN, "ttl": 60},
    {"name": [CERTIFICATE.urn], "type": [CERTIFICATE.urn]},
)
LOCAL = NODE["engine"]
NOT_DESCRIBED = {**NODE, "spec": UNKNOWN}
HALF = 2**39 // SETTINGS["quota"]["memory_bytes"]
"""Servers that use half of what an engine may."""

CASES: list[tuple[str, list[StackResource], str]] = [
    ("engine-memory", [], "passes"),
    ("engine-memory", [group(), on(LOCAL), group(redirector(), "redirector")], "passes"),
    ("engine-memory", [on(LOCAL, "a", capacity=HALF), on(LOCAL, "b", capacity=HALF)], "passes"),
    ("engine-memory", [on(LOCAL, "a", capacity=HALF), on(LOCAL, "b", capacity=HALF + 1)], "refused"),
    ("engine-memory", [on(LOCAL, "a", capacity=HALF), on("ssh://b", "b", capacity=HALF + 1)], "passes"),
    ("engine-memory", [on(LOCAL, "a", capacity=HALF), on(UNKNOWN, "b", capacity=HALF)], "undecided"),
    ("engine-memory", [group(NOT_DESCRIBED)], "undecided"),
    ("pool-servers", [], "passes"),
    ("pool-servers", [on(LOCAL, "a", capacity=50), on("ssh://b", "b", capacity=50)], "passes"),
    ("pool-servers", [on(LOCAL, "a", capacity=50), on("ssh://b", "b", capacity=51)], "refused"),
    ("pool-servers", [on(LOCAL, "a", capacity=50), group(NOT_DESCRIBED)], "undecided"),
    ("record-health-check", [], "passes"),
    ("record-health-check", [record(), health_check()], "passes"),
    ("record-health-check", [record("TMP01.example.org."), health_check("tmp01.Example.org")], "passes"),
    ("record-health-check", [record(healthCheckId=UNKNOWN)], "passes"),
    ("record-health-check", [record(aliases=[{"name": "balancer"}])], "passes"),
    ("record-health-check", [record(type_="TXT")], "passes"),
    ("record-health-check", [CERTIFICATE, PROOF], "passes"),
    ("record-health-check", [record(), health_check(UNKNOWN), health_check()], "passes"),
    ("record-health-check", [record()], "refused"),
    ("record-health-check", [record(type_="AAAA"), health_check("tmp02.example.org")], "refused"),
    ("record-health-check", [record(), health_check(disabled=True)], "refused"),
    ("record-health-check", [record(UNKNOWN), health_check()], "undecided"),
    ("record-health-check", [record(type_=UNKNOWN)], "undecided"),
    ("record-health-check", [record(aliases=UNKNOWN)], "undecided"),
    ("record-health-check", [record(), health_check(UNKNOWN)], "undecided"),
    ("record-health-check", [record(), health_check(disabled=UNKNOWN)], "undecided"),
    ("record-health-check", [PROOF], "undecided"),
    ("health-check-alarm", [], "passes"),
    ("health-check-alarm", [CHECK, alarm(CHECK)], "passes"),
    ("health-check-alarm", [MADE, alarm(None, "abc", alarmActions=["arn:aws:sns:us-east-1:1:a"])], "passes"),
    ("health-check-alarm", [CHECK, alarm(CHECK, region=None)], "passes"),
    ("health-check-alarm", [CHECK, alarm(CHECK), alarm(CHECK, alarmActions=UNKNOWN)], "passes"),
    ("health-check-alarm", [health_check(disabled=True)], "passes"),
    ("health-check-alarm", [CHECK], "refused"),
    ("health-check-alarm", [CHECK, CHECK_2, alarm(CHECK_2)], "refused"),
    ("health-check-alarm", [MADE, alarm(None, "abd")], "refused"),
    ("health-check-alarm", [CHECK, alarm(CHECK, alarmActions=[])], "refused"),
    ("health-check-alarm", [CHECK, alarm(CHECK, actionsEnabled=False)], "refused"),
    ("health-check-alarm", [CHECK, alarm(CHECK, region="eu-west-1")], "refused"),
    ("health-check-alarm", [CHECK, alarm(CHECK, metricName="HealthCheckPercentageHealthy")], "refused"),
    ("health-check-alarm", [CHECK, alarm(None, None)], "refused"),
    ("health-check-alarm", [CHECK, alarm(CHECK, alarmActions=UNKNOWN)], "undecided"),
    ("health-check-alarm", [CHECK, alarm(CHECK, actionsEnabled=UNKNOWN)], "undecided"),
    ("health-check-alarm", [CHECK, alarm(None)], "undecided"),
]


def verdict(check: str, resources: Sequence[StackResource], **config: Any) -> str:
    found = [
        finding.undecided
        for each, _, finding in REGISTRY.stack_findings(resources, {**CONFIGURATION, **config})
        if each.id == check
    ]
    return "passes" if not found else "undecided" if all(found) else "refused"


@pytest.mark.parametrize(("check", "resources", "expected"), CASES)
def test_resources_are_judged_with_the_others_of_their_stack(check: str, resources: list[StackResource], expected: str):
    assert verdict(check, resources) == expected
    assert verdict(check, resources[::-1]) == expected


def test_every_such_check_passes_refuses_leaves_open_and_explains_itself():
    modules = {nodes.__name__, health_checks.__name__}
    ours = [check for check in REGISTRY.stack_checks if check.judge.__module__ in modules]

    for wanted in ("passes", "refused", "undecided"):
        assert {check for check, _, expected in CASES if expected == wanted} == {check.id for check in ours}
    for check in ours:
        assert check.severity in {"low", "medium", "high", "critical"}
        assert check.remediation.endswith(".")
        assert check.description.endswith(".")
        refused = next(resources for found, resources, expected in CASES if (found, expected) == (check.id, "refused"))
        assert verdict(check.id, refused, disabled=[check.id]) == "passes"


def test_an_engine_with_too_many_nodes_is_told_of_once_at_the_node_that_goes_too_far():
    stack = [on(LOCAL, name, capacity=HALF) for name in ("a", "b", "c", "d")]
    found = REGISTRY.stack_findings(stack, {**CONFIGURATION, "maxServers": 10**9})

    assert [(check.id, at.name) for check, at, _ in found] == [("engine-memory", "c")]


# What is not known.


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every place in a document, as `changed` takes it."""
    if path:
        yield "/".join(step.replace("/", "~") for step in path)
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*path, str(key)))


UNKNOWNS = [
    pytest.param(document, f"{part}/{place}" if place else part, id=f"{name}-{part}/{place}")
    for name, document in (("node", NODE), ("with-proxy", with_proxy()), ("redirector", redirector()))
    for part in ("engine", "spec")
    for place in ("", *places(document[part]))
]


@pytest.mark.parametrize(("document", "place"), UNKNOWNS)
def test_an_unknown_anywhere_in_a_group_is_undecided_and_no_violation(document: Properties, place: str):
    properties = unknown_checking_proxy(edited(document, place, UNKNOWN))
    found = list(REGISTRY.findings(None, types.CONTAINER_GROUP, "x", properties, CONFIGURATION))

    assert found
    assert [finding.message for _, finding in found if not finding.undecided] == []


def test_a_description_that_is_not_known_leaves_open_what_a_group_is_and_what_its_services_are_told():
    found = list(
        REGISTRY.findings(None, types.CONTAINER_GROUP, "x", unknown_checking_proxy(NOT_DESCRIBED), CONFIGURATION)
    )

    assert all(finding.undecided for _, finding in found)
    assert {check.id for check, _ in found} >= {
        *("container-group-readable", "node-guard", "node-network", "node-proof", "node-resolver"),
        *("node-capacity", "node-quota-complete", "redirector-nodes-over-tls", "visitor-limit", "redirect-limit"),
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "everything", '"{}"', "1"])
def test_a_description_that_is_no_object_is_refused(text: str):
    properties = unknown_checking_proxy({**NODE, "spec": text})
    found = REGISTRY.findings("exposure", types.CONTAINER_GROUP, "x", properties, CONFIGURATION)

    assert [(check.id, finding.undecided) for check, finding in found] == [("container-group-readable", False)]


def test_images_and_secrets_that_the_update_makes_leave_nothing_open():
    properties = unknown_checking_proxy({**NODE, "images": UNKNOWN, "secrets": UNKNOWN})

    assert list(REGISTRY.findings(None, types.CONTAINER_GROUP, "x", properties, CONFIGURATION)) == []


# What the pack says of a container is what the runtime grants it.


@pytest.mark.parametrize("name", ["egress-guard", "proxy", "service"])
def test_a_container_is_judged_by_what_the_runtime_grants_it(name: str):
    granted = runtime_group.host_config(NODE["spec"], name)
    judged = container_group.container_properties(NODE, name)

    assert judged["memory"] * 2**20 == granted["mem_limit"]
    assert judged["memorySwap"] * 2**20 == granted["memswap_limit"]
    assert judged["cpus"] * 1e9 == granted["nano_cpus"]
    assert judged["readOnly"] == granted["read_only"]
    assert judged["capabilities"] == {"drops": granted["cap_drop"], "adds": granted["cap_add"] or []}
    assert judged["securityOpts"] == granted["security_opt"]
    assert judged["networkMode"] == granted["network_mode"]
    assert judged["restart"] == granted["restart_policy"]["Name"]
    assert (judged["logDriver"], judged["logOpts"]) == (granted["log_config"]["type"], granted["log_config"]["config"])
    assert {port["internal"]: (port["ip"], port["external"]) for port in judged["ports"]} == granted["port_bindings"]
    mounted = {f"{mount['source']}:{mount['target']}" for mount in judged["mounts"]}
    assert mounted == {bind for bind in granted["binds"] if not bind.endswith(":ro")}
    assert {mount["target"] for mount in judged["mounts"] if mount["type"] == "bind"} <= {container_group.SOCKET}
    known = {"binds", "cap_add", "cap_drop", "log_config", "mem_limit", "memswap_limit", "nano_cpus"}
    known |= {"network_mode", "pids_limit", "port_bindings", "read_only", "restart_policy", "security_opt", "tmpfs"}
    assert set(granted) == known


def test_the_pack_knows_every_key_that_the_runtime_reads():
    assert set(runtime_group.GroupSpec.__annotations__) == container_groups.GROUP_KEYS
    assert set(runtime_group.ContainerSpec.__annotations__) == container_groups.CONTAINER_KEYS
    assert set(runtime_group.NetworkSpec.__annotations__) == container_groups.NETWORK_KEYS
    assert runtime_group.FILES_FOLDER == container_group.FILES_FOLDER
    assert runtime_group.ROLE_LABEL == container_group.ROLE_LABEL


def test_an_apart_network_is_judged_by_the_options_that_the_runtime_sets():
    from unittest.mock import MagicMock

    client = MagicMock()
    client.networks.return_value = []
    group_deployment._ensure_network(client, NODE["spec"], "servers")
    made = client.create_network.call_args.kwargs
    judged = container_group.network_properties("servers", NODE["spec"]["networks"]["servers"])

    assert judged["options"].items() <= made["options"].items()
    assert judged["internal"] == made["internal"]
    assert judged["driver"] == made["driver"]
    assert judged["labels"] == [{"label": "hubstack.role", "value": made["labels"]["hubstack.role"]}]
