"""Kernels that are started before anybody asks for one: how they are kept, taken and made to fit a request."""

import ast
import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets.config import Config

IMAGE = Path(__file__).parents[2] / "images/notebook"
LOG = logging.getLogger("warm")
NEVER = 3600.0


def names_of(file: str, **given_names: object) -> dict[str, Any]:
    """What a file of the image defines. An import would leave bytecode beside it, in the image's build context."""
    names: dict[str, Any] = {"__name__": file, **given_names}
    exec(compile((IMAGE / file).read_text(), file, "exec"), names)
    return names


MODULE = names_of("warm_pool.py")
WarmPool, late_variables, placing_code = MODULE["WarmPool"], MODULE["late_variables"], MODULE["placing_code"]


class Kernels:
    """Kernels in memory, which are numbered as they are started."""

    def __init__(self, size: int, *, pause_seconds: float = NEVER) -> None:
        self.started = 0
        self.dead: set[int] = set()
        self.ended: list[int] = []
        self.failing = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.pool = WarmPool(
            size, start=self.start, alive=self.alive, end=self.end, log=LOG, pause_seconds=pause_seconds
        )

    async def start(self) -> int:
        self.started += 1
        number = self.started
        if self.failing:
            raise RuntimeError("no such kernel")
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.ended.append(number)
            raise
        return number

    async def alive(self, number: int) -> bool:
        await self.may_tell.wait()
        await asyncio.sleep(0)
        return number not in self.dead

    async def end(self, number: int) -> None:
        self.ended.append(number)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it never comes to that")


async def turns() -> None:
    """Let everything run that waits for nothing."""
    for _ in range(50):
        await asyncio.sleep(0)


def run_without_waiting(scenario: Coroutine[Any, Any, None]) -> None:
    """Run it on a clock that leaps to the next moment at which something is to happen."""
    with asyncio.Runner() as runner:
        loop: Any = runner.get_loop()
        now = 0.0
        select = loop._selector.select

        def leap(timeout: float) -> Any:
            nonlocal now
            now += timeout
            return select(0)

        loop.time, loop._selector.select = lambda: now, leap
        runner.run(scenario)
        loop._selector.select = select


def test_as_many_kernels_as_asked_for_run_before_anybody_asks():
    async def scenario() -> None:
        kernels = Kernels(3)
        assert await kernels.pool.take() is None
        kernels.pool.open()
        await turns()

        assert kernels.started == 3
        assert await kernels.pool.take() in {1, 2, 3}

    asyncio.run(scenario())


def test_it_is_told_how_many_kernels_answer_by_now():
    async def scenario() -> None:
        kernels = Kernels(2, pause_seconds=10)
        kernels.may_answer.clear()
        kernels.pool.open()
        await turns()
        assert (kernels.pool.size, kernels.pool.ready) == (2, 0)
        kernels.may_answer.set()
        await turns()
        assert kernels.pool.ready == 2
        await kernels.pool.take()
        assert kernels.pool.ready == 1
        kernels.failing = True
        await asyncio.sleep(15)
        assert kernels.started == 3, "one that could not be started does not count"
        assert (kernels.pool.size, kernels.pool.ready) == (2, 1)

    run_without_waiting(scenario())


@given(size=st.integers(0, 5), requests=st.integers(0, 10))
def test_nobody_gets_the_kernel_of_somebody_else(size: int, requests: int):
    async def scenario() -> None:
        kernels = Kernels(size)
        kernels.pool.open()
        await turns()
        taken = await asyncio.gather(*(kernels.pool.take() for _ in range(requests)))

        handed_out = [number for number in taken if number is not None]
        assert len(handed_out) == min(size, requests) == len(set(handed_out))

    asyncio.run(scenario())


def test_a_kernel_that_was_taken_is_replaced_after_the_pause_and_not_before():
    async def scenario() -> None:
        kernels = Kernels(2, pause_seconds=10)
        kernels.pool.open()
        await asyncio.sleep(5)
        await kernels.pool.take()
        await asyncio.sleep(9)
        assert kernels.started == 2
        await asyncio.sleep(2)

        assert kernels.started == 3
        assert kernels.ended == []
        assert len({await kernels.pool.take(), await kernels.pool.take()}) == 2

    run_without_waiting(scenario())


