"""What the manager does when it starts, and the files that it runs."""

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.boot_script import boot_script

HERE = Path(__file__).parent
PROJECT = Path(__file__).parents[3]

MANAGER_FILES = (
    "runtime/__init__.py",
    "runtime/boot_script.py",
    "runtime/ec2_spawner",
    "runtime/hub/__init__.py",
    "runtime/hub/culling.py",
    "runtime/hub/login.py",
    "runtime/hub/settings.py",
)
"""What the manager runs, relative to the project."""


def manager_user_data(values: Mapping[str, str]) -> str:
    """The manager's boot script with `values` as its read-only variables.

    Raises:
        ValueError: it is longer than user data may be.
    """
    return boot_script((HERE / "manager.sh").read_text(), values)


def encoded(user_data: str) -> str:
    """User data as AWS's API takes it."""
    return base64.b64encode(user_data.encode()).decode()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A gzip-compressed tar of `files` by path; the same files give the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def program_files(names: Sequence[str]) -> dict[str, bytes]:
    """Programs, scripts and locks in files and folders of the project, by their path in it."""
    found: dict[str, bytes] = {}
    for name in names:
        path = PROJECT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.suffix in {".py", ".lock", ".sh"}:
                found[file.relative_to(PROJECT).as_posix()] = file.read_bytes()
    return found


def manager_bundle(settings: str) -> bytes:
    """Everything that the manager runs: the hub's program, its and the workers' locked packages, the settings."""
    files = {**program_files(MANAGER_FILES), "hub-settings.json": settings.encode()}
    files["runtime/ec2_spawner/notebook.lock"] = (PROJECT / "images/notebook/requirements.lock").read_bytes()
    return archive(files)
