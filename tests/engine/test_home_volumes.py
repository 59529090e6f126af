"""Homes of limited size, really mounted: their size, their owner, and one host at a time."""

import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.home_volumes import loop_device
from runtime.home_volumes.pool import MINIMUM_SIZE_FILE, HomeError, HomePool, write_minimum_size

SIZE = 32 * 2**20


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that several hosts share; what a test leaves mounted below it is taken away."""
    if os.geteuid() != 0:
        pytest.skip("homes are mounted: only root may do so")
    yield tmp_path
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if line.split()[1].startswith(str(tmp_path)):
            subprocess.run(["umount", line.split()[1]], check=True, timeout=60)


def host(folder: Path, name: str, lock_seconds: float = 0) -> HomePool:
    """The homes of the folder, as one host serves them."""
    return HomePool(folder / "images", folder / name, lock_seconds=lock_seconds)


def capacity(home: Path) -> int:
    """Bytes that a home's file system has in all."""
    found = os.statvfs(home)
    return found.f_blocks * found.f_frsize


def held_elsewhere(image: Path) -> int:
    """Lock an image as another host's mount would be seen through the file system; closing what this returns frees it."""
    descriptor = os.open(image, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_a_home_keeps_what_is_in_it_and_belongs_to_the_user(folder: Path):
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    home = homes.mount("ada", "first")
    (home / "note").write_text("kept")
    homes.unmount("ada", "first")

    assert not home.is_mount()
    assert homes.mount("ada", "second") == home
    assert (home / "note").read_text() == "kept"
    assert (home.stat().st_uid, home.stat().st_gid) == (1000, 100)


def test_a_home_grows_at_its_next_mount_and_never_shrinks(folder: Path):
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    small = capacity(homes.mount("ada", "first"))
    homes.unmount("ada", "first")

    homes.create("ada", 2 * SIZE)
    grown = capacity(homes.mount("ada", "second"))
    homes.unmount("ada", "second")
    homes.create("ada", SIZE)

    assert grown > 1.5 * small
    assert capacity(homes.mount("ada", "third")) == grown


def test_a_home_grows_to_the_least_size_that_its_folder_names(folder: Path):
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    small = capacity(homes.mount("ada", "first"))
    write_minimum_size(folder / "images", 2 * SIZE)
    homes.unmount("ada", "first")

    grown = capacity(homes.mount("ada", "second"))
    homes.unmount("ada", "second")
    write_minimum_size(folder / "images", SIZE)

    assert grown > 1.5 * small
    assert capacity(homes.mount("ada", "third")) == grown


def test_hosts_may_name_the_least_size_at_the_same_time(folder: Path):
    (folder / "images").mkdir()
    with ThreadPoolExecutor(16) as hosts:
        list(hosts.map(lambda size: write_minimum_size(folder / "images", size), [SIZE, 2 * SIZE] * 200))

    assert [file.name for file in (folder / "images").iterdir()] == [MINIMUM_SIZE_FILE]
    assert int((folder / "images" / MINIMUM_SIZE_FILE).read_text()) in (SIZE, 2 * SIZE)


def test_a_home_that_another_host_has_mounted_is_refused_until_that_host_lets_go(folder: Path):
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    homes.create("ben", SIZE)
    other = held_elsewhere(folder / "images" / "ada.img")

    with pytest.raises(HomeError, match="home ada is in use on another host"):
        homes.mount("ada", "server")
    assert not homes.path("ada").is_mount()
    assert homes.mount("ben", "server").is_mount()

    os.close(other)
    assert homes.mount("ada", "server").is_mount()


def test_a_mount_waits_for_the_host_that_lets_go_in_time(folder: Path):
    homes = host(folder, "one", lock_seconds=60)
    homes.create("ada", SIZE)
    other = held_elsewhere(folder / "images" / "ada.img")
    threading.Timer(1, lambda: os.close(other)).start()

    assert homes.mount("ada", "server").is_mount()


def test_a_mounted_home_is_locked_for_other_hosts_even_when_its_driver_has_ended(folder: Path):
    image = folder / "images" / "ada.img"
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    homes.mount("ada", "server")
    del homes

    with pytest.raises(BlockingIOError), image.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    begun_anew = host(folder, "one")
    assert begun_anew.mount("ada", "server").is_mount()
    begun_anew.unmount("ada", "server")
    with image.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_home_that_this_host_has_attached_already_is_shared_not_attached_twice(folder: Path):
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    (homes.mount("ada", "server") / "note").write_text("kept")

    again = host(folder, "two").mount("ada", "server")

    assert (again / "note").read_text() == "kept"
    devices = {line.split()[0] for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line}
    assert len(devices) == 1


def test_a_device_that_nothing_mounted_lets_go_of_the_home(folder: Path):
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    image = folder / "images" / "ada.img"

    with image.open("r+b") as file, loop_device.attached(file) as device:
        assert loop_device.device_of(image) == device

    assert loop_device.device_of(image) is None
    assert homes.mount("ada", "server").is_mount()


def test_a_damaged_home_is_left_as_it_is(folder: Path):
    homes = host(folder, "one")
    homes.create("ada", SIZE)
    image = folder / "images" / "ada.img"
    damaged = bytes(4096) + image.read_bytes()[4096:]
    image.write_bytes(damaged)

    with pytest.raises(HomeError, match="e2fsck"):
        homes.mount("ada", "server")

    assert image.read_bytes() == damaged
    assert loop_device.device_of(image) is None
