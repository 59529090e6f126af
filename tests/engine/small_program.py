"""Small programs of their own under the real CLI."""

import os
import subprocess
from pathlib import Path

PROJECT = "name: small\nruntime:\n  name: python\n  options:\n    toolchain: uv\n    virtualenv: .venv\n"


def write(folder: Path, program: str) -> None:
    (folder / "__main__.py").write_text(program)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PULUMI_BACKEND_URL": f"file://{folder / 'state'}", "PULUMI_CONFIG_PASSPHRASE": "tests"}


def cli(folder: Path, *arguments: str, expect: int = 0) -> str:
    done = subprocess.run(
        ["pulumi", *arguments, "--non-interactive"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr
