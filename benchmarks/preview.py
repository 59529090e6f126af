"""How long a preview of a stack on AWS takes, over that of an empty program, both with the real engine.

`HUBSTACK_PLUGINS=aws toolchain/with python benchmarks/preview.py STACK` (default ec2hub). AWS is simulated on this machine.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from toolchain.rehearsal import ROOT, Rehearsal, rehearsal_of

ROUNDS = 5
EMPTY = "name: empty\nruntime:\n  name: python\n  options:\n    toolchain: uv\n    virtualenv: .venv\n"


def empty_project(folder: Path) -> Path:
    """A project whose program declares nothing."""
    folder.mkdir()
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "Pulumi.yaml").write_text(EMPTY)
    (folder / "__main__.py").write_text("import pulumi\n")
    return folder


def seconds(folder: Path, environment: Mapping[str, str], *arguments: str) -> float:
    """Wall-clock seconds of a command of the engine, which must succeed."""
    start = time.monotonic()
    command = ["pulumi", *arguments, "--non-interactive"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.monotonic() - start


def measure(rehearsal: Rehearsal) -> tuple[list[float], list[float]]:
    """Seconds of the stack's previews and of the empty program's, in turns."""
    empty = empty_project(rehearsal.folder / "empty")
    seconds(empty, rehearsal.environment, "stack", "init", "empty")
    rounds = [
        (
            seconds(rehearsal.project, rehearsal.environment, "preview", "--stack", rehearsal.stack),
            seconds(empty, rehearsal.environment, "preview", "--stack", "empty"),
        )
        for _ in range(ROUNDS)
    ]
    return [full for full, _ in rounds], [nothing for _, nothing in rounds]


def main() -> None:
    """Print the figures."""
    stack = sys.argv[1] if len(sys.argv) > 1 else "ec2hub"
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    with (
        tempfile.TemporaryDirectory(prefix="hubstack-benchmark-") as folder,
        rehearsal_of(stack, Path(folder), config["hubstack:ec2"]["zone"]) as rehearsal,
    ):
        full, nothing = measure(rehearsal)
    ratios = [one / other for one, other in zip(full, nothing, strict=True)]
    print(f"preview of {stack}:           {statistics.median(full):5.1f} s ({min(full):.1f} to {max(full):.1f})")
    print(
        f"preview of an empty program: {statistics.median(nothing):5.1f} s ({min(nothing):.1f} to {max(nothing):.1f})"
    )
    print(f"ratio:                       {statistics.median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
