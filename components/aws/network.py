"""A VPC with public and private subnets: the way in ends at the public ones, users' hosts are in the private ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pulumi
import pulumi_aws as aws

from components.aws.access import allow, policy_document, trust
from components.aws.firewall import EVERYWHERE, HTTPS, Rule, let_in, security_group
from components.aws.subnets import SubnetPlan

FLOW_LOG_DAYS = 30
"""How long records of connections are kept: long enough to look into a report of abuse."""


@dataclass(frozen=True)
class Network:
    """A VPC and its subnets, one of each kind for each zone."""

    vpc: aws.ec2.Vpc
    cidr: str
    """Range of the VPC."""
    public: tuple[aws.ec2.Subnet, ...]
    private: tuple[aws.ec2.Subnet, ...]
    """Empty where no host is without an address of its own."""
    ways: tuple[pulumi.Resource, ...]
    """What the public subnets' way to the outside consists of."""


def network(
    name: str,
    plan: SubnetPlan,
    zones: Sequence[str],
    *,
    nat_per_zone: bool,
    opts: pulumi.ResourceOptions,
) -> Network:
    """Declare the VPC.

    Args:
        name: prefix of the resources' names.
        plan: ranges of the subnets.
        zones: names of the availability zones, as many as the plan has subnets of a kind.
        nat_per_zone: a NAT gateway in each zone, so that the loss of one cuts no other off; otherwise one for all.
        opts: resource options.
    """
    outside = _outside(name, plan.vpc, opts)
    parts: list[_ZonePart] = []
    for zone, public_cidr, private_cidr in zip(zones, plan.public, plan.private, strict=True):
        gateways = [part.nat for part in parts] if not nat_per_zone else []
        parts.append(_zone(f"{name}-{zone}", outside, zone, public_cidr, private_cidr, gateways[:1], opts))
    public = tuple(part.public for part in parts)
    return _watched(name, plan, outside, public, tuple(parts), opts)


def public_network(name: str, plan: SubnetPlan, zones: Sequence[str], opts: pulumi.ResourceOptions) -> Network:
    """Declare a VPC of public subnets alone, for hosts that each have an address of their own; without NAT gateways.

    Args:
        name: prefix of the resources' names.
        plan: ranges of the subnets, of which the private ones stay unused.
        zones: names of the availability zones, as many as the plan has public subnets.
        opts: resource options.
    """
    outside = _outside(name, plan.vpc, opts)
    made = [
        _public_subnet(f"{name}-{zone}", outside, zone, cidr, opts)
        for zone, cidr in zip(zones, plan.public, strict=True)
    ]
    net = _watched(name, plan, outside, tuple(subnet for subnet, _ in made), (), opts)
    return replace(net, ways=(*net.ways, *(association for _, association in made)))


@dataclass(frozen=True)
class _Outside:
    """A VPC and its way to the outside."""

    vpc: aws.ec2.Vpc
    routes: aws.ec2.RouteTable
    """Routes of the public subnets."""
    way: aws.ec2.Route


def _outside(name: str, cidr: str, opts: pulumi.ResourceOptions) -> _Outside:
    vpc = aws.ec2.Vpc(
        name,
        cidr_block=cidr,
        enable_dns_hostnames=True,
        enable_dns_support=True,
        tags={"Name": name},
        opts=opts,
    )
    # The security group that comes with a VPC lets its members talk to each other and out: nothing may be left in it.
    aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, ingress=[], egress=[], opts=opts)
    gateway = aws.ec2.InternetGateway(name, vpc_id=vpc.id, tags={"Name": name}, opts=opts)
    outward = aws.ec2.RouteTable(f"{name}-public", vpc_id=vpc.id, tags={"Name": f"{name}-public"}, opts=opts)
    way = aws.ec2.Route(
        f"{name}-public",
        route_table_id=outward.id,
        destination_cidr_block=EVERYWHERE,
        gateway_id=gateway.id,
        opts=opts,
    )
    return _Outside(vpc, outward, way)


def _watched(
    name: str,
    plan: SubnetPlan,
    outside: _Outside,
    public: tuple[aws.ec2.Subnet, ...],
    parts: tuple["_ZonePart", ...],
    opts: pulumi.ResourceOptions,
) -> Network:
    """The network with its way to S3 and records of its connections."""
    region = aws.get_region_output(opts=pulumi.InvokeOptions(parent=opts.parent)).region
    # Free of charge, and S3 traffic does not pass the NAT gateway.
    aws.ec2.VpcEndpoint(
        f"{name}-s3",
        vpc_id=outside.vpc.id,
        service_name=region.apply(lambda place: f"com.amazonaws.{place}.s3"),
        vpc_endpoint_type="Gateway",
        route_table_ids=[outside.routes.id, *(part.inward.id for part in parts)],
        tags={"Name": f"{name}-s3"},
        opts=opts,
    )
    _flow_logs(name, outside.vpc, opts)
    return Network(outside.vpc, plan.vpc, public, tuple(part.private for part in parts), (outside.way,))