def test_a_hand_out_puts_off_the_replacement_of_an_earlier_one():
    async def scenario() -> None:
        kernels = Kernels(2, pause_seconds=10)
        kernels.pool.open()
        await asyncio.sleep(5)
        await kernels.pool.take()
        await asyncio.sleep(6)
        await kernels.pool.take()
        await asyncio.sleep(9)
        assert kernels.started == 2
        await asyncio.sleep(2)

        assert kernels.started == 4

    run_without_waiting(scenario())


def test_who_asks_while_the_kernel_starts_gets_it_when_it_answers():
    async def scenario() -> None:
        kernels = Kernels(1)
        kernels.may_answer.clear()
        kernels.pool.open()
        await turns()
        request = asyncio.create_task(kernels.pool.take())
        await turns()
        assert not request.done()
        kernels.may_answer.set()

        assert await request == 1
        assert kernels.started == 1

    asyncio.run(scenario())


def test_a_request_that_is_given_up_leaves_no_half_started_kernel():
    async def scenario() -> None:
        kernels = Kernels(1)
        kernels.may_answer.clear()
        kernels.pool.open()
        await turns()
        request = asyncio.create_task(kernels.pool.take())
        await turns()
        request.cancel()
        await turns()

        assert kernels.ended == [1]

    asyncio.run(scenario())


def test_a_dead_kernel_is_ended_and_never_handed_out():
    async def scenario() -> None:
        kernels = Kernels(2)
        kernels.pool.open()
        await turns()
        kernels.dead = {1}

        assert await kernels.pool.take() == 2
        assert await kernels.pool.take() is None
        assert kernels.ended == [1]

    asyncio.run(scenario())


def test_a_kernel_that_died_while_nobody_asked_is_replaced():
    async def scenario() -> None:
        kernels = Kernels(2, pause_seconds=0)
        kernels.pool.open()
        await until(lambda: kernels.started == 2)
        kernels.dead = {2}
        await until(lambda: kernels.started == 3)

        assert kernels.ended == [2]
        assert {await kernels.pool.take(), await kernels.pool.take()} == {1, 3}

    asyncio.run(scenario())


def test_a_dead_kernel_that_is_asked_for_as_it_is_found_dead_is_ended_once_and_replaced():
    async def scenario() -> None:
        kernels = Kernels(1, pause_seconds=10)
        kernels.pool.open()
        await asyncio.sleep(5)
        kernels.dead = {1}
        kernels.may_tell.clear()
        await asyncio.sleep(6)
        request = asyncio.create_task(kernels.pool.take())
        await turns()
        kernels.may_tell.set()
        assert await request is None
        await asyncio.sleep(21)

        assert kernels.ended == [1]
        assert await kernels.pool.take() == 2

    run_without_waiting(scenario())


def test_a_start_that_fails_is_logged_and_tried_again_and_requests_go_on_without(caplog: pytest.LogCaptureFixture):
    async def scenario() -> None:
        kernels = Kernels(1, pause_seconds=0)
        kernels.failing = True
        kernels.pool.open()
        await until(lambda: kernels.started >= 2)
        assert await kernels.pool.take() is None
        kernels.failing = False
        started = kernels.started
        await until(lambda: kernels.started > started)
        await turns()

        assert await kernels.pool.take() is not None

    asyncio.run(scenario())

    assert "no such kernel" in caplog.text


def test_failing_to_end_a_kernel_stops_neither_requests_nor_the_others_end(caplog: pytest.LogCaptureFixture):
    async def scenario() -> None:
        kernels = Kernels(3)
        end = kernels.end

        async def end_or_fail(number: int) -> None:
            if number < 3:
                raise OSError(f"{number} is stuck")
            await end(number)

        kernels.pool = WarmPool(3, start=kernels.start, alive=kernels.alive, end=end_or_fail, log=LOG)
        kernels.pool.open()
        await turns()
        kernels.dead = {1}
        assert await kernels.pool.take() == 2
        await kernels.pool.discard(2)
        await kernels.pool.close()
        assert kernels.ended == [3]

    asyncio.run(scenario())

    assert "1 is stuck" in caplog.text
    assert "2 is stuck" in caplog.text


