"""Who reaches whom in a swarm on EC2: security groups, gateways and endpoints."""

import ipaddress
import json
from typing import Any

import pytest

from components import EgressProfile
from runtime.swarm_node.settings import parse_deployment
from tests.unit.recording import Recorder
from tests.unit.swarm_on_ec2 import EGRESS, INGRESS, INSTANCE, TEMPLATE, build, bundled, of_type, stack_file, usual

__all__ = ["usual"]

ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"


def rules(recorder: Recorder, kind: str) -> list[dict[str, Any]]:
    return [r.properties for r in of_type(recorder, kind).values()]


def ports(rule: dict[str, Any]) -> tuple[str, int, int]:
    return rule["ipProtocol"], int(rule.get("fromPort", 0)), int(rule.get("toPort", 65535))


@pytest.mark.parametrize("profile", [EgressProfile.CLOSED, EgressProfile.OPEN])
def test_no_rule_lets_anybody_in_on_port_22(profile: EgressProfile):
    let_in = [ports(rule) for rule in rules(build(egressProfile=profile), INGRESS)]

    assert len(let_in) > 5
    assert not [rule for rule in let_in if rule[0] in {"tcp", "-1"} and rule[1] <= 22 <= rule[2]]


def test_the_world_reaches_the_front_alone_on_the_webs_ports(usual: Recorder):
    world = [rule for rule in rules(usual, INGRESS) if "cidrIpv4" in rule or "cidrIpv6" in rule]

    assert {(rule["securityGroupId"], rule["cidrIpv4"], *ports(rule)) for rule in world} == {
        ("lab-front-id", "0.0.0.0/0", "tcp", 80, 80),
        ("lab-front-id", "0.0.0.0/0", "tcp", 443, 443),
    }


def test_the_front_reaches_managers_on_the_tls_port_and_nothing_else(usual: Recorder):
    out = [rule for rule in rules(usual, EGRESS) if rule["securityGroupId"] == "lab-front-id"]
    into = [rule for rule in rules(usual, INGRESS) if rule.get("referencedSecurityGroupId") == "lab-front-id"]

    assert [(rule["referencedSecurityGroupId"], *ports(rule)) for rule in out] == [
        ("lab-manager-id", "tcp", 8443, 8443)
    ]
    assert [(rule["securityGroupId"], *ports(rule)) for rule in into] == [("lab-manager-id", "tcp", 8443, 8443)]


SWARM = {
    ("tcp", 7946, 7946): "lab-member-id",
    ("udp", 7946, 7946): "lab-member-id",
    ("udp", 4789, 4789): "lab-member-id",
    ("50", -1, -1): "lab-member-id",
    ("tcp", 2377, 2377): "lab-manager-id",
}
"""The swarm's own traffic, and who takes it."""


@pytest.mark.parametrize("profile", [EgressProfile.CLOSED, EgressProfile.OPEN])
def test_the_swarms_ports_are_open_between_its_members_alone(profile: EgressProfile):
    recorder = build(egressProfile=profile)
    into = {ports(rule): rule for rule in rules(recorder, INGRESS) if ports(rule) in SWARM}
    out = {
        ports(rule): rule
        for rule in rules(recorder, EGRESS)
        if ports(rule) in SWARM and rule["securityGroupId"] == "lab-member-id"
    }

    assert set(into) == set(out) == set(SWARM)
    for traffic, taker in SWARM.items():
        assert into[traffic]["securityGroupId"] == taker
        assert into[traffic]["referencedSecurityGroupId"] == "lab-member-id"
        assert out[traffic]["referencedSecurityGroupId"] == taker
        assert "cidrIpv4" not in into[traffic]
    # No wider rule lets the same traffic in by another way.
    for rule in rules(recorder, INGRESS):
        protocol, first, last = ports(rule)
        if rule["securityGroupId"] in {"lab-member-id", "lab-manager-id", "lab-worker-id"} and protocol != "50":
            assert first == last


