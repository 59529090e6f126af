"""Security groups whose rules pass alone and not together; the rules of each are judged in test_aws_checks.py."""

import copy
import dataclasses
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime.rpc import UNKNOWN
from pulumi_policy import PolicyResource, PolicyResourceOptions, ResourceValidationArgs, StackValidationArgs
from pulumi_policy.proxy import unknown_checking_proxy

from components import Ec2HubCluster, EgressProfile
from policies import resource_types as types
from policies.address_space import Opening, segments
from policies.egress import joined_rules
from policies.egress.joined_rules import NEVER_REACHED
from policies.pack import POLICIES
from policies.reader import UNKNOWN as NOT_KNOWN
from policies.registry import INPUTS, REGISTRY, StackResource
from tests.policies.rows import CONFIGURATION
from tests.policies.test_aws_checks import WORLD, Properties, alone, inline, legacy
from tests.unit.recording import Registration, record
from tests.unit.test_ec2_hub_cluster import ARGS

LOW, HIGH = "0.0.0.0/1", "128.0.0.0/1"
"""Half of the world, and the other."""


def resource(
    type_: str, name: str, inputs: Properties, dependencies: Mapping[str, Sequence[str]] | None = None, id_: Any = None
) -> StackResource:
    urn = f"urn:pulumi:test::hubstack::{type_}::{name}"
    return StackResource(
        type_, name, urn, id_ or f"sg-{name}", unknown_checking_proxy(inputs), dependencies=dependencies or {}
    )


def group(inputs: Properties | None = None, name: str = "workers") -> StackResource:
    return resource(types.SECURITY_GROUP, name, inputs or {})


def template(inputs: Properties | None = None, **dependencies: Sequence[str]) -> StackResource:
    given = {"vpcSecurityGroupIds": ["sg-workers"]} if inputs is None else inputs
    return resource(types.LAUNCH_TEMPLATE, "hosts", given, dependencies, "lt-1")


def out(*rules: Properties, of: Any = "sg-workers") -> list[StackResource]:
    """Rules of their own that let out."""
    return [
        resource(types.EGRESS_RULE, f"out-{number}", {"securityGroupId": of, **rule}, id_=f"sgr-{number}")
        for number, rule in enumerate(rules)
    ]


def let_in(*rules: Properties, of: Any = "sg-workers") -> list[StackResource]:
    """Rules of their own that let in."""
    return [
        resource(types.INGRESS_RULE, f"in-{number}", {"securityGroupId": of, **rule}, id_=f"sgr-{number}")
        for number, rule in enumerate(rules)
    ]


def old(*rules: Properties, of: Any = "sg-workers") -> list[StackResource]:
    """Rules of their own in the provider's older resource."""
    return [
        resource(types.SECURITY_GROUP_RULE, f"old-{number}", {"securityGroupId": of, **rule}, id_=f"sgrule-{number}")
        for number, rule in enumerate(rules)
    ]


def everything(cidr: Any) -> Properties:
    return alone(None, None, cidr, protocol="-1")


def world_but(*left_out: str) -> list[Properties]:
    networks = [ipaddress.ip_network(WORLD)]
    for text in left_out:
        gone = ipaddress.ip_network(text)
        networks = [
            part
            for network in networks
            for part in (network.address_exclude(gone) if gone.subnet_of(network) else [network])
        ]
    return [everything(str(network)) for network in networks]


def reached(*ranges: str) -> list[StackResource]:
    return [group(), template(), *out(*(alone(443, 443, text) for text in ranges))]


