"""An outside for servers to reach: a host in a network namespace with public, private and metadata addresses."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

NAMESPACE = "hubstack-outside"
INTERFACE = "hs-outside"

PUBLIC = "198.51.100.10"
FORBIDDEN = {
    "10.99.0.10": "private range 10.0.0.0/8",
    "172.30.99.10": "private range 172.16.0.0/12",
    "192.168.99.10": "private range 192.168.0.0/16",
    "100.64.99.10": "shared range 100.64.0.0/10",
    "169.254.169.254": "metadata service",
    "168.63.129.16": "platform service (Azure)",
}
PORT = 18099

SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"outside")
    def log_message(self, *arguments): pass
import sys, threading
for port in sys.argv[1:]:
    served = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler)
    threading.Thread(target=served.serve_forever).start()
"""


@contextmanager
def outside(*more_ports: int) -> Iterator[None]:
    """A host with those addresses and an HTTP server on `PORT`, reachable from this machine; removed at the end.

    Args:
        more_ports: further ports that it answers on in the same way.
    """
    remove()
    run("ip", "netns", "add", NAMESPACE)
    server = None
    try:
        run("ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        run("ip", "address", "add", "198.51.100.1/24", "dev", INTERFACE)
        run("ip", "link", "set", INTERFACE, "up")
        within("ip", "link", "set", "lo", "up")
        within("ip", "link", "set", "eth0", "up")
        within("ip", "address", "add", f"{PUBLIC}/24", "dev", "eth0")
        within("ip", "route", "add", "default", "via", "198.51.100.1")
        for address in FORBIDDEN:
            within("ip", "address", "add", f"{address}/32", "dev", "eth0")
            run("ip", "route", "add", f"{address}/32", "dev", INTERFACE)
        ports = [str(port) for port in (PORT, *more_ports)]
        server = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, "python3", "-c", SERVER, *ports])
        yield
    finally:
        if server:
            server.terminate()
            server.wait(10)
        remove()


def remove() -> None:
    """Take the namespace away; the interface and its routes go with it."""
    subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False, capture_output=True)


def within(*command: str) -> None:
    """Run a command on the outside's host."""
    run("ip", "netns", "exec", NAMESPACE, *command)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
