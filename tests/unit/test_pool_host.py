"""The program of a pool's host on AWS: what it does in a round, and when it ends; and the word before the host goes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from docker.errors import APIError

from components.aws.host_farewell import LEAVE_COMMAND, say_farewell
from runtime.container_group import ContainerSpec, GroupSpec
from runtime.group_proof import ReachError
from runtime.group_readiness import DeploymentError
from runtime.pool_host import keeping
from runtime.pool_host.keeping import IMAGES_SECONDS, SECRET_SECONDS, Keeper
from runtime.pool_host.refusal import Refusal
from runtime.pool_host.settings import FETCHED_FILE, GROUP_FILE, Group, load_group


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
    """Remembers what is stopped, and which images it has."""

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.failure: Exception | None = None
        self.held = {"sha256:1": "node"}
        self.in_use: set[str] = set()

    def inspect_image(self, image: str) -> Mapping[str, str]:
        return {"Id": image if image in self.held else pytest.fail(f"no image {image}")}

    def images(self) -> list[Mapping[str, Any]]:
        return [{"Id": image, "RepoDigests": [f"{name}@{image}"]} for image, name in self.held.items()]

    def remove_image(self, image: str) -> None:
        if image in self.in_use:
            raise APIError("a container is of it")
        del self.held[image]

    def stop(self, name: str, timeout: int) -> None:
        if self.failure:
            raise self.failure
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

    def __init__(self, patched: pytest.MonkeyPatch, folder: Path) -> None:
        self.engine, self.account, self.now = Engine(), Account(), 100.0
        self.file = folder / "kept" / "refused"
        self.lacking: list[str] = ["service"]
        self.outcome: Exception | None = None
        self.deployed: list[Mapping[str, str]] = []
        self.proved: list[bool] = []
        patched.setattr(keeping, "differences", self.differences)
        patched.setattr(keeping, "deploy", self.deploy)
        self.keeper = self.started()

    def started(self, etag: str = "one") -> Keeper:
        """The host's program, as it starts."""
        group, refusal = Group(SPEC, {"node": "sha256:1"}, etag), Refusal(self.file)
        return Keeper(self.engine, group, self.account, refusal, lambda: self.now)  # pyright: ignore[reportArgumentType]

    def differences(self, _client: Any, _spec: Any, _images: Any, names: Sequence[str] | None = None) -> list[str]:
        return [name for name in self.lacking if names is None or name in names]

    def deploy(self, _client: Any, _spec: Any, _images: Any, secrets: Mapping[str, str], *, proved: bool) -> None:
        self.deployed.append(secrets)
        if self.outcome:
            raise self.outcome
        self.proved.append(not proved)
        self.lacking = []


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


def test_images_of_earlier_bundles_go_when_no_container_is_of_them_any_more(host: Host):
    host.engine.held |= {"sha256:0": "node", "sha256:9": "notebook"}
    host.engine.in_use = {"sha256:9"}

    host.keeper.round()
    assert host.engine.held == {"sha256:1": "node", "sha256:9": "notebook"}

    host.engine.in_use = set()
    host.keeper.round()
    assert "sha256:9" in host.engine.held, "the engine is not asked in every round"
    host.now += IMAGES_SECONDS
    host.keeper.round()
    assert host.engine.held == {"sha256:1": "node"}


def test_images_of_the_bundle_before_stay_while_the_new_one_does_not_work(host: Host):
    host.engine.held |= {"sha256:0": "node"}
    host.outcome = DeploymentError("it does not start")

    host.keeper.round()

    assert "sha256:0" in host.engine.held


def test_a_host_deploys_once_and_again_when_something_lacks(host: Host):
    host.keeper.round()
    host.keeper.round()
    host.lacking = ["proxy"]
    host.keeper.round()

    assert host.deployed == [{"token": "a"}, {"token": "a"}]


def test_a_host_that_is_as_it_should_be_is_proved_when_its_program_starts(host: Host):
    host.lacking = []
    host.keeper.round()

    assert host.proved == [True]


def test_what_visitors_reach_waits_for_no_proof_where_all_else_is_as_it_was_proved(host: Host):
    host.keeper.round()
    for lacking in (["tls-proxy"], ["proxy", "tls-proxy"]):
        host.lacking = lacking
        host.keeper.round()
    host.lacking = ["tls-proxy"]
    host.started().round()

    assert host.proved == [True, False, True, True]


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
    host.outcome, host.lacking = None, ["tls-proxy"]
    host.keeper.round()

    assert host.engine.stopped == ["pool-tmp01-tls-proxy"]
    assert len(host.deployed) == 1, "it stays so until there is another bundle"
    host.account.version = "two"
    assert host.keeper.is_outdated()


def test_a_restart_lets_nobody_in_to_what_was_refused_and_another_bundle_does(host: Host):
    host.outcome = ReachError("10.0.0.1:80 answered")
    host.keeper.round()
    host.outcome = None
    again = host.started()
    again.round()

    assert (len(host.deployed), host.engine.stopped) == (1, ["pool-tmp01-tls-proxy"])
    assert not again.is_outdated()
    host.started("two").round()
    assert host.proved == [True]


def test_an_engine_that_does_not_stop_what_visitors_reach_is_asked_in_each_round(host: Host):
    host.outcome, host.engine.failure = ReachError("10.0.0.1:80 answered"), APIError("busy")
    host.keeper.round()
    host.outcome = None
    host.keeper.round()
    host.engine.failure = None
    host.keeper.round()

    assert (len(host.deployed), host.engine.stopped) == (1, ["pool-tmp01-tls-proxy"])


def test_a_refusal_that_cannot_be_written_down_holds_all_the_same(host: Host):
    host.file.parent.write_text("a file where the folder should be")
    host.outcome = ReachError("10.0.0.1:80 answered")
    host.keeper.round()
    host.outcome = None
    host.keeper.round()

    assert len(host.deployed) == 1


@pytest.mark.parametrize("proof", [True, False])
def test_after_a_reboot_the_engine_lets_nobody_in_before_there_was_a_proof(tmp_path: Path, proof: bool):
    spec = {**SPEC, "probe": {"forbidden": []}} if proof else SPEC
    (tmp_path / GROUP_FILE).write_text(json.dumps({"spec": spec, "images": {}}))
    (tmp_path / FETCHED_FILE).write_text('{"ETag": "one"}')

    containers = load_group(tmp_path).spec["containers"]

    starting = {name for name, container in containers.items() if container.get("restarts", True)}
    assert starting == {"service", "proxy"} | (set[str]() if proof else {"tls-proxy"})


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