CASES: list[tuple[str, list[StackResource], str]] = [
    # Nothing there.
    ("joined-egress", [], "passes"),
    ("joined-egress", [group()], "passes"),
    # Address ranges that are the world together.
    ("joined-egress", [group(), *out(everything(LOW))], "passes"),
    ("joined-egress", [group(), *out(everything(LOW), everything(HIGH))], "refused"),
    ("joined-egress", [group(), *old(legacy("egress", 0, 0, LOW, HIGH, protocol="-1"))], "refused"),
    ("joined-egress", [group(inline("egress", 0, 0, LOW, HIGH, protocol="all"))], "refused"),
    ("joined-egress", [group(inline("egress", 0, 65535, LOW)), *out(everything(HIGH))], "refused"),
    ("joined-egress", [group(), *out(everything(LOW)), *old(legacy("egress", 0, 65535, HIGH))], "refused"),
    ("joined-egress", [group(), *out(*world_but("203.0.113.7/32"))], "refused"),
    ("joined-egress", [group(), *out(*world_but("10.0.0.0/8", "169.254.0.0/16"))], "refused"),
    # IPv6 has its public addresses in 2000::/3.
    ("joined-egress", [group(), *out(everything("2000::/4"))], "passes"),
    ("joined-egress", [group(), *out(everything("2000::/4"), everything("3000::/4"))], "refused"),
    # Ports that are all of them together.
    ("joined-egress", [group(), *out(alone(0, 32767, WORLD))], "passes"),
    ("joined-egress", [group(), *out(alone(0, 32767, WORLD), alone(32768, 65535, WORLD))], "refused"),
    ("joined-egress", [group(), *out(alone(0, 442, WORLD), alone(444, 65535, WORLD))], "refused"),
    ("joined-egress", [group(), *out(alone(443, 443, WORLD), alone(80, 80, WORLD))], "passes"),
    # TCP is not UDP, and the same half twice is still a half.
    ("joined-egress", [group(), *out(alone(0, 65535, LOW), alone(0, 65535, HIGH, protocol="udp"))], "passes"),
    ("joined-egress", [group(), *out(alone(0, 65535, LOW), alone(0, 65535, HIGH, protocol="6"))], "refused"),
    ("joined-egress", [group(), *out(everything(LOW), alone(0, 65535, LOW), everything("64.0.0.0/2"))], "passes"),
    ("joined-egress", [group(), *out(alone(-1, -1, LOW, "icmp"), alone(-1, -1, HIGH, "icmp"))], "refused"),
    # Each group counts alone; a group of another stack is one by its id.
    ("joined-egress", [group(), group(name="b"), *out(everything(LOW)), *out(everything(HIGH), of="sg-b")], "passes"),
    ("joined-egress", out(everything(LOW), everything(HIGH), of="sg-of-another-stack"), "refused"),
    ("joined-egress", [group(), *let_in(everything(LOW), everything(HIGH))], "passes"),
    # What is not known.
    ("joined-egress", [group(), *out(everything(LOW), everything(UNKNOWN))], "undecided"),
    ("joined-egress", [group(), *out(alone(0, 32767, WORLD), alone(UNKNOWN, 65535, WORLD))], "undecided"),
    ("joined-egress", [group({"egress": UNKNOWN})], "undecided"),
    ("joined-egress", [group(), *out(everything("somewhere"))], "undecided"),
    ("joined-egress", [group(), *out(everything(LOW), of=UNKNOWN)], "undecided"),
    ("joined-egress", [group(), *out(alone(443, 443, referencedSecurityGroupId=UNKNOWN), of=UNKNOWN)], "passes"),
    ("joined-egress", [group(), *out(everything(LOW), everything(HIGH), everything(UNKNOWN))], "refused"),
    # Private ranges and metadata services, for hosts of users' code alone.
    ("joined-private-egress", reached("203.0.113.0/24"), "passes"),
    ("joined-private-egress", reached("10.1.2.0/24"), "refused"),
    ("joined-private-egress", reached("169.254.169.254/32"), "refused"),
    ("joined-private-egress", reached("fd00:ec2::254/128"), "refused"),
    ("joined-private-egress", reached("fd12::/16"), "refused"),
    ("joined-private-egress", reached("100.64.0.0/11"), "refused"),
    ("joined-private-egress", reached("8.0.0.0/5"), "refused"),
    ("joined-private-egress", [group(), *out(alone(443, 443, "10.1.2.0/24"))], "passes"),
    ("joined-private-egress", [*reached(), *out(*world_but(*(t for t in NEVER_REACHED if ":" not in t)))], "passes"),
    # HTTP and HTTPS to all is what hosts get their packages by, in one rule or in two; to most is a range in it.
    ("joined-private-egress", reached(WORLD), "passes"),
    ("joined-private-egress", reached(LOW, HIGH), "passes"),
    ("joined-private-egress", reached(LOW), "refused"),
    ("joined-private-egress", [*reached(), *out(alone(80, 443, WORLD))], "refused"),
    ("joined-private-egress", [*reached(), *out(alone(443, 443, WORLD, "udp"))], "refused"),
    # Every way in which hosts are given groups.
    (
        "joined-private-egress",
        [
            group(),
            template({"networkInterfaces": [{"securityGroups": ["sg-workers"]}]}),
            *out(alone(443, 443, "10.0.0.0/8")),
        ],
        "refused",
    ),
    (
        "joined-private-egress",
        [
            group(),
            resource(types.LAUNCH_CONFIGURATION, "hosts", {"securityGroups": ["sg-workers"]}),
            *out(alone(443, 443, "10.0.0.0/8")),
        ],
        "refused",
    ),
    ("joined-private-egress", [template({}), group(), *out(alone(443, 443, "10.0.0.0/8"))], "passes"),
    ("joined-private-egress", [template({"vpcSecurityGroupIds": [UNKNOWN]})], "undecided"),
    ("joined-private-egress", [template({"networkInterfaces": UNKNOWN})], "undecided"),
    ("joined-private-egress", [template({"vpcSecurityGroupIds": ["sg-of-another-stack"]})], "undecided"),
    ("joined-private-egress", reached(UNKNOWN), "undecided"),
    ("joined-private-egress", [*reached(), *out(alone(443, 443, "10.0.0.0/8"), of=UNKNOWN)], "undecided"),
    # The world comes in on 80 and 443 alone.
    ("joined-ingress", [group()], "passes"),
    ("joined-ingress", [group(), *let_in(alone(443, 443, LOW), alone(443, 443, HIGH), alone(80, 80, WORLD))], "passes"),
    ("joined-ingress", [group(), *let_in(alone(8081, 8081, LOW))], "passes"),
    ("joined-ingress", [group(), *let_in(alone(8081, 8081, LOW), alone(8081, 8081, HIGH))], "refused"),
    ("joined-ingress", [group(), *let_in(alone(8000, 8081, LOW), alone(8081, 9000, HIGH))], "refused"),
    ("joined-ingress", [group(), *let_in(alone(8000, 8080, LOW), alone(8081, 9000, HIGH))], "passes"),
    ("joined-ingress", [group(inline("ingress", 22, 22, LOW)), *old(legacy("ingress", 22, 22, HIGH))], "refused"),
    ("joined-ingress", [group(), *out(alone(22, 22, LOW), alone(22, 22, HIGH))], "passes"),
    ("joined-ingress", [group(), *let_in(alone(22, 22, UNKNOWN))], "undecided"),
    ("joined-ingress", [group(), *let_in(alone(22, 22, LOW), of=UNKNOWN)], "undecided"),
    # Rules inside the group and of their own.
    ("one-kind-of-rules", [group(inline("egress", 443, 443, WORLD))], "passes"),
    ("one-kind-of-rules", [group(), *out(alone(443, 443, WORLD)), *old(legacy("ingress", 1, 1))], "passes"),
    ("one-kind-of-rules", [group(inline("egress", 443, 443, WORLD)), *out(alone(80, 80, WORLD))], "refused"),
    ("one-kind-of-rules", [group({"egress": []}), *out(alone(80, 80, WORLD))], "refused"),
    ("one-kind-of-rules", [group({"ingress": UNKNOWN}), *old(legacy("ingress", 80, 80, WORLD))], "refused"),
    ("one-kind-of-rules", [group({"egress": []}), *out(alone(80, 80, WORLD), of="sg-b")], "passes"),
]


