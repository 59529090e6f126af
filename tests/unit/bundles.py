"""A bundle of programs as a host has it: with nothing of the project beside it."""

import subprocess
import sys
from pathlib import Path


def printed_beside_nothing(folder: Path, program: str) -> str:
    """What a Python program prints that finds the modules of `folder` alone; a complaint of its fails the test."""
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stderr == ""
    return told.stdout
