"""Put the CLI, the language host and the plugins into one folder: found, downloaded or built, in that order."""

import hashlib
import os
import shlex
import sys
import tomllib
from pathlib import Path

from toolchain import gobuild, official
from toolchain.cache import cache_folder, locked, made_whole
from toolchain.progress import CommandFailedError, run, say

HERE = Path(__file__).parent
LANGUAGE_HOST = HERE / "language_host"

LAUNCHER = """#!/bin/sh
exec {python} {script} "$@"
"""

DYNAMIC_PROVIDER = """#!/bin/sh
# The dynamic provider runs in the program's own virtual environment, which the engine names relative to the project.
python={python}
if [ -n "$PULUMI_RUNTIME_VIRTUALENV" ] && [ -x "$PULUMI_RUNTIME_VIRTUALENV/bin/python" ]; then
    python="$PULUMI_RUNTIME_VIRTUALENV/bin/python"
fi
exec "$python" -u -m pulumi.dynamic "$@"
"""


EVERY_STACKS_PLUGINS = ("docker", "random", "tls")


def main() -> int:
    """Install what is missing and print the folder to put on `PATH`; arguments name further plugins."""
    with (HERE / "versions.toml").open("rb") as file:
        versions = tomllib.load(file)
    names = sorted({*EVERY_STACKS_PLUGINS, *sys.argv[1:]})
    unknown = [name for name in names if name not in versions["plugins"]]
    if unknown:
        say(f"there is no plugin {unknown[0]}; versions.toml names {', '.join(sorted(versions['plugins']))}")
        return 1
    try:
        print(install(cache_folder() / "toolchain", versions["pulumi"], {n: versions["plugins"][n] for n in names}))
    except CommandFailedError as error:
        say(str(error))
        return 1
    return 0


def install(cache: Path, version: str, plugins: dict[str, str]) -> Path:
    """Return the folder that holds everything, made if it is missing.

    Raises:
        CommandFailedError: something could be neither found nor downloaded nor built.
    """
    target = cache / f"bin-{_key(version)}"
    missing = {name: plugins[name] for name in sorted(plugins) if not is_installed(name, plugins[name])}
    if not missing and (target / "complete").exists():
        return target
    with locked(cache / "install.lock"):
        target.mkdir(parents=True, exist_ok=True)
        online: bool | None = None
        if not (target / "complete").exists():
            online = _install_cli(cache, target, version)
        for name, plugin_version in missing.items():
            online = official.answers() if online is None else online
            plugin = official.download_plugin(cache, name, plugin_version) if online else None
            if plugin is None:
                plugin = gobuild.build_plugin(cache, name, plugin_version)
            _install_plugin(plugin, name, plugin_version)
        (target / "complete").touch()
    return target


def _install_cli(cache: Path, target: Path, version: str) -> bool | None:
    """Put the CLI and its language host into `target`; whether the release server answers, if it was asked."""
    online = None
    cli = official.installed_cli(version)
    if cli is None:
        online = official.answers()
        cli = official.download_cli(cache, version) if online else None
    if cli is not None:
        for program in cli.glob("pulumi*"):
            _link(program, target / program.name)
    else:
        # A link to the file itself: the CLI takes what lies beside it for its own, and not for somebody else's.
        _link(gobuild.build_cli(cache, version), target / "pulumi", symbolic=False)
        _install_language_host(cache, target)
    return online


def is_installed(name: str, version: str) -> bool:
    """Whether the plugin is there; one that was built here from other sources is not."""
    path = plugin_path(name, version)
    built = path.is_symlink() and path.readlink().name.startswith(f"{name}-{version}-")
    return path.exists() and (not built or path.readlink().name == gobuild.source_key(name, version))


def _key(version: str) -> str:
    parts = [gobuild.source_key("pulumi", version)]
    parts += [file.read_text() for file in sorted(LANGUAGE_HOST.iterdir()) if file.is_file()]
    parts.append(Path(__file__).read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _install_language_host(cache: Path, target: Path) -> None:
    """Copy the host beside the CLI, with an environment of its own: it outlives the checkout that installed it."""
    lock = LANGUAGE_HOST / "requirements.lock"
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]

    environment = cache / f"language-host-{key}"

    def make(unfinished: Path) -> None:
        run(
            "making the language host's environment",
            ["uv", "venv", "--quiet", "--python", sys.executable, str(unfinished)],
        )
        install_lock = [
            "uv",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--python",
            str(unfinished / "bin/python"),
        ]
        run("installing the language host's packages", [*install_lock, "--requirement", str(lock)])

    made_whole(environment, make)
    python = environment / "bin" / "python"
    for name in ("host.py", "run_program.py"):
        _write(target / name, (LANGUAGE_HOST / name).read_text())
    host = LAUNCHER.format(python=shlex.quote(str(python)), script=shlex.quote(str(target / "host.py")))
    _write(target / "pulumi-language-python", host, executable=True)
    dynamic = DYNAMIC_PROVIDER.format(python=shlex.quote(str(python)))
    _write(target / "pulumi-resource-pulumi-python", dynamic, executable=True)


def _write(target: Path, text: str, *, executable: bool = False) -> None:
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.write_text(text)
    unfinished.chmod(0o755 if executable else 0o644)
    unfinished.rename(target)


def plugin_path(name: str, version: str) -> Path:
    """Where the CLI looks for a plugin: `$PULUMI_HOME/plugins`, by default below `~/.pulumi`."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    return home / "plugins" / f"resource-{name}-v{version}" / f"pulumi-resource-{name}"


def _install_plugin(plugin: Path, name: str, version: str) -> None:
    target = plugin_path(name, version)
    if target.exists() and not target.is_symlink():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _link(plugin, target)


def _link(source: Path, target: Path, *, symbolic: bool = True) -> None:
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    if symbolic:
        unfinished.symlink_to(source)
    else:
        os.link(source, unfinished)
    unfinished.rename(target)


if __name__ == "__main__":
    sys.exit(main())
