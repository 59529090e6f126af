"""A network namespace in which nothing changes, for programs that drop what they load whenever an interface comes or goes.

Chromium does (ERR_NETWORK_CHANGED), and tests beside it make and remove networks all the time.
"""

import ctypes
import ipaddress
import secrets
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of setns(2)."""

VERSION, NO_LOGIN, CONNECT, NAME, DONE, REFUSED = 5, 0, 1, 3, 0, 5
"""Of SOCKS5, RFC 1928."""

ADDRESS_FAMILIES = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}
CHUNK_BYTES = 65536


@dataclass(frozen=True)
class QuietNetwork:
    """A namespace with a SOCKS proxy in it that leads to this machine's loopback and to addresses."""

    namespace: str
    proxy: str
    """Address of the proxy inside the namespace, as `socks5://host:port`."""

    def command(self, *words: str) -> list[str]:
        """The words of a command that runs in the namespace."""
        return ["ip", "netns", "exec", self.namespace, *words]


@contextmanager
def quiet_network(hosts: Mapping[str, str] | None = None) -> Iterator[QuietNetwork]:
    """Make the namespace and its proxy, and take them away at the end; needs root.

    Args:
        hosts: addresses of names that no resolver knows.
    """
    namespace = f"quiet-{secrets.token_hex(4)}"
    _run("netns", "add", namespace)
    try:
        # IPv6 gives links addresses of their own a few seconds later, which is a change.
        for links in ("all", "default"):
            setting = Path("/proc/sys/net/ipv6/conf", links, "disable_ipv6")
            _run("netns", "exec", namespace, "sh", "-c", f"[ ! -e {setting} ] || echo 1 >{setting}")
        _run("-n", namespace, "link", "set", "lo", "up")
        # With the loopback alone a browser says that it is offline.
        _run("-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        _run("-n", namespace, "address", "add", "192.0.2.2/24", "dev", "eth0")
        for link in ("eth0", "eth1"):
            _run("-n", namespace, "link", "set", link, "up")
        with _listener(namespace) as listener:
            threading.Thread(target=_serve, args=(listener, dict(hosts or {})), daemon=True).start()
            yield QuietNetwork(namespace, f"socks5://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        _run("netns", "delete", namespace)


def _run(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _listener(namespace: str) -> socket.socket:
    """A socket that listens inside the namespace; a socket stays in the namespace that it was made in."""
    made: list[socket.socket] = []

    def listen() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", namespace).open() as inside:
            if libc.setns(inside.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), f"no way into {namespace}")
        made.append(socket.create_server(("127.0.0.1", 0), backlog=64))

    # The namespace is the thread's alone, so that this process stays where it is.
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    return made[0]


def _serve(listener: socket.socket, hosts: Mapping[str, str]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_connect, args=(client, hosts), daemon=True).start()


def _connect(client: socket.socket, hosts: Mapping[str, str]) -> None:
    with client, suppress(OSError, EOFError):
        _, methods = _exactly(client, 2)
        _exactly(client, methods)
        client.sendall(bytes((VERSION, NO_LOGIN)))
        _, command, _, kind = _exactly(client, 4)
        if kind == NAME:
            host = _exactly(client, _exactly(client, 1)[0]).decode()
        else:
            family, size = ADDRESS_FAMILIES[kind]
            host = socket.inet_ntop(family, _exactly(client, size))
        (port,) = struct.unpack("!H", _exactly(client, 2))
        try:
            if command != CONNECT:
                raise ConnectionRefusedError
            upstream = socket.create_connection((address_of(host, hosts), port))
        except OSError:
            client.sendall(bytes((VERSION, REFUSED, 0, 1)) + bytes(6))
            return
        with upstream:
            client.sendall(bytes((VERSION, DONE, 0, 1)) + bytes(6))
            back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
            back.start()
            _pump(client, upstream)
            back.join()


def address_of(host: str, hosts: Mapping[str, str]) -> str:
    """Where a name leads: names below `localhost` to this machine, as in browsers, and names that nobody gave nowhere.

    Raises:
        ConnectionRefusedError: nobody gave it, such as those of a browser's own services.
    """
    if host in hosts:
        return hosts[host]
    if f".{host}".endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ConnectionRefusedError(host) from None


def _exactly(source: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        more = source.recv(size - len(read))
        if not more:
            raise EOFError
        read += more
    return read


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Send on until the end, and then the end as well."""
    with suppress(OSError):
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
