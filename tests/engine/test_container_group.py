"""A group of containers under the real CLI: what people see of a change in its description, and when nothing changes."""

from pathlib import Path
from typing import Any

import pytest

from runtime.container_group import GroupSpec
from tests.engine.small_program import cli, write
from tests.stacks import ROOT, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]


def describe(project: Path, *, subnet: str, capacity: int) -> None:
    """Write a program with a group that has a network, and a text of configuration, but no containers."""
    spec: GroupSpec = {
        "stack": "group-preview",
        "group": "tmp01",
        "networks": {"control": {"subnet": subnet, "internal": True}},
        "containers": {},
        "order": [],
        "texts": {"settings.json": f'{{"capacity": {capacity}, "landing": "/lab"}}'},
    }
    inputs: dict[str, Any] = {"engine": "unix:///var/run/docker.sock", "spec": spec, "images": {}, "secrets": {}}
    write(
        project,
        "from components.docker.container_group import ContainerGroup\n"
        f"ContainerGroup('group-preview-tmp01', {inputs!r})\n",
    )


@pytest.fixture
def group(project: Path, monkeypatch: pytest.MonkeyPatch):
    """A stack with such a group on the engine."""
    needs_engine_and_docker()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    describe(project, subnet="10.219.3.0/26", capacity=16)
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
