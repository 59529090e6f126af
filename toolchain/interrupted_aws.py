"""Finding in an AWS account what a killed run was making there: the answer with its id may have been lost."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3

Inputs = Mapping[str, Any]
Item = Mapping[str, Any]
Client = Callable[[str], Any]
"""Gives boto3's client of a service, in the stack's region."""

GONE = {"terminated", "shutting-down", "deleted", "deleting", "failed"}
"""States in which AWS still describes what nobody can use any more."""


class UnknownKindError(Exception):
    """How to find such a resource is not known."""


@dataclass(frozen=True)
class Listing:
    """Where AWS lists resources of a kind, and how one that was made from given inputs is told from the others."""

    service: str
    operation: str
    key: str
    """Where in the answer the items are."""
    id: str
    """Name of an item's id."""
    same: Callable[[Inputs, Item], bool]
    arguments: Callable[[Inputs], Mapping[str, str]] = lambda _: {}
    """What AWS must be told to list them."""


def has_tags(inputs: Inputs, item: Item) -> bool:
    """Whether the item has every tag of the inputs; the components name each resource in its tags."""
    wanted = inputs.get("tags") or {}
    found = {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}
    return bool(wanted) and wanted.items() <= found.items()


def _rule(*, outward: bool) -> Callable[[Inputs, Item], bool]:
    return lambda inputs, item: (
        item["GroupId"] == inputs["securityGroupId"] and item["IsEgress"] == outward and has_tags(inputs, item)
    )


def _health_check(inputs: Inputs, item: Item) -> bool:
    config = item["HealthCheckConfig"]
    return (config.get("FullyQualifiedDomainName"), config.get("ResourcePath")) == (
        inputs.get("fqdn"),
        inputs.get("resourcePath"),
    )


def _named(key: str) -> Callable[[Inputs, Item], bool]:
    return lambda inputs, item: item[key] == inputs["name"]


