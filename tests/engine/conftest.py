"""A project that holds nothing but a small program."""

from pathlib import Path

import pytest

from tests.engine.small_program import PROJECT, cli, write
from tests.stacks import ROOT, needs_pulumi


@pytest.fixture
def project(tmp_path: Path):
    """A folder with a small program and a stack `one`."""
    needs_pulumi()
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "Pulumi.yaml").write_text(PROJECT)
    (tmp_path / "state").mkdir()
    write(tmp_path, "import pulumi\npulumi.export('answer', 42)\n")
    cli(tmp_path, "stack", "init", "one")
    return tmp_path
