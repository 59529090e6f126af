"""A simulated AWS that refuses a call, or carries one out and never answers, and an engine that dies meanwhile."""

import functools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from moto.core.responses import BaseResponse

Call = tuple[type[BaseResponse], str]
"""One of the simulator's calls: who answers it, and the method that does."""


@contextmanager
def refused(call: Call, error: Exception) -> Iterator[None]:
    """Every such call answers with the error."""

    def refuse(_response: BaseResponse) -> Any:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*call, refuse)
        yield


class Unanswered:
    """The calls that were carried out and still wait for their answer."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.over = threading.Event()

    def holding(self, name: str, carry_out: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(carry_out)
        def hold(*arguments: Any, **named: Any) -> Any:
            answer = carry_out(*arguments, **named)
            self.names.append(name)
            self.over.wait()
            return answer

        return hold


@contextmanager
def unanswered(*calls: Call) -> Iterator[Unanswered]:
    """Each such call is carried out, and its answer kept back as long as the context lasts."""
    held = Unanswered()
    with pytest.MonkeyPatch.context() as patch:
        for responder, method in calls:
            patch.setattr(responder, method, held.holding(method, getattr(responder, method)))
        try:
            yield held
        finally:
            held.over.set()


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
