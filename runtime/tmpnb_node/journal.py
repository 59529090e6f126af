"""Which servers were handed out, and when: durable before a visitor learns of it."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

JOURNAL_FILE = "handed-out.jsonl"

LONGEST = 20_000
"""Lines after which the file is written anew, without those of servers that have ended."""

Entries = Mapping[str, datetime]
"""When each server was handed out, by its id."""

T = TypeVar("T")


class JournalError(Exception):
    """The journal cannot be read or written; the message says why."""


@dataclass(frozen=True)
class Past:
    """What a journal tells."""

    entries: Entries = field(default_factory=dict[str, datetime])
    complete: bool = False
    """Whether what is not among the entries was not handed out; False if the file is missing or damaged."""


def parse_journal(content: bytes) -> Past:
    """Read a journal.

    A last line without its end was being written when the service was killed: nobody was told of that server. Any
    other line that makes no sense is damage, after which the journal is not complete.
    """
    *lines, _torn = content.split(b"\n")
    entries: dict[str, datetime] = {}
    complete = True
    for line in lines:
        try:
            fields = json.loads(line)
            moment = datetime.fromisoformat(fields["handed_out"])
            server = fields["server"]
        except (ValueError, KeyError, TypeError):
            complete = False
            continue
        if moment.tzinfo is None or not isinstance(server, str):
            complete = False
            continue
        entries[server] = moment
    return Past(entries, complete)


def format_entry(server_id: str, moment: datetime) -> bytes:
    """One line of a journal."""
    return json.dumps({"server": server_id, "handed_out": moment.isoformat()}).encode() + b"\n"


def append(path: Path, content: bytes) -> None:
    """Add to a file, durably.

    Raises:
        OSError: it could not; part of the content may be there.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        _write(descriptor, content)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Write a file anew, durably: at any moment it is the old one or the new one.

    Raises:
        OSError: it could not; the old one is there.
    """
    unfinished = path.with_suffix(".unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write(descriptor, content)
    finally:
        os.close(descriptor)
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Journal:
    """The journal of one node; visitors who come at once share one write.

    After a failed write the file's end is unknown, so nothing is recorded until it was written anew.
    """

    def __init__(self, folder: Path, longest: int = LONGEST) -> None:
        """Describe the journal.

        Args:
            folder: the node's state folder.
            longest: lines after which the file is written anew.
        """
        self._path, self._longest = folder / JOURNAL_FILE, longest
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._lines = 0
        self.fault: str | None = "it was not opened yet"
        """Why nothing can be recorded; None while it can."""

    async def read(self) -> Past:
        """What the journal tells of the time before.

        Raises:
            JournalError: it is there and cannot be read.
        """

        def read() -> Past:
            try:
                return parse_journal(self._path.read_bytes())
            except FileNotFoundError:
                return Past()

        try:
            return await self._in_thread(read)
        except OSError as error:
            raise JournalError(f"it cannot be read: {error.strerror}") from error

    async def record(self, server_id: str, moment: datetime) -> None:
        """Note that a server was handed out; it is durable when this returns.

        Raises:
            JournalError: it may or may not be in the file.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((format_entry(server_id, moment), written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting())
        await written

    async def maintain(self, entries: Entries) -> None:
        """Write the file anew if it cannot be appended to, or has grown long.

        Args:
            entries: all that were handed out by now and have not ended, those that are being written included.

        Raises:
            JournalError: it could not be written.
        """
        if self.fault is None and self._lines <= self._longest:
            return
        # Nothing may be awaited before the write is on its way: what is recorded from now on comes after it.
        content = b"".join(format_entry(server, moment) for server, moment in entries.items())
        error = await self._written(lambda: replace(self._path, content))
        if error:
            raise error
        self._lines = len(entries)
        self.fault = None

    async def close(self) -> None:
        """Let what is being written come to its end."""
        if self._writer is not None:
            await self._writer
        self._thread.shutdown()

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error = JournalError(self.fault) if self.fault else None
            if not error:
                content = b"".join(line for line, _ in batch)
                error = await self._written(lambda content=content: append(self._path, content))
                self._lines += len(batch)
            for _, written in batch:
                # A visitor who is gone waits no longer.
                if written.done():
                    continue
                if error:
                    written.set_exception(JournalError(*error.args))
                else:
                    written.set_result(None)

    async def _written(self, write: Callable[[], None]) -> JournalError | None:
        try:
            await self._in_thread(write)
        except OSError as error:
            self.fault = f"it cannot be written: {error.strerror}"
            return JournalError(self.fault)
        return None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)
