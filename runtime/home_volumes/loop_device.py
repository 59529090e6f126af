"""Loop devices that keep their file's lock: who has locked a file shares the lock with the device that it backs.

`mount -o loop` opens the file anew, and a lock belongs to the opening. A device that is given the locked file itself holds
the lock until it is detached, whatever becomes of the process that locked it; and on NFS what it writes after its lock
was lost to another host is refused by the kernel (EIO) instead of mixed with what the other host wrote.
"""

import errno
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# From linux/loop.h.
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_INFO64 = struct.Struct("=5Q 4I 64s 64s 32s 2Q")
_LOOP_CONFIG = struct.Struct(f"=II {_LOOP_INFO64.size}s 64s")

_TRIES = 100
"""How often another process may take the free device that the kernel named before this gives up."""


@contextmanager
def attached(file: BinaryIO) -> Iterator[Path]:
    """A loop device backed by an open file; it is detached when nothing has it open or mounted any more.

    Args:
        file: a file opened for reading and writing; its `flock` is held for as long as the device is attached.

    Raises:
        OSError: the kernel has no free device, or does not take the file.
    """
    device, descriptor = _configure(file)
    try:
        yield device
    finally:
        os.close(descriptor)


def device_of(path: Path) -> Path | None:
    """The device of this host that a file backs already, or None."""
    listed = subprocess.run(
        ["losetup", "--associated", str(path), "--noheadings", "--output", "NAME"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    names = listed.stdout.split()
    return Path(names[0]) if names else None


def _configure(file: BinaryIO) -> tuple[Path, int]:
    name = os.fsencode(file.name)[:63]
    info = _LOOP_INFO64.pack(0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, name, b"", b"", 0, 0)
    config = _LOOP_CONFIG.pack(file.fileno(), 0, info, b"")
    with Path("/dev/loop-control").open("rb") as control:
        for _ in range(_TRIES):
            device = Path(f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}")
            descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(descriptor, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(descriptor)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, descriptor
    raise OSError(errno.EBUSY, "no loop device is free")
