"""Official releases: what is on the machine already, and what the release server hands out."""

import platform
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path
from urllib.error import URLError

from toolchain.cache import made_whole
from toolchain.progress import say

RELEASES = "https://get.pulumi.com/releases"
ANSWER_SECONDS = 3
DOWNLOAD_SECONDS = 300


def installed_cli(version: str) -> Path | None:
    """The folder of a `pulumi` on the machine, if it is this version and has its Python language host beside it."""
    found = shutil.which("pulumi")
    if not found:
        return None
    folder = Path(found).resolve().parent
    told = subprocess.run([found, "version"], capture_output=True, text=True, check=False, timeout=30)
    has_host = (folder / "pulumi-language-python").exists()
    return folder if told.stdout.strip() == f"v{version}" and has_host else None


def download_cli(cache: Path, version: str) -> Path | None:
    """The official CLI's folder, downloaded; None where the release server does not answer within seconds."""
    address = f"{RELEASES}/sdk/pulumi-v{version}-linux-{_architecture()}.tar.gz"
    folder = _download(cache / f"official-pulumi-{version}", address, f"the Pulumi CLI {version}")
    return folder / "pulumi" if folder else None


def download_plugin(cache: Path, name: str, version: str) -> Path | None:
    """The official plugin, downloaded; None where the release server does not answer within seconds."""
    address = f"{RELEASES}/plugins/pulumi-resource-{name}-v{version}-linux-{_architecture()}.tar.gz"
    folder = _download(cache / f"official-{name}-{version}", address, f"the {name} plugin {version}")
    return folder / f"pulumi-resource-{name}" if folder else None


def answers() -> bool:
    """Whether the release server answers within `ANSWER_SECONDS`."""
    request = urllib.request.Request(f"{RELEASES}/sdk/", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
            return True
    except URLError as error:
        return getattr(error, "code", None) is not None
    except OSError:
        return False


def _download(target: Path, address: str, what: str) -> Path | None:
    def make(unfinished: Path) -> None:
        say(f"downloading {what}")
        with urllib.request.urlopen(address, timeout=DOWNLOAD_SECONDS) as answer:
            unfinished.mkdir()
            with tarfile.open(fileobj=answer, mode="r|gz") as archive:
                archive.extractall(unfinished, filter="data")

    try:
        return made_whole(target, make)
    except (OSError, tarfile.TarError) as error:
        say(f"{what} could not be downloaded ({error}); building it instead")
        return None


def _architecture() -> str:
    return {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