LISTINGS = {
    "aws:ec2/vpc:Vpc": Listing("ec2", "describe_vpcs", "Vpcs", "VpcId", has_tags),
    "aws:ec2/subnet:Subnet": Listing("ec2", "describe_subnets", "Subnets", "SubnetId", has_tags),
    "aws:ec2/internetGateway:InternetGateway": Listing(
        "ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId", has_tags
    ),
    "aws:ec2/routeTable:RouteTable": Listing("ec2", "describe_route_tables", "RouteTables", "RouteTableId", has_tags),
    "aws:ec2/eip:Eip": Listing("ec2", "describe_addresses", "Addresses", "AllocationId", has_tags),
    "aws:ec2/natGateway:NatGateway": Listing("ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId", has_tags),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Listing(
        "ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", has_tags
    ),
    "aws:ec2/securityGroup:SecurityGroup": Listing(
        "ec2", "describe_security_groups", "SecurityGroups", "GroupId", has_tags
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Listing(
        "ec2", "describe_security_group_rules", "SecurityGroupRules", "SecurityGroupRuleId", _rule(outward=False)
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Listing(
        "ec2", "describe_security_group_rules", "SecurityGroupRules", "SecurityGroupRuleId", _rule(outward=True)
    ),
    "aws:ec2/flowLog:FlowLog": Listing(
        "ec2",
        "describe_flow_logs",
        "FlowLogs",
        "FlowLogId",
        lambda inputs, item: item["ResourceId"] == inputs.get("vpcId"),
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Listing(
        "ec2",
        "describe_launch_templates",
        "LaunchTemplates",
        "LaunchTemplateId",
        _named("LaunchTemplateName"),
    ),
    "aws:ec2/instance:Instance": Listing("ec2", "describe_instances", "Reservations", "InstanceId", has_tags),
    "aws:ebs/volume:Volume": Listing("ec2", "describe_volumes", "Volumes", "VolumeId", has_tags),
    "aws:route53/healthCheck:HealthCheck": Listing(
        "route53", "list_health_checks", "HealthChecks", "Id", _health_check
    ),
    "aws:secretsmanager/secret:Secret": Listing("secretsmanager", "list_secrets", "SecretList", "ARN", _named("Name")),
    "aws:dlm/lifecyclePolicy:LifecyclePolicy": Listing(
        "dlm",
        "get_lifecycle_policies",
        "Policies",
        "PolicyId",
        lambda inputs, item: item["Description"] == inputs["description"],
    ),
    "aws:lb/loadBalancer:LoadBalancer": Listing(
        "elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerArn", _named("LoadBalancerName")
    ),
    "aws:lb/targetGroup:TargetGroup": Listing(
        "elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn", _named("TargetGroupName")
    ),
    "aws:acm/certificate:Certificate": Listing(
        "acm",
        "list_certificates",
        "CertificateSummaryList",
        "CertificateArn",
        lambda inputs, item: item["DomainName"] == inputs["domainName"],
    ),
    "aws:efs/fileSystem:FileSystem": Listing("efs", "describe_file_systems", "FileSystems", "FileSystemId", has_tags),
    "aws:efs/mountTarget:MountTarget": Listing(
        "efs",
        "describe_mount_targets",
        "MountTargets",
        "MountTargetId",
        lambda inputs, item: item["SubnetId"] == inputs["subnetId"],
        lambda inputs: {"FileSystemId": inputs["fileSystemId"]},
    ),
}

IDENTITIES: Mapping[str, Callable[[Inputs], str]] = {
    "aws:autoscaling/group:Group": lambda inputs: inputs["name"],
    "aws:cloudwatch/logGroup:LogGroup": lambda inputs: inputs["name"],
    "aws:ec2/route:Route": lambda inputs: f"{inputs['routeTableId']}_{inputs['destinationCidrBlock']}",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": lambda inputs: (
        f"{inputs['subnetId']}/{inputs['routeTableId']}"
    ),
    "aws:iam/instanceProfile:InstanceProfile": lambda inputs: inputs["name"],
    "aws:iam/role:Role": lambda inputs: inputs["name"],
    "aws:iam/rolePolicy:RolePolicy": lambda inputs: f"{inputs['role']}:{inputs['name']}",
    "aws:route53/record:Record": lambda inputs: f"{inputs['zoneId']}_{inputs['name']}_{inputs['type']}",
    "aws:s3/bucket:Bucket": lambda inputs: inputs["bucket"],
}
"""Kinds whose id, as the provider imports it, follows from the inputs. Whether there is one a refresh finds out."""

MADE_AGAIN = {
    "aws:acm/certificateValidation:CertificateValidation",
    "aws:autoscaling/lifecycleHook:LifecycleHook",
    "aws:cloudwatch/metricAlarm:MetricAlarm",
    "aws:efs/backupPolicy:BackupPolicy",
    "aws:efs/fileSystemPolicy:FileSystemPolicy",
    "aws:lb/listener:Listener",
    "aws:lb/targetGroupAttachment:TargetGroupAttachment",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "aws:ec2/eipAssociation:EipAssociation",
    "aws:ec2/volumeAttachment:VolumeAttachment",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:s3/bucketObjectv2:BucketObjectv2",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:secretsmanager/secretVersion:SecretVersion",
    "aws:sns/topic:Topic",
    "aws:sns/topicSubscription:TopicSubscription",
}
"""Kinds that are the same one when they are made a second time."""


TOLD_OTHERWISE = {"aws:ec2/instance:Instance"}
"""Kinds that an import reads in another form than they are asked for, so that the next update would replace them."""


def client_of(state: Mapping[str, Any]) -> Client:
    """Clients with the region and profile of the stack's provider; credentials come from where it has them."""
    inputs: Mapping[str, Any] = {}
    for resource in (state.get("deployment") or {}).get("resources") or []:
        if resource["type"] == "pulumi:providers:aws":
            inputs = resource.get("inputs", {})
    session = boto3.Session(region_name=inputs.get("region"), profile_name=inputs.get("profile"))
    return session.client


def ids_in_account(resource: Mapping[str, Any], client: Client, known: Collection[str]) -> Sequence[str]:
    """Ids of what may be the resource that a run had begun to make; none means that it was not made.

    Args:
        resource: the resource as the state has it, with its inputs.
        client: gives the clients.
        known: ids that belong to other resources of the stack.

    Raises:
        UnknownKindError: how to find such a resource is not known.
    """
    type_, inputs = resource["type"], resource.get("inputs", {})
    if type_ in MADE_AGAIN:
        return []
    if type_ in IDENTITIES:
        return [IDENTITIES[type_](inputs)]
    if type_ not in LISTINGS:
        raise UnknownKindError(type_)
    listing = LISTINGS[type_]
    found = [
        item[listing.id] for item in _items(client(listing.service), listing, inputs) if listing.same(inputs, item)
    ]
    return sorted(set(found) - set(known))


def state_of(resource: Mapping[str, Any], id_: str) -> dict[str, Any]:
    """The resource as the state has it before the provider reads it: nothing but its id, as at an import."""
    read_as_made = resource["type"] in TOLD_OTHERWISE
    return {**resource, "id": id_, "outputs": resource.get("inputs", {}) if read_as_made else {}}


def _items(client: Any, listing: Listing, inputs: Inputs) -> Iterator[Item]:
    arguments = listing.arguments(inputs)
    for page in (
        client.get_paginator(listing.operation).paginate(**arguments)
        if client.can_paginate(listing.operation)
        else [getattr(client, listing.operation)(**arguments)]
    ):
        for item in page[listing.key]:
            for one in item["Instances"] if listing.key == "Reservations" else [item]:
                state = one.get("State", "")
                if (state["Name"] if isinstance(state, dict) else state) not in GONE:
                    yield one
