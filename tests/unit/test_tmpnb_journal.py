"""The journal of what was handed out, in real files."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tmpnb_node import journal
from runtime.tmpnb_node.journal import JOURNAL_FILE, Journal, JournalError, Past, format_entry, parse_journal
from runtime.tmpnb_node.state import Drain, StateError, StateFolder
from tests.unit.tmpnb_node import NOW

ENTRIES = st.dictionaries(st.text("abcdefghij0123456789", min_size=1), st.datetimes(timezones=st.just(NOW.tzinfo)))


def play(folder: Path, act: Callable[[Journal], Awaitable[None]], longest: int = 100) -> None:
    async def run() -> None:
        opened = Journal(folder, longest)
        try:
            await act(opened)
        finally:
            await opened.close()

    asyncio.run(run())


def held(folder: Path) -> Past:
    return parse_journal((folder / JOURNAL_FILE).read_bytes())


def test_what_was_recorded_is_in_the_file_when_it_returns(tmp_path: Path) -> None:
    async def act(opened: Journal) -> None:
        await opened.maintain({})
        await opened.record("a", NOW)
        assert held(tmp_path) == Past({"a": NOW}, complete=True)

    play(tmp_path, act)


def test_it_is_durable_before_it_returns_and_those_who_come_at_once_share_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(journal.os, "fsync", lambda descriptor: (synced.append(descriptor), fsync(descriptor)))

    async def act(opened: Journal) -> None:
        await opened.maintain({})
        before = len(synced)
        await opened.record("a", NOW)
        assert len(synced) == before + 1
        await asyncio.gather(*(opened.record(f"b{n}", NOW) for n in range(50)))
        assert len(synced) <= before + 3
        assert len(held(tmp_path).entries) == 51

    play(tmp_path, act)


def test_a_journal_that_was_never_written_is_not_complete(tmp_path: Path) -> None:
    async def act(opened: Journal) -> None:
        assert await opened.read() == Past({}, complete=False)
        with pytest.raises(JournalError):
            await opened.record("a", NOW)
        await opened.maintain({})
        assert await opened.read() == Past({}, complete=True)

    play(tmp_path, act)


def test_only_what_lives_stays_when_it_is_written_anew(tmp_path: Path) -> None:
    async def act(opened: Journal) -> None:
        await opened.maintain({})
        for name in ("a", "b", "c", "d", "e"):
            await opened.record(name, NOW)
        await opened.maintain({"a": NOW})
        assert len(held(tmp_path).entries) == 5, "it is not long enough yet"
        await opened.record("f", NOW)
        await opened.maintain({"e": NOW, "f": NOW})
        assert held(tmp_path) == Past({"e": NOW, "f": NOW}, complete=True)

    play(tmp_path, act, longest=5)


def test_what_is_recorded_while_it_is_written_anew_is_not_lost(tmp_path: Path) -> None:
    async def act(opened: Journal) -> None:
        await opened.maintain({})
        for n in range(20):
            opened._lines = 1000
            await asyncio.gather(opened.maintain({"kept": NOW}), opened.record(f"a{n}", NOW))
            assert {"kept", f"a{n}"} <= set(held(tmp_path).entries)

    play(tmp_path, act)


@given(ENTRIES, st.integers(0, 200))
def test_a_torn_last_line_is_nobodys_and_the_others_count(entries: dict[str, datetime], cut: int) -> None:
    lines = [format_entry(server, moment) for server, moment in entries.items()]
    torn = format_entry("torn", NOW)[:cut].rstrip(b"\n")
    assert parse_journal(b"".join(lines) + torn) == Past(entries, complete=True)


@given(ENTRIES)
def test_any_other_line_that_makes_no_sense_is_damage(entries: dict[str, datetime]) -> None:
    whole = b"".join(format_entry(server, moment) for server, moment in entries.items())
    for damage in (b"\0\0\n", b"{}\n", b"[]\n", b'{"server": 1, "handed_out": "2026-01-01T00:00:00+00:00"}\n', b"1\n"):
        assert parse_journal(damage + whole) == Past(entries, complete=False)


def test_a_moment_without_a_time_zone_is_damage() -> None:
    assert not parse_journal(b'{"server": "a", "handed_out": "2026-01-01T00:00:00"}\n').complete


def test_the_last_moment_of_a_server_counts() -> None:
    later = NOW + timedelta(seconds=1)
    assert parse_journal(format_entry("a", NOW) + format_entry("a", later)).entries == {"a": later}


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_after_a_failed_write_nothing_is_recorded_until_it_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def act(opened: Journal) -> None:
        await opened.maintain({})
        await opened.record("a", NOW)
        with monkeypatch.context() as patched:
            patched.setattr(journal.os, call, fail)
            got = await asyncio.gather(*(opened.record(f"b{n}", NOW) for n in range(3)), return_exceptions=True)
            assert [type(error) for error in got] == [JournalError] * 3
            with pytest.raises(JournalError, match="No space left on device"):
                await opened.maintain({"a": NOW})
        with pytest.raises(JournalError, match="No space left on device"):
            await opened.record("c", NOW)
        await opened.maintain({"a": NOW})
        await opened.record("d", NOW)
        assert held(tmp_path) == Past({"a": NOW, "d": NOW}, complete=True)

    play(tmp_path, act)


def test_a_half_written_line_is_gone_when_the_next_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    written: list[int] = []

    def half(descriptor: int, content: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(write(descriptor, content[:9]))
        return written[0]

    async def act(opened: Journal) -> None:
        await opened.maintain({})
        with monkeypatch.context() as patched:
            patched.setattr(journal.os, "write", half)
            with pytest.raises(JournalError):
                await opened.record("a", NOW)
        assert not (tmp_path / JOURNAL_FILE).read_bytes().endswith(b"\n")
        await opened.maintain({})
        await opened.record("b", NOW)
        assert held(tmp_path) == Past({"b": NOW}, complete=True)

    play(tmp_path, act)


def test_a_visitor_who_leaves_while_it_is_written_harms_nobody_else(tmp_path: Path) -> None:
    async def act(opened: Journal) -> None:
        await opened.maintain({})
        gone = asyncio.create_task(opened.record("a", NOW))
        stays = asyncio.create_task(opened.record("b", NOW))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert {"a", "b"} == set(held(tmp_path).entries)

    play(tmp_path, act)


def test_a_journal_that_cannot_be_read_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).mkdir()

    async def act(opened: Journal) -> None:
        with pytest.raises(JournalError, match="cannot be read"):
            await opened.read()

    play(tmp_path, act)


# The rest of the state folder.


def test_one_service_at_a_time_holds_the_folder(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path), StateFolder(tmp_path)
    first.lock()
    first.lock()
    with pytest.raises(StateError, match="another service"):
        second.lock()
    first.release()
    second.lock()
    second.release()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "missing")
    with pytest.raises(StateError):
        folder.lock()
    with pytest.raises(StateError):
        folder.set_drains(frozenset(Drain))


def test_for_whom_a_node_is_drained_is_remembered(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert not folder.drains
    for drains in (
        set(Drain),
        {Drain.FAREWELL},
        {Drain.ADMINISTRATOR},
        {Drain.ADMINISTRATOR},
        set[Drain](),
        set[Drain](),
    ):
        folder.set_drains(frozenset(drains))
        assert StateFolder(tmp_path).drains == drains
