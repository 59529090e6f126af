"""Homes as sparse ext4 images in one folder: each has a size limit on any file system, with or without quotas.

`overlay2.size` needs XFS with project quotas, tmpfs loses the data with the container; a loop-mounted image needs
neither and moves as one file. The image's name is the user's, so a home can never be mounted by device number.

Several hosts may share the folder. A home is mounted on one of them at a time, for ext4 does not outlive two: the image is
locked (`flock`) for as long as it is mounted, so a host that the swarm has lost, but that still runs, keeps what it has.
"""

import fcntl
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from runtime.home_volumes import loop_device

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_SIZE = re.compile(r"(\d+)([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SMALLEST = 16 * 2**20
_PAUSE_SECONDS = 0.5

MINIMUM_SIZE_FILE = ".minimum-size"
"""File beside the images with the bytes that every home has at least, in decimal digits.

Docker asks a driver to make a volume only where there is none: a larger quota reaches a home that exists by this file."""

LOCK_SECONDS = 60
"""How long a mount waits for another host to let go of a home: half of the two minutes that Docker waits for a driver.

A host that died lets go when the file system forgets it (NFS: when its lease is over)."""


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


def write_minimum_size(images: Path, size: int) -> None:
    """Have every home of a folder grow to `size` bytes at its next mount, if it is smaller."""
    file = images / MINIMUM_SIZE_FILE
    if file.exists() and file.read_text() == str(size):
        return
    # Under a name of its own: hosts that share the folder write at the same time.
    with tempfile.NamedTemporaryFile("w", dir=images, prefix=f"{MINIMUM_SIZE_FILE}.", delete=False) as unfinished:
        unfinished.write(str(size))
    Path(unfinished.name).rename(file)


class HomePool:
    """The homes in one folder, mounted below another."""

    def __init__(
        self, images: Path, mounts: Path, *, uid: int = 1000, gid: int = 100, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        """Serve the homes of a folder.

        Args:
            images: folder of the images; hosts that share it share the homes.
            mounts: folder of this host below which homes are mounted.
            uid: owner of a new home.
            gid: group of a new home.
            lock_seconds: how long a mount waits for a host that has the home.
        """
        self._images = images
        self._mounts = mounts
        self._owner = f"{uid}:{gid}"
        self._lock_seconds = lock_seconds
        self._users: dict[str, set[str]] = {}
        self._turns: dict[str, threading.Lock] = {}
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
            else:
                _grow(image, size)

    def remove(self, name: str) -> None:
        """Let Docker forget the volume; the home stays, and a volume of the same name has it again."""
        self._existing(name)
        if self._users.get(name):
            raise HomeError(f"home {name} is in use")

    def mount(self, name: str, user: str) -> Path:
        """Mount the home for the container `user` and return where; further containers of this host share the mount.

        Raises:
            HomeError: there is no such home, another host has it mounted, or it is damaged.
        """
        image = self._existing(name)
        target = self.path(name)
        with self._turn(name):
            if not target.is_mount():
                target.mkdir(exist_ok=True)
                self._mount_alone(image, target)
            self._users.setdefault(name, set()).add(user)
        return target

    def unmount(self, name: str, user: str) -> None:
        """Let go of the home for the container `user`; the last one unmounts it."""
        target = self.path(name)
        with self._turn(name):
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

    def _mount_alone(self, image: Path, target: Path) -> None:
        deadline = time.monotonic() + self._lock_seconds
        with image.open("r+b") as file:
            while not _lock(file):
                # This host's own: a driver that began anew does not know that a container has the home still. A device
                # that is being detached cannot be mounted; the lock is free then.
                device = loop_device.device_of(image)
                if device is not None:
                    with suppress(HomeError):
                        _mount(device, target)
                        return
                if time.monotonic() > deadline:
                    raise HomeError(f"home {image.stem} is in use on another host")
                time.sleep(_PAUSE_SECONDS)
            _grow(image, self._minimum_size())
            _check(image)
            with loop_device.attached(file) as device:
                _mount(device, target)

    def _minimum_size(self) -> int:
        file = self._images / MINIMUM_SIZE_FILE
        # Empty while it is being replaced.
        return int((file.exists() and file.read_text()) or 0)

    def _turn(self, name: str) -> threading.Lock:
        """One request at a time for a home; others do not wait for it."""
        return self._turns.setdefault(name, threading.Lock())

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


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mount(device: Path, target: Path) -> None:
    _run("mount", "-t", "ext4", "-o", "nosuid,nodev", str(device), str(target))


def _grow(image: Path, size: int) -> None:
    if image.stat().st_size < size:
        os.truncate(image, size)


def _check(image: Path) -> None:
    """Check the file system, and let it fill its image."""
    # 0: clean, 1: errors were corrected; anything above needs a person.
    if _run("e2fsck", "-p", str(image), accept=(0, 1, 2)):
        os.sync()
    _run("resize2fs", "-f", str(image))


def _run(*command: str, accept: tuple[int, ...] = (0,)) -> int:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode not in accept:
        raise HomeError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.returncode
