"""What stands in the way of a pool on its engines."""

import contextlib
from typing import Any, cast

import docker
import pulumi
import pytest
import requests
from docker.errors import APIError, NotFound

from components.docker import pool_preflight
from components.docker.pool_preflight import EngineShare, image_mistake, memory_mistakes, require_engines
from components.pool_arguments import TmpnbNodePoolArgs
from components.pool_plan import engine_shares

TWO_ENGINES: TmpnbNodePoolArgs = {
    "nodes": [
        {"name": "tmp01", "capacity": 10},
        {"name": "tmp02", "capacity": 20},
        {"name": "tmp03", "engine": "ssh://ops@tmp03.example.org", "image": f"own@sha256:{'1' * 64}"},
    ],
    "nodeImage": f"node@sha256:{'0' * 64}",
}


def share(engine: str = "unix:///var/run/docker.sock") -> EngineShare:
    return next(one for one in engine_shares("pool", TWO_ENGINES) if one.engine == engine)


def refused(status: int) -> APIError:
    response = requests.Response()
    response.status_code = status
    return (NotFound if status == requests.codes.not_found else APIError)("refused", response, "no such manifest")


class Registry:
    """An engine without an image, whose registry knows it or not."""

    def __init__(self, *, known: bool) -> None:
        self.known = known

    def inspect_image(self, _image: str) -> None:
        raise refused(404)

    def inspect_distribution(self, _image: str) -> dict[str, Any]:
        if not self.known:
            raise refused(401)
        return {}


def test_each_engine_is_asked_once_for_all_of_its_nodes_and_the_redirector():
    here, there = share(), share("ssh://ops@tmp03.example.org")

    assert [node.name for node in here.nodes] == ["tmp01", "tmp02"]
    assert set(here.ports) == {8443, 8444, 8445, 10001, 10002}
    assert [node.name for node in there.nodes] == ["tmp03"]
    assert there.images == (f"node@sha256:{'0' * 64}", f"own@sha256:{'1' * 64}")


def test_all_servers_of_an_engine_must_fit_its_memory_beside_the_platform():
    # Each node's own containers have limits of 1,088 MiB together, the redirector's of 512, and the system gets as much.
    enough = (30 * 1024 + 2 * 1088 + 512 + 512) * 2**20
    [mistake] = memory_mistakes(share(), enough - 2**20)

    assert "33.1 GiB of memory" in mistake
    assert "may take 30.0 GiB beside 3.1 GiB for the pool's containers and the system" in mistake
    assert "tmp01 (10 x 1.0 GiB), tmp02 (20 x 1.0 GiB)" in mistake
    assert memory_mistakes(share(), enough) == []


def test_an_engine_without_the_redirector_needs_memory_for_its_node_alone():
    there, mebibyte = share("ssh://ops@tmp03.example.org"), 2**20

    assert there.platform_bytes == 1088 * mebibyte
    assert share().platform_bytes == (2 * 1088 + 512) * mebibyte


@pytest.mark.parametrize("known", [True, False])
def test_an_image_that_neither_the_engine_nor_its_registry_has_is_named(known: bool):
    mistake = image_mistake(cast("docker.APIClient", Registry(known=known)), "lab/notebook@sha256:0")

    assert bool(mistake) is not known
    assert known or "lab/notebook@sha256:0" in mistake


def test_what_is_wrong_on_all_engines_is_listed_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool_preflight, "engine_mistakes", lambda one: [f"{one.engine} is too small"])

    with pytest.raises(pulumi.RunError) as raised:
        require_engines(engine_shares("pool", TWO_ENGINES))

    assert "2 mistake(s)" in str(raised.value)
    assert "ssh://ops@tmp03.example.org is too small" in str(raised.value)


def test_an_engine_that_does_not_answer_is_named():
    [mistake] = pool_preflight.engine_mistakes(EngineShare("unix:///nowhere.sock", "pool", (), (), (), "10.217.0.0/16"))

    assert "no Docker engine answers at unix:///nowhere.sock" in mistake
    assert "if that machine is gone for good, set HUBSTACK_LOST_ENGINES=unix:///nowhere.sock" in mistake


def test_a_lost_engine_is_passed_over_with_a_warning_and_the_others_are_asked(
    monkeypatch: pytest.MonkeyPatch,
):
    told: list[str] = []
    monkeypatch.setattr(pulumi, "warn", told.append)
    monkeypatch.setattr(pool_preflight, "engine_mistakes", lambda one: [f"{one.engine} is too small"])
    monkeypatch.setenv("HUBSTACK_LOST_ENGINES", "ssh://ops@tmp03.example.org")

    with pytest.raises(pulumi.RunError, match=r"1 mistake.*\n.*unix:///var/run/docker.sock is too small"):
        require_engines(engine_shares("pool", TWO_ENGINES))

    assert [warning.partition(":")[0] for warning in told] == ["nothing is asked of the engine at ssh"]


def test_an_engine_over_tcp_is_never_asked_without_tls(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)

    [mistake] = pool_preflight.engine_mistakes(EngineShare("tcp://127.0.0.1:1", "pool", (), (), (), "10.217.0.0/16"))

    assert "DOCKER_CERT_PATH" in mistake


@pytest.mark.parametrize(
    "engine", ["http://127.0.0.1:1", "127.0.0.1:1", "TCP://127.0.0.1:1", "https://127.0.0.1:1", ""]
)
def test_an_engine_by_another_kind_of_address_is_not_asked(engine: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(docker, "APIClient", lambda **_options: pytest.fail("asked"))

    [mistake] = pool_preflight.engine_mistakes(EngineShare(engine, "pool", (), (), (), "10.217.0.0/16"))

    assert f"{engine!r} is no engine's address" in mistake
    assert "hubstack:tmpnb.nodes" in mistake


def test_an_engine_that_goes_away_while_it_is_asked_is_named(monkeypatch: pytest.MonkeyPatch):
    class GoneAway:
        def info(self) -> dict[str, Any]:
            raise requests.ConnectionError("reset by peer")

    monkeypatch.setattr(pool_preflight, "engine_client", lambda _engine: contextlib.nullcontext(GoneAway()))

    assert pool_preflight.engine_mistakes(share("ssh://ops@tmp03.example.org")) == [
        "the engine at ssh://ops@tmp03.example.org stopped answering (reset by peer); try again"
    ]


def test_an_engine_over_ssh_needs_the_program_ssh(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")

    [mistake] = pool_preflight.engine_mistakes(EngineShare("ssh://ops@a", "pool", (), (), (), "10.217.0.0/16"))

    assert mistake.startswith("ssh://ops@a is asked through the program ssh, which is missing: install it")
