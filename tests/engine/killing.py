"""Killing a program with all that it started, at a moment that the test chooses."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def killed(command: list[str], folder: Path, environment: dict[str, str], when: Callable[[], bool]) -> None:
    """Start the command, and kill it with all that it started, as a loss of power does, as soon as `when` holds."""
    running = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not when():
            assert running.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "what it was to be killed at never came"
            time.sleep(0.05)
    finally:
        for process in [running.pid, *descendants(running.pid)]:
            # One that another of them had started may have ended with it.
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        running.wait()


def descendants(process: int) -> list[int]:
    """Ids of everything that the process started; the engine's plugins have process groups of their own."""
    found: list[int] = []
    for task in Path("/proc", str(process), "task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found
