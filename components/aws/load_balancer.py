"""The front of hosts without public addresses: HTTPS from everywhere to one port of theirs."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.firewall import HTTP, HTTPS

TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""TLS 1.2 and 1.3, with forward secrecy."""

IDLE_SECONDS = 4000
"""Longest silence on a connection: a notebook's channel may be silent for an hour (AWS's most)."""

HEALTH_SECONDS = 10
LEAVE_SECONDS = 30
"""How long a host that is taken out keeps its connections."""


@dataclass(frozen=True)
class Front:
    """Where the load balancer is reached."""

    name: pulumi.Output[str]
    """Its own name, that a record of the hosted zone points to."""
    zone_id: pulumi.Output[str]
    """Hosted zone of that name."""


def https_front(
    name: str,
    *,
    vpc: pulumi.Input[str],
    subnets: Sequence[pulumi.Input[str]],
    security_group: pulumi.Input[str],
    certificate: pulumi.Input[str],
    hosts: Sequence[pulumi.Input[str]],
    port: int,
    health_path: str,
    opts: pulumi.ResourceOptions,
) -> Front:
    """Declare the load balancer; plain HTTP is sent on to HTTPS, and hosts are spoken to over TLS.

    Args:
        name: prefix of the resources' names.
        vpc: VPC of the hosts.
        subnets: public subnets, two at least.
        security_group: the load balancer's group.
        certificate: ARN of the certificate.
        hosts: ids of the hosts.
        port: port of the hosts.
        health_path: what a host that works answers with 200.
        opts: resource options.
    """
    balancer = aws.lb.LoadBalancer(
        name,
        load_balancer_type="application",
        internal=False,
        subnets=list(subnets),
        security_groups=[security_group],
        idle_timeout=IDLE_SECONDS,
        drop_invalid_header_fields=True,
        tags={"Name": name},
        opts=opts,
    )
    targets = aws.lb.TargetGroup(
        name,
        vpc_id=vpc,
        port=port,
        protocol="HTTPS",
        target_type="instance",
        deregistration_delay=LEAVE_SECONDS,
        health_check=aws.lb.TargetGroupHealthCheckArgs(
            protocol="HTTPS",
            path=health_path,
            matcher="200",
            interval=HEALTH_SECONDS,
            timeout=5,
            healthy_threshold=2,
            unhealthy_threshold=2,
        ),
        tags={"Name": name},
        opts=opts,
    )
    for number, host in enumerate(hosts, 1):
        aws.lb.TargetGroupAttachment(
            f"{name}-{number}", target_group_arn=targets.arn, target_id=host, port=port, opts=opts
        )
    aws.lb.Listener(
        f"{name}-https",
        load_balancer_arn=balancer.arn,
        port=HTTPS,
        protocol="HTTPS",
        ssl_policy=TLS_POLICY,
        certificate_arn=certificate,
        default_actions=[aws.lb.ListenerDefaultActionArgs(type="forward", target_group_arn=targets.arn)],
        opts=opts,
    )
    aws.lb.Listener(
        f"{name}-http",
        load_balancer_arn=balancer.arn,
        port=HTTP,
        protocol="HTTP",
        default_actions=[
            aws.lb.ListenerDefaultActionArgs(
                type="redirect",
                redirect=aws.lb.ListenerDefaultActionRedirectArgs(
                    port=str(HTTPS), protocol="HTTPS", status_code="HTTP_301"
                ),
            )
        ],
        opts=opts,
    )
    return Front(balancer.dns_name, balancer.zone_id)
