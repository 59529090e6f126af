"""The toolchain's CLI, language host and plugins, on small programs of their own."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.engine.small_program import cli, environment, write

pytestmark = pytest.mark.engine


def test_a_program_goes_through_the_whole_cycle(project: Path):
    write(project, "import pulumi, pulumi_random as r\npulumi.export('pet', r.RandomPet('pet').id)\n")

    assert "1 to create" in cli(project, "preview") or "2 to create" in cli(project, "preview")
    cli(project, "up", "--yes", "--skip-preview")
    cli(project, "preview", "--expect-no-changes")
    cli(project, "refresh", "--yes", "--skip-preview", "--expect-no-changes")
    state = json.loads(cli(project, "stack", "export"))
    assert [r["type"] for r in state["deployment"]["resources"]][-1] == "random:index/randomPet:RandomPet"
    assert "deleted" in cli(project, "destroy", "--yes", "--skip-preview")


def test_a_resource_can_be_imported(project: Path):
    output = cli(project, "import", "random:index/randomId:RandomId", "old", "p-9hUg", "--yes", "--generate-code=false")

    assert "1 imported" in output


def test_a_trace_shows_the_users_frames_and_not_the_hosts(project: Path):
    write(project, "def deploy():\n    raise ValueError('the disk is full')\n\ndeploy()\n")

    output = cli(project, "preview", expect=1)

    assert "ValueError: the disk is full" in output
    assert "__main__.py" in output
    assert "run_program.py" not in output
    assert "runpy" not in output


def test_an_error_meant_for_the_user_comes_without_a_trace(project: Path):
    write(project, "import pulumi\nraise pulumi.RunError('set the domain')\n")

    output = cli(project, "preview", expect=1)

    assert "set the domain" in output
    assert "Traceback" not in output


def test_the_cli_knows_the_programs_environment(project: Path):
    output = cli(project, "about")

    assert str(project / ".venv") in output or "python" in output
    assert "pulumi-random" in output.replace("_", "-")


def test_a_dynamic_resource_runs_in_the_projects_environment(project: Path):
    (project / "marks.py").write_text(
        "import sys\nfrom pulumi.dynamic import CreateResult, Resource, ResourceProvider\n"
        "class Provider(ResourceProvider):\n"
        "    def create(self, props):\n"
        "        return CreateResult('mark', {'python': sys.prefix})\n"
        "class Mark(Resource):\n"
        "    def __init__(self, name):\n"
        "        super().__init__(Provider(), name, {'python': None})\n"
    )
    write(project, "import pulumi\nfrom marks import Mark\npulumi.export('python', Mark('m').python)\n")

    cli(project, "up", "--yes", "--skip-preview")

    assert ".venv" in cli(project, "stack", "output", "python")


def test_a_hook_runs_around_a_resource(project: Path):
    write(
        project,
        "import pathlib, pulumi, pulumi_random as r\n"
        "hook = pulumi.ResourceHook('note', lambda args: pathlib.Path('note').write_text(args.name) and None)\n"
        "r.RandomPet('pet', opts=pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(after_create=[hook])))\n",
    )

    cli(project, "up", "--yes", "--skip-preview")

    assert (project / "note").read_text() == "pet"


def test_ctrl_c_stops_the_program_and_leaves_no_process(project: Path):
    write(project, "import pathlib, os, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n")
    running = subprocess.Popen(
        ["pulumi", "preview", "--non-interactive"],
        cwd=project,
        env=environment(project),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: (project / "pid").exists() and (project / "pid").read_text() != "")
    program = int((project / "pid").read_text())

    os.killpg(running.pid, signal.SIGINT)
    running.wait(timeout=60)

    wait_until(lambda: not Path("/proc", str(program)).exists())
    assert running.returncode != 0


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
