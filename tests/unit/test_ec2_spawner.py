"""The EC2 spawner against a simulated AWS: one instance for each user, whatever fails."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from traitlets.config import Config

from runtime.ec2_spawner import pack
from runtime.ec2_spawner import spawner as module
from runtime.ec2_spawner.fetch_secrets import write_secrets
from runtime.ec2_spawner.fleet import CLUSTER_TAG, HOME_DEVICE, USER_TAG, Fleet, FleetError, Home, launch_paces
from runtime.ec2_spawner.settings import Ec2HubSettings
from runtime.ec2_spawner.spawner import Ec2Spawner
from runtime.ec2_spawner.sweep import sweep, users_with_servers
from runtime.hub.settings import Quota, User

ZONE = "us-east-1a"
SCRIPT = "#!/bin/bash\n"
DIGEST = "d1" * 32


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
        return Fleet(self.ec2, cluster, self.template, {ZONE: self.subnet["SubnetId"]}, 5, run=self.run, paces={})

    def launch(self, user: str = "ada", predecessor: str = "") -> str:
        """Launch an instance as the spawner does, and return its id."""
        fleet = self.fleet()
        return asyncio.run(fleet.launch(user, ZONE, SCRIPT, fleet.launch_token(user, predecessor))).id

    def home(self) -> dict[str, Any]:
        [home] = [volume for volume in self.volumes() if volume["Size"] == 5]
        return home

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
    monkeypatch.setattr(module, "packed_digest", lambda: DIGEST)
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

        token_key = b"key"
        working = True

        def user_data(self, home: Home, digest: str) -> str:
            return f"{SCRIPT}# {home.id} {digest} {self.api_token}\n"

        async def answers(self, host: Any) -> bool:
            return self.working

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


def test_a_hosts_root_disk_is_never_taken_for_a_home(cloud: Cloud):
    cloud.launch()

    assert asyncio.run(cloud.fleet().home_of("ada")) is None
    assert cloud.volumes() == []


def test_a_hub_that_was_killed_between_launch_and_reply_finds_the_instance(cloud: Cloud):
    asyncio.run(cloud.fleet().make_home("ada", ZONE))
    launched = cloud.launch()

    asyncio.run(spawner_for(cloud).start())

    assert [i["InstanceId"] for i in cloud.instances()] == [launched]
    assert len([v for v in cloud.volumes() if v["Size"] == 5]) == 1


def test_a_repeated_launch_is_the_same_to_the_letter_and_one_after_an_end_is_another(cloud: Cloud):
    asked: list[tuple[str, str]] = []

    async def launch_again(state: dict[str, Any]) -> None:
        spawner = spawner_for(cloud)
        spawner.load_state(state)
        # JupyterHub gives each try a new token.
        spawner.api_token = os.urandom(8).hex()

        async def killed(_user: str, _zone: str, user_data: str, token: str) -> Any:
            asked.append((token, user_data))
            raise KeyboardInterrupt

        spawner.fleet.launch = killed
        with pytest.raises(KeyboardInterrupt):
            await spawner.start()

    for state in ({}, {}, {"instance": "i-1"}):
        asyncio.run(launch_again(state))

    assert asked[0] == asked[1], "AWS refuses a token that comes again with other user data"
    assert asked[0][0] != asked[2][0]
    assert asked[0][1] != asked[2][1], "another host has another token"
    assert all(len(token) <= 64 for token, _ in asked), "AWS's limit"


def test_a_server_that_starts_again_keeps_the_token_that_its_host_was_launched_with(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    launched_with = spawner.api_token
    asyncio.run(spawner.stop())
    spawner.clear_state()

    again = spawner_for(cloud)
    again.api_token = "a-new-one"
    asyncio.run(again.start())

    assert again.api_token == launched_with
    assert launched_with not in {"", "a-new-one"}


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
    tokens: list[str] = []
    launch = spawner.fleet.launch

    async def vanish(*arguments: Any) -> Any:
        tokens.append(arguments[-1])
        host = await launch(*arguments)
        cloud.ec2.terminate_instances(InstanceIds=[host.id])
        return host

    monkeypatch.setattr(spawner.fleet, "launch", vanish)
    with pytest.raises(FleetError, match="is gone"):
        asyncio.run(spawner.start())

    async def note(*arguments: Any) -> Any:
        tokens.append(arguments[-1])
        return await launch(*arguments)

    monkeypatch.setattr(spawner.fleet, "launch", note)
    asyncio.run(spawner.start())
    assert len(cloud.instances("running")) == 1
    assert tokens[0] != tokens[1], "AWS would answer the same token with the ended instance"


def test_a_throttled_description_is_no_reason_to_call_a_server_stopped(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    spawner.fleet._hosts._described = -1e9
    cloud.faults["_describe_hosts"] = [refusal("DescribeInstances", "RequestLimitExceeded")]

    assert asyncio.run(spawner.poll()) is None


def test_another_clusters_instances_are_never_touched(cloud: Cloud):
    other = cloud.fleet("other")
    asyncio.run(other.launch("ada", ZONE, "", "token"))

    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    asyncio.run(spawner.stop())

    [running] = cloud.instances("running")
    assert {tag["Key"]: tag["Value"] for tag in running["Tags"]}[CLUSTER_TAG] == "other"


def test_a_fleet_without_a_name_is_refused(cloud: Cloud):
    with pytest.raises(ValueError, match="everybody's instances"):
        cloud.fleet("")


def test_a_volume_with_the_users_tag_and_another_name_is_never_taken_for_a_home(cloud: Cloud):
    fleet = cloud.fleet()
    tags = {CLUSTER_TAG: "course", USER_TAG: "ada", "Name": "course-ada-copy"}
    specification = {"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    cloud.ec2.create_volume(AvailabilityZone=ZONE, Size=5, TagSpecifications=[specification])

    assert asyncio.run(fleet.home_of("ada")) is None

    home = asyncio.run(fleet.make_home("ada", ZONE))
    assert asyncio.run(fleet.home_of("ada", fresh=True)) == home


def test_launches_wait_their_turn_as_aws_limits_them(cloud: Cloud):
    turns: list[str] = []

    class Counted:
        async def turn(self) -> None:
            turns.append(f"before {len(cloud.requests)} requests")

    fleet = cloud.fleet()
    fleet.paces = dict.fromkeys(launch_paces(), Counted())  # pyright: ignore[reportAttributeAccessIssue]
    host = asyncio.run(fleet.launch("ada", ZONE, "", ""))
    asyncio.run(fleet.stop(host))
    asyncio.run(fleet.start(host))

    assert cloud.requests == ["run_instances", "stop_instances", "start_instances"]
    assert turns == ["before 0 requests", "before 2 requests"]


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
    assert cloud.requests.count("_describe_homes") < len(users)


def said_while_starting(spawner: Ec2Spawner) -> list[str]:
    """Start, and return what the user was told, in order."""
    said: list[str] = []

    async def started() -> None:
        task = asyncio.ensure_future(spawner.start())
        while not task.done():
            if spawner._says not in said:
                said.append(spawner._says)
            await asyncio.sleep(0)
        await task

    asyncio.run(started())
    return said


def elsewhere(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, state: str, looks: int | None) -> list[dict[str, Any]]:
    """Show the home attached to an instance in `state`, for that many looks or until it is detached.

    Returns the calls to DetachVolume.
    """
    asyncio.run(cloud.fleet().make_home("ada", ZONE))
    old = cloud.launch("grace")
    cloud.ec2.attach_volume(VolumeId=cloud.home()["VolumeId"], InstanceId=old, Device=HOME_DEVICE)
    detached: list[dict[str, Any]] = []
    seen = 0
    real = cloud.run

    async def run(call: Callable[..., Any], **arguments: Any) -> Any:
        nonlocal seen
        name = getattr(call, "__name__", "")
        if name == "_describe_homes":
            seen += 1
            if looks is not None and seen > looks and not detached:
                detached.append({})
                cloud.ec2.detach_volume(VolumeId=cloud.home()["VolumeId"], InstanceId=old)
        if name == "detach_volume":
            detached.append(arguments)
        if name == "describe_instances":
            instance = {"InstanceId": old, "State": {"Name": state}}
            return {"Reservations": [{"Instances": [instance] if state != "forgotten" else []}]}
        return await real(call, **arguments)

    monkeypatch.setattr(cloud, "run", run)
    return detached


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_a_home_that_its_last_host_still_holds_is_waited_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, state: str):
    calls = elsewhere(cloud, monkeypatch, state, looks=4)
    spawner = spawner_for(cloud)

    said = said_while_starting(spawner)

    assert "Waiting for your last server to let go of your home" in said
    assert calls == [{}], "AWS lets go of it by itself"
    [mine] = [i for i in cloud.instances("running") if {"Key": USER_TAG, "Value": "ada"} in i["Tags"]]
    assert cloud.home()["Attachments"][0]["InstanceId"] == mine["InstanceId"]


@pytest.mark.parametrize(("state", "force"), [("terminated", True), ("forgotten", True), ("stopped", False)])
def test_a_home_that_hangs_on_to_an_ended_host_is_detached(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, state: str, force: bool
):
    monkeypatch.setattr(module, "HANGS_SECONDS", 0.03)
    calls = elsewhere(cloud, monkeypatch, state, looks=None)

    asyncio.run(spawner_for(cloud).start())

    assert [call["Force"] for call in calls] == [force]
    [mine] = [i for i in cloud.instances("running") if {"Key": USER_TAG, "Value": "ada"} in i["Tags"]]
    assert cloud.home()["Attachments"][0]["InstanceId"] == mine["InstanceId"]


def test_a_home_is_never_taken_from_a_host_that_runs(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "HANGS_SECONDS", 0.03)
    calls = elsewhere(cloud, monkeypatch, "running", looks=None)

    with pytest.raises(FleetError, match=r"is in use by i-\w+, which is running"):
        asyncio.run(spawner_for(cloud).start())

    assert calls == []


def test_a_home_that_never_comes_free_ends_the_wait_with_a_reason(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FREE_SECONDS", 0.05)
    elsewhere(cloud, monkeypatch, "shutting-down", looks=None)

    with pytest.raises(FleetError, match="cannot be attached yet; try again"):
        asyncio.run(spawner_for(cloud).start())


@pytest.mark.parametrize("code", ["IncorrectState", "VolumeInUse", "RequestLimitExceeded"])
def test_an_attachment_that_aws_is_not_ready_for_is_tried_again(cloud: Cloud, code: str):
    cloud.faults["attach_volume"] = [refusal("AttachVolume", code)] * 2

    asyncio.run(spawner_for(cloud).start())

    assert cloud.requests.count("attach_volume") == 3
    assert cloud.home()["Attachments"]


def test_an_attachment_that_aws_refuses_reaches_the_user(cloud: Cloud):
    cloud.faults["attach_volume"] = [refusal("AttachVolume", "UnauthorizedOperation")]

    with pytest.raises(FleetError, match="UnauthorizedOperation"):
        asyncio.run(spawner_for(cloud).start())


def stuck(cloud: Cloud, spawner: Ec2Spawner, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Show every instance of the user in `state`, whatever it is in."""
    real = spawner.fleet._describe_hosts

    def described() -> Any:
        from dataclasses import replace

        return [replace(host, state=state) for host in real()]

    described.__name__ = "_describe_hosts"
    monkeypatch.setattr(spawner.fleet, "_describe_hosts", described)


