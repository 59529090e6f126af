"""What is on an engine and its host: reachability, ranges and ports in use, free disk."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from components.docker.labels import STACK_LABEL
from components.docker.overlay import RangeInUse
from components.docker.ssh_tunnel import ssh_tunnel

LOCAL_SCHEME, SSH_SCHEME, TCP_SCHEME = "unix://", "ssh://", "tcp://"
ENGINE_API_TIMEOUT_SECONDS = 60


class EngineUnreachableError(Exception):
    """No Docker engine answers at the address."""


@contextlib.contextmanager
def engine_client(engine: str) -> Generator[docker.APIClient]:
    """A client of the engine at `engine`: `unix:///var/run/docker.sock`, `ssh://user@host` or `tcp://host:2376`.

    An engine over TCP is asked over TLS alone, with the certificates in the folder that `DOCKER_CERT_PATH` names, and not
    through a proxy; one over SSH through the program `ssh`, with its own settings, as Docker's own client does.

    Raises:
        EngineUnreachableError: nothing answers there, there are no certificates for it, one of both is not let in, or the
            address is of another kind.
    """
    if not engine.startswith((LOCAL_SCHEME, SSH_SCHEME, TCP_SCHEME)):
        raise EngineUnreachableError(
            f"{engine!r} is no engine's address: hubstack:engine is unix:///var/run/docker.sock, ssh://user@host or "
            "tcp://host:2376"
        )
    with contextlib.ExitStack() as opened:
        tunnel, tls = None, None
        if engine.startswith(SSH_SCHEME):
            if not shutil.which("ssh"):
                raise EngineUnreachableError(f"{engine} is asked through the program ssh, which is missing: install it")
            tunnel = opened.enter_context(ssh_tunnel(engine))
        elif engine.startswith(TCP_SCHEME):
            tls = _certificates(engine)
        base_url = tunnel.address if tunnel else engine
        try:
            client = docker.APIClient(base_url=base_url, version="auto", timeout=ENGINE_API_TIMEOUT_SECONDS, tls=tls)
        except (DockerException, OSError) as error:
            reason = (tunnel and tunnel.complaints()) or error
            raise EngineUnreachableError(
                f"no Docker engine answers at {engine} ({reason}); {_advice(engine)}"
            ) from error
        opened.callback(client.close)
        if tunnel:
            tunnel.serve(client)
        yield client


def service_containers(client: docker.APIClient, service: str, *, ended: bool = False) -> list[dict[str, Any]]:
    """Containers of a Swarm service on this engine, the newest first.

    Args:
        client: the engine.
        service: name of the service.
        ended: whether those count that do not run any more.
    """
    return client.containers(filters={"label": f"com.docker.swarm.service.name={service}"}, all=ended)


def _advice(engine: str) -> str:
    if engine.startswith(SSH_SCHEME):
        return (
            f"`docker --host {engine} version` must work and ask for nothing: a key, a known host, rights on its engine"
        )
    if engine.startswith(TCP_SCHEME):
        return "correct the address, or the certificates in DOCKER_CERT_PATH: the engine and this side must know each other's"
    return "start it, or set hubstack:engine to one that runs"


class _EngineTls(docker.tls.TLSConfig):
    """Believes the authority of the engine's certificates alone."""

    def configure_client(self, client: docker.APIClient) -> None:
        """Have a client use the certificates, and not what the environment names, which requests would prefer to them."""
        super().configure_client(client)
        client.trust_env = False


def _certificates(engine: str) -> docker.tls.TLSConfig:
    folder = os.environ.get("DOCKER_CERT_PATH", "")
    files = {name: Path(folder, f"{name}.pem") for name in ("ca", "cert", "key")}
    if not folder or not all(file.exists() for file in files.values()):
        raise EngineUnreachableError(
            f"{engine} is asked over TLS alone: set DOCKER_CERT_PATH to the folder with its ca.pem, cert.pem and key.pem"
        )
    pair = (str(files["cert"]), str(files["key"]))
    return _EngineTls(client_cert=pair, ca_cert=str(files["ca"]), verify=True)


def section(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object at `key` of what the engine tells; empty where the engine leaves it out or says null."""
    return document.get(key) or {}


def listed(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The list at `key` of what the engine tells; empty where the engine leaves it out or says null."""
    return document.get(key) or []


def is_local(engine: str) -> bool:
    """Whether the engine runs on this machine, so that its routes, ports and disk can be looked at."""
    return engine.startswith(LOCAL_SCHEME)


def networks_in_use(client: docker.APIClient, stack: str) -> list[RangeInUse]:
    """Subnets of the engine's networks that do not belong to `stack`."""
    ranges: list[RangeInUse] = []
    for network in client.networks():
        # The ingress network is Swarm's: a stack that makes the swarm gives it a range of its own pool.
        if section(network, "Labels").get(STACK_LABEL) == stack or network.get("Ingress"):
            continue
        ranges += [
            RangeInUse(pool["Subnet"], f"Docker network {network['Name']}")
            for pool in listed(section(network, "IPAM"), "Config")
            if pool.get("Subnet")
        ]
    return ranges


def routes_in_use(stack_interfaces: tuple[str, ...] = ()) -> list[RangeInUse]:
    """Ranges that this machine has a route to, but for the interfaces named and Docker's own bridges."""
    listed = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=False)
    ranges: list[RangeInUse] = []
    for line in listed.stdout.splitlines():
        words = line.split()
        if not words or words[0] == "default" or "dev" not in words:
            continue
        device = words[words.index("dev") + 1]
        if device.startswith(("docker", "br-", *stack_interfaces)):
            continue
        ranges.append(RangeInUse(words[0] if "/" in words[0] else f"{words[0]}/32", f"the route to {device}"))
    return ranges


def port_user(client: docker.APIClient, engine: str, port: int, stack: str) -> str | None:
    """Who listens on the TCP port of the engine's host, or None; the stack's own services do not count."""
    services = client.services() if client.info()["Swarm"]["ControlAvailable"] else []
    for service in services:
        mine = section(service["Spec"], "Labels").get(STACK_LABEL) == stack
        for published in listed(section(service, "Endpoint"), "Ports"):
            if published.get("PublishedPort") == port:
                return None if mine else f"service {service['Spec']['Name']}"
    for container in client.containers():
        mine = section(container, "Labels").get(STACK_LABEL) == stack
        if any(published.get("PublicPort") == port for published in listed(container, "Ports")):
            return None if mine else f"container {container['Names'][0].lstrip('/')}"
    if is_local(engine) and _listening(port):
        return _process_on(port)
    return None


def free_disk_bytes(client: docker.APIClient, engine: str) -> int | None:
    """Free bytes where the engine keeps its images; None for an engine on another machine."""
    root = Path(client.info()["DockerRootDir"])
    return shutil.disk_usage(root).free if is_local(engine) and root.exists() else None


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _process_on(port: int) -> str:
    inodes = {line.split()[9] for line in _tcp_tables() if line.split()[1].endswith(f":{port:04X}")}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                target = str(descriptor.readlink())
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return "another process"


def _tcp_tables() -> list[str]:
    lines: list[str] = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            lines += table.read_text().splitlines()[1:]
    listen = "0A"
    return [line for line in lines if line.split()[3] == listen]
