"""What becomes of resources on AWS whose making was interrupted."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.unit.recording import record
from tests.unit.topologies import TOPOLOGIES
from toolchain.interrupted import adopted, interrupted_changes, interrupted_elsewhere
from toolchain.interrupted_aws import IDENTITIES, LISTINGS, MADE_AGAIN

VPC = "aws:ec2/vpc:Vpc"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
TAGS = {"Name": "lab", "hubstack:cluster": "lab"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    with mock_aws():
        yield boto3.Session(region_name="us-east-1").client


def state(type_: str, *known: dict[str, Any], operation: str = "creating", **inputs: Any) -> dict[str, Any]:
    resource = {"type": type_, "urn": f"urn::{type_}::lab", "inputs": inputs}
    pending = [{"type": operation, "resource": resource}]
    return {"deployment": {"resources": list(known), "pending_operations": pending}}


def make_vpc(client: Callable[[str], Any], **tags: str) -> str:
    given = [{"Key": key, "Value": value} for key, value in tags.items()]
    specification = [{"ResourceType": "vpc", "Tags": given}] if given else []
    return client("ec2").create_vpc(CidrBlock="10.10.0.0/16", TagSpecifications=specification)["Vpc"]["VpcId"]


def test_what_was_made_is_found_by_its_tags_and_put_into_the_state(client: Callable[[str], Any]):
    make_vpc(client)
    make_vpc(client, Name="lab")
    mine = make_vpc(client, **TAGS, Owner="ada")
    interrupted = state(VPC, tags=TAGS)

    found, doubtful = interrupted_elsewhere(interrupted, client)
    [resource] = adopted(interrupted, found)["deployment"]["resources"]

    assert (found, doubtful) == ({f"urn::{VPC}::lab": mine}, [])
    assert (resource["id"], resource["inputs"]) == (mine, {"tags": TAGS})
    assert adopted(interrupted, found)["deployment"]["pending_operations"] == []


def test_what_was_not_made_is_neither_found_nor_in_doubt(client: Callable[[str], Any]):
    assert interrupted_elsewhere(state(VPC, tags=TAGS), client) == ({}, [])


def test_a_resource_without_tags_is_never_taken_for_somebody_elses(client: Callable[[str], Any]):
    make_vpc(client)

    assert interrupted_elsewhere(state(VPC), client) == ({}, [])


def test_what_the_stack_has_under_another_name_is_not_taken_again(client: Callable[[str], Any]):
    other = {"type": VPC, "urn": "urn::other", "id": make_vpc(client, **TAGS)}

    assert interrupted_elsewhere(state(VPC, other, tags=TAGS), client) == ({}, [])


def test_of_two_that_it_could_be_the_owner_decides(client: Callable[[str], Any]):
    make_vpc(client, **TAGS)
    make_vpc(client, **TAGS)

    assert interrupted_elsewhere(state(VPC, tags=TAGS), client) == ({}, [f"urn::{VPC}::lab"])


def test_of_a_replacement_and_its_predecessor_the_owner_decides(client: Callable[[str], Any]):
    predecessor = {"type": VPC, "urn": f"urn::{VPC}::lab", "id": make_vpc(client, **TAGS)}
    make_vpc(client, **TAGS)

    assert interrupted_elsewhere(state(VPC, predecessor, tags=TAGS), client) == ({}, [f"urn::{VPC}::lab"])


def test_a_kind_that_nobody_taught_how_to_find_is_the_owners_to_find(client: Callable[[str], Any]):
    kind = "aws:sagemaker/domain:Domain"

    assert interrupted_elsewhere(state(kind, tags=TAGS), client) == ({}, [f"urn::{kind}::lab"])


def test_a_host_that_has_ended_is_not_taken_up(client: Callable[[str], Any]):
    given = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    ec2 = client("ec2")
    launched = ec2.run_instances(
        ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": given}]
    )["Instances"][0]["InstanceId"]
    interrupted = state("aws:ec2/instance:Instance", tags=TAGS)

    assert list(interrupted_elsewhere(interrupted, client)[0].values()) == [launched]
    ec2.terminate_instances(InstanceIds=[launched])
    assert interrupted_elsewhere(interrupted, client) == ({}, [])


def test_a_rule_is_found_in_its_own_group_alone(client: Callable[[str], Any]):
    ec2 = client("ec2")
    vpc = make_vpc(client)
    groups = [ec2.create_security_group(GroupName=n, Description=n, VpcId=vpc)["GroupId"] for n in ("a", "b")]
    rules = [
        ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
            ],
            TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "Name", "Value": "https"}]}],
        )["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        for group in groups
    ]

    found, _ = interrupted_elsewhere(state(INGRESS, securityGroupId=groups[1], tags={"Name": "https"}), client)

    assert list(found.values()) == [rules[1]]


def test_what_was_being_changed_is_read_again_and_not_made_again(client: Callable[[str], Any]):
    changing = state(GROUP, {"type": GROUP, "urn": f"urn::{GROUP}::lab", "id": "sg-1"}, operation="updating")

    assert interrupted_elsewhere(changing, client) == ({}, [])
    assert interrupted_changes(changing) == [f"urn::{GROUP}::lab"]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_kind_that_a_topology_makes_on_aws_can_be_found_again(topology: str):
    made = {r.type for r in record(TOPOLOGIES[topology]).registrations if r.type.startswith("aws:")}

    # A second budget of the same name is refused by AWS, which tells the owner what there is.
    assert made - {*LISTINGS, *IDENTITIES, *MADE_AGAIN} <= {"aws:budgets/budget:Budget"}
