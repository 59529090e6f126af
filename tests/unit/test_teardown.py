"""Teardown on a simulated AWS: it takes this cluster's instances and nothing else in the account."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from components.aws import teardown
from components.aws.access import CLUSTER_TAG, USER_TAG
from components.aws.teardown import delete_homes, end_instances


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setattr(teardown, "WAIT", {"Delay": 0, "MaxAttempts": 5})
    with mock_aws():
        yield boto3.client("ec2", region_name="us-east-1")


def tags(cluster: str | None, user: str | None) -> list[dict[str, str]]:
    given = {CLUSTER_TAG: cluster, USER_TAG: user, "Name": "anything"}
    return [{"Key": key, "Value": value} for key, value in given.items() if value]


def instance(ec2: Any, cluster: str | None, user: str | None) -> str:
    specification = [{"ResourceType": "instance", "Tags": tags(cluster, user)}]
    made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=specification)
    return made["Instances"][0]["InstanceId"]


def volume(ec2: Any, cluster: str | None, user: str | None) -> str:
    specification = [{"ResourceType": "volume", "Tags": tags(cluster, user)}]
    return ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=specification)["VolumeId"]


def alive(ec2: Any) -> set[str]:
    return {
        i["InstanceId"]
        for reservation in ec2.describe_instances()["Reservations"]
        for i in reservation["Instances"]
        if i["State"]["Name"] != "terminated"
    }


def test_thirty_strays_and_only_this_clusters_users_instances_end(ec2: Any):
    ours = {instance(ec2, "lab", f"user{number}") for number in range(10)}
    manager = instance(ec2, "lab", None)
    others = {instance(ec2, "lab2", f"user{number}") for number in range(10)}
    strangers = {instance(ec2, None, f"user{number}") for number in range(10)}

    assert set(end_instances(ec2, "lab")) == ours
    assert alive(ec2) == {manager} | others | strangers
    assert end_instances(ec2, "lab") == [], "there is nothing left to end"


def test_homes_go_only_with_their_cluster_and_the_database_never(ec2: Any):
    ours = {volume(ec2, "lab", "ada"), volume(ec2, "lab", "bob")}
    kept = {volume(ec2, "lab", None), volume(ec2, "lab2", "ada"), volume(ec2, None, None)}

    assert set(delete_homes(ec2, "lab")) == ours
    assert {v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]} >= kept
    assert not ours & {v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]}


@pytest.mark.parametrize("take", [end_instances, delete_homes])
def test_an_empty_name_is_refused_before_anything_is_asked(ec2: Any, take: Any):
    stray = instance(ec2, None, None)

    with pytest.raises(ValueError, match="of the region"):
        take(ec2, "")

    assert alive(ec2) == {stray}


@pytest.mark.parametrize("delete_homes", [True, False])
def test_what_the_stack_says_last_of_homes_counts_when_it_is_destroyed(ec2: Any, delete_homes: bool):
    provider = teardown._LaunchedInstancesProvider()
    inputs = {"cluster": "lab", "region": "us-east-1", "profile": "", "delete_homes": not delete_homes}
    changed = {**inputs, "delete_homes": delete_homes}
    user, home = instance(ec2, "lab", "ada"), volume(ec2, "lab", "ada")
    made = provider.create(inputs)
    difference = provider.diff(made.id, made.outs or {}, changed)
    kept = provider.update(made.id, made.outs or {}, changed).outs

    provider.delete(made.id, kept or {})

    assert (difference.changes, difference.replaces) == (True, [])
    assert user not in alive(ec2)
    assert (home not in {v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]}) == delete_homes


def test_only_another_cluster_is_another_resource():
    provider = teardown._LaunchedInstancesProvider()
    inputs = {"cluster": "lab", "region": "us-east-1", "profile": "", "delete_homes": False}

    assert provider.diff("lab", {**inputs, "__provider": "old"}, {**inputs, "__provider": "new"}).changes is False
    assert provider.diff("lab", inputs, {**inputs, "cluster": "lab2"}).replaces == ["cluster"]
