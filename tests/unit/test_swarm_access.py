"""The rights of a Swarm's hosts, as IAM judges them: what they need, and what they must not do."""

import json

import pytest

from components.aws.swarm_access import HostScope, host_policy
from tests.unit.iam_simulator import Request, answers

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret"
HUB, MANAGER, WORKER = (f"{SECRET}:lab-{name}-AbCdEf" for name in ("hub", "manager-invitation", "worker-invitation"))
OTHER_SECRET = f"{SECRET}:lab2-worker-invitation-AbCdEf"
BUNDLE = "arn:aws:s3:::lab-bundle-1a2b3c/swarm.tar.gz"
ECR = "arn:aws:ecr:us-east-1:123456789012:repository"
REPOSITORIES = [f"{ECR}/hubstack/hub", f"{ECR}/hubstack/notebook"]
GROUPS = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup"
GROUP = f"{GROUPS}:*:autoScalingGroupName/lab-workers"
OUR_GROUP, OTHER_GROUP = (f"{GROUPS}:4a4a:autoScalingGroupName/{name}-workers" for name in ("lab", "lab2"))

SCOPES: dict[str, HostScope] = {
    "manager": {
        "bundle": BUNDLE,
        "repositories": REPOSITORIES,
        "reads": [HUB, MANAGER, WORKER],
        "writes": [MANAGER, WORKER],
    },
    "worker": {"bundle": BUNDLE, "repositories": REPOSITORIES, "reads": [WORKER], "group": GROUP},
}

PULLING = [
    Request("s3:GetObject", BUNDLE, {}),
    Request("ecr:GetAuthorizationToken", "*", {}),
    *(
        Request(f"ecr:{action}", repository, {})
        for action in ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
        for repository in REPOSITORIES
    ),
]
NEEDED = {
    "manager": [
        *PULLING,
        *(Request("secretsmanager:GetSecretValue", secret, {}) for secret in (HUB, MANAGER, WORKER)),
        *(Request("secretsmanager:PutSecretValue", secret, {}) for secret in (MANAGER, WORKER)),
    ],
    "worker": [
        *PULLING,
        Request("secretsmanager:GetSecretValue", WORKER, {}),
        Request("autoscaling:CompleteLifecycleAction", OUR_GROUP, {}),
    ],
}

INSTANCE = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
NOBODYS = [
    Request("s3:PutObject", BUNDLE, {}),
    Request("s3:DeleteObject", BUNDLE, {}),
    Request("s3:GetObject", "arn:aws:s3:::lab-bundle-1a2b3c/other.tar.gz", {}),
    Request("s3:GetObject", "arn:aws:s3:::lab2-bundle-1a2b3c/swarm.tar.gz", {}),
    Request("s3:ListBucket", "arn:aws:s3:::lab-bundle-1a2b3c", {}),
    Request("secretsmanager:GetSecretValue", OTHER_SECRET, {}),
    Request("secretsmanager:PutSecretValue", HUB, {}),
    Request("secretsmanager:PutSecretValue", OTHER_SECRET, {}),
    Request("secretsmanager:DeleteSecret", WORKER, {}),
    Request("secretsmanager:PutResourcePolicy", WORKER, {}),
    Request("secretsmanager:ListSecrets", "*", {}),
    Request("ecr:BatchGetImage", f"{ECR}/payroll", {}),
    Request("ecr:BatchGetImage", "arn:aws:ecr:us-east-1:999999999999:repository/hubstack/hub", {}),
    Request("ecr:PutImage", REPOSITORIES[0], {}),
    Request("ecr:InitiateLayerUpload", REPOSITORIES[0], {}),
    Request("ecr:DeleteRepository", REPOSITORIES[0], {}),
    Request("ec2:RunInstances", INSTANCE, {}),
    Request("ec2:TerminateInstances", INSTANCE, {}),
    Request("ec2:DescribeInstances", "*", {}),
    Request("ec2:ModifyInstanceMetadataOptions", INSTANCE, {}),
    Request("ec2:AuthorizeSecurityGroupIngress", "arn:aws:ec2:us-east-1:123456789012:security-group/sg-1", {}),
    Request("autoscaling:CompleteLifecycleAction", OTHER_GROUP, {}),
    Request("autoscaling:UpdateAutoScalingGroup", OUR_GROUP, {}),
    Request("autoscaling:SetDesiredCapacity", OUR_GROUP, {}),
    Request("autoscaling:TerminateInstanceInAutoScalingGroup", OUR_GROUP, {}),
    Request(
        "elasticfilesystem:DeleteFileSystem", "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-1", {}
    ),
    Request("iam:PassRole", "arn:aws:iam::123456789012:role/lab-manager", {}),
    Request("iam:CreateUser", "arn:aws:iam::123456789012:user/me", {}),
    Request("sts:AssumeRole", "arn:aws:iam::123456789012:role/lab-manager", {}),
    Request("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z123", {}),
]
FORBIDDEN = {
    "manager": [*NOBODYS, Request("autoscaling:CompleteLifecycleAction", OUR_GROUP, {})],
    "worker": [
        *NOBODYS,
        Request("secretsmanager:GetSecretValue", HUB, {}),
        Request("secretsmanager:GetSecretValue", MANAGER, {}),
        Request("secretsmanager:PutSecretValue", WORKER, {}),
        Request("secretsmanager:PutSecretValue", MANAGER, {}),
    ],
}


@pytest.mark.parametrize("role", SCOPES)
def test_a_host_may_do_all_that_it_needs(role: str):
    told = answers(host_policy(SCOPES[role]), NEEDED[role])

    assert [r for r, answer in zip(NEEDED[role], told, strict=True) if answer != "Allowed"] == []


@pytest.mark.parametrize("role", SCOPES)
def test_a_host_may_do_none_of_what_it_must_not(role: str):
    told = answers(host_policy(SCOPES[role]), FORBIDDEN[role])

    assert [r for r, answer in zip(FORBIDDEN[role], told, strict=True) if answer == "Allowed"] == []
    assert len(FORBIDDEN[role]) >= 10


def test_hosts_whose_images_are_elsewhere_have_no_rights_on_registries():
    document = host_policy({**SCOPES["worker"], "repositories": []})

    assert "ecr:" not in document


def test_a_document_names_no_wildcard_but_the_token_that_knows_no_resource():
    for scope in SCOPES.values():
        for statement in json.loads(host_policy(scope))["Statement"]:
            if "*" in statement["Resource"]:
                assert statement["Action"] == ["ecr:GetAuthorizationToken"]
