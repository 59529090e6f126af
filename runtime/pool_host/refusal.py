"""Which bundle a host lets nobody in to, remembered beyond the end of its program and of the host."""

import os
from pathlib import Path


class Refusal:
    """The file that remembers it."""

    def __init__(self, path: Path) -> None:
        """Name the file; its folder is made when it is needed."""
        self.path = path

    def holds(self, etag: str) -> bool:
        """Whether this version of the bundle was refused."""
        try:
            return self.path.read_text() == etag
        except FileNotFoundError:
            return False

    def remember(self, etag: str) -> None:
        """Refuse this version, and no other any more.

        Raises:
            OSError: it cannot be written down.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        with new.open("w") as file:
            file.write(etag)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
