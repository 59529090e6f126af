"""Removing what the engine may hold for a moment longer, on an engine that answers from memory."""

from typing import Any, cast

import docker
import pytest
import requests
from docker.errors import APIError, NotFound

from components.docker.removal import what_holds


class Engine:
    """It has one network; `answer` is what it says when that is to be removed."""

    def __init__(self, answer: APIError | None = None, members: tuple[str, ...] = ()) -> None:
        self.answer, self.members, self.asked = answer, members, False

    def inspect_network(self, _network: str) -> dict[str, Any]:
        return {"Containers": {member: {"Name": member} for member in self.members}}

    def disconnect_container_from_network(self, *_of: Any, **_options: Any) -> None:
        pass

    def remove_network(self, _network: str) -> None:
        self.asked = True
        if self.answer:
            raise self.answer


def holds(engine: Engine) -> str:
    return what_holds(cast("docker.APIClient", engine), "net")


def refusal(status: int, explanation: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return (NotFound if status == requests.codes.not_found else APIError)("refused", response, explanation)


def test_a_network_with_a_container_on_it_is_not_taken_from_the_swarm():
    engine = Engine(members=("lb-net", "0a1b"))

    assert holds(engine) == "a container is on it still"
    assert not engine.asked


def test_a_network_with_its_load_balancer_alone_is_removed():
    engine = Engine(members=("lb-net",))

    assert holds(engine) == ""
    assert engine.asked


def test_a_network_that_the_swarm_has_forgotten_is_gone_although_the_node_lists_it():
    assert holds(Engine(refusal(500, "network o098hwthdh00 not found"))) == ""


def test_any_other_refusal_is_told():
    assert holds(Engine(refusal(500, "network net is in use by task x"))) == "network net is in use by task x"


def test_a_network_that_is_gone_says_so():
    with pytest.raises(NotFound):
        holds(Engine(refusal(404, "network net not found")))
