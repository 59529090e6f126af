"""Pack what workers run, once, on the manager: workers reach nothing from which they could install it.

The manager runs the same machine image, so a virtual environment made here at `/opt/venv` works there at the same path.
Needs nothing beside Python's own library and `python3-venv`.
"""

import gzip
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
LOCK = HERE / "notebook.lock"
LAB_SETTINGS = HERE / "overrides.json"

ENVIRONMENT = Path("/opt/venv")
PACKAGES = Path("/var/cache/hubstack/packages")
"""Debian packages for workers, which the boot script has fetched."""

BUNDLES = Path("/srv/bundles")
ARCHIVE = "notebook.tar.gz"

FAST = 1
"""Level of compression: the network between manager and workers is fast, a user waits for the rest."""


def digest_file(folder: Path = BUNDLES) -> Path:
    """The file that holds the archive's SHA-256, written last: where it is, the archive is whole."""
    return folder / f"{ARCHIVE}.sha256"


def packed_digest(folder: Path = BUNDLES) -> str | None:
    """SHA-256 of the archive, or None while it is not packed yet."""
    try:
        return digest_file(folder).read_text().strip()
    except FileNotFoundError:
        return None


def install(environment: Path) -> None:
    """Make the workers' virtual environment from the locked packages.

    Raises:
        CalledProcessError: a package is not to be had, or is not the one that was locked.
    """
    subprocess.run(["python3", "-m", "venv", "--clear", environment], check=True)
    pip = [environment / "bin" / "pip", "install", "--quiet", "--no-cache-dir", "--require-hashes"]
    subprocess.run([*pip, "-r", LOCK], check=True)
    # The hub's own pages are of no use to a worker.
    shutil.rmtree(environment / "share/jupyterhub/static/components", ignore_errors=True)
    settings = environment / "share/jupyter/lab/settings"
    settings.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LAB_SETTINGS, settings / LAB_SETTINGS.name)


def write_archive(folders: list[Path], bundles: Path) -> None:
    """Pack `folders` at their own paths into the archive in `bundles`, and write its digest beside it."""
    bundles.mkdir(parents=True, exist_ok=True)
    unfinished = bundles / f".{ARCHIVE}"
    with gzip.open(unfinished, "wb", compresslevel=FAST) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for folder in folders:
            tar.add(folder)
    with unfinished.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    unfinished.rename(bundles / ARCHIVE)
    written = bundles / f".{ARCHIVE}.sha256"
    written.write_text(f"{digest}\n")
    written.rename(digest_file(bundles))


def main() -> None:
    """Pack, unless it is done."""
    if packed_digest() is None:
        install(ENVIRONMENT)
        write_archive([ENVIRONMENT, *([PACKAGES] if PACKAGES.is_dir() else [])], BUNDLES)


if __name__ == "__main__":
    main()
