"""Pushing images for real, to registries on loopback."""

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import docker
import pytest
import yaml

from toolchain import pushed_images
from toolchain.pushed_images import Image, PushError, digest_in_registry, images_of_stack, logged_in, push_stack, pushed

pytestmark = [pytest.mark.docker]

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse"
ACCOUNTS = "ada:$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n"
"""Ada with the password, as the registry keeps it."""
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Registry:
    """A registry on this machine."""

    address: str
    folder: Path

    @property
    def files(self) -> dict[str, int]:
        """Everything that it holds, with the time of its last change."""
        return {str(file): file.stat().st_mtime_ns for file in self.folder.rglob("*")}

    def digest(self, repository: str, reference: str) -> str:
        """Digest that it tells of an image."""
        address = f"http://{self.address}/v2/{repository}/manifests/{reference}"
        with urllib.request.urlopen(urllib.request.Request(address, headers={"Accept": MANIFEST})) as answer:
            return answer.headers["Docker-Content-Digest"]


@contextmanager
def running_registry(folder: Path, **further: object) -> Iterator[Registry]:
    """A registry of its own, for as long as it is needed; docker takes loopback's without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "data").mkdir()
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
        **further,
    }
    (folder / "registry.yml").write_text(yaml.safe_dump(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", folder / "registry.yml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not answers(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.1)
        yield Registry(address, folder / "data")
    finally:
        process.terminate()
        process.wait()


def answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not on the path; `make test` installs it")
    try:
        made = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def registry(client: docker.APIClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="module")
def locked(client: docker.APIClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that lets nobody in but Ada."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "accounts").write_text(ACCOUNTS)
    with running_registry(folder, auth={"htpasswd": {"realm": "ours", "path": str(folder / "accounts")}}) as made:
        yield made


@pytest.fixture
def tiny(client: docker.APIClient) -> Iterator[Image]:
    """An image of one file on the engine that no registry has seen."""
    image = Image(f"hubstack-test/tiny-{uuid4().hex[:8]}", "1", "none", rootfs=True)
    content = uuid4().bytes
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    subprocess.run(["docker", "import", "-", image.name], input=archive.getvalue(), check=True, capture_output=True)
    yield image
    with suppress(docker.errors.NotFound):
        client.remove_image(image.name)


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "Pulumi.prod.yaml", tmp_path))


def names_on_engine(client: docker.APIClient) -> set[str]:
    """Names and digests under which the engine keeps images of registries on loopback."""
    names = [name for image in client.images() for name in (image["RepoTags"] or []) + (image["RepoDigests"] or [])]
    return {name for name in names if name.startswith("127.0.0.1:")}


def configured(file: Path) -> Mapping[str, str]:
    return yaml.safe_load(file.read_text())["config"]


def test_the_hub_is_pushed_and_the_stack_names_what_the_registry_holds(
    client: docker.APIClient, registry: Registry, tiny: Image, stack_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    hub = images_of_stack({}, rootfs=True)["hubImage"]
    before = stack_file.read_text()

    push_stack(stack_file, registry.address, {"hubImage": hub, "notebookImage": tiny})

    for key, image in (("hubImage", hub), ("notebookImage", tiny)):
        digest = registry.digest(image.repository, image.tag)
        assert configured(stack_file)[f"hubstack:{key}"] == f"{registry.address}/{image.repository}@{digest}"
    lines = zip(before.splitlines(), stack_file.read_text().splitlines(), strict=True)
    assert sum(old != new for old, new in lines) == 2
    assert names_on_engine(client) == set(), "the engine keeps its images under their own names alone"


def test_a_second_push_changes_nothing_and_needs_no_image_on_the_engine(
    client: docker.APIClient, registry: Registry, tiny: Image, stack_file: Path
):
    images = {"hubImage": tiny, "notebookImage": tiny}
    first = push_stack(stack_file, registry.address, images)
    before = (stack_file.stat().st_mtime_ns, registry.files)
    client.remove_image(tiny.name)

    assert push_stack(stack_file, registry.address, images) == first
    assert (stack_file.stat().st_mtime_ns, registry.files) == before


def test_what_the_stack_names_can_be_pulled(
    client: docker.APIClient, registry: Registry, tiny: Image, stack_file: Path
):
    reference = push_stack(stack_file, registry.address, {"hubImage": tiny})["hubImage"]
    original = client.inspect_image(tiny.name)["Id"]
    assert names_on_engine(client) == set()

    subprocess.run(["docker", "pull", "--quiet", reference], check=True, capture_output=True)

    assert client.inspect_image(reference)["Id"] == original
    client.remove_image(reference)


def test_a_registry_that_asks_for_a_login_says_so_and_nothing_is_written(
    locked: Registry, tiny: Image, stack_file: Path
):
    before = stack_file.read_bytes()

    with pytest.raises(PushError, match=r"no basic auth credentials.*`docker login`"):
        push_stack(stack_file, locked.address, {"hubImage": tiny})

    assert stack_file.read_bytes() == before


def test_a_login_of_the_runs_own_lasts_as_long_as_the_push_and_leaves_nothing(
    client: docker.APIClient, locked: Registry, tiny: Image, stack_file: Path, monkeypatch: pytest.MonkeyPatch
):
    folders: list[Path] = []

    @contextmanager
    def signed_in(_registry: str, _repositories: Sequence[str]) -> Iterator[Path]:
        with logged_in(locked.address, "ada", PASSWORD) as folder:
            assert locked.address in json.loads((folder / "config.json").read_text())["auths"]
            folders.append(folder)
            yield folder

    monkeypatch.setattr(pushed_images, "signed_in", signed_in)
    reference = push_stack(stack_file, locked.address, {"hubImage": tiny})["hubImage"]

    assert configured(stack_file)["hubstack:hubImage"] == reference
    assert [folder.exists() for folder in folders] == [False]
    with pytest.raises(PushError, match="no basic auth credentials"):
        digest_in_registry(client, f"{locked.address}/{tiny.repository}:{tiny.tag}")


def test_a_password_that_is_refused_is_told(locked: Registry):
    with (
        pytest.raises(PushError, match=f"{locked.address} refuses the login: .*401"),
        logged_in(locked.address, "ada", "wrong"),
    ):
        pass


def test_a_registry_that_does_not_answer_is_told(client: docker.APIClient, tiny: Image, stack_file: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(PushError, match=f"{address}.*connection refused"):
        push_stack(stack_file, address, {"hubImage": tiny})


def test_an_image_that_is_missing_is_built_after_what_it_starts_from(
    client: docker.APIClient, registry: Registry, tiny: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "images" / "leaf"
    source.mkdir(parents=True)
    (source / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY Dockerfile /copied\nENV LEAF=yes\n")
    base = Image(f"{tiny.repository}-base", "1", "base", rootfs=True, build_args={"ORIGIN": tiny.name})
    (tmp_path / "images" / "base").mkdir()
    (tmp_path / "images" / "base" / "Dockerfile").write_text("ARG ORIGIN\nFROM ${ORIGIN}\nENV BASE=yes\n")
    leaf = Image(f"{tiny.repository}-leaf", "1", "leaf", rootfs=True, build_args={"BASE": base.name}, base=base)
    monkeypatch.chdir(tmp_path)

    reference = pushed(client, leaf, registry.address, None)

    environment = client.inspect_image(leaf.name)["Config"]["Env"]
    for image in (leaf, base):
        client.remove_image(image.name)
    assert {"BASE=yes", "LEAF=yes"} <= set(environment)
    assert reference == f"{registry.address}/{leaf.repository}@{registry.digest(leaf.repository, '1')}"
    assert list((tmp_path / "build" / "images").iterdir()) == [], "contexts are gone"
