"""Running long commands with a sign of life, a time limit and one retry."""

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

QUIET_SECONDS = 2
"""What takes longer says so."""

REPORT_SECONDS = 30


class CommandFailedError(Exception):
    """A command failed twice, or ran out of time twice; its message names what was being made."""


def run(
    what: str,
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limit: float = 1200,
) -> str:
    """Run `command` and return its output; a second try follows a failure, for a download that hung or broke.

    Args:
        what: what the command makes, as progress and errors name it.
        command: the program and its arguments.
        folder: where it runs. Default: here.
        environment: its environment. Default: this process's.
        limit: seconds that one try may take.

    Raises:
        CommandFailedError: both tries failed.
    """
    failure = ""
    for attempt in (1, 2):
        with _SignOfLife(what):
            try:
                done = subprocess.run(
                    command, cwd=folder, env=environment, timeout=limit, capture_output=True, text=True, check=False
                )
            except subprocess.TimeoutExpired:
                failure = f"it took longer than {limit:.0f} s"
            except OSError as error:
                raise CommandFailedError(f"{what}: {command[0]} cannot be run: {error.strerror}") from error
            else:
                if done.returncode == 0:
                    return done.stdout
                failure = (done.stderr or done.stdout).strip()[-2000:]
        if attempt == 1:
            say(f"{what} failed, trying once more: {failure.splitlines()[-1] if failure else 'no message'}")
    raise CommandFailedError(f"{what} failed twice: {failure}")


def say(line: str) -> None:
    """Tell the user something, on standard error: standard output is for results."""
    print(f"hubstack: {line}", file=sys.stderr, flush=True)


class _SignOfLife:
    def __init__(self, what: str) -> None:
        self._what = what
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _report(self) -> None:
        start, wait = time.monotonic(), float(QUIET_SECONDS)
        while not self._done.wait(wait):
            say(f"{self._what} … {time.monotonic() - start:.0f} s")
            wait = REPORT_SECONDS