def verdict(check: str, resources: Sequence[StackResource], **config: Any) -> str:
    findings = [
        finding
        for found, _, finding in REGISTRY.stack_findings(resources, {**CONFIGURATION, **config})
        if found.id == check
    ]
    if any(not finding.undecided for finding in findings):
        return "refused"
    return "undecided" if findings else "passes"


@pytest.mark.parametrize(("check", "resources", "expected"), CASES)
def test_rules_are_judged_together(check: str, resources: list[StackResource], expected: str):
    assert verdict(check, resources) == expected


@pytest.mark.parametrize(("check", "resources", "expected"), CASES)
def test_the_order_of_resources_does_not_count(check: str, resources: list[StackResource], expected: str):
    assert verdict(check, resources[::-1]) == expected


def test_every_check_of_a_stack_refuses_passes_and_explains_itself():
    ours = [check for check in REGISTRY.stack_checks if check.judge.__module__ == joined_rules.__name__]
    checks = {check.id for check in ours}

    for wanted in ("passes", "refused"):
        assert {check for check, _, expected in CASES if expected == wanted} == checks
    for check in ours:
        assert check.severity in {"low", "medium", "high", "critical"}
        assert check.remediation.endswith(".")
        assert check.description.endswith(".")
        refused = next(resources for found, resources, expected in CASES if (found, expected) == (check.id, "refused"))
        assert verdict(check.id, refused, disabled=[check.id]) == "passes"


