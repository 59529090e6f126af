"""Where a swarm's secrets are on EC2, and which rights its hosts have to them, to images and to the bundle."""

import base64
import json

import pytest

from components.aws.swarm_access import registries, repository_arns
from components.aws.swarm_bundle import node_user_data
from runtime.swarm_node.settings import NodeRole, parse_node
from tests.unit.recording import Recorder
from tests.unit.swarm_on_ec2 import (
    GITHUB,
    HUB_IMAGE,
    REGISTRY,
    build,
    bundled,
    node_document,
    of_type,
    user_data,
    usual,
)

__all__ = ["usual"]

ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"

SECRET_MARK = "4dabf18193072939515e22adb298388d"
SECRET_VALUE = "1b47061264138c4ac30d75fd1eb44270"


def test_secrets_are_in_no_user_data_no_bundle_and_no_name():
    recorder = build(login=GITHUB, password="the-users-password")
    open_text = json.dumps(
        [[r.name, r.properties] for r in recorder.registrations if "secretVersion" not in r.type and "aws:" in r.type]
    )
    seen = "\n".join([*user_data(recorder).values(), *bundled(recorder).values(), open_text])

    for secret in ("generated-secret", "the-client-secret", "the-users-password", "ab" * 32):
        assert secret not in seen


def test_the_hubs_secrets_are_one_encrypted_value():
    recorder = build(login=GITHUB)
    [version] = of_type(recorder, "aws:secretsmanager/secretVersion:SecretVersion").values()
    value = version.properties["secretString"]

    assert value[SECRET_MARK] == SECRET_VALUE
    assert sorted(json.loads(value["value"])) == [
        *("admin-password", "client-secret", "cookie-secret", "proxy-token"),
        *("tls-cert", "tls-key", "user-password"),
    ]


def test_a_worker_is_told_of_no_secret_but_its_own_invitation(usual: Recorder):
    scripts = user_data(usual)
    worker, manager = (
        parse_node(node_document(scripts["lab-worker"])),
        parse_node(node_document(scripts["lab-manager-2"])),
    )

    assert set(worker.invitations) == {NodeRole.WORKER}
    assert worker.hub_secret == ""
    assert set(manager.invitations) == {NodeRole.MANAGER, NodeRole.WORKER}
    assert manager.hub_secret.endswith(":lab-hub")
    for secret in (manager.hub_secret, manager.invitations[NodeRole.MANAGER]):
        assert secret not in scripts["lab-worker"]


def test_roles_are_limited_to_the_stacks_own_bundle_images_secrets_and_group(usual: Recorder):
    policies = {
        name: json.loads(r.properties["policy"])["Statement"]
        for name, r in of_type(usual, ROLE_POLICY).items()
        if name != "lab-flows"
    }
    arn = "arn:aws:service:us-east-1:123456789012"
    repositories = [f"arn:aws:ecr:us-east-1:123456789012:repository/hubstack/{name}" for name in ("hub", "notebook")]
    may = {
        name: {action: s["Resource"] for s in statements for action in s["Action"]}
        for name, statements in policies.items()
    }

    assert set(may) == {"lab-manager", "lab-worker"}
    for role in may.values():
        assert role["s3:GetObject"] == [f"{arn}:lab-bundle/swarm.tar.gz"]
        assert role["ecr:BatchGetImage"] == repositories
    assert may["lab-worker"]["secretsmanager:GetSecretValue"] == [f"{arn}:lab-worker-invitation"]
    assert "secretsmanager:PutSecretValue" not in may["lab-worker"]
    assert "autoscaling:CompleteLifecycleAction" not in may["lab-manager"]
    assert may["lab-manager"]["secretsmanager:PutSecretValue"] == [
        f"{arn}:lab-manager-invitation",
        f"{arn}:lab-worker-invitation",
    ]


@pytest.mark.parametrize(
    ("image", "arns"),
    [
        (HUB_IMAGE, ["arn:aws:ecr:us-east-1:123456789012:repository/hubstack/hub"]),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/hub:v1@sha256:ab", ["arn:aws:ecr:eu-west-1:1:repository/hub"]),
        ("ghcr.io/a/b@sha256:ab", []),
        ("hub@sha256:ab", []),
        ("localhost:5000/hub@sha256:ab", []),
        ("", []),
    ],
)
def test_rights_are_needed_for_repositories_of_ecr_alone(image: str, arns: list[str]):
    assert repository_arns([image, image], "aws") == arns
    assert registries([image, image]) == ([image.partition("/")[0]] if arns else [])


def test_the_partition_is_the_accounts_own():
    image = "1.dkr.ecr.cn-north-1.amazonaws.com.cn/hub@sha256:ab"

    assert repository_arns([image], "aws-cn") == ["arn:aws-cn:ecr:cn-north-1:1:repository/hub"]


def test_a_host_renews_a_registrys_token_where_one_is_needed():
    def helpers(images: list[str]) -> str:
        text = node_user_data({}, bundle="b", file_system="", region="us-east-1", images=images)
        return base64.b64decode(text).decode().split("readonly REGISTRY_CONFIG=", 1)[1].splitlines()[0]

    assert f'{{"credHelpers": {{"{REGISTRY}": "ecr-login"}}}}' in helpers([HUB_IMAGE])
    assert '{"credHelpers": {}}' in helpers(["ghcr.io/a/b@sha256:ab"])
