"""Pushing a stack's images: what is pushed, to which repositories, and how the stack's file comes to name it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from components import SwarmCluster
from components.docker.build_context import REGISTRY_PYTHON, ROOTFS_PYTHON
from tests.unit.recording import record
from toolchain import pushed_images
from toolchain.progress import CommandFailedError
from toolchain.pushed_images import (
    Image,
    PushError,
    builds_from_registry,
    ensure_repository,
    has_buildkit,
    images_of_stack,
    login_of,
    main,
    push_stack,
    python_version,
    signed_in,
    with_references,
)

ROOT = Path(__file__).parents[2]
ACCOUNT = "123456789012"
REGISTRY = f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com"
HUB = f"{REGISTRY}/hubstack/hub@sha256:{'a' * 64}"
NOTEBOOK = f"{REGISTRY}/hubstack/notebook@sha256:{'b' * 64}"
REFERENCES = {"hubImage": HUB, "notebookImage": NOTEBOOK}
IMAGES = {key: Image(f"hubstack/{key}", "1", key, rootfs=True) for key in REFERENCES}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    with mock_aws():
        yield boto3.client("ecr", region_name="eu-central-1")


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The logins that were made, instead of making them."""
    made: list[tuple[str, str, str]] = []

    @contextmanager
    def logged_in(host: str, user: str, password: str) -> Iterator[Path]:
        made.append((host, user, password))
        yield Path("/folder")

    monkeypatch.setattr(pushed_images, "logged_in", logged_in)
    return made


@pytest.mark.parametrize("rootfs", [True, False])
def test_what_is_pushed_is_what_a_stack_on_an_engine_builds(rootfs: bool):
    recorder = record(lambda: SwarmCluster("hub", {"users": [{"name": "ada"}], "buildFromRegistry": not rootfs}))
    built = {r.properties["name"]: r.properties for r in recorder.registrations if "RemoteImage" in r.type}
    contexts = {r.properties["image"]: r.properties for r in recorder.registrations if "python_version" in r.properties}
    images = images_of_stack({}, rootfs=rootfs)

    assert [image.repository for image in images.values()] == ["hubstack/hub", "hubstack/notebook"]
    for image in [*images.values(), images["notebookImage"].base]:
        assert image
        assert built[image.name]["build"]["buildArgs"] == image.build_args
        assert contexts[image.folder]["python_version"] == python_version(image)
        assert contexts[image.folder]["rootfs"] == image.rootfs == rootfs
    assert ROOTFS_PYTHON != REGISTRY_PYTHON


def test_a_pool_of_temporary_notebooks_gets_the_images_that_nodes_elsewhere_pull():
    text = (ROOT / "Pulumi.tmpnb.yaml").read_text()
    images = images_of_stack(yaml.safe_load(text)["config"], rootfs=True)

    assert {key: image.folder for key, image in images.items()} == {
        "notebookImage": "notebook",
        "tmpnb.nodeImage": "tmpnb-node",
        "tmpnb.redirectorImage": "redirector",
    }
    written = yaml.safe_load(with_references(text, dict.fromkeys(images, HUB)))["config"]
    assert written["hubstack:tmpnb"]["nodeImage"] == HUB
    domains = {**yaml.safe_load(text)["config"], "hubstack:egressDomains": ["pypi.org"]}
    more = set(images_of_stack(domains, rootfs=True)) - set(images)
    assert more == {"tmpnb.egressProxyImage"}


