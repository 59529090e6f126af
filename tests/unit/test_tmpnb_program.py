"""A tmpnb node's service as the program that is started, without an engine or a proxy."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.stacks import ROOT
from tests.unit.tmpnb_node import document


def free_ports() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return [first.getsockname()[1], second.getsockname()[1]]


def program(folder: Path, **changes: Any) -> subprocess.Popen[str]:
    """The service as it is started, without an engine or a proxy."""
    (folder / "settings.json").write_text(json.dumps(document(proxy_api="http://127.0.0.1:1", **changes)))
    for name, text in (("proxy-token", "proxy-secret"), ("admin-token", "admin-secret")):
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "runtime.tmpnb_node", str(folder / "settings.json"), str(folder), str(folder)]
    environment = {**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_the_program_answers_without_an_engine_and_ends_when_told_to(tmp_path: Path) -> None:
    public, admin = free_ports()
    started = program(tmp_path, public_port=public, admin_address="127.0.0.1", admin_port=admin)
    try:
        problems: dict[str, str] = {}
        while "engine" not in problems and started.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{public}/health") as answer:
                    raise AssertionError(answer.status)
            except urllib.error.HTTPError as error:
                problems = json.load(error)["problems"]
            except urllib.error.URLError:
                continue
        assert "does not answer" in problems["engine"]
        started.terminate()
        _, told = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 0
    assert "told to stop" in told
    assert "secret" not in told


def test_the_program_says_what_is_wrong_with_its_settings(tmp_path: Path) -> None:
    started = program(tmp_path, capacity=0)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 2
    assert "capacity must be 1 to 1000, not 0" in told
