"""Homes as sparse ext4 images in one folder: each has a size limit on any file system, with or without quotas.

`overlay2.size` needs XFS with project quotas, tmpfs loses the data with the container; a loop-mounted image needs
neither and moves as one file. The image's name is the user's, so a home can never be mounted by device number.
"""

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_SIZE = re.compile(r"(\d+)([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SMALLEST = 16 * 2**20


class HomeError(Exception):
    """A request that cannot be carried out; its message is shown by Docker."""


def parse_size(text: str) -> int:
    """Translate a size such as `10G` or `512MiB` to bytes, units of 1024.

    Raises:
        HomeError: the text is no size, or it is below 16 MiB, which ext4 needs.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise HomeError(f"size {text!r} is not a number with K, M, G or T")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if size < _SMALLEST:
        raise HomeError(f"size {text!r} is below the smallest, 16M")
    return size


class HomePool:
    """The homes in one folder, mounted below another."""

    def __init__(self, images: Path, mounts: Path, *, uid: int = 1000, gid: int = 100) -> None:
        """Keep images in `images`, mount them below `mounts`, and give a new home to `uid` and `gid`."""
        self._images = images
        self._mounts = mounts
        self._owner = f"{uid}:{gid}"
        self._users: dict[str, set[str]] = {}
        images.mkdir(parents=True, exist_ok=True)
        mounts.mkdir(parents=True, exist_ok=True)

    def create(self, name: str, size: int) -> None:
        """Make the home if it is missing, and let it grow to `size` bytes at its next mount if it is smaller.

        A home never shrinks: a smaller size leaves it as it is.
        """
        image = self._image(name)
        with self._locked():
            if not image.exists():
                _make_image(image, size, self._owner)
            elif image.stat().st_size < size:
                os.truncate(image, size)

    def remove(self, name: str) -> None:
        """Let Docker forget the volume; the home stays, and a volume of the same name has it again."""
        self._existing(name)
        if self._users.get(name):
            raise HomeError(f"home {name} is in use")

    def mount(self, name: str, user: str) -> Path:
        """Mount the home for the container `user` and return where; further containers share the mount."""
        image = self._existing(name)
        target = self.path(name)
        with self._locked():
            if not target.is_mount():
                target.mkdir(exist_ok=True)
                _check_and_grow(image)
                _run("mount", "-t", "ext4", "-o", "loop,nosuid,nodev", str(image), str(target))
            self._users.setdefault(name, set()).add(user)
        return target

    def unmount(self, name: str, user: str) -> None:
        """Let go of the home for the container `user`; the last one unmounts it."""
        target = self.path(name)
        with self._locked():
            users = self._users.get(name, set())
            users.discard(user)
            if not users and target.is_mount():
                _run("umount", str(target))

    def path(self, name: str) -> Path:
        """Where the home is mounted while somebody uses it."""
        self._image(name)
        return self._mounts / name

    def names(self) -> list[str]:
        """Every home in the pool, sorted."""
        return sorted(image.stem for image in self._images.glob("*.img"))

    def _image(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise HomeError(f"volume name {name!r} has a character other than letters, digits, '_', '.' and '-'")
        return self._images / f"{name}.img"

    def _existing(self, name: str) -> Path:
        image = self._image(name)
        if not image.exists():
            raise HomeError(f"no home {name}")
        return image

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._images / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _make_image(image: Path, size: int, owner: str) -> None:
    unfinished = image.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as file:
        file.truncate(size)
    # No blocks are kept for root (-m 0): the user gets the size that the quota names.
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", f"root_owner={owner},lazy_itable_init=1", str(unfinished))
    unfinished.rename(image)


def _check_and_grow(image: Path) -> None:
    # 0: clean, 1: errors were corrected; anything above needs a person.
    if _run("e2fsck", "-p", str(image), accept=(0, 1, 2)):
        os.sync()
    _run("resize2fs", "-f", str(image))


def _run(*command: str, accept: tuple[int, ...] = (0,)) -> int:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode not in accept:
        raise HomeError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.returncode
