"""The policy pack under the real engine: what it refuses stops an update before anything is made."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.engine.small_program import cli
from tests.stacks import ROOT, Stack, left_on_the_engine, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.docker]

CONFIG = {"users": ["ada"], "port": 18455, "addressPool": "10.217.0.0/16", "dataProtection": False}


def make(stack: Stack, action: str) -> tuple[int, str]:
    """What the make targets run."""
    done = subprocess.run(
        ["toolchain/stack", action, stack.name],
        cwd=stack.project,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("action", ["preview", "up"])
def test_a_stack_that_breaks_a_rule_is_refused_before_anything_is_made(tmp_path: Path, action: str):
    needs_engine_and_docker()
    stack = Stack("refused", tmp_path, {**CONFIG, "egressProfile": "open", "userQuota": {"maxAge": 30 * 24 * 3600}})

    try:
        code, output = make(stack, action)
        made = left_on_the_engine(stack.label)
    finally:
        stack.destroy()

    assert code != 0
    assert "[egress-profile]" in output
    assert "[user-quota-maximum]" in output
    assert "Traceback" not in output
    assert made == {}


UNKNOWN_NETWORK = """
import pulumi, pulumi_docker, pulumi_random
decided = pulumi_random.RandomId("decided", byte_length=1)
pulumi_docker.Network(
    "user",
    driver="overlay",
    internal=decided.dec.apply(lambda number: int(number) >= 0),
    labels=[{"label": "hubstack.stack", "value": "s"}, {"label": "hubstack.role", "value": "user-network"}],
)
"""


@pytest.mark.parametrize(("level", "expected"), [("advisory", 0), ("mandatory", 1)])
def test_what_cannot_be_decided_is_told_or_refused_as_the_stack_says(project: Path, level: str, expected: int):
    levels = project / "levels.json"
    levels.write_text(json.dumps({"hubstack-undecided": {"enforcementLevel": level}}))
    (project / "__main__.py").write_text(UNKNOWN_NETWORK)

    output = cli(
        project,
        "preview",
        "--policy-pack",
        str(ROOT / "policies"),
        "--policy-pack-config",
        str(levels),
        expect=expected,
    )

    assert f"[{level}]" in output
    assert "undecided: " in output
    assert "internal is not known before the update" in output
