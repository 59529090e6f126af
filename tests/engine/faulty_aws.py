"""A simulated AWS that refuses a call, or carries one out and never answers, and an engine that dies meanwhile."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
