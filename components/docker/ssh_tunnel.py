"""An engine of another machine over SSH, as a Unix socket of this one."""

import contextlib
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import docker
from docker.transport import UnixHTTPAdapter

CONNECT_SECONDS = 30
ALIVE_SECONDS = 30
"""How often a host is asked whether it is there while it says nothing; three times in vain end the connection."""
END_SECONDS = 5
POLL_SECONDS = 0.05
COMPLAINT_CHARACTERS = 1000
DIAL = "docker system dial-stdio"
"""What passes bytes on to the engine of a host."""


class _EngineAdapter(UnixHTTPAdapter):
    """Takes a connection again for whatever is asked, not for the same question alone: each is a login."""

    def get_connection(self, url: str, proxies: object = None) -> object:  # noqa: ARG002 (the signature is given)
        """The connections to the engine."""
        return super().get_connection("http+docker://engine", proxies)


class SshTunnel(socketserver.UnixStreamServer):
    """A Unix socket each of whose connections goes through an `ssh` of its own to the engine.

    Docker's own client does the same. The program `ssh` takes keys, agent, known hosts, jump hosts and shared connections
    from where it always does, and never asks anybody anything.
    """

    def __init__(self, engine: str, folder: Path) -> None:
        """Listen in a folder.

        Args:
            engine: address of the engine, `ssh://user@host` or `ssh://user@host:port`.
            folder: where the socket is made; who may open that reaches the engine.
        """
        self._engine = engine
        self._programs: list[subprocess.Popen[bytes]] = []
        self._said = folder / "said"
        self._said.touch()
        super().__init__(str(folder / "engine.sock"), socketserver.BaseRequestHandler)

    @property
    def address(self) -> str:
        """Address of the engine on this machine."""
        return f"unix://{self.server_address}"

    def serve(self, client: docker.APIClient) -> None:
        """Have a client of the tunnel use as few connections as it can."""
        client.get_adapter(client.base_url).close()
        client.mount("http+docker://", _EngineAdapter(f"http+{self.address}", client.timeout))

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the signature is given)
        """Hand a connection over to an `ssh`, which ends with it."""
        options = ["BatchMode=yes", "LogLevel=ERROR", f"ConnectTimeout={CONNECT_SECONDS}"]
        options += [f"ServerAliveInterval={ALIVE_SECONDS}"]
        command = ["ssh", "-T", *(f"-o{option}" for option in options), "--", self._engine, DIAL]
        with self._said.open("ab") as said:
            # A session of its own: after Ctrl+C an update still needs the engine, to end in order.
            program = subprocess.Popen(command, stdin=request, stdout=request, stderr=said, start_new_session=True)
        self._programs.append(program)
        self.close_request(request)

    def complaints(self) -> str:
        """What `ssh`, or `docker` on the host, complained about; empty if about nothing."""
        return " ".join(self._said.read_text(errors="replace").split())[-COMPLAINT_CHARACTERS:]

    def server_close(self) -> None:
        """Take the socket away, and end each `ssh` that does not end by itself when its connection is closed."""
        super().server_close()
        for program in self._programs:
            try:
                program.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


@contextlib.contextmanager
def ssh_tunnel(engine: str) -> Generator[SshTunnel]:
    """A tunnel to the engine at `ssh://user@host`, which is there meanwhile; whoever connects closes that before."""
    with tempfile.TemporaryDirectory(prefix="hubstack-") as folder, SshTunnel(engine, Path(folder)) as tunnel:
        thread = threading.Thread(target=tunnel.serve_forever, args=(POLL_SECONDS,), daemon=True)
        thread.start()
        try:
            yield tunnel
        finally:
            tunnel.shutdown()
            thread.join()
