"""What hosts on AWS run when they start, reviewed as text: `python -m tests.golden.test_user_data` writes it anew."""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from jupyterhub.objects import Server
from traitlets.config import Config

from components import Ec2HubCluster, Ec2HubClusterArgs, SwarmCluster, TmpnbNodePool
from components.ec2_hub_cluster import hub_settings
from runtime.boot_script import USER_DATA_LIMIT
from runtime.ec2_spawner import spawner
from runtime.ec2_spawner.fleet import Home
from runtime.ec2_spawner.settings import parse_settings
from tests.unit.recording import record
from tests.unit.topologies import SWARM_ON_EC2, TMPNB_ON_EC2

HERE = Path(__file__).parent
DIGEST = re.compile(r"(?<==)[0-9a-f]{64}$", re.MULTILINE)
"""Digests of the files that a host fetches: they change with every line of those, and no reviewer learns from them."""

INSTANCE = "aws:ec2/instance:Instance"

ARGS: Ec2HubClusterArgs = {
    "domain": "hub.example.org",
    "zone": "example.org",
    "alarmEmail": "owner@example.org",
    "users": [{"name": "ada"}, {"name": "root", "admin": True}],
}


def without_digests(script: str) -> str:
    return DIGEST.sub("0" * 64, script)


def manager() -> str:
    """What Ec2HubCluster declares as the manager's user data."""
    recorder = record(lambda: Ec2HubCluster("lab", ARGS))
    [host] = [r for r in recorder.registrations if r.type == INSTANCE]
    return without_digests(base64.b64decode(host.properties["userDataBase64"]).decode())


def swarm_hosts() -> dict[str, str]:
    """What SwarmCluster declares on EC2 as user data, by the host's role."""
    recorder = record(lambda: SwarmCluster("lab", SWARM_ON_EC2))
    founder = next(r for r in recorder.registrations if r.type == INSTANCE and r.name.endswith("-1"))
    [template] = [r for r in recorder.registrations if r.type == "aws:ec2/launchTemplate:LaunchTemplate"]
    encoded = {"manager": founder.properties["userDataBase64"], "worker": template.properties["userData"]}
    return {role: base64.b64decode(text).decode() for role, text in encoded.items()}


def pool_host() -> str:
    """What TmpnbNodePool declares on EC2 as a node's user data; the redirector's differs in its values alone."""
    recorder = record(lambda: TmpnbNodePool("lab", TMPNB_ON_EC2))
    [host] = [r for r in recorder.registrations if r.type == INSTANCE and r.name == "lab-tmp01"]
    return base64.b64decode(host.properties["userDataBase64"]).decode()


class GoldenSpawner(spawner.Ec2Spawner):
    settings = parse_settings(
        json.loads(hub_settings("lab", ARGS)), {"LAUNCH_TEMPLATE": "lt-1", "SUBNETS": "us-east-1a=subnet-1"}
    )


def worker() -> str:
    """What the spawner hands to AWS as the user data of a user's host."""
    # The hub hands some of its own environment on.
    with mock.patch.dict(os.environ, clear=True):
        made = GoldenSpawner(
            config=Config(),
            api_token="the-servers-token",
            oauth_client_id="jupyterhub-user-ada",
            manager_address="10.10.0.10",
            default_url="/lab",
            user=SimpleNamespace(name="ada", escaped_name="ada", url="/user/ada/"),
            hub=SimpleNamespace(public_host="", base_url="/hub/", api_url="http://10.10.0.10:8081/hub/api"),
        )
        made.server = Server(base_url="/user/ada/")
        return without_digests(made.user_data(Home("vol-0123456789abcdef0", "ada", "us-east-1a", ""), "0" * 64))


def worker_environment() -> str:
    """The server's environment in the worker's user data, as its host writes it into a file."""
    [encoded] = re.findall(r"^readonly ENVIRONMENT=(.*)$", worker(), re.MULTILINE)
    return base64.b64decode(encoded).decode() + "\n"


MADE = {
    "manager-user-data.sh": manager,
    "worker-user-data.sh": worker,
    "worker.env": worker_environment,
    "swarm-manager-user-data.sh": lambda: swarm_hosts()["manager"],
    "swarm-worker-user-data.sh": lambda: swarm_hosts()["worker"],
    "pool-host-user-data.sh": pool_host,
}
"""Each golden file, and what makes it."""

SCRIPTS = [name for name in MADE if name.endswith(".sh")]


@pytest.mark.parametrize("name", MADE)
def test_hosts_run_what_was_reviewed(name: str):
    assert MADE[name]() == (HERE / name).read_text(), "review the change and write it anew, see the top of this file"


@pytest.mark.parametrize("name", SCRIPTS)
def test_user_data_passes_shellcheck_with_its_values(name: str):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not on the path; `make test` installs it")

    # A value in front may be the text of another script, which is not to be expanded here.
    told = subprocess.run(["shellcheck", "--exclude=SC2016", HERE / name], capture_output=True, text=True, check=False)

    assert told.stdout == ""


ASK_CLOUD_INIT = """
import json, pathlib, sys
from cloudinit.handlers.shell_script import ShellScriptPartHandler
from cloudinit.helpers import Paths
from cloudinit.user_data import UserDataProcessor
from cloudinit.util import fully_decoded_payload

given, folder = pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[2]
paths = Paths({"cloud_dir": folder, "run_dir": folder})
handler = ShellScriptPartHandler(paths)
handler.script_dir = folder
parts = [part for part in UserDataProcessor(paths).process(given).walk() if not part.is_multipart()]
for part in parts:
    handler.handle_part(None, part.get_content_type(), part.get_filename(), fully_decoded_payload(part), None)
print(json.dumps([[part.get_content_type(), part.get_filename()] for part in parts]))
"""
"""What cloud-init itself makes of user data at a host's first start, up to running it."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_cloud_init_takes_user_data_for_one_script_and_writes_it_unchanged(name: str, tmp_path: Path):
    """`cloud-init schema` judges cloud-config alone and has no verdict on a script: its own reading of one is asked."""
    if not shutil.which("cloud-init"):
        pytest.skip("cloud-init is not on the path; `make test` installs it")

    asked = subprocess.run(
        ["/usr/bin/python3", "-c", ASK_CLOUD_INIT, HERE / name, tmp_path], capture_output=True, text=True, check=False
    )

    assert asked.returncode == 0, asked.stderr
    [(kind, written)] = json.loads(asked.stdout)
    assert kind == "text/x-shellscript"
    assert (tmp_path / written).read_text() == (HERE / name).read_text()
    assert (tmp_path / written).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", SCRIPTS)
def test_user_data_fits_awss_limit(name: str):
    assert len((HERE / name).read_bytes()) <= USER_DATA_LIMIT


if __name__ == "__main__":
    for golden, make in MADE.items():
        (HERE / golden).write_text(make())
