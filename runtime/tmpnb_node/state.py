"""What outlives the service: the folder that one service at a time holds, and whether the node is being drained."""

import fcntl
import os
from pathlib import Path

DRAINING_FILE = "draining"
LOCK_FILE = "lock"


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
    def draining(self) -> bool:
        """Whether the node was being drained when this was last set."""
        return (self.path / DRAINING_FILE).exists()

    def set_draining(self, *, draining: bool) -> None:
        """Remember whether the node is being drained.

        Raises:
            StateError: it cannot be remembered.
        """
        file = self.path / DRAINING_FILE
        try:
            if draining:
                file.touch(mode=0o600)
            else:
                file.unlink(missing_ok=True)
            folder = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateError(f"the state folder cannot be written: {error.strerror}") from error
