"""Small programs under the real CLI, run by the process of the tests: neither Python nor an SDK starts for each."""

import contextlib
import runpy
from collections.abc import Callable
from pathlib import Path

from pulumi import automation

from tests.engine import small_program


def cli(folder: Path, operation: str, *arguments: str, expect: int = 0) -> str:
    """What the CLI printed; as `small_program.cli`, of a stack `one`.

    Args:
        folder: the project's, with the program in `__main__.py`.
        operation: of the CLI, such as `up`.
        arguments: more of its words; of operations that run a program `--expect-no-changes`, `--yes`, `--skip-preview`.
        expect: exit code; anything but 0 where it is to fail.
    """
    if operation not in {"preview", "up"}:
        return small_program.cli(folder, operation, *arguments, expect=expect)
    told: list[str] = []
    unchanged = True if "--expect-no-changes" in arguments else None
    workspace = automation.LocalWorkspace(
        work_dir=str(folder), program=_program(folder), env_vars=small_program.environment(folder)
    )
    stack = automation.Stack.select("one", workspace)
    failed = ""
    try:
        if operation == "preview":
            stack.preview(on_output=told.append, on_error=told.append, expect_no_changes=unchanged)
        else:
            stack.up(on_output=told.append, on_error=told.append, expect_no_changes=unchanged)
    except automation.CommandError as error:
        failed = str(error)
    output = "\n".join(told)
    assert bool(failed) == bool(expect), output + failed
    return output


def _program(folder: Path) -> Callable[[], None]:
    file = folder / "__main__.py"

    def program() -> None:
        # As the CLI runs it: paths are those in the project.
        with contextlib.chdir(folder):
            runpy.run_path(str(file), run_name="__main__")

    return program
