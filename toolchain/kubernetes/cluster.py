"""Starting and stopping the cluster: `up`, `down`, `load IMAGE...`, `kubeconfig`, `programs`."""

import argparse
import fcntl
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2
import lightkube
from lightkube.core.exceptions import ApiError
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Node, ServiceAccount

from toolchain.cache import cache_folder
from toolchain.kubernetes import addons, configuration, images, programs
from toolchain.kubernetes.certificates import Authority
from toolchain.kubernetes.machine import Machine, MachineError, free_addresses, last_words, remove_folder
from toolchain.progress import CommandFailedError, run, say

HERE = Path(__file__).parent

PACKAGES = (
    *("containerd", "containerd"),
    *("/usr/lib/cni/bridge", "containernetworking-plugins"),
    *("iptables", "iptables"),
    *("ipset", "ipset"),
    *("ip", "iproute2"),
    *("nsenter", "util-linux"),
)
"""Pairs of a program and the Debian package that has it."""

IN_PODS = ("pause", "coredns")
"""Parts that run in images of their own."""

START_SECONDS = 180
"""How long the parts may take to answer: seconds where nothing else runs, more on a machine with other work."""

OURS = "hubstack-cluster"
"""The file that says that a folder is a cluster's and may be removed."""


class ClusterError(Exception):
    """What was asked cannot be done; the message says why and what to do."""


def state_folder() -> Path:
    """`$HUBSTACK_CLUSTER_STATE`, or `cluster` in the cache folder."""
    given = os.environ.get("HUBSTACK_CLUSTER_STATE")
    return Path(given) if given else cache_folder() / "cluster"


def build() -> None:
    """Build every program, and install the Debian packages, that the cluster and its tests need."""
    if os.geteuid() == 0:
        _install_packages()
    for name in programs.PARTS:
        programs.build(cache_folder() / "toolchain", name)


def up(folder: Path) -> Path:
    """Make sure that a cluster runs in `folder` and return the administrator's kubeconfig.

    Raises:
        ClusterError: this machine cannot hold it, or it did not get ready.
        toolchain.progress.CommandFailedError: a program or a package could not be had.
    """
    _needs_root()
    cache = cache_folder() / "toolchain"
    _install_packages()
    folders = [programs.build(cache, name) for name in programs.NODE]
    archives = [_archive(cache, name) for name in IN_PODS] + [images.of_tools(cache)]
    with _held(folder):
        kubeconfig = folder / "kubeconfig"
        machine = Machine(folder)
        if (folder / "ready").exists() and machine.first_process() is not None:
            # Slow is not gone: others may be using it.
            try:
                _wait("the cluster runs but does not answer", lambda: _answers(folder), machine)
            except TimeoutError as error:
                raise ClusterError(f"{error}; `toolchain/cluster down` ends it") from error
            say(f"the cluster already runs: {kubeconfig}")
            return kubeconfig
        _take_down(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OURS).touch()
        try:
            _start(folder, folders, archives)
        except BaseException as error:
            words = last_words(folder)
            _take_down(folder)
            if isinstance(error, MachineError | TimeoutError | CommandFailedError):
                raise ClusterError(f"the cluster did not start: {error}\n{words}") from error
            raise
    return kubeconfig


def down(folder: Path) -> bool:
    """End the cluster of `folder` and remove all that it made; whether there was one."""
    _needs_root()
    if not folder.exists():
        return False
    with _held(folder):
        return _take_down(folder)


def running(folder: Path) -> Machine:
    """The machine of the cluster that runs in `folder`.

    Raises:
        ClusterError: none runs there.
    """
    machine = Machine(folder)
    if not (folder / "ready").exists() or machine.first_process() is None:
        raise ClusterError(f"no cluster runs in {folder}; `toolchain/cluster up` starts one")
    return machine


def user_kubeconfig(folder: Path, name: str, groups: Sequence[str] = ()) -> str:
    """Credentials of a further user of the cluster in `folder`, who may do nothing until a binding names them.

    Args:
        folder: the cluster's folder.
        name: the user.
        groups: the user's groups; `system:authenticated` comes by itself.
    """
    return Authority(folder / "pki").kubeconfig((folder / "server").read_text(), name, groups)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks; only results go to standard output."""
    parser = argparse.ArgumentParser(prog="toolchain/cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start the cluster and print its kubeconfig's path")
    starting.add_argument(
        "--gateway", action="store_true", help="with Gateway API and a gateway that serves HTTPRoutes"
    )
    commands.add_parser("down", help="end the cluster and remove everything it made")
    loading = commands.add_parser("load", help="put images of the local Docker engine into the cluster")
    loading.add_argument("images", nargs="+", metavar="IMAGE")
    credentials = commands.add_parser(
        "kubeconfig", help="print the administrator's kubeconfig's path, or a user's kubeconfig"
    )
    credentials.add_argument("user", nargs="?")
    credentials.add_argument("groups", nargs="*", metavar="GROUP")
    commands.add_parser("build", help="build what the cluster and its tests need, so that no start has to")
    having = commands.add_parser("programs", help="build a part and print the folder with its programs")
    having.add_argument("part", choices=sorted(programs.PARTS))
    inside = commands.add_parser("run", help="run a command on the cluster's machine")
    inside.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    asked = parser.parse_args(arguments)
    folder = state_folder()
    try:
        return _do(asked, folder)
    except (ClusterError, CommandFailedError, MachineError) as error:
        say(str(error))
        return 1


def _do(asked: argparse.Namespace, folder: Path) -> int:
    if asked.command == "up":
        kubeconfig = up(folder)
        if asked.gateway:
            say(f"HTTPRoutes of parent gateway/gateway are served at {add_gateway(folder)}")
        print(kubeconfig)
    elif asked.command == "down":
        say("the cluster is gone" if down(folder) else "there is no cluster")
    elif asked.command == "build":
        build()
    elif asked.command == "load":
        images.load(running(folder), asked.images)
    elif asked.command == "programs":
        print(programs.build(cache_folder() / "toolchain", asked.part))
    elif asked.command == "run":
        return subprocess.run(running(folder).command(*asked.words), check=False).returncode
    elif asked.user:
        running(folder)
        print(user_kubeconfig(folder, asked.user, asked.groups), end="")
    else:
        running(folder)
        print(folder / "kubeconfig")
    return 0


def client_of(folder: Path) -> lightkube.Client:
    """The administrator's client of the cluster in `folder`."""
    config = lightkube.KubeConfig.from_file(folder / "kubeconfig")
    return lightkube.Client(config, field_manager="hubstack-cluster", trust_env=False)