def test_everything_may_leave_where_it_is_allowed_and_no_private_range_even_there():
    resources = [group(), template(), *out(everything(LOW), everything(HIGH))]

    assert verdict("joined-egress", resources, allowOpen=True) == "passes"
    assert verdict("joined-private-egress", resources, allowOpen=True) == "refused"


def test_before_a_group_has_an_id_its_rules_are_found_by_where_the_id_comes_from():
    made = resource(types.SECURITY_GROUP, "workers", {}, id_=NOT_KNOWN)
    another = resource(types.SECURITY_GROUP, "another", {}, id_=NOT_KNOWN)

    def rule(name: str, cidr: str, *sources: StackResource) -> StackResource:
        urns = [source.urn for source in sources]
        return resource(
            types.EGRESS_RULE, name, {"securityGroupId": UNKNOWN, **everything(cidr)}, {"securityGroupId": urns}
        )

    hosts = template({"vpcSecurityGroupIds": [UNKNOWN]}, vpcSecurityGroupIds=[made.urn])
    halves = [rule("low", LOW, made), rule("high", HIGH, made)]

    assert verdict("joined-egress", [made, another, *halves]) == "refused"
    assert verdict("joined-egress", [made, another, halves[0], rule("high", HIGH, another)]) == "passes"
    assert verdict("joined-egress", [made, another, halves[0], rule("high", HIGH, made, another)]) == "undecided"
    assert verdict("joined-private-egress", [made, hosts, halves[0]]) == "refused"
    assert verdict("joined-private-egress", [made, another, hosts, rule("low", LOW, another)]) == "passes"


# The project's own stack.


def graph(profile: EgressProfile = EgressProfile.CLOSED) -> list[Registration]:
    return record(lambda: Ec2HubCluster("lab", {**ARGS, "egressProfile": profile})).registrations


def after(registrations: Sequence[Registration]) -> list[StackResource]:
    """The stack in an update, when ids are known."""
    return [
        StackResource(r.type, r.name, r.urn, r.id, unknown_checking_proxy(r.properties), dependencies=r.sources)
        for r in registrations
    ]


def before(registrations: Sequence[Registration]) -> list[StackResource]:
    """The same at preview, when what comes from another resource is unknown, element by element in a list."""

    def unknown(r: Registration) -> Properties:
        return {
            key: ([UNKNOWN for _ in value] if isinstance(value, list) else UNKNOWN) if key in r.sources else value
            for key, value in r.properties.items()
        }

    return [
        StackResource(r.type, r.name, r.urn, NOT_KNOWN, unknown_checking_proxy(unknown(r)), dependencies=r.sources)
        for r in registrations
    ]


