"""A stack of this project under the real engine, with its state and configuration in a folder of its own."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
import yaml

ROOT = Path(__file__).parents[1]


def needs_pulumi() -> None:
    """Skip the test, with the reason, where the CLI is absent."""
    if not shutil.which("pulumi"):
        pytest.skip("the Pulumi CLI is not on the path; `make test` installs it")


def needs_engine_and_docker() -> None:
    """Skip the test, with the reason, where the CLI or the engine is absent."""
    needs_pulumi()
    try:
        docker.from_env().close()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")


@dataclass
class Stack:
    """A stack with its own state, so that it never meets the user's."""

    name: str
    folder: Path
    config: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the project, because the CLI writes into its folder, and create the stack."""
        (self.folder / "state").mkdir(parents=True)
        left_out = shutil.ignore_patterns(".git", ".venv", "build", ".pulumi-state", "__pycache__", "tests", ".*_cache")
        shutil.copytree(ROOT, self.project, ignore=left_out)
        (self.project / ".venv").symlink_to(ROOT / ".venv")
        self.write_config(self.config)
        self.run("stack", "select", "--create", self.name)

    @property
    def label(self) -> str:
        """Prefix of everything that the stack makes on the engine."""
        return f"hubstack-{self.name}"

    @property
    def project(self) -> Path:
        """The copy of the project."""
        return self.folder / "project"

    @property
    def config_file(self) -> Path:
        """The stack's configuration."""
        return self.project / f"Pulumi.{self.name}.yaml"

    def write_config(self, config: dict[str, object]) -> None:
        """Replace the configuration, but for the encryption's salt; a key with a colon names another's namespace."""
        old = yaml.safe_load(self.config_file.read_text()) if self.config_file.exists() else {}
        old["config"] = {key if ":" in key else f"hubstack:{key}": value for key, value in config.items()}
        self.config_file.write_text(yaml.safe_dump(old))

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the CLI."""
        return {
            **os.environ,
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "tests",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def run(self, *arguments: str, expect: int | None = 0, timeout: float = 600) -> str:
        """Run the CLI and return what it printed; any exit code but `expect` fails the test."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        output = done.stdout + done.stderr
        assert expect is None or done.returncode == expect, output[-6000:]
        return output

    def up(self, *arguments: str, expect: int | None = 0) -> str:
        """Update the stack with the policy pack."""
        return self.run("up", "--yes", "--stack", self.name, "--policy-pack", "policies", *arguments, expect=expect)

    def outputs(self) -> dict[str, str]:
        """The stack's outputs, secrets in plain text."""
        done = subprocess.run(
            ["pulumi", "stack", "output", "--stack", self.name, "--json", "--show-secrets"],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def state(self) -> str:
        """The stack's state as it is stored, secrets encrypted."""
        return self.run("stack", "export", "--stack", self.name)

    @contextmanager
    def deployed(self, *arguments: str) -> Iterator["Stack"]:
        """Deploy the stack; destroy it at the end, after which nothing may be left, however the update went."""
        try:
            self.up("--skip-preview", *arguments)
            yield self
        finally:
            self.destroy()
        assert left_on_the_engine(self.label) == {}

    def destroy(self) -> str:
        """Destroy the stack."""
        return self.run("destroy", "--yes", "--skip-preview", "--stack", self.name)


def left_on_the_engine(label: str) -> dict[str, list[str]]:
    """Names of everything on the engine that carries the stack's prefix, by kind, kinds with nothing left out."""
    client = docker.APIClient(version="auto")
    manager = client.info()["Swarm"]["ControlAvailable"]
    found = {
        "containers": [c["Names"][0] for c in client.containers(all=True)],
        "networks": [n["Name"] for n in client.networks()],
        "volumes": [v["Name"] for v in client.volumes()["Volumes"] or []],
        "plugins": [p["Name"] for p in client.plugins()],
        "services": [s["Spec"]["Name"] for s in client.services()] if manager else [],
        "secrets": [s["Spec"]["Name"] for s in client.secrets()] if manager else [],
        "configs": [c["Spec"]["Name"] for c in client.configs()] if manager else [],
    }
    return {kind: [n for n in names if label in n] for kind, names in found.items() if any(label in n for n in names)}