@dataclass(frozen=True)
class _ZonePart:
    public: aws.ec2.Subnet
    private: aws.ec2.Subnet
    inward: aws.ec2.RouteTable
    """Routes of the private subnet."""
    nat: aws.ec2.NatGateway
    """The gateway that the private subnet leaves by, in this zone or another."""


def _subnet(label: str, vpc: aws.ec2.Vpc, zone: str, cidr: str, opts: pulumi.ResourceOptions) -> aws.ec2.Subnet:
    return aws.ec2.Subnet(
        label,
        vpc_id=vpc.id,
        cidr_block=cidr,
        availability_zone=zone,
        map_public_ip_on_launch=False,
        tags={"Name": label},
        opts=opts,
    )


def _public_subnet(
    label: str, outside: _Outside, zone: str, cidr: str, opts: pulumi.ResourceOptions
) -> tuple[aws.ec2.Subnet, aws.ec2.RouteTableAssociation]:
    """A subnet that reaches the outside, and what gives it the way."""
    subnet = _subnet(f"{label}-public", outside.vpc, zone, cidr, opts)
    association = aws.ec2.RouteTableAssociation(
        f"{label}-public", route_table_id=outside.routes.id, subnet_id=subnet.id, opts=opts
    )
    return subnet, association


def _zone(
    label: str,
    outside: _Outside,
    zone: str,
    public_cidr: str,
    private_cidr: str,
    gateways: Sequence[aws.ec2.NatGateway],
    opts: pulumi.ResourceOptions,
) -> _ZonePart:
    """The subnets of a zone; a NAT gateway of its own unless there is one in `gateways`."""
    vpc = outside.vpc
    public, _ = _public_subnet(label, outside, zone, public_cidr, opts)
    private = _subnet(f"{label}-private", vpc, zone, private_cidr, opts)
    nat = gateways[0] if gateways else _nat_gateway(label, public, opts)
    inward = aws.ec2.RouteTable(f"{label}-private", vpc_id=vpc.id, tags={"Name": f"{label}-private"}, opts=opts)
    aws.ec2.Route(
        f"{label}-private",
        route_table_id=inward.id,
        destination_cidr_block=EVERYWHERE,
        nat_gateway_id=nat.id,
        opts=opts,
    )
    aws.ec2.RouteTableAssociation(f"{label}-private", route_table_id=inward.id, subnet_id=private.id, opts=opts)
    return _ZonePart(public, private, inward, nat)


def _nat_gateway(label: str, subnet: aws.ec2.Subnet, opts: pulumi.ResourceOptions) -> aws.ec2.NatGateway:
    address = aws.ec2.Eip(f"{label}-nat", domain="vpc", tags={"Name": f"{label}-nat"}, opts=opts)
    return aws.ec2.NatGateway(label, subnet_id=subnet.id, allocation_id=address.id, tags={"Name": label}, opts=opts)


def interface_endpoints(
    name: str, net: Network, region: str, services: Sequence[str], opts: pulumi.ResourceOptions
) -> None:
    """Give the private subnets a way to AWS `services`, such as `ecr.dkr`, that does not pass the NAT gateway."""
    if not services:
        return
    group = security_group(f"{name}-endpoints", net.vpc.id, "Hosts reach AWS services", opts)
    inside = Rule("vpc", "tcp", (HTTPS, HTTPS), cidr=net.cidr)
    let_in(f"{name}-endpoints", group, [inside], opts)
    for service in sorted(services):
        label = f"{name}-{service.replace('.', '-')}"
        aws.ec2.VpcEndpoint(
            label,
            vpc_id=net.vpc.id,
            service_name=f"com.amazonaws.{region}.{service}",
            vpc_endpoint_type="Interface",
            subnet_ids=[subnet.id for subnet in net.private],
            security_group_ids=[group.id],
            private_dns_enabled=True,
            tags={"Name": label},
            opts=opts,
        )


def _flow_logs(name: str, vpc: aws.ec2.Vpc, opts: pulumi.ResourceOptions) -> None:
    group = aws.cloudwatch.LogGroup(f"{name}-flows", retention_in_days=FLOW_LOG_DAYS, opts=opts)
    role = aws.iam.Role(f"{name}-flows", assume_role_policy=trust("vpc-flow-logs.amazonaws.com"), opts=opts)
    aws.iam.RolePolicy(
        f"{name}-flows",
        role=role.id,
        policy=group.arn.apply(
            lambda arn: policy_document(
                [allow(["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"], [f"{arn}:*"])]
            )
        ),
        opts=opts,
    )
    aws.ec2.FlowLog(
        f"{name}-flows",
        vpc_id=vpc.id,
        traffic_type="ALL",
        log_destination=group.arn,
        iam_role_arn=role.arn,
        opts=opts,
    )
