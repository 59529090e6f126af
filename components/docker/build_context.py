"""What an image is built from: a folder put together outside the build, where the machine's mirrors apply."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

CONTEXTS = Path("build/images")
"""Where contexts are put together, below the project; a relative path, so that state is the same in every checkout."""

ROOTFS_PYTHON = "3.11.2"
"""Python of Debian 12, which the packages in the root file system bring."""

REGISTRY_PYTHON = "3.12"
"""Python of `REGISTRY_IMAGE`."""

REGISTRY_IMAGE = "python:3.12-slim-bookworm"

BUILD_TIMEOUT_SECONDS = 1200

IMAGES_WITH_RUNTIME = frozenset({"hub", "operator", "redirector", "tmpnb-node"})
"""Images that hold the project's own services."""


def assemble_context(target: Path, image: str, python_version: str, *, rootfs: bool) -> None:
    """Put the build context of `images/<image>` together in `target`.

    Raises:
        RuntimeError: fetching wheels or packages failed; the message carries the last lines of the command.
    """
    source = Path("images") / image
    for file in sorted(source.iterdir()):
        shutil.copy2(file, target / file.name)
    if image in IMAGES_WITH_RUNTIME:
        shutil.copytree("runtime", target / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    lock = source / "requirements.lock"
    if lock.exists():
        _link_tree(_wheels(lock, python_version), target / "wheels")
    if (source / "packages.txt").exists():
        archive = target / "rootfs.tar"
        if rootfs:
            _link(_root_file_system(source / "packages.txt"), archive)
        else:
            tarfile.open(archive, "w").close()


def input_digest(image: str, *, rootfs: bool, base_digest: str) -> str:
    """Hash of everything that the image is built from, names and contents, in a fixed order."""
    digest = hashlib.sha256(f"{image} {rootfs} {base_digest}\n".encode())
    files = [file for file in Path("images", image).rglob("*") if file.is_file()]
    if image in IMAGES_WITH_RUNTIME:
        files += (file for file in Path("runtime").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    for file in sorted(files):
        digest.update(f"{file.as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where root file systems and wheels are kept between builds."""
    base = (
        os.environ.get("HUBSTACK_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hubstack"
    )
    return made(Path(base) / "images")


def _wheels(lock: Path, python_version: str) -> Path:
    key = hashlib.sha256(f"{python_version}\n{lock.read_text()}".encode()).hexdigest()[:16]

    def download(target: Path) -> None:
        command = [sys.executable, "-m", "pip"]
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
            command = ["pip3"]
        command += [
            "download",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            f"--python-version={python_version}",
        ]
        _run([*command, f"--dest={target}", f"--requirement={lock}"], "fetching the wheels")

    return cached(cache_folder() / f"wheels-{lock.parent.name}-{key}", download)


def _root_file_system(packages: Path) -> Path:
    names = [line for line in packages.read_text().split("\n") if line and not line.startswith("#")]
    key = hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]

    def bootstrap(target: Path) -> None:
        target.mkdir()
        excluded = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
        options = [f"--dpkgopt=path-exclude={path}" for path in excluded]
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *options, f"--include={','.join(names)}"]
        _run([*command, "bookworm", str(target / "rootfs.tar")], "making the base image's root file system")

    return cached(cache_folder() / f"rootfs-{key}", bootstrap) / "rootfs.tar"


def cached(target: Path, make: Callable[[Path], None]) -> Path:
    """The folder `target`, made by `make` under another name first, by one process at a time."""
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(target)
    return target


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise RuntimeError(f"{what} needs {command[0]}, which is not installed; `make up` installs it") from error
    if done.returncode:
        raise RuntimeError(f"{what} failed: {(done.stderr or done.stdout).strip()[-1000:]}")


def made(folder: Path) -> Path:
    """The folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _link_tree(source: Path, target: Path) -> None:
    target.mkdir()
    for file in sorted(source.iterdir()):
        _link(file, target / file.name)
