"""What the manager does when it starts, and the files that it runs."""

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.boot_script import boot_script, volume_devices

HERE = Path(__file__).parent
PROJECT = Path(__file__).parents[3]

MANAGER_FILES = (
    "runtime/__init__.py",
    "runtime/boot_script.py",
    "runtime/mount_disk.sh",
    "runtime/ec2_spawner",
    "runtime/hub/__init__.py",
    "runtime/hub/culling.py",
    "runtime/hub/login.py",
    "runtime/hub/settings.py",
)
"""What the manager runs, relative to the project."""


@dataclass(frozen=True)
class ManagerBoot:
    """What one manager has to know when it starts; no secret is among it."""

    bundle: str
    """Address of its program in S3, such as `s3://bucket/manager.tar.gz`."""
    bundle_sha256: str
    """What the program's archive must hash to."""
    secret: str
    """ARN of the secret with the hub's passwords and tokens."""
    launch_template: str
    """Id of the template of users' hosts."""
    subnets: Mapping[str, str]
    """Ids of the private subnets by availability zone."""
    data_volume: str
    """Id of the volume that holds the hub's database."""
    domain: str
    """Name that users type."""
    region: str
    certificates: str = "acme"
    """`acme`: Let's Encrypt's; `internal`: of an authority on the host itself, which no browser knows."""
    session_manager: bool = True
    """Whether Session Manager's agent is installed; without it nobody gets a shell."""


def manager_user_data(boot: ManagerBoot) -> str:
    """The manager's boot script with what it has to know as its read-only variables.

    Raises:
        ValueError: it is longer than user data may be.
    """
    values = {
        "BUNDLE": boot.bundle,
        "BUNDLE_SHA256": boot.bundle_sha256,
        "CERTIFICATES": boot.certificates,
        "DATA_DEVICES": volume_devices(boot.data_volume),
        "DOMAIN": boot.domain,
        "LAUNCH_TEMPLATE": boot.launch_template,
        "REGION": boot.region,
        "SECRET": boot.secret,
        "SESSION_MANAGER": "yes" if boot.session_manager else "no",
        "SUBNETS": ",".join(f"{zone}={subnet}" for zone, subnet in sorted(boot.subnets.items())),
    }
    return host_script("manager.sh", values)


def host_script(name: str, values: Mapping[str, str]) -> str:
    """A boot script of this folder below its values and the steps that all of them share.

    Args:
        name: the script's file.
        values: what becomes its read-only variables; `REGION` is among them.

    Raises:
        ValueError: it is longer than user data may be.
    """
    shebang, _, body = (HERE / name).read_text().partition("\n")
    return boot_script(f"{shebang}\n{(HERE / 'steps.sh').read_text()}\n{body}", values)


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
    for name, packed in (("requirements.lock", "notebook.lock"), ("overrides.json", "overrides.json")):
        files[f"runtime/ec2_spawner/{packed}"] = (PROJECT / "images/notebook" / name).read_bytes()
    return archive(files)
