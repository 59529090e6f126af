"""The state of a stack whose writing was cut short by a kill."""

import json
from pathlib import Path

import pytest

from toolchain.interrupted import restore_torn_state

BEFORE = json.dumps({"version": 3, "checkpoint": {"stack": "dev"}})


def stacks_file(folder: Path, text: str, copy: str | None) -> Path:
    file = folder / ".pulumi" / "stacks" / "hubstack" / "dev.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    if copy is not None:
        file.with_name("dev.json.bak").write_text(copy)
    return file


@pytest.mark.parametrize("torn", ["", '{"version": 3, "check'])
def test_a_torn_state_is_replaced_by_the_one_before_it(tmp_path: Path, torn: str, capsys: pytest.CaptureFixture[str]):
    file = stacks_file(tmp_path, torn, BEFORE)

    assert restore_torn_state(tmp_path, "dev")
    assert file.read_text() == BEFORE
    assert "dev.json" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "copy"), [('{"version": 3}', BEFORE), ("", None), ("", ""), ('{"version": 3}', "")])
def test_a_whole_state_stays_and_nothing_takes_the_place_of_a_torn_one_without_a_copy(
    tmp_path: Path, text: str, copy: str | None
):
    file = stacks_file(tmp_path, text, copy)

    assert not restore_torn_state(tmp_path, "dev")
    assert file.read_text() == text


def test_another_stack_is_left_alone(tmp_path: Path):
    file = stacks_file(tmp_path, "", BEFORE)

    assert not restore_torn_state(tmp_path, "prod")
    assert file.read_text() == ""
