"""Stacks on AWS, their whole life on a simulated account with the real provider."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from components.aws.host_farewell import LEAVE_COMMAND
from tests.stacks import needs_pulumi
from toolchain.aws_simulator import client
from toolchain.rehearsal import Rehearsal, rehearse

pytestmark = pytest.mark.engine


def test_a_hub_on_ec2_goes_up_stays_unchanged_and_leaves_only_what_it_keeps(tmp_path: Path):
    needs_pulumi()

    left = rehearse("ec2hub", tmp_path, "example.org")

    assert [name.split()[0] for name in left] == ["volume"], "the hub's database is kept"


def test_a_pool_on_ec2_goes_up_loses_a_node_and_leaves_nothing(tmp_path: Path):
    needs_pulumi()

    assert rehearse("tmpnb", tmp_path, "example.org", with_other_nodes) == []


def with_other_nodes(rehearsal: Rehearsal) -> None:
    """A node of another type is another host, a line less is a host less; both are drained, and the others stay."""
    before = hosts(rehearsal)

    with nodes_of(rehearsal) as nodes:
        nodes[0]["instanceType"] = "m6i.4xlarge"
    rehearsal.step("another type", "up", "--yes", "--skip-preview", *rehearsal.pack())

    larger, replaced = hosts(rehearsal), before["hubstack-tmpnb-tmp01"]
    assert {name for name in before if larger[name] != before[name]} == {"hubstack-tmpnb-tmp01"}
    assert drained(rehearsal) == [replaced]

    with nodes_of(rehearsal) as nodes:
        nodes.pop()
    rehearsal.step("a node less", "up", "--yes", "--skip-preview", *rehearsal.pack())

    gone = larger.pop("hubstack-tmpnb-tmp02")
    assert hosts(rehearsal) == larger
    assert sorted(drained(rehearsal)) == sorted([replaced, gone])
    names = client("route53", rehearsal.endpoint).list_health_checks()["HealthChecks"]
    assert {check["HealthCheckConfig"]["FullyQualifiedDomainName"] for check in names} == {
        "tmp.example.org",
        "tmp01.tmp.example.org",
    }
    alarms = client("cloudwatch", rehearsal.endpoint).describe_alarms()["MetricAlarms"]
    watched = {alarm["Dimensions"][0]["Value"]: alarm["AlarmActions"] for alarm in alarms}
    [mail] = client("sns", rehearsal.endpoint).list_subscriptions()["Subscriptions"]
    assert watched == {check["Id"]: [mail["TopicArn"]] for check in names}
    assert (mail["Protocol"], mail["Endpoint"]) == ("email", "owner@example.org")


@contextmanager
def nodes_of(rehearsal: Rehearsal) -> Iterator[list[dict[str, str]]]:
    """The nodes in the stack's file, which is written anew with what became of them."""
    file = rehearsal.project / "Pulumi.tmpnb.yaml"
    document = yaml.safe_load(file.read_text())
    yield document["config"]["hubstack:tmpnb"]["nodes"]
    file.write_text(yaml.safe_dump(document))


def drained(rehearsal: Rehearsal) -> list[str]:
    """Ids of the instances that were asked to let their users finish."""
    commands = client("ssm", rehearsal.endpoint).list_commands()["Commands"]
    assert all(command["Parameters"]["commands"] == [LEAVE_COMMAND] for command in commands)
    return [instance for command in commands for instance in command["InstanceIds"]]


def hosts(rehearsal: Rehearsal) -> dict[str, str]:
    """Ids of running instances by name."""
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    found = client("ec2", rehearsal.endpoint).describe_instances(Filters=running)["Reservations"]
    instances = [instance for reservation in found for instance in reservation["Instances"]]
    return {tag["Value"]: i["InstanceId"] for i in instances for tag in i["Tags"] if tag["Key"] == "Name"}


def test_a_swarm_on_ec2_goes_up_stays_unchanged_and_leaves_only_what_it_keeps(tmp_path: Path):
    needs_pulumi()

    left = rehearse("prod", tmp_path, "example.org")

    assert [name.rsplit(maxsplit=1)[0] for name in left] == ["file system"], "it holds the homes and the hub's database"
