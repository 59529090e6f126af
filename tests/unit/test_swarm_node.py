"""What a host of a Swarm on EC2 does, with an engine that is a list of what was asked and a simulated AWS."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from docker.errors import APIError, NotFound
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from runtime.home_volumes.pool import MINIMUM_SIZE_FILE
from runtime.swarm_node import __main__ as program
from runtime.swarm_node import leader, membership
from runtime.swarm_node.invitations import Invitation, read_invitation, write_invitation
from runtime.swarm_node.settings import Deployment, Node, NodeRole, parse_deployment, parse_node

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
TOKENS = {"Manager": "SWMTKN-manager", "Worker": "SWMTKN-worker"}
VERSIONS = ("terraform-2026010100000000000000000001", "terraform-2026010200000000000000000001")
"""Ids of two versions of a secret, as the provider gives them: they begin with the same word."""


class Response:
    """As much of an HTTP response as the engine's errors read."""

    def __init__(self, status: int) -> None:
        self.status_code, self.reason, self.url = status, "", "http+docker://localhost"


def refused(status: int, explanation: str) -> APIError:
    return APIError(explanation, response=Response(status), explanation=explanation)  # pyright: ignore[reportArgumentType]


class Engine:
    """An engine that remembers what it was asked and what it holds."""

    def __init__(self, state: str = "inactive", nodes: list[dict[str, Any]] | None = None) -> None:
        self.state, self.held = state, nodes or []
        self.asked: list[tuple[Any, ...]] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.named: dict[str, dict[str, Any]] = {}
        self.in_use: set[str] = set()
        self.present: set[str] = set()
        self.faults: dict[str, APIError] = {}

    def _ask(self, *call: Any) -> None:
        self.asked.append(call)
        if call[0] in self.faults:
            raise self.faults[call[0]]

    def info(self) -> dict[str, Any]:
        return {"Swarm": {"LocalNodeState": self.state, "NodeID": "m1"}}

    def init_swarm(self, **given: Any) -> None:
        self._ask("init", given)
        self.state = "active"

    def join_swarm(self, **given: Any) -> None:
        self._ask("join", given)
        self.state = "active"

    def leave_swarm(self, *, force: bool = False) -> None:
        self._ask("leave", force)
        self.state = "inactive"

    def inspect_swarm(self) -> dict[str, Any]:
        return {"JoinTokens": TOKENS}

    def nodes(self) -> list[dict[str, Any]]:
        return [json.loads(json.dumps(node)) for node in self.held]

    def update_node(self, node_id: str, version: int, spec: dict[str, Any]) -> None:
        self._ask("update", node_id, version, spec)
        [node] = [n for n in self.held if n["ID"] == node_id]
        assert version == node["Version"]["Index"], "the engine refuses what is out of date"
        node["Spec"], node["Version"] = spec, {"Index": version + 1}

    def remove_node(self, node_id: str, *, force: bool = False) -> None:
        [node] = [n for n in self.held if n["ID"] == node_id]
        if node["Spec"]["Role"] == "manager":
            raise refused(400, "node is a cluster manager; it must be demoted to worker before removal")
        self._ask("remove", node_id, force)
        self.held.remove(node)

    def secrets(self, filters: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        return self._found(self.stored, filters)

    def configs(self, filters: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        return self._found(self.named, filters)

    def _found(self, kept: Mapping[str, dict[str, Any]], filters: Mapping[str, str] | None) -> list[dict[str, Any]]:
        key, _, value = (filters or {}).get("label", "").partition("=")
        return [o for o in kept.values() if not key or o["Spec"]["Labels"].get(key) == value]

    def create_secret(self, name: str, data: bytes, labels: dict[str, str]) -> None:
        self._ask("create_secret", name)
        assert name not in self.stored, "the engine refuses a name twice"
        self.stored[name] = {"ID": name, "Spec": {"Name": name, "Labels": labels}, "data": data}

    def create_config(self, name: str, labels: dict[str, str]) -> None:
        self.named[name] = {"ID": name, "Spec": {"Name": name, "Labels": labels}}

    def remove_secret(self, name: str) -> None:
        self._remove(self.stored, name)

    def remove_config(self, name: str) -> None:
        self._remove(self.named, name)

    def _remove(self, kept: dict[str, dict[str, Any]], name: str) -> None:
        self._ask("remove", name)
        if name in self.in_use:
            raise refused(400, f"{name} is in use")
        del kept[name]

    def inspect_image(self, image: str) -> dict[str, Any]:
        if image not in self.present:
            raise NotFound("no such image")
        return {}

    def close(self) -> None:
        self._ask("close")

    def did(self, what: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.asked if call[0] == what]


def swarm_node(
    node_id: str,
    role: str = "manager",
    *,
    state: str = "ready",
    availability: str = "active",
    labels: dict[str, str] | None = None,
    leads: bool = False,
    updated: datetime = NOW,
) -> dict[str, Any]:
    manager = {"Addr": f"10.0.0.{node_id[1:]}:2377", "Leader": leads}
    manager["Reachability"] = "reachable" if state == "ready" else "unreachable"
    return {
        "ID": node_id,
        "Version": {"Index": 7},
        "Spec": {"Role": role, "Availability": availability, "Labels": labels},
        "Status": {"State": state},
        # As Go writes moments, with nine digits of a second.
        "UpdatedAt": updated.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"),
        **({"ManagerStatus": manager} if role == "manager" else {}),
    }


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.client("secretsmanager", region_name="us-east-1")


def secret(client: Any, name: str) -> str:
    return client.create_secret(Name=name)["ARN"]


def node_of(client: Any, role: str = "manager", *, founder: bool = False, group: str = "") -> Node:
    """A host's settings, with secrets that are there as the stack makes them: empty."""
    invitations = {name: secret(client, name) for name in ("manager", "worker")}
    return parse_node(
        {
            "stack": "lab",
            "role": role,
            "founder": founder,
            "invitations": invitations if role == "manager" else {"worker": invitations["worker"]},
            "hub_secret": secret(client, "hub") if role == "manager" else "",
            "group": group,
            "lifecycle_hook": "leave" if group else "",
        }
    )


def deployment_in(folder: Path, **changes: Any) -> Deployment:
    document = {
        "images": {"manager": ["hub@sha256:1"], "worker": ["hub@sha256:1", "notebook@sha256:2"]},
        "swarm_pool": "10.213.48.0/20",
        "home_driver": "hubstack/lab-homes:1",
        "home_image": "hub@sha256:1",
        "home_pool": str(folder / "homes"),
        "home_bytes": 64 * 2**20,
        "hub_data": str(folder / "hub"),
        "open_subnet": "",
        **changes,
    }
    (folder / "deployment.json").write_text(json.dumps(document))
    return parse_deployment(document)


def join(engine: Engine, node: Node, deployment: Deployment, client: Any) -> None:
    membership.become_member(engine, node, "10.10.0.9", deployment, client)  # pyright: ignore[reportArgumentType]


def test_the_founder_makes_the_swarm_where_nobody_has_been_invited(secrets: Any, tmp_path: Path):
    engine = Engine()

    join(engine, node_of(secrets, founder=True), deployment_in(tmp_path), secrets)

    assert engine.asked == [
        ("init", {"advertise_addr": "10.10.0.9", "default_addr_pool": ["10.213.48.0/20"], "subnet_size": 24})
    ]


@pytest.mark.parametrize("role", ["manager", "worker"])
def test_everybody_else_waits_until_there_is_a_swarm(secrets: Any, tmp_path: Path, role: str):
    engine = Engine()

    with pytest.raises(membership.NotYetError, match="first manager makes it"):
        join(engine, node_of(secrets, role), deployment_in(tmp_path), secrets)

    assert engine.asked == []


@pytest.mark.parametrize(("role", "founder"), [("manager", True), ("manager", False), ("worker", False)])
def test_who_is_invited_joins_and_makes_no_second_swarm(secrets: Any, tmp_path: Path, role: str, founder: bool):
    engine, node = Engine(), node_of(secrets, role, founder=founder)
    write_invitation(secrets, node.invitations[node.role], Invitation("token", ("10.0.0.1:2377", "10.0.0.2:2377")))

    join(engine, node, deployment_in(tmp_path), secrets)

    assert engine.asked == [
        (
            "join",
            {
                "remote_addrs": ["10.0.0.1:2377", "10.0.0.2:2377"],
                "join_token": "token",
                "advertise_addr": "10.10.0.9",
            },
        )
    ]


def test_a_member_asks_nobody(tmp_path: Path, secrets: Any):
    engine = Engine("active")

    join(engine, node_of(secrets), deployment_in(tmp_path), None)

    assert engine.asked == []


@pytest.mark.parametrize("state", ["pending", "error"])
def test_a_join_that_did_not_come_through_is_given_up_before_the_next(secrets: Any, tmp_path: Path, state: str):
    engine, node = Engine(state), node_of(secrets)
    write_invitation(secrets, node.invitations[NodeRole.MANAGER], Invitation("token", ("10.0.0.1:2377",)))

    join(engine, node, deployment_in(tmp_path), secrets)

    assert [call[0] for call in engine.asked] == ["leave", "join"]
    assert engine.did("leave") == [(True,)]


def test_a_swarm_is_left_by_its_members_alone():
    member, stranger = Engine("active"), Engine("inactive")

    for engine in (member, stranger):
        membership.leave(engine)  # pyright: ignore[reportArgumentType]

    assert member.did("leave") == [(False,)]
    assert stranger.asked == []


def test_managers_and_workers_are_invited_to_the_managers_that_answer():
    nodes = [
        swarm_node("m3"),
        swarm_node("m1", leads=True),
        swarm_node("m2", state="down"),
        swarm_node("w4", "worker"),
    ]
    found = membership.invitations(Engine("active", nodes))  # pyright: ignore[reportArgumentType]

    managers = ("10.0.0.1:2377", "10.0.0.3:2377")
    assert found == {
        NodeRole.MANAGER: Invitation("SWMTKN-manager", managers),
        NodeRole.WORKER: Invitation("SWMTKN-worker", managers),
    }


def versions(client: Any, arn: str) -> int:
    return len(client.list_secret_version_ids(SecretId=arn, IncludeDeprecated=True)["Versions"])


def test_an_invitation_is_none_until_somebody_writes_one(secrets: Any):
    arn = secret(secrets, "manager")

    assert read_invitation(secrets, arn) is None

    write_invitation(secrets, arn, Invitation("token", ("10.0.0.1:2377",)))

    assert read_invitation(secrets, arn) == Invitation("token", ("10.0.0.1:2377",))


def test_what_stands_in_the_way_of_reading_an_invitation_is_no_absence_of_one():
    class Denying:
        def get_secret_value(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetSecretValue")

    with pytest.raises(ClientError, match="AccessDenied"):
        read_invitation(Denying(), "arn")


def test_an_invitation_is_written_once_and_again_only_when_it_changes(secrets: Any):
    arn = secret(secrets, "manager")
    first, rotated = Invitation("one", ("a:2377",)), Invitation("two", ("a:2377",))
    grown = Invitation("two", ("a:2377", "b:2377"))

    counts = [(write_invitation(secrets, arn, told), versions(secrets, arn))[1] for told in (first, first, first)]
    assert counts == [counts[0]] * 3
    for told in (rotated, grown):
        write_invitation(secrets, arn, told)
        assert read_invitation(secrets, arn) == told
    assert versions(secrets, arn) == counts[0] + 2


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(words, st.lists(words, max_size=3))
def test_an_invitation_is_read_as_it_was_written(token: str, managers: list[str]):
    kept: dict[str, str] = {}

    class Secrets:
        def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803
            if SecretId not in kept:
                raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetSecretValue")
            return {"SecretString": kept[SecretId]}

        def put_secret_value(self, *, SecretId: str, SecretString: str) -> None:  # noqa: N803
            kept[SecretId] = SecretString

    write_invitation(Secrets(), "arn", Invitation(token, tuple(managers)))

    assert read_invitation(Secrets(), "arn") == Invitation(token, tuple(managers))


HUB = {leader.HUB_NODE_LABEL: "lab"}


def test_the_hub_stays_while_its_manager_is_well():
    nodes = [swarm_node("m1"), swarm_node("m2", labels=HUB), swarm_node("m3")]

    assert leader.hub_node(nodes, "lab") == "m2"


@pytest.mark.parametrize("trouble", [{"state": "down"}, {"state": "disconnected"}, {"availability": "drain"}])
def test_the_hub_moves_when_its_manager_fails_or_is_drained(trouble: dict[str, str]):
    nodes = [swarm_node("w1", "worker"), swarm_node("m2", labels=HUB, **trouble), swarm_node("m3")]  # pyright: ignore[reportArgumentType]

    assert leader.hub_node(nodes, "lab") == "m3"


def test_another_stacks_label_holds_no_hub():
    nodes = [swarm_node("m1"), swarm_node("m2", labels={leader.HUB_NODE_LABEL: "lab2"})]

    assert leader.hub_node(nodes, "lab") == "m1"


any_node = st.builds(
    lambda role, state, availability, labels: (role, state, availability, labels),
    st.sampled_from(["manager", "worker"]),
    st.sampled_from(["ready", "down", "disconnected", "unknown"]),
    st.sampled_from(["active", "drain", "pause"]),
    st.sampled_from([None, {}, HUB, {"disk": "fast"}, {**HUB, "disk": "fast"}]),
)


def cluster(given_nodes: list[tuple[str, str, str, dict[str, str] | None]]) -> list[dict[str, Any]]:
    return [
        swarm_node(f"n{number}", role, state=state, availability=availability, labels=labels)
        for number, (role, state, availability, labels) in enumerate(given_nodes)
    ]


def labelled(nodes: list[dict[str, Any]]) -> list[str]:
    return [n["ID"] for n in nodes if (n["Spec"]["Labels"] or {}).get(leader.HUB_NODE_LABEL) == "lab"]


@given(st.lists(any_node, max_size=8))
def test_the_hub_is_on_one_manager_that_is_well_whatever_the_swarm_is_like(
    given_nodes: list[tuple[str, str, str, dict[str, str] | None]],
):
    engine = Engine("active", cluster(given_nodes))
    before = labelled(engine.held)
    well = [
        n["ID"]
        for n in engine.held
        if (n["Spec"]["Role"], n["Status"]["State"], n["Spec"]["Availability"]) == ("manager", "ready", "active")
    ]
    others = [{**(n["Spec"]["Labels"] or {}), leader.HUB_NODE_LABEL: ""} for n in engine.held]

    leader.place_hub(engine, engine.nodes(), "lab")  # pyright: ignore[reportArgumentType]

    if not well:
        assert labelled(engine.held) == before, "without a manager that is well nothing is better than what was"
    else:
        [chosen] = labelled(engine.held)
        assert chosen in well
        assert chosen in before or not set(before) & set(well)
    assert [{**(n["Spec"]["Labels"] or {}), leader.HUB_NODE_LABEL: ""} for n in engine.held] == others

    settled = len(engine.asked)
    leader.place_hub(engine, engine.nodes(), "lab")  # pyright: ignore[reportArgumentType]
    assert len(engine.asked) == settled, "a second round changes nothing"


def test_a_host_that_is_placed_keeps_its_role_and_availability():
    engine = Engine("active", [swarm_node("m1", labels={"disk": "fast"})])

    leader.place_hub(engine, engine.nodes(), "lab")  # pyright: ignore[reportArgumentType]

    assert engine.did("update") == [
        ("m1", 7, {"Role": "manager", "Availability": "active", "Labels": {"disk": "fast", **HUB}})
    ]


MINUTES = timedelta(minutes=1)


@given(st.integers(0, 3600), st.sampled_from(["down", "ready", "disconnected", "unknown"]))
def test_a_host_is_gone_after_ten_minutes_down_and_not_before(seconds: int, state: str):
    node = swarm_node("w1", "worker", state=state, updated=NOW - timedelta(seconds=seconds))

    assert bool(leader.gone([node], NOW)) == (state == "down" and seconds > 600)


def test_a_worker_that_is_gone_is_removed_and_a_manager_demoted_first():
    engine = Engine("active", [swarm_node("m1", state="down"), swarm_node("w2", "worker", state="down")])

    for node in engine.nodes():
        leader.forget(engine, node)  # pyright: ignore[reportArgumentType]

    assert [call[:2] for call in engine.asked] == [("update", "m1"), ("remove", "m1"), ("remove", "w2")]
    assert engine.asked[0][3]["Role"] == "worker"
    assert [call[1] for call in engine.did("remove")] == [True, True]
    assert engine.held == []


def test_one_host_leads_and_the_others_know_that_they_do_not():
    nodes = [swarm_node("m1", leads=True), swarm_node("m2"), swarm_node("w3", "worker")]

    assert [leader.is_leader(nodes, node_id) for node_id in ("m1", "m2", "w3", "m9")] == [True, False, False, False]


def put(client: Any, arn: str, version: str, **values: str) -> None:
    client.put_secret_value(SecretId=arn, SecretString=json.dumps(values), ClientRequestToken=version)


def keep(engine: Engine, client: Any, arn: str) -> str:
    return leader.keep_secrets(engine, "lab", client, arn)  # pyright: ignore[reportArgumentType]


def test_secrets_are_put_into_the_swarm_once_under_a_name_that_tells_their_version(secrets: Any):
    engine, arn = Engine("active"), secret(secrets, "hub")
    put(secrets, arn, VERSIONS[0], token="t0ken", key="k3y")

    version = keep(engine, secrets, arn)

    assert sorted(engine.stored) == [f"lab-key-{version}", f"lab-token-{version}"]
    assert engine.stored[f"lab-token-{version}"]["data"] == b"t0ken"
    assert all(kept["Spec"]["Labels"] == {leader.STACK_LABEL: "lab"} for kept in engine.stored.values())
    assert keep(engine, secrets, arn) == version
    assert len(engine.did("create_secret")) == 2
    assert not {"t0ken", "k3y"} & set(" ".join(engine.stored).replace("-", " ").split())


def test_changed_secrets_have_other_names_although_the_providers_version_ids_begin_alike(secrets: Any):
    engine, arn = Engine("active"), secret(secrets, "hub")
    put(secrets, arn, VERSIONS[0], token="old")
    before = keep(engine, secrets, arn)
    put(secrets, arn, VERSIONS[1], token="new")

    after = keep(engine, secrets, arn)

    assert before != after
    assert engine.stored[f"lab-token-{after}"]["data"] == b"new"


@given(st.sets(st.integers(0, 2**63), min_size=2, max_size=20))
def test_every_version_has_a_name_of_its_own_that_the_engine_takes(numbers: set[int]):
    ids = [f"terraform-{number:026d}" for number in numbers]
    names = {leader.version_name(version) for version in ids}

    assert len(names) == len(ids)
    assert all(name.isalnum() and len(name) <= 12 for name in names)


def test_old_secrets_and_configurations_are_swept_unless_they_are_in_use():
    engine = Engine("active")
    for name in ("lab-token-old", "lab-key-old", "lab-token-new"):
        engine.create_secret(name, b"", {leader.STACK_LABEL: "lab"})
    engine.create_secret("lab2-token-old", b"", {leader.STACK_LABEL: "lab2"})
    engine.create_config("lab-caddyfile-1", {leader.NAMESPACE_LABEL: "lab"})
    engine.create_config("lab-caddyfile-2", {leader.NAMESPACE_LABEL: "lab"})
    engine.create_config("lab2-caddyfile-1", {leader.NAMESPACE_LABEL: "lab2"})
    engine.in_use = {"lab-key-old", "lab-caddyfile-2"}

    leader.sweep(engine, "lab", "new")  # pyright: ignore[reportArgumentType]

    assert sorted(engine.stored) == ["lab-key-old", "lab-token-new", "lab2-token-old"]
    assert sorted(engine.named) == ["lab-caddyfile-2", "lab2-caddyfile-1"]


def test_an_engine_that_cannot_remove_a_secret_for_another_reason_says_so():
    engine = Engine("active")
    engine.create_secret("lab-token-old", b"", {leader.STACK_LABEL: "lab"})
    engine.faults["remove"] = refused(503, "the swarm has no leader")

    with pytest.raises(APIError, match="no leader"):
        leader.sweep(engine, "lab", "new")  # pyright: ignore[reportArgumentType]


FAKE_CLIENT = """#!/bin/sh
printf '%s|%s|%s\\n' "$PWD" "$SECRETS_VERSION" "$*" >>"$CALLS"
[ ! -e "$CALLS.refuse" ] || { echo 'network front is out of addresses' >&2; exit 1; }
"""


@pytest.fixture
def client_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a `docker` on the path that does nothing else writes down what it is asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(FAKE_CLIENT)
    (folder / "docker").chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return calls


def bundle_in(folder: Path, text: str = "{}") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "stack.json").write_text(text)
    return folder


def test_the_stack_is_deployed_when_it_or_its_secrets_changed_and_only_then(client_calls: Path, tmp_path: Path):
    folder, applied = bundle_in(tmp_path / "bundle"), tmp_path / "applied"

    done = [leader.deploy("lab", folder, version, applied) for version in ("v1", "v1", "v2", "v2")]
    bundle_in(folder, '{"version": "3.8"}')
    done += [leader.deploy("lab", folder, "v2", applied) for _ in range(2)]

    assert done == [True, False, True, False, True, False]
    command = "stack deploy --compose-file stack.json --resolve-image never --prune lab"
    assert client_calls.read_text().splitlines() == [f"{folder}|{version}|{command}" for version in ("v1", "v2", "v2")]


def test_a_deployment_that_the_client_refused_is_tried_again(client_calls: Path, tmp_path: Path):
    folder, applied = bundle_in(tmp_path / "bundle"), tmp_path / "applied"
    refusal = client_calls.with_name("calls.refuse")
    refusal.touch()

    with pytest.raises(subprocess.CalledProcessError) as raised:
        leader.deploy("lab", folder, "v1", applied)
    refusal.unlink()

    assert "out of addresses" in raised.value.stderr
    assert leader.deploy("lab", folder, "v1", applied)


class Host:
    """A host whose program can be run: an engine, metadata, a bundle, and what the group was told."""

    def __init__(self, folder: Path, node: Node, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.node = engine, node
        self.folder, self.state = bundle_in(folder / "bundle"), folder / "state"
        self.state.mkdir()
        self.deployment = deployment_in(self.folder)
        self.told = {"local-ipv4": "10.10.0.9", "instance-id": "i-1"}
        self.completed: list[dict[str, str]] = []
        self.plugins: list[tuple[str, ...]] = []
        self.file = folder / "node.json"
        self.file.write_text(
            json.dumps(
                {
                    **vars(node),
                    "role": node.role.value,
                    "invitations": {role.value: arn for role, arn in node.invitations.items()},
                }
            )
        )
        monkeypatch.setattr(program.docker, "APIClient", lambda **_: engine)
        monkeypatch.setattr(program, "metadata", lambda path: self.told.get(path, ""))
        monkeypatch.setattr(program, "ensure_plugin", lambda _client, *given: self.plugins.append(given))
        # An instance belongs to the group as soon as it is asked of, which the simulator would have to be told of.
        original = boto3.client
        monkeypatch.setattr(
            program.boto3, "client", lambda name, **given: self if name == "autoscaling" else original(name, **given)
        )

    def complete_lifecycle_action(self, **given: str) -> None:
        self.completed.append(given)

    def round(self) -> int:
        return program.main([str(self.file), str(self.folder), str(self.state)])


def test_a_host_that_its_group_ends_leaves_and_tells_the_group(
    secrets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    host = Host(tmp_path, node_of(secrets, "worker", group="lab-workers"), Engine("active"), monkeypatch)
    host.told["autoscaling/target-lifecycle-state"] = "Terminated"

    assert host.round() == 0
    assert host.engine.did("leave") == [(False,)]
    assert host.completed == [
        {
            "LifecycleHookName": "leave",
            "AutoScalingGroupName": "lab-workers",
            "InstanceId": "i-1",
            "LifecycleActionResult": "CONTINUE",
        }
    ]


def test_a_host_that_could_not_leave_does_not_say_that_it_is_ready_to_end(
    secrets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    host = Host(tmp_path, node_of(secrets, "worker", group="lab-workers"), Engine("active"), monkeypatch)
    host.told["autoscaling/target-lifecycle-state"] = "Terminated"
    host.engine.faults["leave"] = refused(500, "context deadline exceeded")

    assert host.round() == 1
    assert host.completed == []


@pytest.mark.parametrize("state", ["", "InService"])
def test_a_worker_in_service_holds_its_images_and_the_homes_driver_and_joins(
    secrets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client_calls: Path, state: str
):
    host = Host(tmp_path, node_of(secrets, "worker", group="lab-workers"), Engine(), monkeypatch)
    host.told["autoscaling/target-lifecycle-state"] = state
    host.engine.present = {"hub@sha256:1"}
    write_invitation(secrets, host.node.invitations[NodeRole.WORKER], Invitation("token", ("10.0.0.1:2377",)))

    assert host.round() == 0
    assert [line.split("|")[2] for line in client_calls.read_text().splitlines()] == ["pull --quiet notebook@sha256:2"]
    assert host.plugins == [("hubstack/lab-homes:1", "hub@sha256:1", str(host.folder / "homes"))]
    assert (host.folder / "homes" / MINIMUM_SIZE_FILE).read_text() == str(64 * 2**20)
    assert [call[0] for call in host.engine.asked] == ["join", "close"]
    assert host.completed == []


def test_a_host_that_cannot_prepare_does_not_join(
    secrets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client_calls: Path
):
    host = Host(tmp_path, node_of(secrets, "worker", group="lab-workers"), Engine(), monkeypatch)
    write_invitation(secrets, host.node.invitations[NodeRole.WORKER], Invitation("token", ("10.0.0.1:2377",)))
    client_calls.with_name("calls.refuse").touch()

    assert host.round() == 1
    assert [call[0] for call in host.engine.asked] == ["close"]


def test_the_leader_invites_places_the_hub_and_deploys_and_a_second_round_changes_nothing(
    secrets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client_calls: Path
):
    nodes = [
        swarm_node("m1", leads=True, updated=datetime.now(UTC)),
        swarm_node("w2", "worker", state="down", updated=datetime.now(UTC) - 11 * MINUTES),
        swarm_node("w3", "worker", state="down", updated=datetime.now(UTC) - 9 * MINUTES),
    ]
    host = Host(tmp_path, node_of(secrets), Engine("active", nodes), monkeypatch)
    host.engine.present = {"hub@sha256:1"}
    put(secrets, host.node.hub_secret, VERSIONS[0], token="t0ken")

    assert host.round() == 0
    for role in NodeRole:
        told = read_invitation(secrets, host.node.invitations[role])
        assert told == Invitation(TOKENS[role.value.title()], ("10.0.0.1:2377",))
    assert [n["ID"] for n in host.engine.held] == ["m1", "w3"]
    assert labelled(host.engine.held) == ["m1"]
    assert len(client_calls.read_text().splitlines()) == 1
    assert (host.folder / "hub").is_dir()

    changes = [call for call in host.engine.asked if call[0] != "close"]
    assert host.round() == 0
    assert [call for call in host.engine.asked if call[0] != "close"] == changes
    assert len(client_calls.read_text().splitlines()) == 1


def test_a_manager_that_does_not_lead_leaves_the_swarm_and_the_stack_alone(
    secrets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client_calls: Path
):
    nodes = [swarm_node("m1"), swarm_node("m2", leads=True), swarm_node("w3", "worker", state="down")]
    host = Host(tmp_path, node_of(secrets), Engine("active", nodes), monkeypatch)
    host.engine.present = {"hub@sha256:1"}

    assert host.round() == 0
    assert [call[0] for call in host.engine.asked] == ["close"]
    assert client_calls.read_text() == ""
    assert read_invitation(secrets, host.node.invitations[NodeRole.WORKER]) is None


def test_a_host_that_waits_comes_back(secrets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    host = Host(tmp_path, node_of(secrets), Engine(), monkeypatch)
    host.engine.present = {"hub@sha256:1"}

    assert host.round() == 1
    assert [call[0] for call in host.engine.asked] == ["close"]


@pytest.mark.parametrize("change", [{"role": "boss"}, {"extra": 1}])
def test_settings_that_a_host_does_not_understand_are_refused(change: dict[str, Any]):
    document = {
        "stack": "lab",
        "role": "worker",
        "founder": False,
        "invitations": {},
        "hub_secret": "",
        "group": "",
        "lifecycle_hook": "",
    }

    assert parse_node(document).role is NodeRole.WORKER
    with pytest.raises((TypeError, ValueError)):
        parse_node({**document, **change})
