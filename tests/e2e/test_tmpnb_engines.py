"""Nodes on an engine of another machine: over TCP with certificates, and over SSH."""

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from components.docker.container_group import _ContainerGroupProvider, group_text
from components.docker.inspection import EngineUnreachableError, engine_client
from components.docker.pool_preflight import EngineShare, engine_mistakes
from components.docker.tmpnb_node import node_group
from components.docker.tmpnb_plan import NodeSettings
from runtime.group_deployment import DeploymentError, ensure_image
from tests.e2e.outside import run
from tests.e2e.tmpnb_lab import ADMIN_TOKEN, QUOTA, Node, NodeHost, Visitor, node_settings
from tests.e2e.tmpnb_pool import until
from tests.engine.project_images import image, notebook_image

pytestmark = [pytest.mark.docker]

STACK, POOL, PORT = "hubstack-engines", "10.234.0.0/17", 9801
PLAIN_PORT = 9800
REGISTRY = "127.0.0.1:5000"
NETWORK = "10.234.240"
HOST = f"{NETWORK}.10"
TCP, SSH = f"tcp://{HOST}:2376", f"ssh://root@{HOST}"
ANSWERS_AT_ONCE = 2
"""Connections of a client that reads the output of a command: the command's, and one for all else."""

TLS_HANDSHAKE = b"\x16"
PROVIDER = _ContainerGroupProvider()
ASK = """
import sys
from components.docker.inspection import EngineUnreachableError, engine_client
try:
    with engine_client(sys.argv[1]): pass
except EngineUnreachableError as error: print(error)
"""
SSHD = """
HostKey {folder}/host-key
AuthorizedKeysFile {folder}/user-key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
SetEnv PATH={path}
"""
SSH_CONFIG = """
Host *
IdentityFile {folder}/{key}
IdentitiesOnly yes
UserKnownHostsFile {folder}/{known_hosts}
"""


class EngineHost(NodeHost):
    """A machine whose engine is asked over the network."""

    network = NETWORK


@dataclass
class Authority:
    """An authority, and certificates that it signed for the engine and for who may ask that."""

    folder: Path

    def __post_init__(self) -> None:
        """Make them."""
        for name in ("server", "client"):
            (self.folder / name).mkdir(parents=True)
        authority = ("-keyout", f"{self.folder}/ca-key.pem", "-out", f"{self.folder}/ca.pem")
        self._certificate(*authority, "-subj", "/CN=authority")
        for name, purpose in (("server", "serverAuth"), ("client", "clientAuth")):
            shutil.copy(self.folder / "ca.pem", self.folder / name)
            self._certificate(
                *("-CA", f"{self.folder}/ca.pem", "-CAkey", f"{self.folder}/ca-key.pem", "-subj", f"/CN={name}"),
                *("-addext", f"extendedKeyUsage={purpose}", "-addext", f"subjectAltName=IP:{HOST}"),
                *("-addext", "basicConstraints=critical,CA:FALSE"),
                *("-keyout", f"{self.folder}/{name}/key.pem", "-out", f"{self.folder}/{name}/cert.pem"),
            )

    @staticmethod
    def _certificate(*options: str) -> None:
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
        run(*command.split(), *options)

    @property
    def client(self) -> Path:
        """What `DOCKER_CERT_PATH` names."""
        return self.folder / "client"

    @property
    def engine_options(self) -> list[str]:
        """Options of an engine that lets in whom this authority signed."""
        files = {"cacert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
        options = [f"--tls{option}={self.folder}/server/{file}" for option, file in files.items()]
        return ["-H", TCP, "--tlsverify", *options]

    @property
    def secrets(self) -> dict[str, str]:
        """Secrets of a node whose visitors see the engine's certificate."""
        pem = {f"tls-{name}": (self.folder / "server" / f"{name}.pem").read_text() for name in ("cert", "key")}
        return {"proxy-token": "engines-proxy", "admin-token": ADMIN_TOKEN, **pem}


@dataclass
class Pushed:
    """An image in a registry."""

    reference: str
    blobs: Path

    def lose_layers(self) -> None:
        """Have the registry know the image, and have nothing of what it is made of."""
        for blob in self.blobs.glob("*/*/*/data"):
            if blob.parent.name != self.reference.rpartition(":")[2]:
                blob.unlink()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the engine does not know."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[EngineHost]:
    if not shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("sshd is not there; Debian has it in openssh-server, which `CI=true make test` installs")
    host = EngineHost("engines", 1, tmp_path_factory.mktemp("engines") / "host")
    with ExitStack() as cleanup:
        cleanup.callback(host.remove)
        host.connect()
        host.start(*authority.engine_options)
        yield host


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory, host: EngineHost) -> Path:
    """The host lets in who has the user's key; the folder has that key, another one, and the host's."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host-key", "user-key", "other-key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    for known_hosts, key in (("known-hosts", "host-key"), ("other-hosts", "other-key")):
        (folder / known_hosts).write_text(f"{HOST} {(folder / f'{key}.pub').read_text()}")
    docker_folder = Path(shutil.which("docker") or "").parent
    config = folder / "sshd"
    config.write_text(SSHD.format(folder=folder, path=f"{docker_folder}:/usr/bin:/bin"))
    host.within("sh", "-c", f"mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f {config}")
    until("sshd listens", lambda: not socket.socket().connect_ex((HOST, 22)))
    return folder


def use_keys(monkeypatch: pytest.MonkeyPatch, folder: Path, key: str = "user-key", hosts: str = "known-hosts") -> None:
    """Let the program `ssh` find settings with this key, and known hosts, instead of the user's own."""
    programs = folder / f"{key}-{hosts}"
    programs.mkdir(exist_ok=True)
    (programs / "config").write_text(SSH_CONFIG.format(folder=folder, key=key, known_hosts=hosts))
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {programs}/config "$@"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


