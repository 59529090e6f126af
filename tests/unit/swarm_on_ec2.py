"""SwarmCluster's arguments for hosts on EC2, the graph that it registers with them and what its hosts fetch, for its tests."""

import base64
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest

from components import LoginProvider, SwarmCluster, SwarmClusterArgs
from tests.unit.recording import Answer, Recorder, Registration, record

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
HUB_IMAGE = f"{REGISTRY}/hubstack/hub@sha256:{'1' * 64}"
NOTEBOOK_IMAGE = f"{REGISTRY}/hubstack/notebook@sha256:{'2' * 64}"

ARGS: SwarmClusterArgs = {
    "domain": "hub.example.org",
    "users": [{"name": "ada"}, {"name": "root", "admin": True}],
    "hubImage": HUB_IMAGE,
    "notebookImage": NOTEBOOK_IMAGE,
    "ec2": {"zone": "example.org", "alarmEmail": "owner@example.org"},
}
GITHUB = {"provider": LoginProvider.GITHUB, "clientId": "id", "clientSecret": "the-client-secret"}

INSTANCE = "aws:ec2/instance:Instance"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
STORED = "aws:s3/bucketObjectv2:BucketObjectv2"


def build(
    answers: Mapping[str, Answer] | None = None, ec2: Mapping[str, object] | None = None, **args: Any
) -> Recorder:
    given: Any = {**ARGS, **args, "ec2": {**ARGS.get("ec2", {}), **(ec2 or {})}}
    return record(lambda: SwarmCluster("lab", given), answers)


@pytest.fixture(scope="module")
def usual() -> Recorder:
    """The graph of the least that somebody has to say."""
    return build()


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def user_data(recorder: Recorder) -> dict[str, str]:
    """Boot scripts by host."""
    hosts = {name: r.properties["userDataBase64"] for name, r in of_type(recorder, INSTANCE).items()}
    hosts |= {name: r.properties["userData"] for name, r in of_type(recorder, TEMPLATE).items()}
    return {name: base64.b64decode(text).decode() for name, text in hosts.items()}


def node_document(script: str) -> dict[str, Any]:
    """What a boot script tells its host of itself, as its own shell reads it."""
    values = script[: script.index("set -euo")]
    told = subprocess.run(["bash", "-c", f'{values}\nprintf "%s" "$NODE"'], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def bundled(recorder: Recorder) -> dict[str, str]:
    [stored] = of_type(recorder, STORED).values()
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(stored.properties["contentBase64"]))) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read().decode() for m in tar.getmembers()}


def stack_file(recorder: Recorder) -> dict[str, Any]:
    return json.loads(bundled(recorder)["stack.json"])
