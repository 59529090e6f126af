"""A provider of `kubernetes` resources, for this project's tests only; never deploy anything with it.

The official plugin cannot be had where releases cannot be downloaded. This one serves the same types to the official
`pulumi_kubernetes` SDK against a real API server: objects by server-side apply with strict field validation, releases
by the `helm` program (`$HUBSTACK_HELM`, else the one on the path). What it must share with the official plugin, because programs depend on it: names, the fields
that replace an object, what is waited for, what is secret, what a preview refuses. Where it is stricter: misspelt fields
are errors, and so is a cluster that does not answer.

It speaks the provider protocol itself. `pulumi.provider.experimental` hands a provider neither the old inputs of a
`Diff` nor a way to report an object that was made but did not become ready, and this provider needs both.
"""

import os
import shlex
import sys
from pathlib import Path

VERSION = "4.34.2"
"""Version of the SDK that it serves, and that it claims to be."""

ROOT = Path(__file__).parents[3]

LAUNCHER = """#!/bin/sh
# The engine starts it in the program's folder, where another package `tests` may lie: hence -P.
PYTHONPATH={root} exec {python} -P -u -m tests.engine.kubernetes_provider "$@"
"""


def launcher(folder: Path) -> Path:
    """Write the program `pulumi-resource-kubernetes` into `folder`, made if it is missing; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "pulumi-resource-kubernetes"
    program.write_text(LAUNCHER.format(root=shlex.quote(str(ROOT)), python=shlex.quote(sys.executable)))
    program.chmod(0o755)
    return folder


def environment(folder: Path, *, path: str | None = None) -> dict[str, str]:
    """Variables with which the CLI finds the provider: `folder` before `path` (default: this process's PATH)."""
    return {
        "PATH": f"{launcher(folder)}{os.pathsep}{os.environ['PATH'] if path is None else path}",
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "false",
    }