@pytest.mark.parametrize(
    ("stack", "keys"),
    [
        ("ephemeral", {"notebookImage": "notebook", "ephemeral.egressProxyImage": "egress-proxy"}),
        (
            "platform",
            {
                "notebookImage": "notebook",
                "platform.operatorImage": "operator",
                "platform.egressProxyImage": "egress-proxy",
            },
        ),
    ],
)
def test_a_stack_on_kubernetes_gets_the_images_that_its_nodes_pull(stack: str, keys: dict[str, str]):
    text = (ROOT / f"Pulumi.{stack}.yaml").read_text()
    configuration = yaml.safe_load(text)["config"]
    images = images_of_stack(configuration, rootfs=True)

    assert {key: image.folder for key, image in images.items()} == keys
    closed = images_of_stack({**configuration, "hubstack:egressDomains": []}, rootfs=True)
    assert set(images) - set(closed) == {f"{stack}.egressProxyImage"}

    after = with_references(text, dict.fromkeys(images, HUB))
    changed = [pair for pair in zip(text.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert [new.strip() for _, new in changed] == [
        f"{key.rpartition('.')[2] if '.' in key else f'hubstack:{key}'}: {HUB}" for key in keys
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config:\n  hubstack:buildFromRegistry: true\n", True),
        ('config:\n  hubstack:buildFromRegistry: "true"\n', True),
        ("config:\n  hubstack:buildFromRegistry: false\n", False),
        ("config: {}\n", False),
        ("", False),
    ],
)
def test_the_stack_says_what_its_images_start_from(text: str, expected: bool):
    assert builds_from_registry(text) is expected


def test_the_example_keeps_every_line_but_the_two_that_name_images():
    before = (ROOT / "Pulumi.prod.yaml").read_text()
    after = with_references(before, REFERENCES)

    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert [line for _, line in changed] == [f"  hubstack:hubImage: {HUB}", f"  hubstack:notebookImage: {NOTEBOOK}"]
    assert with_references(after, REFERENCES) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "# ours\nconfig: # of the lab\n    # who\n    hubstack:users: [ada]\nencryptionsalt: v1:a\n",
            "# ours\nconfig: # of the lab\n    hubstack:hubImage: H\n    hubstack:notebookImage: N\n"
            "    # who\n    hubstack:users: [ada]\nencryptionsalt: v1:a\n",
        ),
        (
            "config:\n  'hubstack:notebookImage': \"old\"  # pinned\n  # hubstack:hubImage: none\n",
            "config:\n  hubstack:hubImage: H\n  'hubstack:notebookImage': N  # pinned\n  # hubstack:hubImage: none\n",
        ),
        ("config:\n  hubstack:hubImage:\n", "config:\n  hubstack:notebookImage: N\n  hubstack:hubImage: H\n"),
        ("config: {}\n", "config:\n  hubstack:hubImage: H\n  hubstack:notebookImage: N\n"),
        ("config:", "config:\n  hubstack:hubImage: H\n  hubstack:notebookImage: N\n"),
        ("# ours", "# ours\nconfig:\n  hubstack:hubImage: H\n  hubstack:notebookImage: N\n"),
        ("", "config:\n  hubstack:hubImage: H\n  hubstack:notebookImage: N\n"),
    ],
)
def test_an_edited_file_keeps_its_comments_its_order_and_its_indentation(before: str, after: str):
    assert with_references(before, {"hubImage": "H", "notebookImage": "N"}) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("config:\n", "config:\n  hubstack:platform:\n    operatorImage: O\n"),
        (
            "config:\n    # the nodes'\n    hubstack:platform: # ours\n\n        route: none\n    hubstack:domain: a\n",
            "config:\n    # the nodes'\n    hubstack:platform: # ours\n        operatorImage: O\n\n        route: none\n"
            "    hubstack:domain: a\n",
        ),
        (
            "config:\n  hubstack:platform:\n    'operatorImage': old # pinned\n    route: none",
            "config:\n  hubstack:platform:\n    'operatorImage': O # pinned\n    route: none",
        ),
        ("config:\n  hubstack:platform: {}\n", "config:\n  hubstack:platform:\n    operatorImage: O\n"),
        (
            "config:\n  hubstack:ephemeral:\n    operatorImage: other\n",
            "config:\n  hubstack:platform:\n    operatorImage: O\n  hubstack:ephemeral:\n    operatorImage: other\n",
        ),
    ],
)
def test_a_key_of_an_object_is_edited_within_it(before: str, after: str):
    assert with_references(before, {"platform.operatorImage": "O"}) == after


def test_an_object_on_one_line_is_refused_with_the_key_to_set():
    with pytest.raises(PushError, match=r"hubstack:platform\.operatorImage: O"):
        with_references("config:\n  hubstack:platform: {route: none}\n", {"platform.operatorImage": "O"})


CONFIGURATIONS = st.fixed_dictionaries(
    {},
    optional={
        # An image's name is one word.
        "hubstack:hubImage": st.text("abc:/@.-_", max_size=12),
        "hubstack:notebookImage": st.text("abc:/@.-_", max_size=12),
        "other:hubImage": st.text(max_size=12),
        "hubstack:domain": st.text(max_size=12),
        "hubstack:ec2": st.fixed_dictionaries({"hubImage": st.text(max_size=12)}),
    },
)


@given(CONFIGURATIONS)
def test_whatever_else_the_file_says_it_still_says(configuration: dict[str, object]):
    text = yaml.safe_dump({"config": configuration, "encryptionsalt": "v1:a"}, allow_unicode=True)

    # What the text says, not what it was made from: some line breaks of Unicode do not survive in YAML.
    said = yaml.safe_load(text)
    assert yaml.safe_load(with_references(text, REFERENCES)) == {
        **said,
        "config": {**(said["config"] or {}), "hubstack:hubImage": HUB, "hubstack:notebookImage": NOTEBOOK},
    }


@pytest.mark.parametrize(
    "text",
    [
        "config: {hubstack:domain: a}\n",
        "config:\n  hubstack:hubImage: >-\n    old\n",
        "config:\n  hubstack:hubImage: a b\n",
    ],
)
def test_a_file_that_cannot_be_edited_line_by_line_is_refused_with_the_lines_to_add(text: str):
    with pytest.raises(PushError, match=f"(?s)by line.*hubstack:hubImage: {HUB}.*hubstack:notebookImage: {NOTEBOOK}"):
        with_references(text, REFERENCES)


@pytest.mark.parametrize("text", ["config: [\n", "- a\n"])
def test_a_file_that_is_no_configuration_is_refused(text: str):
    with pytest.raises(PushError, match="the stack's file"):
        with_references(text, REFERENCES)


