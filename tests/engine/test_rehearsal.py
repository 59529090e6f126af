"""Stacks on AWS, their whole life on a simulated account with the real provider."""

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

    assert rehearse("tmpnb", tmp_path, "example.org", without_its_second_node) == []


def without_its_second_node(rehearsal: Rehearsal) -> None:
    """A line less drains the node's host, ends it and leaves the others as they are."""
    before = hosts(rehearsal)
    file = rehearsal.project / "Pulumi.tmpnb.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["hubstack:tmpnb"]["nodes"].pop()
    file.write_text(yaml.safe_dump(document))

    rehearsal.step("a node less", "up", "--yes", "--skip-preview", *rehearsal.pack())

    gone = before.pop("hubstack-tmpnb-tmp02")
    assert hosts(rehearsal) == before
    commands = client("ssm", rehearsal.endpoint).list_commands()["Commands"]
    assert [(c["InstanceIds"], c["Parameters"]["commands"]) for c in commands] == [([gone], [LEAVE_COMMAND])]
    names = client("route53", rehearsal.endpoint).list_health_checks()["HealthChecks"]
    assert {check["HealthCheckConfig"]["FullyQualifiedDomainName"] for check in names} == {
        "tmp.example.org",
        "tmp01.tmp.example.org",
    }


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