def refusals(resources: Sequence[StackResource], **config: Any) -> set[str]:
    return {check.id for check, _, _ in REGISTRY.stack_findings(resources, {**CONFIGURATION, **config})}


@pytest.mark.parametrize("moment", [before, after])
def test_a_hub_on_ec2_passes_before_and_after_its_groups_have_ids(
    moment: Callable[[Sequence[Registration]], list[StackResource]],
):
    assert refusals(moment(graph())) == set()
    assert refusals(moment(graph(EgressProfile.OPEN)), allowOpen=True) == set()
    assert refusals(moment(graph(EgressProfile.OPEN))) == {"joined-egress"}


def add_rule(changed: list[Registration], like: str, name: str, **properties: Any) -> None:
    [pattern] = [r for r in changed if r.name == like]
    added = copy.deepcopy(pattern)
    added.name, added.urn = name, pattern.urn.replace(like, name)
    added.properties.update(properties)
    for key in ("referencedSecurityGroupId", "cidrIpv4"):
        if key not in properties:
            added.properties.pop(key, None)
            added.sources.pop(key, None)
    changed.append(added)


def divide_the_way_out(changed: list[Registration]) -> None:
    for number, rule in enumerate(world_but("169.254.0.0/16")):
        add_rule(changed, "lab-manager-to-internet-https", f"x{number}", **rule)


def split_the_ports_out(changed: list[Registration]) -> None:
    for number, (first, last) in enumerate(((0, 32767), (32768, 65535))):
        add_rule(changed, "lab-manager-to-internet-https", f"x{number}", fromPort=first, toPort=last, cidrIpv4=WORLD)


def halve_the_way_in(changed: list[Registration]) -> None:
    for number, half in enumerate((LOW, HIGH)):
        add_rule(changed, "lab-manager-from-everybody-https", f"x{number}", fromPort=8081, toPort=8081, cidrIpv4=half)


def let_workers_into_the_vpc(changed: list[Registration]) -> None:
    add_rule(changed, "lab-worker-to-manager-8081", "x", fromPort=22, toPort=22, cidrIpv4="10.10.0.0/16")


def give_workers_the_managers_group(changed: list[Registration]) -> None:
    [hosts] = [r for r in changed if r.type == types.LAUNCH_TEMPLATE]
    [manager] = [r for r in changed if r.name == "lab-manager" and r.type == types.SECURITY_GROUP]
    hosts.properties["vpcSecurityGroupIds"].append(manager.id)
    hosts.sources["vpcSecurityGroupIds"].append(manager.urn)
    add_rule(changed, "lab-manager-to-internet-https", "x", fromPort=2049, toPort=2049, cidrIpv4="10.10.0.0/16")


def write_a_rule_inside(changed: list[Registration]) -> None:
    [workers] = [r for r in changed if r.name == "lab-worker" and r.type == types.SECURITY_GROUP]
    workers.properties.update(inline("egress", 443, 443, "203.0.113.0/24"))


MUTANTS: list[tuple[Callable[[list[Registration]], None], set[str]]] = [
    (divide_the_way_out, {"joined-egress"}),
    (split_the_ports_out, {"joined-egress"}),
    (halve_the_way_in, {"joined-ingress"}),
    (let_workers_into_the_vpc, {"joined-private-egress"}),
    (give_workers_the_managers_group, {"joined-private-egress"}),
    (write_a_rule_inside, {"one-kind-of-rules"}),
]


@pytest.mark.parametrize("moment", [before, after])
@pytest.mark.parametrize(("change", "expected"), MUTANTS)
def test_a_bad_change_that_no_rule_shows_alone_is_refused(
    change: Callable[[list[Registration]], None],
    expected: set[str],
    moment: Callable[[Sequence[Registration]], list[StackResource]],
):
    changed = copy.deepcopy(graph())
    change(changed)
    alone_found = {
        check.id
        for r in changed
        for check, _ in REGISTRY.findings(None, r.type, r.name, unknown_checking_proxy(r.properties), CONFIGURATION)
    }

    assert alone_found == set()
    assert refusals(moment(changed)) == expected


# What the policies are handed by the engine.


