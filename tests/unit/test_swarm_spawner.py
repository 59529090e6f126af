"""What the hub's spawner says of a server, by what the engine answers."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from docker.errors import APIError, NotFound
from requests import Response

from runtime.hub import spawner as spawner_module
from runtime.hub.spawner import ENDED, HubstackSpawner

RUNS = ("new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running")


def answer(status: int) -> Response:
    made = Response()
    made.status_code = status
    return made


def spawner(monkeypatch: pytest.MonkeyPatch, answers: list[Any], state: str = "running") -> HubstackSpawner:
    """A server's spawner at an engine that gives these answers in turn when it is asked for the service."""
    made = HubstackSpawner(user=SimpleNamespace(name="ada", escaped_name="ada"), hub=SimpleNamespace())
    monkeypatch.setattr(spawner_module, "ENGINE_PAUSE_SECONDS", 0)

    async def engine(method: str, *_given: object, **_named: object) -> Any:
        if method == "tasks":
            return [{"Status": {"State": state}}]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(made, "docker", engine)
    return made


@pytest.mark.parametrize("state", RUNS)
def test_a_server_on_its_way_to_a_node_has_not_ended(monkeypatch: pytest.MonkeyPatch, state: str):
    assert asyncio.run(spawner(monkeypatch, [{"ID": "x"}], state).poll()) is None


@pytest.mark.parametrize("state", sorted(ENDED))
def test_a_server_that_ended_says_how(monkeypatch: pytest.MonkeyPatch, state: str):
    assert asyncio.run(spawner(monkeypatch, [{"ID": "x"}], state).poll()) == state


def test_a_service_that_is_gone_has_ended(monkeypatch: pytest.MonkeyPatch):
    gone = NotFound("service lab-user-ada not found", response=answer(404))

    assert asyncio.run(spawner(monkeypatch, [gone]).poll()) == 0


def test_a_swarm_without_a_leader_for_a_moment_ends_nobodys_server(monkeypatch: pytest.MonkeyPatch):
    leaderless = APIError("rpc error: The swarm does not have a leader", response=answer(500))

    assert asyncio.run(spawner(monkeypatch, [leaderless, leaderless, {"ID": "x"}]).poll()) is None


def test_an_engine_that_cannot_say_is_an_error_and_no_end(monkeypatch: pytest.MonkeyPatch):
    leaderless = APIError("rpc error: The swarm does not have a leader", response=answer(500))

    with pytest.raises(APIError):
        asyncio.run(cast("Any", spawner(monkeypatch, [leaderless]).poll()))
