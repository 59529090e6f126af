"""The manager's rights, as IAM judges them: what the hub needs, and what it must not do."""

import json

import pytest

from components.aws.access import CLUSTER_TAG, ManagerScope, manager_policy
from tests.unit.iam_simulator import Request, answers

SCOPE: ManagerScope = {
    "cluster": "lab",
    "partition": "aws",
    "region": "us-east-1",
    "account": "123456789012",
    "launch_template": "lt-0123456789abcdef0",
    "subnets": ["subnet-aaaa", "subnet-bbbb"],
    "security_group": "sg-worker",
    "image": "ami-0123456789abcdef0",
    "bundle": "arn:aws:s3:::lab-bundle/manager.tar.gz",
    "secrets": ["arn:aws:secretsmanager:us-east-1:123456789012:secret:lab-hub-AbCdEf"],
}
EC2 = "arn:aws:ec2:us-east-1:123456789012"
TEMPLATE = f"{EC2}:launch-template/{SCOPE['launch_template']}"
INSTANCE, VOLUME = f"{EC2}:instance/i-1", f"{EC2}:volume/vol-1"
IMAGE = f"arn:aws:ec2:us-east-1::image/{SCOPE['image']}"

ASKED = {f"aws:RequestTag/{CLUSTER_TAG}": "lab"}
OURS = {f"aws:ResourceTag/{CLUSTER_TAG}": "lab"}
THEIRS = {f"aws:ResourceTag/{CLUSTER_TAG}": "lab2"}
FROM = {"ec2:LaunchTemplate": TEMPLATE}
IN_TEMPLATE = {**FROM, "ec2:IsLaunchTemplateResource": "true"}
HERE = {"aws:RequestedRegion": "us-east-1"}

NEEDED = [
    Request("ec2:DescribeInstances", "*", HERE),
    Request("ec2:DescribeVolumes", "*", HERE),
    Request("ec2:RunInstances", INSTANCE, {**ASKED, **FROM}),
    Request("ec2:RunInstances", VOLUME, {**ASKED, **FROM}),
    Request("ec2:RunInstances", f"{EC2}:network-interface/eni-1", FROM),
    Request("ec2:RunInstances", f"{EC2}:subnet/subnet-bbbb", FROM),
    Request("ec2:RunInstances", TEMPLATE, IN_TEMPLATE),
    Request("ec2:RunInstances", f"{EC2}:security-group/sg-worker", IN_TEMPLATE),
    Request("ec2:RunInstances", IMAGE, IN_TEMPLATE),
    Request("ec2:CreateTags", INSTANCE, {**ASKED, "ec2:CreateAction": "RunInstances"}),
    Request("ec2:CreateVolume", VOLUME, {**ASKED, "ec2:Encrypted": "true"}),
    Request("ec2:CreateTags", VOLUME, {**ASKED, "ec2:CreateAction": "CreateVolume"}),
    Request("ec2:AttachVolume", INSTANCE, OURS),
    Request("ec2:AttachVolume", VOLUME, OURS),
    Request("ec2:StartInstances", INSTANCE, OURS),
    Request("ec2:StopInstances", INSTANCE, OURS),
    Request("ec2:TerminateInstances", INSTANCE, OURS),
    Request("s3:GetObject", SCOPE["bundle"], {}),
    Request("secretsmanager:GetSecretValue", SCOPE["secrets"][0], {}),
]

FORBIDDEN = [
    Request("ec2:RunInstances", INSTANCE, FROM),
    Request("ec2:RunInstances", INSTANCE, ASKED),
    Request("ec2:RunInstances", INSTANCE, {**ASKED, "ec2:LaunchTemplate": f"{EC2}:launch-template/lt-other"}),
    Request("ec2:RunInstances", INSTANCE, {f"aws:RequestTag/{CLUSTER_TAG}": "lab2", **FROM}),
    Request("ec2:RunInstances", f"{EC2}:subnet/subnet-public", FROM),
    Request("ec2:RunInstances", f"{EC2}:security-group/sg-manager", IN_TEMPLATE),
    Request("ec2:RunInstances", f"{EC2}:security-group/sg-worker", {**FROM, "ec2:IsLaunchTemplateResource": "false"}),
    Request("ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-miner", IN_TEMPLATE),
    Request("ec2:RunInstances", IMAGE, {**FROM, "ec2:IsLaunchTemplateResource": "false"}),
    Request("ec2:RunInstances", f"{EC2}:key-pair/mine", FROM),
    Request("ec2:TerminateInstances", INSTANCE, {}),
    Request("ec2:TerminateInstances", INSTANCE, THEIRS),
    Request("ec2:StopInstances", INSTANCE, THEIRS),
    Request("ec2:StartInstances", INSTANCE, {}),
    Request("ec2:CreateTags", INSTANCE, ASKED),
    Request("ec2:CreateTags", INSTANCE, {**ASKED, "ec2:CreateAction": "CreateSnapshot"}),
    Request("ec2:DeleteTags", INSTANCE, OURS),
    Request("ec2:CreateVolume", VOLUME, {**ASKED, "ec2:Encrypted": "false"}),
    Request("ec2:CreateVolume", VOLUME, {"ec2:Encrypted": "true"}),
    Request("ec2:AttachVolume", VOLUME, THEIRS),
    Request("ec2:DeleteVolume", VOLUME, OURS),
    Request("ec2:ModifyInstanceAttribute", INSTANCE, OURS),
    Request("ec2:AuthorizeSecurityGroupEgress", f"{EC2}:security-group/sg-worker", OURS),
    Request("ec2:CreateLaunchTemplateVersion", TEMPLATE, OURS),
    Request("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-west-1"}),
    Request("iam:PassRole", "arn:aws:iam::123456789012:role/anything", {}),
    Request("iam:CreateUser", "arn:aws:iam::123456789012:user/me", {}),
    Request("s3:GetObject", "arn:aws:s3:::lab-bundle/other", {}),
    Request("s3:PutObject", SCOPE["bundle"], {}),
    Request("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:123456789012:secret:other-AbCdEf", {}),
    Request("sts:AssumeRole", "arn:aws:iam::123456789012:role/admin", {}),
]


def test_the_hub_may_do_all_that_it_needs():
    assert dict(zip(NEEDED_NAMES, answers(manager_policy(SCOPE), NEEDED), strict=True)) == dict.fromkeys(
        NEEDED_NAMES, "Allowed"
    )


def test_the_hub_may_do_none_of_what_it_must_not():
    told = answers(manager_policy(SCOPE), FORBIDDEN)

    allowed = [request for request, answer in zip(FORBIDDEN, told, strict=True) if answer == "Allowed"]
    assert len(FORBIDDEN) >= 20
    assert allowed == []


NEEDED_NAMES = [f"{number} {request.action} {request.resource}" for number, request in enumerate(NEEDED)]


@pytest.mark.parametrize("key", ["cluster", "launch_template", "security_group", "image"])
def test_every_limit_of_the_scope_is_in_the_document(key: str):
    changed: ManagerScope = {**SCOPE, key: "something-else"}  # pyright: ignore[reportAssignmentType]

    assert json.loads(manager_policy(changed)) != json.loads(manager_policy(SCOPE))