def told(name: str, inputs: Properties, outputs: Properties) -> list[str]:
    """What the policy `name` reports on one group that was validated alone before."""
    by_name = {policy.name: policy for policy in POLICIES}
    urn = f"urn:pulumi:test::hubstack::{types.SECURITY_GROUP}::workers"
    options = PolicyResourceOptions(False, [], None, [], None, [], None)  # pyright: ignore[reportArgumentType]
    reports: list[str] = []

    def report(text: str, _urn: str | None = None) -> None:
        reports.append(text)

    single = ResourceValidationArgs(
        types.SECURITY_GROUP, unknown_checking_proxy(inputs), urn, "workers", options, None, {}, {}
    )
    by_name["hubstack-quotas"].validate(single, lambda _text, _urn=None: None)  # pyright: ignore[reportAttributeAccessIssue]
    made = PolicyResource(
        types.SECURITY_GROUP, unknown_checking_proxy(outputs), urn, "workers", options, None, None, [], {}
    )
    separate = PolicyResource(
        types.EGRESS_RULE,
        unknown_checking_proxy({"securityGroupId": UNKNOWN, **everything(LOW)}),
        f"urn:pulumi:test::hubstack::{types.EGRESS_RULE}::low",
        "low",
        options,
        None,
        None,
        [],
        {"securityGroupId": [made]},
    )
    by_name[name].validate(StackValidationArgs([made, separate], {}, {}), report)  # pyright: ignore[reportAttributeAccessIssue]
    INPUTS.pop(urn)
    return reports


def test_what_the_provider_answers_is_not_taken_for_what_the_program_gave():
    outputs = {"id": UNKNOWN, "ingress": UNKNOWN, "egress": UNKNOWN}

    assert told("hubstack-joined", {}, outputs) == []
    assert told("hubstack-joined-undecided", {}, outputs) == []


def test_a_group_that_the_provider_reports_with_all_its_rules_has_none_inside_for_that():
    reported = dataclasses.replace(group(inline("egress", 443, 443, WORLD)), given=False)

    assert verdict("one-kind-of-rules", [reported, *out(alone(443, 443, WORLD))]) == "passes"


def test_violations_and_what_is_undecided_are_reported_apart():
    rest = inline("egress", 0, 0, HIGH, protocol="-1")
    unknown = {**rest, "ingress": UNKNOWN}

    violations, open_questions = told("hubstack-joined", unknown, {}), told("hubstack-joined-undecided", unknown, {})

    assert [text.split("]")[0] for text in violations] == ["[joined-egress", "[one-kind-of-rules"]
    assert "to 100% of all IPv4 addresses and ports (tcp, udp, other protocols)" in violations[0]
    assert [text.split("]")[0] for text in open_questions] == ["undecided: [joined-ingress"]


# Address arithmetic.

NETWORKS = st.builds(
    lambda address, prefix: ipaddress.ip_network((address, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
OPENINGS = st.builds(
    lambda ends, network: Opening((min(ends), max(ends)), network), st.tuples(*[st.integers(0, 65535)] * 2), NETWORKS
)


@given(st.lists(OPENINGS, max_size=8), st.data())
def test_an_address_on_a_port_is_open_together_exactly_if_one_opening_has_it(
    openings: list[Opening], data: st.DataObject
):
    edges = [edge for o in openings for edge in (o.ports[0], o.ports[1], max(0, o.ports[0] - 1))]
    corners = [int(corner) for o in openings for corner in (o.network[0], o.network[-1])]
    port = data.draw(st.sampled_from(edges) if edges else st.just(0))
    address = data.draw(st.sampled_from(corners) if corners else st.just(0)) + data.draw(st.integers(-1, 1))
    found = [s for s in segments(openings) if s.ports[0] <= port <= s.ports[1]]

    assert len(found) <= 1
    assert any(first <= address <= last for s in found for first, last in s.addresses) == any(
        o.ports[0] <= port <= o.ports[1] and int(o.network[0]) <= address <= int(o.network[-1]) for o in openings
    )
