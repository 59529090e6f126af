"""The EC2 spawner against a simulated AWS: one instance for each user, whatever fails."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from traitlets.config import Config

from runtime.ec2_spawner import spawner as module
from runtime.ec2_spawner.fleet import CLUSTER_TAG, USER_TAG, Fleet, FleetError
from runtime.ec2_spawner.settings import Ec2HubSettings
from runtime.ec2_spawner.spawner import Ec2Spawner
from runtime.hub.settings import Quota, User

ZONE = "us-east-1a"


class Cloud:
    """The simulated account: a subnet, a launch template, and a count of the requests."""

    def __init__(self) -> None:
        self.ec2 = boto3.client("ec2", region_name="us-east-1")
        vpc = self.ec2.create_vpc(CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.10.128.0/17", AvailabilityZone=ZONE)["Subnet"]
        self.template = self.ec2.create_launch_template(
            LaunchTemplateName="workers", LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.small"}
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.requests: list[str] = []
        self.faults: dict[str, list[ClientError]] = {}

    async def run(self, call: Callable[..., Any], **arguments: Any) -> Any:
        name = getattr(call, "__name__", "")
        self.requests.append(name)
        await asyncio.sleep(0)
        if self.faults.get(name):
            raise self.faults[name].pop(0)
        return call(**arguments)

    def fleet(self, cluster: str = "course") -> Fleet:
        return Fleet(self.ec2, cluster, self.template, {ZONE: self.subnet["SubnetId"]}, 5, run=self.run)

    def instances(self, *states: str) -> list[dict[str, Any]]:
        pages = self.ec2.describe_instances()["Reservations"]
        found = [instance for page in pages for instance in page["Instances"]]
        return [i for i in found if i["State"]["Name"] in (states or ("pending", "running", "stopping", "stopped"))]

    def volumes(self) -> list[dict[str, Any]]:
        return self.ec2.describe_volumes(Filters=[{"Name": f"tag:{USER_TAG}", "Values": ["*"]}])["Volumes"]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setattr("runtime.ec2_spawner.fleet.FRESH_SECONDS", 0.02)
    with mock_aws():
        yield Cloud()


def refusal(operation: str, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "You have requested more than your limit"}}, operation)


def spawner_for(cloud: Cloud, user: str = "ada", max_age: int = 3600) -> Ec2Spawner:
    class Quiet(Ec2Spawner):
        settings = Ec2HubSettings(
            cluster="course",
            users=(User(user, admin=False),),
            quota=Quota(1, 2**30, 256, 5 * 2**30, 2**28, 600, max_age),
            servers=10,
            login={"provider": "password"},
            egress_profile="closed",
            launch_template=cloud.template,
            subnets={ZONE: cloud.subnet["SubnetId"]},
        )
        fleet = cloud.fleet()

        def user_data(self) -> str:
            return "#!/bin/bash\n"

    made = Quiet(config=Config(), poll_seconds=0.01)
    made.user = SimpleNamespace(name=user, escaped_name=user)
    return made


def test_a_user_gets_a_tagged_instance_with_an_encrypted_home(cloud: Cloud):
    address, port = asyncio.run(spawner_for(cloud).start())

    [instance] = cloud.instances()
    [home] = [v for v in cloud.volumes() if v["Size"] == 5]
    assert (address, port) == (instance["PrivateIpAddress"], 8888)
    assert {tag["Key"]: tag["Value"] for tag in instance["Tags"]}.items() >= {
        CLUSTER_TAG: "course",
        USER_TAG: "ada",
    }.items()
    assert home["Encrypted"]
    assert home["Attachments"][0]["InstanceId"] == instance["InstanceId"]
    assert "PublicIpAddress" not in instance or not instance["PublicIpAddress"]


def test_a_hub_that_was_killed_between_launch_and_reply_finds_the_instance(cloud: Cloud):
    asyncio.run(cloud.fleet().make_home("ada", ZONE))
    launched = asyncio.run(cloud.fleet().launch("ada", ZONE, "#!/bin/bash\n", ""))

    asyncio.run(spawner_for(cloud).start())

    assert [i["InstanceId"] for i in cloud.instances()] == [launched.id]
    assert len([v for v in cloud.volumes() if v["Size"] == 5]) == 1


def test_the_same_launch_asked_for_twice_is_one_instance(cloud: Cloud):
    tokens: list[str] = []

    async def run(call: Callable[..., Any], **arguments: Any) -> Any:
        tokens.append(arguments["ClientToken"])
        return call(**arguments)

    fleet = cloud.fleet()
    fleet.run = run
    for predecessor in ("", "", "i-1"):
        asyncio.run(fleet.launch("ada", ZONE, "", predecessor))

    assert tokens[0] == tokens[1] != tokens[2]
    assert all(len(token) <= 64 for token in tokens), "AWS's limit"


def test_an_idle_server_is_stopped_and_the_same_one_starts_again(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    before = [i["InstanceId"] for i in cloud.instances()]

    asyncio.run(spawner.stop())
    assert [i["State"]["Name"] for i in cloud.instances()] == ["stopped"]
    assert asyncio.run(spawner_for(cloud).poll()) == 0

    asyncio.run(spawner_for(cloud).start())
    assert [i["InstanceId"] for i in cloud.instances("running")] == before
    assert asyncio.run(spawner_for(cloud).poll()) is None


def test_at_the_greatest_age_the_instance_ends_and_the_home_goes_to_the_next(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    [first] = cloud.instances()
    later = datetime.now(UTC) + timedelta(hours=2)
    monkeypatch.setattr("runtime.ec2_spawner.fleet.datetime", SimpleNamespace(now=lambda _zone: later))

    asyncio.run(spawner.stop())
    assert cloud.instances() == []
    kept = spawner.get_state()

    monkeypatch.setattr("runtime.ec2_spawner.fleet.datetime", datetime)
    again = spawner_for(cloud)
    again.load_state(kept)
    asyncio.run(again.start())
    [second] = cloud.instances()
    [home] = [v for v in cloud.volumes() if v["Size"] == 5]
    assert second["InstanceId"] != first["InstanceId"]
    assert home["Attachments"][0]["InstanceId"] == second["InstanceId"]


def test_a_refusal_for_the_accounts_quota_reaches_the_user_and_leaves_no_instance(cloud: Cloud):
    cloud.faults["run_instances"] = [refusal("RunInstances", "VcpuLimitExceeded")]

    with pytest.raises(FleetError, match=r"requested more than your limit \(VcpuLimitExceeded\)"):
        asyncio.run(spawner_for(cloud).start())

    assert cloud.instances() == []
    asyncio.run(spawner_for(cloud).start())
    assert len(cloud.instances()) == 1


def test_an_instance_that_somebody_ended_is_reported_and_the_next_start_gets_another(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "UNSEEN_SECONDS", 0.05)
    spawner = spawner_for(cloud)
    launch = spawner.fleet.launch

    async def vanish(*arguments: Any) -> Any:
        host = await launch(*arguments)
        cloud.ec2.terminate_instances(InstanceIds=[host.id])
        return host

    monkeypatch.setattr(spawner.fleet, "launch", vanish)
    with pytest.raises(FleetError, match="is gone"):
        asyncio.run(spawner.start())

    monkeypatch.setattr(spawner.fleet, "launch", launch)
    asyncio.run(spawner.start())
    assert len(cloud.instances("running")) == 1


def test_a_throttled_description_is_no_reason_to_call_a_server_stopped(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    spawner.fleet._described = -1e9
    cloud.faults["_describe_hosts"] = [refusal("DescribeInstances", "RequestLimitExceeded")]

    assert asyncio.run(spawner.poll()) is None


def test_another_clusters_instances_are_never_touched(cloud: Cloud):
    other = cloud.fleet("other")
    asyncio.run(other.launch("ada", ZONE, "", ""))

    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    asyncio.run(spawner.stop())

    [running] = cloud.instances("running")
    assert {tag["Key"]: tag["Value"] for tag in running["Tags"]}[CLUSTER_TAG] == "other"


def test_a_fleet_without_a_name_is_refused(cloud: Cloud):
    with pytest.raises(ValueError, match="everybody's instances"):
        cloud.fleet("")


def test_many_users_at_once_share_their_descriptions(cloud: Cloud):
    users = [f"user{number}" for number in range(20)]
    spawners = [spawner_for(cloud, user) for user in users]
    for spawner in spawners:
        type(spawner).fleet = spawners[0].fleet

    async def all_start() -> None:
        await asyncio.gather(*(spawner.start() for spawner in spawners))

    asyncio.run(all_start())

    assert len(cloud.instances("running")) == len(users)
    assert len(cloud.requests) <= 6 * len(users)
    assert cloud.requests.count("_describe_hosts") < len(users)