def test_an_instance_that_never_comes_up_is_given_up_and_ended(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "COMES_UP_SECONDS", 0.05)
    spawner = spawner_for(cloud)
    with monkeypatch.context() as patched:
        stuck(cloud, spawner, patched, "pending")
        spawner.working = False
        with pytest.raises(FleetError, match="is not running; try again"):
            asyncio.run(spawner.start())
        # The hub stops what did not start. AWS refuses to stop a pending instance.
        asyncio.run(spawner.stop())
    assert cloud.instances() == []

    spawner.working = True
    asyncio.run(spawner.start())
    assert len(cloud.instances("running")) == 1


def test_a_host_whose_server_does_not_answer_is_ended_and_the_next_start_gets_another(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    [first] = cloud.instances()
    spawner.working = False

    asyncio.run(spawner.stop())
    assert cloud.instances() == []

    asyncio.run(spawner.start())
    [second] = cloud.instances("running")
    assert second["InstanceId"] != first["InstanceId"]
    assert cloud.home()["Attachments"][0]["InstanceId"] == second["InstanceId"]


def test_whether_a_server_answers_is_asked_at_its_port(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    async def asked() -> list[bool]:
        listening = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        answers: list[bool] = []
        for port in (listening.sockets[0].getsockname()[1], 1):
            monkeypatch.setattr(module, "PORT", port)
            host = SimpleNamespace(address="127.0.0.1")
            answers.append(await Ec2Spawner.answers(spawner_for(cloud), host))  # pyright: ignore[reportArgumentType]
        listening.close()
        return answers

    assert asyncio.run(asked()) == [True, False]


def test_a_server_that_vanishes_is_noticed_and_followed_by_another_with_the_same_home(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    [first] = cloud.instances()
    home = cloud.home()["VolumeId"]
    token = spawner.api_token
    cloud.ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    spawner.fleet._hosts._described = -1e9

    assert asyncio.run(spawner.poll()) == 0
    spawner.clear_state()

    asyncio.run(spawner.start())
    [second] = cloud.instances("running")
    assert second["InstanceId"] != first["InstanceId"]
    assert spawner.api_token != token
    assert cloud.home()["VolumeId"] == home


def test_throttled_looks_while_a_server_starts_are_no_failure(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(cloud.fleet().make_home("ada", ZONE))
    launch = spawner.fleet.launch

    async def then_throttle(*arguments: Any) -> Any:
        host = await launch(*arguments)
        cloud.faults["_describe_hosts"] = [refusal("DescribeInstances", "RequestLimitExceeded")] * 3
        return host

    spawner.fleet.launch = then_throttle
    asyncio.run(spawner.start())

    assert len(cloud.instances("running")) == 1
    assert cloud.faults["_describe_hosts"] == []


def test_a_throttled_launch_leaves_nothing_and_the_next_try_launches_one(cloud: Cloud):
    cloud.faults["run_instances"] = [refusal("RunInstances", "RequestLimitExceeded")]

    with pytest.raises(FleetError, match="RequestLimitExceeded"):
        asyncio.run(spawner_for(cloud).start())
    assert cloud.instances() == []

    asyncio.run(spawner_for(cloud).start())
    assert len(cloud.instances("running")) == 1
    assert len([v for v in cloud.volumes() if v["Size"] == 5]) == 1


def test_a_host_of_a_manager_that_was_replaced_is_followed_by_another(cloud: Cloud):
    before = spawner_for(cloud)
    before.fleet.manager = "10.10.0.4"
    asyncio.run(before.start())
    [first] = cloud.instances()

    after = spawner_for(cloud)
    after.load_state(before.get_state())
    after.fleet.manager = "10.10.0.9"
    assert asyncio.run(before.poll()) is None
    assert asyncio.run(after.poll()) == 0, "its server asks the old manager who may use it"

    asyncio.run(after.start())
    [second] = cloud.instances()
    assert second["InstanceId"] != first["InstanceId"]
    assert cloud.home()["Attachments"][0]["InstanceId"] == second["InstanceId"]


def test_a_host_that_no_server_needs_is_stopped_at_the_second_look(cloud: Cloud):
    forgotten, used = cloud.launch("ada"), cloud.launch("grace")
    fleet = cloud.fleet()

    first = asyncio.run(sweep(fleet, {"grace"}, 3600, set()))
    assert first == {forgotten}
    assert len(cloud.instances("running")) == 2, "a server that starts at this moment may look like this"

    asyncio.run(sweep(fleet, {"grace"}, 3600, first))
    assert [i["InstanceId"] for i in cloud.instances("running")] == [used]
    assert [i["InstanceId"] for i in cloud.instances("stopped")] == [forgotten]


def test_a_stopped_host_is_ended_at_the_greatest_age_and_the_home_is_kept(cloud: Cloud):
    spawner = spawner_for(cloud)
    asyncio.run(spawner.start())
    asyncio.run(spawner.stop())
    fleet = cloud.fleet()

    asyncio.run(sweep(fleet, set(), 3600, set()))
    assert len(cloud.instances("stopped")) == 1

    asyncio.run(sweep(fleet, set(), 0, set()))
    assert cloud.instances() == []
    assert cloud.home()["State"] == "available"


def test_a_host_that_aws_refuses_to_stop_does_not_keep_the_others(cloud: Cloud):
    both = {cloud.launch("ada"), cloud.launch("grace")}
    cloud.faults["stop_instances"] = [refusal("StopInstances", "RequestLimitExceeded")]

    assert asyncio.run(sweep(cloud.fleet(), set(), 3600, both)) == both
    assert len(cloud.instances("stopped")) == 1


def test_every_page_of_the_hubs_users_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    names = [f"user{number}" for number in range(250)]

    def answered(path: str) -> list[dict[str, str]]:
        query = dict(part.split("=") for part in path.partition("?")[2].split("&"))
        start = int(query["offset"])
        return [{"name": name} for name in names[start : start + int(query["limit"])]]

    monkeypatch.setattr("runtime.ec2_spawner.sweep._asked", answered)

    assert users_with_servers() == set(names)


def test_a_launch_waits_for_what_the_manager_packs_and_says_so(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    looks = iter([None, None, DIGEST])
    monkeypatch.setattr(module, "packed_digest", lambda: next(looks))

    said = said_while_starting(spawner_for(cloud))

    assert any(sentence.startswith("Preparing") for sentence in said)
    [instance] = cloud.instances("running")
    told = cloud.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    import base64

    assert DIGEST in base64.b64decode(told["UserData"]["Value"]).decode()


def test_a_manager_that_cannot_pack_is_reported_before_anything_is_launched(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "packed_digest", lambda: None)
    monkeypatch.setattr(module, "PACKED_SECONDS", 0.03)

    with pytest.raises(FleetError, match="journalctl -u hubstack-pack"):
        asyncio.run(spawner_for(cloud).start())

    assert cloud.instances() == []


def test_the_digest_of_what_is_packed_appears_when_the_archive_is_whole(tmp_path: Path):
    content = tmp_path / "venv"
    content.mkdir()
    (content / "program").write_text("1")
    bundles = tmp_path / "bundles"
    assert pack.packed_digest(bundles) is None

    pack.write_archive([content], bundles)

    archive = bundles / pack.ARCHIVE
    assert pack.packed_digest(bundles) == hashlib.sha256(archive.read_bytes()).hexdigest()
    with tarfile.open(archive) as tar:
        assert f"{content.as_posix().lstrip('/')}/program" in tar.getnames()


def test_secrets_are_readable_by_their_owner_alone_and_replaced_whole(tmp_path: Path):
    import getpass

    folder = tmp_path / "secrets"
    for value in ("one", "two"):
        write_secrets({"token": value}, folder, getpass.getuser())

    assert [file.name for file in folder.iterdir()] == ["token"]
    assert (folder / "token").read_text() == "two"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "token").stat().st_mode & 0o777 == 0o600


MOUNT_SCRIPT = Path(__file__).parents[2] / "runtime/mount_disk.sh"


def test_the_mount_script_passes_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not on the path; `make test` installs it")
    told = subprocess.run(["shellcheck", MOUNT_SCRIPT], capture_output=True, text=True, check=False)

    assert told.stdout == ""