def test_closing_ends_every_kernel_that_nobody_took_even_those_that_start():
    async def scenario() -> None:
        kernels = Kernels(4, pause_seconds=0)
        kernels.pool.open()
        await turns()
        kernels.may_answer.clear()
        taken = await kernels.pool.take()
        await until(lambda: kernels.started == 5)
        await kernels.pool.close()

        assert sorted([*kernels.ended, taken]) == [1, 2, 3, 4, 5]
        await turns()
        assert kernels.started == 5
        assert await kernels.pool.take() is None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("wanted", "launched", "late"),
    [
        ({"A": "1"}, {"A": "1"}, {}),
        ({"A": "1", "JPY_SESSION_NAME": "/a.ipynb"}, {"A": "1"}, {"JPY_SESSION_NAME": "/a.ipynb"}),
        ({"JPY_SESSION_NAME": "/a"}, {"JPY_SESSION_NAME": "/b"}, {"JPY_SESSION_NAME": "/a"}),
        ({"A": "2"}, {"A": "1"}, None),
        ({"A": "1", "PYTHONPATH": "/x"}, {"A": "1"}, None),
        ({}, {"A": "1"}, None),
    ],
)
def test_a_running_kernel_fits_a_request_that_differs_in_the_sessions_name_alone(
    wanted: dict[str, str], launched: dict[str, str], late: dict[str, str] | None
):
    assert late_variables(wanted, launched) == late


@pytest.mark.parametrize("name", ["work", 'it\'s {a} "name"\\n', "straße"])
def test_a_kernel_that_was_placed_is_as_if_started_there_and_has_no_name_more(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", "before")
    folder = tmp_path / name
    folder.mkdir()
    history = [tmp_path]
    names: dict[str, Any] = {"_dh": history}
    exec(placing_code(str(folder), {"JPY_SESSION_NAME": f"{folder}/a.ipynb"}), names)

    assert Path.cwd() == folder
    assert os.environ["JPY_SESSION_NAME"] == f"{folder}/a.ipynb"
    assert history == [folder]
    names.pop("__builtins__")
    assert names == {"_dh": history, "__session__": f"{folder}/a.ipynb"}


def test_without_a_session_only_the_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    names: dict[str, Any] = {}
    exec(placing_code(str(tmp_path), {}), names)

    assert Path.cwd() == tmp_path
    assert set(names) == {"__builtins__"}


def test_a_folder_that_cannot_be_entered_is_an_error_of_the_kernel(tmp_path: Path):
    with pytest.raises(OSError, match="gone"):
        exec(placing_code(str(tmp_path / "gone"), {}), {})


def configured() -> Config:
    c = Config()
    names_of("jupyter_server_config.py", get_config=lambda: c)
    return c


@pytest.mark.parametrize("value", [None, "0"])
def test_a_server_that_is_not_told_otherwise_keeps_its_own_kernel_manager(
    value: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("HUBSTACK_WARM_KERNELS", raising=False)
    if value is not None:
        monkeypatch.setenv("HUBSTACK_WARM_KERNELS", value)

    assert configured() == Config()


def test_the_variable_says_how_many_kernels_the_class_in_the_image_keeps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HUBSTACK_WARM_KERNELS", "2")
    c = configured()
    module, name = c.ServerApp.kernel_manager_class.split(".")
    classes = {
        node.name for node in ast.parse((IMAGE / f"{module}.py").read_text()).body if isinstance(node, ast.ClassDef)
    }

    assert name in classes
    assert c[name].warm_kernels == 2
    installed = (IMAGE / "Dockerfile").read_text()
    assert {f"/tmp/context/{module}.py", "/tmp/context/warm_pool.py"} <= set(installed.split())
