"""An update waits for its hub to answer."""

from collections.abc import Callable
from typing import Any

import pytest
from docker.errors import NotFound

from components import SwarmCluster
from components.docker import hub_readiness
from components.docker.hub_readiness import HubNotReadyError, wait_for_hub
from tests.unit.recording import record


class Engine:
    """An engine whose commands in containers end as told, one after the other."""

    def __init__(self, *exit_codes: int | Exception) -> None:
        self.exit_codes, self.asked = list(exit_codes), list[tuple[str, str]]()

    def containers(self, filters: dict[str, str], all: bool) -> list[dict[str, Any]]:  # noqa: A002  (the name of docker-py)
        service = filters["label"].removeprefix("com.docker.swarm.service.name=")
        return [{"Id": f"{service}.2"}, {"Id": f"{service}.1"}] if all else [{"Id": f"{service}.2"}]

    def exec_create(self, container: str, command: list[str]) -> dict[str, str]:
        self.asked.append((container, command[-1]))
        if self.exit_codes and isinstance(self.exit_codes[0], Exception):
            raise self.exit_codes.pop(0)  # pyright: ignore[reportGeneralTypeIssues]  (it is an exception, as said above)
        return {"Id": "command"}

    def exec_start(self, _command: str) -> None:
        pass

    def exec_inspect(self, _command: str) -> dict[str, Any]:
        return {"ExitCode": self.exit_codes.pop(0) if self.exit_codes else 1}

    def logs(self, container: str, tail: int) -> bytes:
        return f"{container} says goodbye\n".encode()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """A clock that only pauses put forward."""
    passed = [0.0]
    monkeypatch.setattr(hub_readiness.time, "sleep", lambda seconds: passed.append(passed[-1] + seconds))
    monkeypatch.setattr(hub_readiness.time, "monotonic", lambda: passed[-1])
    return lambda: passed[-1]


def wait(engine: Engine) -> None:
    wait_for_hub(engine, hub_service="lab-hub", tls_service="lab-tls-proxy")  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("clock")
def test_the_hub_is_asked_through_both_proxies_until_it_answers():
    engine = Engine(1, 1, 0)

    wait(engine)

    assert len(engine.asked) == 3
    container, question = engine.asked[-1]
    assert container == "lab-tls-proxy.2"
    assert "https://127.0.0.1:8443/hub/health" in question


@pytest.mark.usefixtures("clock")
def test_a_container_that_ends_while_it_is_asked_is_one_more_wait():
    engine = Engine(NotFound("gone"), 0)

    wait(engine)

    assert len(engine.asked) == 2


def test_a_hub_that_never_answers_fails_the_update_with_its_last_words(clock: Callable[[], float]):
    with pytest.raises(HubNotReadyError, match=r"docker service ps --no-trunc lab-hub;(?s:.*)lab-hub\.2 says goodbye"):
        wait(Engine())

    assert clock() >= hub_readiness.READY_SECONDS


def test_a_hub_is_waited_for_again_when_a_service_is_another_and_not_otherwise():
    def definition(port: int) -> str:
        graph = record(lambda: SwarmCluster("hub", {"users": [{"name": "ada"}], "addressPool": f"10.{port}.0.0/16"}))
        [found] = [r for r in graph.registrations if r.name == "hub-hub-readiness"]
        return found.properties["made_of"]

    assert definition(215) == definition(215)
    assert definition(215) != definition(216)


def test_the_hub_is_waited_for_after_all_of_its_services():
    graph = record(lambda: SwarmCluster("hub", {"users": [{"name": "ada"}]}))
    urns = {r.name: r.urn for r in graph.registrations}
    [found] = [r for r in graph.registrations if r.name == "hub-hub-readiness"]

    assert {urns[f"hub-{name}"] for name in ("hub", "proxy", "tls-proxy")} <= set(found.dependencies)