def add_gateway(folder: Path, domains: Sequence[str] = addons.GATEWAY_DOMAINS) -> str:
    """Give the cluster that runs in `folder` a gateway for HTTPRoutes and return its address.

    HTTPRoutes of every namespace name it as parent `gateway` in namespace `gateway`, sections `http` and `https`.

    Args:
        folder: the cluster's folder.
        domains: names that its certificate holds for.
    """
    machine = running(folder)
    address = (folder / "address").read_text()
    if (folder / "gateway").exists():
        return address
    cache = cache_folder() / "toolchain"
    images.import_archives(machine, [_archive(cache, "traefik")])
    client = client_of(folder)
    addons.apply_gateway(client, folder / "kubeconfig", cache, Authority(folder / "pki"), address, domains)
    _wait("the gateway does not start", lambda: _ready(client, Deployment, "gateway", "Available", "gateway"), machine)
    (folder / "gateway").touch()
    return address


def _install_packages() -> None:
    run("installing Debian packages", [str(HERE.parent / "packages"), *PACKAGES])


def _archive(cache: Path, name: str) -> Path:
    return images.of_program(cache, addons.image(name), programs.program(cache, name))


def _start(folder: Path, programs_folders: Sequence[Path], archives: Sequence[Path]) -> None:
    began = time.monotonic()
    machine = Machine(folder)
    with free_addresses() as addresses:
        configuration.write(folder, addresses, machine.cgroup)
        (folder / "server").write_text(addresses.server)
        (folder / "address").write_text(addresses.node)
        machine.start(programs_folders)
        machine.connect(addresses)
    with ThreadPoolExecutor() as pool:
        imported = pool.submit(_import, machine, archives)
        _wait("the API server does not answer", lambda: _answers(folder), machine)
        (folder / "answers").touch()
        client = client_of(folder)
        _wait("the system's objects cannot be made", lambda: _made(lambda: addons.apply_system(client)), machine)
        imported.result()
        _wait("the node does not get ready", lambda: _ready(client, Node, configuration.NODE, "Ready"), machine)
        _wait(
            "the cluster's DNS does not start",
            lambda: _ready(client, Deployment, "coredns", "Available", "kube-system"),
            machine,
        )
        _wait("namespaces get no service account", lambda: _exists(client, ServiceAccount, "default"), machine)
    (folder / "ready").touch()
    say(f"the cluster is ready after {time.monotonic() - began:.0f} s: {addresses.server}")


def _import(machine: Machine, archives: Sequence[Path]) -> None:
    check = machine.command("ctr", "--namespace", "k8s.io", "images", "ls", "--quiet")
    _wait(
        "containerd does not answer",
        lambda: subprocess.run(check, check=False, capture_output=True).returncode == 0,
        machine,
    )
    images.import_archives(machine, archives)


def _made(make: Callable[[], object]) -> bool:
    make()
    return True


def _answers(folder: Path) -> bool:
    """Whether the API server says that it is ready."""
    context = ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))
    server = (folder / "server").read_text()
    try:
        with urllib.request.urlopen(f"{server}/readyz", context=context, timeout=5) as response:
            return response.status == HTTPStatus.OK
    except OSError:
        return False


def _ready(client: lightkube.Client, kind: type[Any], name: str, condition: str, namespace: str | None = None) -> bool:
    found = client.get(kind, name, namespace=namespace)
    conditions = (found.status.conditions if found.status else None) or []
    return any(c.type == condition and c.status == "True" for c in conditions)


def _exists(client: lightkube.Client, kind: type[ServiceAccount], name: str) -> bool:
    return client.get(kind, name, namespace="default") is not None


def _wait(otherwise: str, holds: Callable[[], bool], machine: Machine) -> None:
    """Until `holds`, which may fail with what a starting server answers."""
    deadline = time.monotonic() + START_SECONDS
    reason = ""
    while True:
        try:
            if holds():
                return
        except (ApiError, httpx2.HTTPError) as error:
            reason = f": {error}"
        if machine.first_process() is None:
            raise TimeoutError(f"{otherwise}: the machine ended")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise}{reason}")
        time.sleep(0.2)


def _take_down(folder: Path) -> bool:
    if not any(folder.iterdir()):
        folder.rmdir()
        return False
    if not (folder / OURS).exists():
        raise ClusterError(f"{folder} holds files that are no cluster's; name another folder in HUBSTACK_CLUSTER_STATE")
    Machine(folder).stop()
    remove_folder(folder)
    return True


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep others from starting or stopping the same cluster meanwhile."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Whoever held it may have removed the folder.
            if folder.exists() and os.path.samestat(os.fstat(lock), folder.stat()):
                yield
                return
        finally:
            os.close(lock)


def _needs_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("a node needs namespaces, mounts and control groups: run this as root")
