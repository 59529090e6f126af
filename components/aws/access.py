"""IAM documents as text: every action with the resources and conditions that it is allowed on."""

import json
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

Condition = Mapping[str, Mapping[str, str | Sequence[str]]]


class Statement(TypedDict):
    """One statement of an IAM document."""

    Effect: str
    Action: Sequence[str]
    Resource: NotRequired[Sequence[str]]
    Principal: NotRequired[Mapping[str, str]]
    Condition: NotRequired[Condition]


CLUSTER_TAG = "hubstack:cluster"
"""Tag of everything that belongs to one cluster, instances that its hub launches above all."""

USER_TAG = "hubstack:user"
"""Tag of a user's instance and volume."""

SESSION_MANAGER_POLICY = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
"""Shell access without a key or an open port; AWS keeps the policy."""


def allow(actions: Sequence[str], resources: Sequence[str], condition: Condition | None = None) -> Statement:
    """A statement that allows `actions` on `resources`, under a condition if one is given."""
    statement: Statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": list(resources)}
    if condition:
        statement["Condition"] = condition
    return statement


def policy_document(statements: Sequence[Statement]) -> str:
    """The document, keys in a fixed order."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)


def trust(service: str) -> str:
    """A document that lets an AWS service take the role on."""
    statement: Statement = {"Effect": "Allow", "Action": ["sts:AssumeRole"], "Principal": {"Service": service}}
    return policy_document([statement])


class ManagerScope(TypedDict):
    """What a manager's rights are limited to."""

    cluster: str
    """Value of the cluster's tag."""
    partition: str
    """`aws`, `aws-cn` or `aws-us-gov`."""
    region: str
    account: str
    launch_template: str
    """Id of the one launch template that the manager may use."""
    subnets: Sequence[str]
    """Ids of the private subnets."""
    security_group: str
    """Id of the workers' security group."""
    image: str
    """Id of the workers' machine image."""
    bundle: str
    """ARN of the object that holds the manager's program."""
    secrets: Sequence[str]
    """ARNs of the secrets that the hub reads."""


def manager_policy(scope: ManagerScope) -> str:
    """What the hub on the manager may do: launch users' instances from one template, and manage those alone.

    An instance can be launched only with the cluster's tag, from the cluster's launch template with the image and the
    security group that stand in it, in the private subnets; it can be started, stopped and ended only if it carries the
    tag. Homes are made encrypted, attached only to the cluster's instances, and never deleted. No role can be passed
    on, for workers have none. The original's role lacked `TerminateInstances` and had `RunInstances` on everything (seed 004).
    """
    ec2 = f"arn:{scope['partition']}:ec2:{scope['region']}:{scope['account']}"
    template = f"{ec2}:launch-template/{scope['launch_template']}"
    ours: Condition = {"StringEquals": {f"aws:ResourceTag/{CLUSTER_TAG}": scope["cluster"]}}
    from_template: Condition = {"ArnEquals": {"ec2:LaunchTemplate": template}}
    tagged: Condition = {"StringEquals": {f"aws:RequestTag/{CLUSTER_TAG}": scope["cluster"]}, **from_template}
    return policy_document(
        [
            # Describing knows no resources.
            allow(
                ["ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:DescribeVolumes"],
                ["*"],
                {"StringEquals": {"aws:RequestedRegion": scope["region"]}},
            ),
            allow(["ec2:RunInstances"], [f"{ec2}:instance/*", f"{ec2}:volume/*"], tagged),
            allow(
                ["ec2:RunInstances"],
                [f"{ec2}:network-interface/*", *(f"{ec2}:subnet/{subnet}" for subnet in scope["subnets"])],
                from_template,
            ),
            allow(
                ["ec2:RunInstances"],
                [
                    template,
                    f"{ec2}:security-group/{scope['security_group']}",
                    f"arn:{scope['partition']}:ec2:{scope['region']}::image/{scope['image']}",
                ],
                {**from_template, "Bool": {"ec2:IsLaunchTemplateResource": "true"}},
            ),
            allow(
                ["ec2:CreateVolume"],
                [f"{ec2}:volume/*"],
                {
                    "StringEquals": {f"aws:RequestTag/{CLUSTER_TAG}": scope["cluster"]},
                    "Bool": {"ec2:Encrypted": "true"},
                },
            ),
            allow(
                ["ec2:CreateTags"],
                [f"{ec2}:instance/*", f"{ec2}:volume/*"],
                {
                    "StringEquals": {
                        "ec2:CreateAction": ["RunInstances", "CreateVolume"],
                        f"aws:RequestTag/{CLUSTER_TAG}": scope["cluster"],
                    }
                },
            ),
            allow(["ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"], [f"{ec2}:instance/*"], ours),
            allow(["ec2:AttachVolume", "ec2:DetachVolume"], [f"{ec2}:instance/*", f"{ec2}:volume/*"], ours),
            allow(["s3:GetObject"], [scope["bundle"]]),
            allow(["secretsmanager:GetSecretValue"], scope["secrets"]),
        ]
    )
