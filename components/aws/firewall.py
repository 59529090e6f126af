"""Security groups with rules of their own: groups that name each other can be deleted in any order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components.egress import NEVER_REACHED, EgressProfile, public_ranges

EVERYWHERE = "0.0.0.0/0"
HTTPS = 443
HTTP = 80

ABSENT_FROM_VPCS = ("168.63.129.16/32", "192.0.0.0/24", "198.18.0.0/15")
"""Azure's metadata address and two protocol ranges lead nowhere from a VPC; without them 51 rules do, of AWS's 60."""

NEVER_REACHED_IN_A_VPC = tuple(cidr for cidr in NEVER_REACHED if cidr not in ABSENT_FROM_VPCS)


@dataclass(frozen=True)
class Rule:
    """Who may connect where."""

    name: str
    """What it is for, in words that fit a resource's name."""
    protocol: str
    """`tcp`, `udp` or `-1` for all."""
    ports: tuple[int, int] | None
    """First and last port; None for all."""
    cidr: str | None = None
    """The range at the other end."""
    group: pulumi.Output[str] | None = None
    """The security group at the other end, where no range is given."""


def security_group(
    name: str,
    vpc: pulumi.Input[str],
    description: str,
    opts: pulumi.ResourceOptions,
) -> aws.ec2.SecurityGroup:
    """A group without any rule: nothing gets in or out until a rule of its own says so.

    Left alone, AWS gives a new group a rule that lets everything out (forgotten in the original, seed 004).
    """
    return aws.ec2.SecurityGroup(
        name,
        vpc_id=vpc,
        description=description,
        revoke_rules_on_delete=True,
        tags={"Name": name},
        opts=opts,
    )


class _RuleArguments(TypedDict):
    security_group_id: pulumi.Output[str]
    ip_protocol: str
    from_port: int | None
    to_port: int | None
    cidr_ipv4: str | None
    referenced_security_group_id: pulumi.Output[str] | None
    tags: Mapping[str, str]


def _arguments(group: aws.ec2.SecurityGroup, rule: Rule) -> _RuleArguments:
    return {
        "security_group_id": group.id,
        "ip_protocol": rule.protocol,
        "from_port": rule.ports[0] if rule.ports else None,
        "to_port": rule.ports[1] if rule.ports else None,
        "cidr_ipv4": rule.cidr,
        "referenced_security_group_id": rule.group,
        "tags": {"Name": rule.name},
    }


def let_in(
    name: str, group: aws.ec2.SecurityGroup, rules: Sequence[Rule], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Let connections in; returns the rules."""
    return [
        aws.vpc.SecurityGroupIngressRule(f"{name}-from-{rule.name}", **_arguments(group, rule), opts=opts)
        for rule in rules
    ]


def let_out(
    name: str, group: aws.ec2.SecurityGroup, rules: Sequence[Rule], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Let connections out; returns the rules."""
    return [
        aws.vpc.SecurityGroupEgressRule(f"{name}-to-{rule.name}", **_arguments(group, rule), opts=opts)
        for rule in rules
    ]


def egress_rules(profile: EgressProfile) -> tuple[Rule, ...]:
    """What users' hosts may reach beside their hub: rules can only allow, so `open` is every public range."""
    if profile is EgressProfile.OPEN:
        return tuple(
            Rule(f"public-{cidr.replace('/', '-')}", "-1", None, cidr=cidr)
            for cidr in public_ranges(NEVER_REACHED_IN_A_VPC)
        )
    return ()
