"""Images for a cluster that pulls none: single programs packed without a network, and images of the local engine."""

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolchain.cache import made_whole
from toolchain.kubernetes.machine import Machine
from toolchain.progress import CommandFailedError, run

TOOLS = "hubstack.test/tools:v0"
"""A shell with BusyBox's tools, for pods of tests."""


def pack(
    name: str, files: Mapping[str, Path], *, entrypoint: Sequence[str], links: Mapping[str, str], target: Path
) -> None:
    """Write an image as `docker save` would: nothing but these files.

    Args:
        name: the image's name and tag.
        files: path in the image to the file on this machine; each is executable.
        entrypoint: the program that runs.
        links: path in the image to what it points to.
        target: where the archive goes.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        folders = sorted({str(parent) for path in [*files, *links] for parent in Path(path).parents} - {"."} | {"tmp"})
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for path, source in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = source.stat().st_size, 0o755
            with source.open("rb") as content:
                tar.addfile(entry, content)
        for path, points_to in sorted(links.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, points_to
            tar.addfile(entry)
    content = layer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    # Imports at the same time lock what they read by its name in the archive.
    place = f"{digest}/layer.tar"
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": [place]}]
    with tarfile.open(target, "w") as tar:
        for path, data in (
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
            (place, content),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def of_program(cache: Path, name: str, program: Path) -> Path:
    """An archive of an image that holds one static program, kept beside what it was built from."""
    path = f"bin/{program.name}"

    def make(target: Path) -> None:
        pack(name, {path: program}, entrypoint=[f"/{path}"], links={}, target=target)

    return made_whole(cache / f"image-{program.name}-{_key(name, str(program))}.tar", make)


def of_tools(cache: Path) -> Path:
    """An archive of the image `TOOLS`, from Debian's static BusyBox, which is not installed on this machine."""

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run("downloading Debian's busybox-static", ["apt-get", "download", "busybox-static"], folder=Path(folder))
            (package,) = Path(folder).glob("*.deb")
            run("unpacking busybox-static", ["dpkg-deb", "--extract", str(package), folder])
            busybox = next(
                path for path in (Path(folder, "bin/busybox"), Path(folder, "usr/bin/busybox")) if path.exists()
            )
            applets = run("asking busybox for its tools", [str(busybox), "--list"]).split()
            links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
            pack(TOOLS, {"bin/busybox": busybox}, entrypoint=[], links=links, target=target)

    return made_whole(cache / f"image-tools-{_key(TOOLS)}.tar", make)


def import_archives(machine: Machine, archives: Sequence[Path]) -> None:
    """Put archives into the node's store, all at the same time."""
    running = []
    for archive in archives:
        with archive.open("rb") as content:
            running.append(
                subprocess.Popen(_import(machine), stdin=content, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            )
    for archive, process in zip(archives, running, strict=True):
        _, errors = process.communicate()
        if process.returncode:
            raise CommandFailedError(f"importing {archive.name} failed: {errors.decode().strip()}")


def load(machine: Machine, images: Sequence[str]) -> None:
    """Put images of the local Docker engine into the node's store, under the names given.

    Raises:
        CommandFailedError: the engine does not have one of them, or the node does not take it.
    """
    save = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done = subprocess.run(_import(machine), stdin=save.stdout, capture_output=True, text=True, check=False)
    assert save.stderr is not None
    said = save.stderr.read().decode().strip()
    if save.wait():
        raise CommandFailedError(f"the Docker engine did not hand over {' '.join(images)}: {said}")
    if done.returncode:
        raise CommandFailedError(f"the node did not take {' '.join(images)}: {done.stderr.strip()}")


def _import(machine: Machine) -> list[str]:
    return machine.command("ctr", "--namespace", "k8s.io", "images", "import", "-")


def _key(*parts: str) -> str:
    """Another way to pack is another archive."""
    return hashlib.sha256("\n".join([*parts, Path(__file__).read_text()]).encode()).hexdigest()[:12]


def _architecture() -> str:
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
