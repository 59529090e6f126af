"""The program of a pool's host on AWS: what it does in a round, and when it ends; and the word before the host goes."""

from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from components.aws.host_farewell import LEAVE_COMMAND, say_farewell
from runtime.container_group import ContainerSpec, GroupSpec
from runtime.group_deployment import DeploymentError, ReachError
from runtime.pool_host import keeping
from runtime.pool_host.keeping import SECRET_SECONDS, Keeper, faces
from runtime.pool_host.settings import Group


def container(role: str, *addresses: str) -> ContainerSpec:
    """A container with a port on each of the addresses."""
    return {
        "role": role,
        "image": "node",
        "command": ["run"],
        "cpu": 1,
        "memory_bytes": 2**20,
        "processes": 8,
        "ports": [{"published": 443, "target": 8443, "address": address} for address in addresses],
    }


SPEC: GroupSpec = {
    "stack": "pool",
    "group": "tmp01",
    "networks": {},
    "containers": {
        "service": container("node-service", "127.0.0.1"),
        "tls-proxy": container("tls-proxy", "0.0.0.0"),
        "proxy": container("proxy"),
    },
    "order": ["service", "proxy", "tls-proxy"],
    "texts": {},
}


class Engine:
    """Remembers what is stopped."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def stop(self, name: str) -> None:
        self.stopped.append(name)


class Account:
    """Says what the host is to run, or fails as AWS does."""

    def __init__(self) -> None:
        self.version, self.values, self.asked = "one", {"token": "a"}, 0
        self.failure: Exception | None = None

    def etag(self) -> str:
        if self.failure:
            raise self.failure
        return self.version

    def secrets(self) -> Mapping[str, str]:
        if self.failure:
            raise self.failure
        self.asked += 1
        return self.values


class Host:
    """A keeper with an engine and an account in memory."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.engine, self.account, self.now = Engine(), Account(), 100.0
        self.lacking: list[str] = ["container service is missing"]
        self.outcome: Exception | None = None
        self.deployed: list[Mapping[str, str]] = []
        patched.setattr(keeping, "differences", lambda *_: self.lacking)
        patched.setattr(keeping, "deploy", self.deploy)
        self.keeper = Keeper(self.engine, Group(SPEC, {"node": "sha256:1"}, "one"), self.account, lambda: self.now)  # pyright: ignore[reportArgumentType]

    def deploy(self, _client: Any, _spec: Any, _images: Any, secrets: Mapping[str, str]) -> None:
        self.deployed.append(secrets)
        if self.outcome:
            raise self.outcome
        self.lacking = []


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_a_host_deploys_once_and_again_when_something_lacks(host: Host):
    host.keeper.round()
    host.keeper.round()
    host.lacking = ["container proxy does not run"]
    host.keeper.round()

    assert host.deployed == [{"token": "a"}, {"token": "a"}]


def test_a_host_that_is_as_it_should_be_is_proved_when_its_program_starts(host: Host):
    host.lacking = []
    host.keeper.round()

    assert len(host.deployed) == 1


@pytest.mark.parametrize(
    "failure",
    [
        DeploymentError("container service does not work"),
        ClientError({"Error": {"Code": "AccessDenied", "Message": "not yet"}}, "GetSecretValue"),
        EndpointConnectionError(endpoint_url="https://s3"),
    ],
)
def test_what_fails_is_tried_again_in_the_next_round(host: Host, failure: Exception):
    host.outcome = failure
    host.keeper.round()
    host.outcome = None
    host.keeper.round()
    host.keeper.round()

    assert len(host.deployed) == 2
    assert host.engine.stopped == []


def test_visitors_are_let_in_no_more_where_servers_reach_too_much(host: Host):
    host.outcome = ReachError("10.0.0.1:80 answered")
    host.keeper.round()
    host.outcome, host.lacking = None, ["container tls-proxy does not run"]
    host.keeper.round()

    assert host.engine.stopped == ["pool-tmp01-tls-proxy"]
    assert len(host.deployed) == 1, "it stays so until there is another bundle"
    host.account.version = "two"
    assert host.keeper.is_outdated()


def test_only_what_visitors_reach_is_closed():
    assert faces(SPEC) == ["tls-proxy"]


def test_another_bundle_ends_the_program_and_nothing_else_does(host: Host):
    host.keeper.round()
    assert not host.keeper.is_outdated()
    host.account.failure = EndpointConnectionError(endpoint_url="https://s3")
    assert not host.keeper.is_outdated()
    host.account.failure, host.account.version = None, "two"
    assert host.keeper.is_outdated()


def test_another_secret_is_noticed_within_a_minute_and_asked_for_no_more_often(host: Host):
    host.keeper.round()
    host.account.values = {"token": "b"}
    for second in range(SECRET_SECONDS):
        host.now = 100.0 + second
        assert not host.keeper.is_outdated()
    assert host.account.asked == 1
    host.now = 100.0 + SECRET_SECONDS
    assert host.keeper.is_outdated()


def ssm() -> tuple[Any, Stubber]:
    client = boto3.client("ssm", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    return client, Stubber(client)


SENT = {"Command": {"CommandId": "0" * 36}}
ASKED = {"CommandId": "0" * 36, "InstanceId": "i-0123456789abcdef0"}


def test_a_host_is_told_to_leave_and_waited_for():
    client, stub = ssm()
    parameters = {"commands": [LEAVE_COMMAND], "executionTimeout": ["1500"]}
    stub.add_response(
        "send_command",
        SENT,
        {
            "InstanceIds": [ASKED["InstanceId"]],
            "DocumentName": "AWS-RunShellScript",
            "Parameters": parameters,
            "TimeoutSeconds": 60,
        },
    )
    stub.add_client_error("get_command_invocation", "InvocationDoesNotExist")
    for status in ("Pending", "InProgress", "Success"):
        stub.add_response("get_command_invocation", {"Status": status}, ASKED)
    waited: list[float] = []
    with stub:
        status = say_farewell(client, ASKED["InstanceId"], 600, clock=lambda: 0.0, sleep=waited.append)

    assert (status, len(waited)) == ("Success", 4)
    stub.assert_no_pending_responses()


def test_a_host_that_is_not_there_is_not_waited_for():
    client, stub = ssm()
    stub.add_client_error("send_command", "InvalidInstanceId")
    with stub:
        assert say_farewell(client, ASKED["InstanceId"], 600, sleep=lambda _: pytest.fail("waited")) == "Undeliverable"


def test_a_host_that_never_answers_is_ended_all_the_same():
    client, stub = ssm()
    stub.add_response("send_command", SENT)
    stub.add_response("get_command_invocation", {"Status": "InProgress"})
    times = iter([0.0, 1.0, 10_000.0])
    with stub:
        assert (
            say_farewell(client, ASKED["InstanceId"], 600, clock=lambda: next(times), sleep=lambda _: None)
            == "InProgress"
        )


def test_what_aws_refuses_for_another_reason_is_told():
    client, stub = ssm()
    stub.add_client_error("send_command", "AccessDeniedException")
    with stub, pytest.raises(ClientError):
        say_farewell(client, ASKED["InstanceId"], 600)