def test_workers_are_in_no_group_that_takes_management_traffic(usual: Recorder):
    [template] = of_type(usual, TEMPLATE).values()

    assert set(template.properties["vpcSecurityGroupIds"]) == {"lab-member-id", "lab-worker-id"}
    for manager in of_type(usual, INSTANCE).values():
        assert set(manager.properties["vpcSecurityGroupIds"]) == {"lab-member-id", "lab-manager-id"}


def test_files_are_reached_by_members_alone(usual: Recorder):
    into = [rule for rule in rules(usual, INGRESS) if rule["securityGroupId"] == "lab-files-id"]
    targets = of_type(usual, "aws:efs/mountTarget:MountTarget")

    assert [(rule["referencedSecurityGroupId"], *ports(rule)) for rule in into] == [
        ("lab-member-id", "tcp", 2049, 2049)
    ]
    assert not [rule for rule in rules(usual, EGRESS) if rule["securityGroupId"] == "lab-files-id"]
    assert len(targets) == 3
    assert all(target.properties["securityGroups"] == ["lab-files-id"] for target in targets.values())
    assert all(target.properties["subnetId"].endswith("-private-id") for target in targets.values())


def test_hosts_reach_the_world_on_the_webs_ports_alone(usual: Recorder):
    out = [rule for rule in rules(usual, EGRESS) if "cidrIpv4" in rule]

    assert {(rule["securityGroupId"], rule["cidrIpv4"], *ports(rule)) for rule in out} == {
        ("lab-member-id", "0.0.0.0/0", "tcp", 80, 80),
        ("lab-member-id", "0.0.0.0/0", "tcp", 443, 443),
    }


def test_a_closed_stack_has_no_guard_and_its_workers_no_way_out_of_their_own(usual: Recorder):
    assert "egress-guard" not in stack_file(usual)["services"]
    assert not [rule for rule in rules(usual, EGRESS) if rule["securityGroupId"] == "lab-worker-id"]


def test_an_open_profile_brings_the_guard_to_workers_and_public_ranges_to_their_group():
    recorder = build(egressProfile=EgressProfile.OPEN)
    guard = stack_file(recorder)["services"]["egress-guard"]
    deployment = parse_deployment(json.loads(bundled(recorder)["deployment.json"]))
    reached = [
        ipaddress.IPv4Network(rule["cidrIpv4"])
        for rule in rules(recorder, EGRESS)
        if rule["securityGroupId"] == "lab-worker-id"
    ]

    assert guard["deploy"]["placement"]["constraints"] == ["node.role==worker"]
    assert guard["deploy"]["mode"] == "global"
    assert guard["cap_add"] == ["CAP_NET_ADMIN"]
    assert list(guard["networks"]) == ["host"]
    assert deployment.open_subnet in guard["command"]
    assert 0 < len(reached) <= 60
    for address in ("169.254.169.254", "10.10.0.1", "10.213.0.1", "192.168.0.1", "100.64.0.1"):
        assert not any(ipaddress.IPv4Address(address) in cidr for cidr in reached)
    assert any(ipaddress.IPv4Address("8.8.8.8") in cidr for cidr in reached)


def test_interface_endpoints_are_made_by_choice(usual: Recorder):
    assert [r.properties["vpcEndpointType"] for r in of_type(usual, ENDPOINT).values()] == ["Gateway"]

    recorder = build(ec2={"interfaceEndpoints": ["secretsmanager", "ecr.dkr"]})
    made = [
        r.properties for r in of_type(recorder, ENDPOINT).values() if r.properties["vpcEndpointType"] == "Interface"
    ]

    assert sorted(endpoint["serviceName"] for endpoint in made) == [
        "com.amazonaws.us-east-1.ecr.dkr",
        "com.amazonaws.us-east-1.secretsmanager",
    ]
    assert all(endpoint["privateDnsEnabled"] for endpoint in made)


@pytest.mark.parametrize(("chosen", "gateways"), [(False, 1), (True, 3)])
def test_each_zone_has_a_nat_gateway_by_choice(chosen: bool, gateways: int):
    recorder = build(ec2={"natPerZone": chosen})

    assert len(of_type(recorder, "aws:ec2/natGateway:NatGateway")) == gateways