def test_a_missing_repository_is_created_immutable_scanned_and_encrypted(aws: Any):
    ensure_repository(aws, ACCOUNT, "hubstack/hub")

    [made] = aws.describe_repositories()["repositories"]
    assert made["repositoryName"] == "hubstack/hub"
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    assert made["encryptionConfiguration"]["encryptionType"] == "KMS"


def test_a_repository_that_is_there_stays_as_it_is(aws: Any):
    aws.create_repository(repositoryName="hubstack/hub", imageTagMutability="MUTABLE")
    ensure_repository(aws, ACCOUNT, "hubstack/hub")

    assert [r["imageTagMutability"] for r in aws.describe_repositories()["repositories"]] == ["MUTABLE"]


def test_the_login_of_awss_registry_is_a_user_and_a_token(aws: Any):
    user, token = login_of(aws)

    assert user == "AWS"
    assert token == f"{ACCOUNT}-auth-token"


@pytest.mark.parametrize(("prefix", "names"), [("", "hubstack/hub"), ("/labs/a", "labs/a/hubstack/hub")])
def test_awss_registry_gets_repositories_in_its_region_and_a_login(
    aws: Any, logins: list[tuple[str, str, str]], prefix: str, names: str
):
    with signed_in(REGISTRY + prefix, ["hubstack/hub"]) as credentials:
        assert credentials == Path("/folder")

    assert [r["repositoryName"] for r in aws.describe_repositories()["repositories"]] == [names]
    assert logins == [(REGISTRY, "AWS", f"{ACCOUNT}-auth-token")]


@pytest.mark.parametrize("registry", ["127.0.0.1:5000", "ghcr.io/lab", f"{REGISTRY}.example.org", f"evil/{REGISTRY}"])
def test_any_other_registry_is_left_to_the_users_own_login(aws: Any, logins: list[tuple[str, str, str]], registry: str):
    with signed_in(registry, ["hubstack/hub"]) as credentials:
        assert credentials is None

    assert logins == []
    assert aws.describe_repositories()["repositories"] == []


def test_what_aws_refuses_is_told(aws: Any):
    with (
        pytest.raises(PushError, match=r"AWS refuses to prepare .*InvalidParameter"),
        signed_in(REGISTRY, ["hubstack/HUB"]),
    ):
        pass


@pytest.mark.parametrize(
    ("told", "buildx", "expected"),
    [
        ("Docker version 20.10.24+dfsg1, build 297e128", False, True),
        ("Docker version 28.2.2, build e6534b4", False, False),
        ("Docker version 28.2.2, build e6534b4", True, True),
        ("podman version 4.3.1", False, False),
    ],
)
def test_a_docker_that_builds_is_told_from_one_that_does_not(tmp_path: Path, told: str, buildx: bool, expected: bool):
    cli = tmp_path / "docker"
    cli.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && echo '{told}' && exit\nexit {0 if buildx else 1}\n")
    cli.chmod(0o755)

    assert has_buildkit(cli) is expected


def test_nothing_is_written_unless_every_image_is_in_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text("config: {}\n")
    monkeypatch.setattr(pushed_images, "_engine", _no_engine)
    asked: list[str] = []

    def pushed(_client: object, image: Image, _registry: str, _credentials: Path | None) -> str:
        asked.append(image.folder)
        if image.folder == "notebookImage":
            raise CommandFailedError("denied")
        return HUB

    monkeypatch.setattr(pushed_images, "pushed", pushed)
    with pytest.raises(CommandFailedError):
        push_stack(file, "127.0.0.1:1", IMAGES)

    assert asked == ["hubImage", "notebookImage"]
    assert file.read_text() == "config: {}\n"


@contextmanager
def _no_engine() -> Iterator[object]:
    yield object()


def test_a_missing_file_is_told_with_those_that_are_there(tmp_path: Path):
    (tmp_path / "Pulumi.dev.yaml").touch()

    with pytest.raises(PushError, match=r"there is no Pulumi\.prd\.yaml; stacks with a file: dev$"):
        push_stack(tmp_path / "Pulumi.prd.yaml", "127.0.0.1:1", IMAGES)


def test_an_address_with_a_scheme_is_refused(tmp_path: Path):
    with pytest.raises(PushError, match=r"https://ghcr\.io/lab has a scheme"):
        push_stack(tmp_path / "Pulumi.prod.yaml", "https://ghcr.io/lab", IMAGES)


def test_an_engine_that_does_not_answer_is_told_with_its_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = (ROOT / "Pulumi.prod.yaml").read_bytes()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    assert main(["prod", "127.0.0.1:1"]) == 1
    assert "no Docker engine answers at unix:///nowhere/docker.sock" in capsys.readouterr().err
    assert (ROOT / "Pulumi.prod.yaml").read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["prod"], ["prod", ""], ["prod", "registry", "more"]])
def test_arguments_that_are_missing_are_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    assert "usage: make push STACK=<stack> REGISTRY=<registry>" in capsys.readouterr().err


def test_make_asks_for_the_registry_before_it_does_anything():
    # Below another make, as in CI, it would name its folder.
    command = ["make", "--no-print-directory", "push", "STACK=prod"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "usage: make push STACK=<stack> REGISTRY=<registry>" in done.stderr
    assert done.stdout == ""