def running(engine: str) -> list[str]:
    """Programs that go on with a tunnel to an engine."""
    found = subprocess.run(["pgrep", "-af", f"^ssh .*{engine}"], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()


def identity(engine: str) -> str:
    """Which engine answers at an address."""
    with engine_client(engine) as client:
        return client.info()["ID"]


def refusal(engine: str) -> str:
    """Why an engine is not reached."""
    with pytest.raises(EngineUnreachableError) as raised:
        identity(engine)
    return str(raised.value)


def test_an_engine_over_tcp_answers_whom_its_authority_signed_whatever_the_environment_believes(
    host: EngineHost, authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DOCKER_CERT_PATH", str(authority.client))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(stranger.client / "ca.pem"))

    assert identity(TCP) == host.client().info()["ID"]


def test_an_engine_over_tcp_refuses_others_and_is_refused_by_who_does_not_know_it(
    host: EngineHost, authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    assert "set DOCKER_CERT_PATH to the folder with its ca.pem, cert.pem and key.pem" in refusal(TCP)

    # Right about the engine, but signed by an authority that it does not know.
    shutil.copytree(stranger.client, tmp_path, dirs_exist_ok=True)
    shutil.copy(authority.client / "ca.pem", tmp_path)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    told = refusal(TCP)
    assert f"no Docker engine answers at {TCP}" in told
    assert "SSL" in told
    assert "DOCKER_CERT_PATH" in told

    # Signed by the engine's authority, which this side does not take for one.
    shutil.copytree(authority.client, tmp_path, dirs_exist_ok=True)
    shutil.copy(stranger.client / "ca.pem", tmp_path)
    assert "certificate verify failed" in refusal(TCP).lower()


def test_nothing_is_said_over_tcp_in_plain_text(authority: Authority, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_CERT_PATH", str(authority.client))
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    with socket.create_server(("127.0.0.1", PLAIN_PORT)) as server:
        server.settimeout(10)
        asking = subprocess.Popen(
            ["python", "-c", ASK, f"tcp://127.0.0.1:{PLAIN_PORT}"], stdout=subprocess.PIPE, text=True
        )
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == TLS_HANDSHAKE
        assert "no Docker engine answers" in asking.communicate(timeout=30)[0]


def test_an_engine_over_ssh_is_reached_with_the_users_own_keys_and_settings(
    host: EngineHost, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    use_keys(monkeypatch, keys)

    assert identity(SSH) == host.client().info()["ID"]
    assert not running(SSH), "no ssh is left"


@pytest.mark.parametrize(
    ("key", "hosts", "reason"),
    [
        ("other-key", "known-hosts", "Permission denied (publickey"),
        ("user-key", "other-hosts", "Host key verification failed"),
        ("user-key", "nowhere", "Host key verification failed"),
    ],
)
def test_a_key_that_is_not_let_in_and_a_host_that_is_not_known_are_told(
    keys: Path, key: str, hosts: str, reason: str, monkeypatch: pytest.MonkeyPatch
):
    use_keys(monkeypatch, keys, key, hosts)

    told = refusal(SSH)

    assert f"no Docker engine answers at {SSH} (" in told
    assert reason in told
    assert f"`docker --host {SSH} version` must work" in told


@pytest.fixture(scope="module")
def images(host: EngineHost) -> dict[str, str]:
    """Ids of images that the host has."""
    names = {"node": image("tmpnb-node"), "notebook": notebook_image()}
    client = docker.APIClient(version="auto")
    ids = {short: client.inspect_image(name)["Id"] for short, name in names.items()}
    client.close()
    host.load(sorted(ids.values()))
    return ids


def settings(**changes: Any) -> NodeSettings:
    """A node for one server."""
    return node_settings("tmp01", 1, f"https://{HOST}:{PORT}", stack=STACK, pool=POOL, capacity=1, **changes)


def test_an_engine_of_another_machine_is_asked_before_anything_is_made(
    host: EngineHost, images: dict[str, str], keys: Path, monkeypatch: pytest.MonkeyPatch
):
    use_keys(monkeypatch, keys)
    share = EngineShare(SSH, STACK, (settings(),), (PORT,), sorted(images.values()), POOL)
    too_much = replace(settings(), capacity=1000, quota={**QUOTA, "memory_bytes": 2**40})

    assert engine_mistakes(share) == []
    memory, taken = engine_mistakes(replace(share, nodes=(too_much,), pool="172.16.0.0/12"))

    assert f"{SSH} has " in memory
    assert "tmp01 (1000 x 1024.0 GiB)" in memory
    assert "of Docker network bridge" in taken
    assert host.client().containers(all=True) == []


@pytest.fixture
def pushed(host: EngineHost, tmp_path: Path) -> Pushed:
    """An image that a registry has, which the host alone reaches, and the host has not."""
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    name = f"{REGISTRY}/tiny:1"
    client = host.client()
    command = ("docker", "--host", host.socket)
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": REGISTRY},
    }
    (tmp_path / "registry").write_text(json.dumps(settings))
    subprocess.run([*command, "import", "-", name], input=archive.getvalue(), check=True, capture_output=True)
    host.within("docker-registry", "serve", str(tmp_path / "registry"))
    push = [*command, "push", name]
    until("the image is pushed", lambda: subprocess.run(push, check=False, capture_output=True).returncode == 0)
    [reference] = client.inspect_image(name)["RepoDigests"]
    client.remove_image(name)
    return Pushed(reference, tmp_path / "data" / "docker" / "registry" / "v2" / "blobs")


def test_an_engine_of_another_machine_pulls_images_by_digest_and_tells_of_one_that_it_cannot(
    host: EngineHost, pushed: Pushed, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    use_keys(monkeypatch, keys)
    share = EngineShare(SSH, STACK, (), (), (pushed.reference,), POOL)
    nowhere = f"{REGISTRY}/tiny@sha256:{'0' * 64}"

    assert engine_mistakes(share) == []
    [mistake] = engine_mistakes(replace(share, images=(nowhere,)))
    assert f"{SSH}: the image {nowhere} is neither there nor in its registry" in mistake
    with engine_client(SSH) as client:
        ensure_image(client, pushed.reference)
        assert host.client().inspect_image(pushed.reference)["RepoDigests"] == [pushed.reference]

        client.remove_image(pushed.reference)
        pushed.lose_layers()
        with pytest.raises(DeploymentError, match=f"the image {pushed.reference} .* cannot be pulled: .*unknown"):
            ensure_image(client, pushed.reference)


def test_a_node_is_made_over_tcp_changed_over_ssh_and_removed_over_tcp(
    host: EngineHost,
    images: dict[str, str],
    authority: Authority,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    use_keys(monkeypatch, keys)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(authority.client))
    there = {"images": images, "secrets": authority.secrets}
    over_tcp = {**there, "engine": TCP, "spec": group_text(node_group(settings()))}

    made = PROVIDER.create(over_tcp)
    over_ssh = {**over_tcp, "engine": SSH}
    assert PROVIDER.read(made.id or "", over_ssh).outs == {**over_ssh, "differences": []}
    node = Node(host.client(), settings(), images)
    until("the server is ready", lambda: node.stats()["available"] == 1)
    visitor = Visitor(node)
    containers = ids(node)

    changed = {**over_ssh, "spec": group_text(node_group(settings(per_minute=0.2)))}
    PROVIDER.update(made.id or "", over_ssh, changed)
    assert PROVIDER.read(made.id or "", {**changed, "engine": TCP}).outs == {
        **changed,
        "engine": TCP,
        "differences": [],
    }
    replaced = {name for name, there in ids(node).items() if containers.get(name) != there}
    assert replaced == {node.name("service")}
    until("the service is back", lambda: node.stats()["used"] == 1)
    assert visitor.lives()
    with engine_client(SSH) as client:
        assert Node(client, settings(), images).run("service", "print(6 * 7)") == b"42\n"
        assert len(ids(node)) == len(client.containers(all=True))
        assert len(running(SSH)) <= ANSWERS_AT_ONCE, "what is asked one after the other needs one login"

    PROVIDER.delete(made.id or "", {**changed, "engine": TCP})
    assert PROVIDER.read(made.id or "", changed).id == ""
    client = host.client()
    assert client.containers(all=True) == []
    assert client.volumes()["Volumes"] in (None, [])
    assert {network["Name"] for network in client.networks()} == {"bridge", "host", "none"}


def ids(node: Node) -> dict[str, str]:
    """Containers of the host by their names."""
    return {found["Names"][0].lstrip("/"): found["Id"] for found in node.client.containers(all=True)}
