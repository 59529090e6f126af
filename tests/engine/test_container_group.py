"""A group of containers under the real CLI: what people see of a change in its description, and when nothing changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from runtime.container_group import STACK_LABEL, ContainerSpec, GroupSpec
from tests.engine.project_images import image
from tests.engine.small_program import cli, write
from tests.stacks import ROOT, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]


SOCKET = "/var/run/docker.sock"
STACK = "group-preview"
FAILED = 1


def describe(
    project: Path,
    *,
    subnet: str = "10.219.3.0/26",
    capacity: int = 16,
    socket: str = SOCKET,
    containers: Mapping[str, ContainerSpec] | None = None,
    images: Mapping[str, str] | None = None,
) -> None:
    """Write a program with a group that has a network, and a text of configuration, and no containers unless some are given."""
    spec: GroupSpec = {
        "stack": STACK,
        "group": "tmp01",
        "networks": {"control": {"subnet": subnet, "internal": True}},
        "containers": containers or {},
        "order": list(containers or {}),
        "texts": {"settings.json": f'{{"capacity": {capacity}, "landing": "/lab"}}'},
    }
    inputs: dict[str, Any] = {"engine": f"unix://{socket}", "spec": spec, "images": images or {}, "secrets": {}}
    write(
        project,
        "from components.docker.container_group import ContainerGroup\n"
        f"ContainerGroup('group-preview-tmp01', {inputs!r})\n",
    )


def on_the_engine() -> list[str]:
    """Names of containers, networks and volumes of the group."""
    engine = docker.APIClient(version="auto")
    mine = {"label": [f"{STACK_LABEL}={STACK}"]}
    names = [name for found in engine.containers(all=True, filters=mine) for name in found["Names"]]
    names += [found["Name"] for found in engine.networks(filters=mine)]
    return names + [found["Name"] for found in engine.volumes(filters=mine)["Volumes"] or []]


@pytest.fixture
def group(project: Path, monkeypatch: pytest.MonkeyPatch):
    """A stack with such a group on the engine."""
    needs_engine_and_docker()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    describe(project)
    cli(project, "up", "--yes", "--skip-preview")
    yield project
    cli(project, "destroy", "--yes", "--skip-preview")


def changed_lines(output: str) -> list[str]:
    """What a preview marks as different, without the marks."""
    lines = [line.strip() for line in output.splitlines()]
    return [line[1:].strip() for line in lines if line.startswith(("~", "-", "+"))]


def test_a_preview_names_what_differs_in_a_description(group: Path):
    describe(group, subnet="10.219.3.64/26", capacity=16)

    shown = changed_lines(cli(group, "preview", "--diff"))

    assert any(line.startswith("subnet") and "10.219.3.0/26" in line and "10.219.3.64/26" in line for line in shown)
    assert not any("settings.json" in line for line in shown)


def test_a_preview_names_what_differs_in_the_settings_that_a_container_is_handed(group: Path):
    describe(group, subnet="10.219.3.0/26", capacity=32)

    shown = changed_lines(cli(group, "preview", "--diff"))

    assert any(line.startswith("capacity") and "16" in line and "32" in line for line in shown)
    assert not any("landing" in line for line in shown)


def test_a_group_that_is_as_described_is_left_alone(group: Path):
    cli(group, "preview", "--expect-no-changes")


def test_a_group_that_could_not_be_made_is_neither_in_the_state_nor_on_the_engine(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    needs_engine_and_docker()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    well: ContainerSpec = {
        "role": "service",
        "image": "node",
        "command": ["sleep", "60"],
        "cpu": 0.5,
        "memory_bytes": 2**26,
        "processes": 8,
        "networks": {"control": {}},
        "texts": ["settings.json"],
        "volumes": {"state": "/srv/state"},
    }
    failing: ContainerSpec = {
        **well,
        "command": ["sh", "-c", "echo it cannot; false"],
        "health": ["true"],
        "volumes": {},
    }
    describe(project, containers={"well": well, "failing": failing}, images={"node": image("tmpnb-node")})

    told = cli(project, "up", "--yes", "--skip-preview", expect=FAILED)

    assert "container group-preview-tmp01-failing does not work" in told
    assert "it cannot" in told
    assert on_the_engine() == []
    assert "group-preview-tmp01" not in cli(project, "stack", "export")


def test_a_group_on_an_engine_that_is_gone_is_forgotten_when_that_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    needs_engine_and_docker()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    socket = tmp_path / "engine.sock"
    socket.symlink_to(SOCKET)
    describe(project, socket=str(socket))
    cli(project, "up", "--yes", "--skip-preview")
    try:
        socket.unlink()
        write(project, "")
        told = cli(project, "up", "--yes", "--skip-preview", expect=FAILED)
        assert f"set HUBSTACK_LOST_ENGINES=unix://{socket}" in told

        monkeypatch.setenv("HUBSTACK_LOST_ENGINES", f"unix://{socket}")
        told = cli(project, "up", "--yes", "--skip-preview")
        assert "group-preview-tmp01 is forgotten and not removed" in told
        assert "group-preview-tmp01" not in cli(project, "stack", "export")
        assert on_the_engine() == ["group-preview-tmp01-control"]
    finally:
        docker.APIClient(version="auto").remove_network("group-preview-tmp01-control")
