"""How a node's service notices that its engine was restarted under it."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.tmpnb_node.engine_socket import LOOK_SECONDS, LOOKS, SOCKET, is_deleted, socket_path, until_cut_off


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A socket's file where the engine made it, and as a container holds it."""
    file = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(file))
        descriptor = os.open(file, os.O_PATH)
        yield file, Path(f"/proc/self/fd/{descriptor}")
        os.close(descriptor)


def test_a_socket_whose_file_was_deleted_leads_nowhere(held: tuple[Path, Path]) -> None:
    file, mounted = held
    assert not is_deleted(mounted)
    file.unlink()
    assert is_deleted(mounted)


def test_a_socket_that_is_found_by_its_path_is_never_given_up(tmp_path: Path) -> None:
    assert not is_deleted(tmp_path / "docker.sock")


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, Path(SOCKET)),
        ({"DOCKER_HOST": ""}, Path(SOCKET)),
        ({"DOCKER_HOST": "unix:///run/other.sock"}, Path("/run/other.sock")),
        ({"DOCKER_HOST": "tcp://engine:2376"}, None),
    ],
)
def test_the_socket_is_the_one_that_the_engine_is_asked_through(environment: dict[str, str], path: Path | None) -> None:
    assert socket_path(environment) == path


def test_it_is_given_up_after_several_looks_in_a_row(held: tuple[Path, Path]) -> None:
    file, mounted = held
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            file.unlink()

    asyncio.run(until_cut_off(mounted, sleep))
    assert slept == [LOOK_SECONDS] * (2 + LOOKS)


@pytest.mark.parametrize("known", [True, False])
def test_an_engine_that_is_reached_otherwise_or_goes_on_is_never_given_up(held: tuple[Path, Path], known: bool) -> None:
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 10 * LOOKS:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(until_cut_off(held[1] if known else None, sleep))
