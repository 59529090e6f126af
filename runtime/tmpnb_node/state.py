"""What outlives the service: the folder that one service at a time holds, and for whom the node is being drained."""

import fcntl
import os
from enum import StrEnum
from pathlib import Path

LOCK_FILE = "lock"


class Drain(StrEnum):
    """For whom a node is drained; the value is the name of the file that says so."""

    ADMINISTRATOR = "draining"
    FAREWELL = "leaving"
    """For a removal of the node, which takes it back itself if it does not come to its end."""


class StateError(Exception):
    """The folder cannot be used; the message says why."""


class StateFolder:
    """The state folder of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def lock(self) -> None:
        """Hold the folder until the process ends: two services would hand one server out twice.

        Raises:
            StateError: another service holds it, or it is not there.
        """
        if self._lock is not None:
            return
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StateError(f"the state folder cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StateError("another service of this node still runs") from error
        self._lock = descriptor

    def release(self) -> None:
        """Let another service have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def drains(self) -> frozenset[Drain]:
        """For whom the node was being drained when this was last set; empty if it was not."""
        return frozenset(drain for drain in Drain if (self.path / drain).exists())

    def set_drains(self, drains: frozenset[Drain]) -> None:
        """Remember for whom the node is being drained, and for nobody else.

        Raises:
            StateError: it cannot be remembered.
        """
        try:
            for drain in Drain:
                if drain in drains:
                    (self.path / drain).touch(mode=0o600)
                else:
                    (self.path / drain).unlink(missing_ok=True)
            folder = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateError(f"the state folder cannot be written: {error.strerror}") from error
