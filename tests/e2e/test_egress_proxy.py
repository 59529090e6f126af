"""The egress proxy's image with a configuration of the project's: what passes, what is refused, what is told."""

import datetime as dt
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.docker.build_context import input_digest
from components.egress_proxy import CONNECTIONS_OF_ONE_CLIENT, squid_configuration
from components.kubernetes.egress_proxy import deployment_spec
from toolchain import pushed_images
from toolchain.pushed_images import Image

pytestmark = [pytest.mark.docker]

ROOT = Path(__file__).parents[2]
NAME = "hubstack-test-egress-proxy"
SUBNET, GATEWAY, PROXY = "203.0.113.0/24", "203.0.113.1", "203.0.113.10"
"""A range for documentation (RFC 5737), which the proxy takes for public addresses."""

PASSED = "pypi.example.org"
RESOLVES = {
    PASSED: [GATEWAY],
    "files.example.com": [GATEWAY],
    "other.example.org": [GATEWAY],
    "metadata.example.net": ["169.254.169.254"],
    "inside.example.net": ["10.0.0.1"],
    "shared.example.net": ["100.64.0.1"],
    "mixed.example.net": [GATEWAY, "192.168.0.1"],
    "mapped.example.net": ["::ffff:169.254.169.254"],
    "loopback.example.net": ["127.0.0.1"],
    "six.example.net": ["fd00:ec2::254"],
    "translated.example.net": ["64:ff9b::a9fe:a9fe"],
    "own.example.net": ["198.51.100.7"],
}
CONFIGURATION = squid_configuration([PASSED, ".example.com", ".example.net"], ["198.51.100.0/24"])


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    certificate: Path

    def ask(self, request: str) -> int:
        """The status of the proxy's answer."""
        with closing(self.opened()) as connection:
            return status(connection, request)

    def connect(self, target: str) -> int:
        """The status of the answer to a CONNECT."""
        return self.ask(connect(target))

    @staticmethod
    def opened() -> socket.socket:
        """A connection to the proxy."""
        return socket.create_connection((PROXY, 3128), timeout=20)

    @staticmethod
    def told() -> str:
        """Everything that it wrote to its output."""
        return run("logs", NAME).stdout


def connect(target: str) -> str:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"


def status(connection: socket.socket, request: str) -> int:
    """Send the request and return the status of the answer."""
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n" not in answer:
        part = connection.recv(4096)
        assert part, f"closed without an answer to {request!r}"
        answer += part
    return int(answer.split()[1])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)


def until(found, what: str) -> None:
    """Wait until `found` says so."""
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@contextmanager
def tls_server(certificate: Path) -> Iterator[None]:
    """A server of the passed domain on port 443 that says who asked for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    tls.sendall(b"hello from behind TLS")

    with socket.create_server((GATEWAY, 443)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


def self_signed(file: Path) -> Path:
    """A certificate of the passed domain and its key, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PASSED)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(PASSED)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture(scope="module")
def image() -> str:
    """The proxy's image, built if it is not there."""
    monkey = pytest.MonkeyPatch()
    monkey.chdir(ROOT)
    try:
        client = docker.APIClient(version="auto", timeout=60)
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    try:
        digest = input_digest("egress-proxy", rootfs=True, base_digest="")
        built = Image(
            "hubstack/egress-proxy", digest[:16], "egress-proxy", rootfs=True, build_args={"SOURCE": "scratch"}
        )
        pushed_images.build_if_missing(client, built)
    finally:
        client.close()
        monkey.undo()
    return built.name


@pytest.fixture(scope="module")
def proxy(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy as a pod runs it: no rights, a read-only root, its rules from outside."""
    folder = tmp_path_factory.mktemp("egress-proxy")
    (folder / "squid.conf").write_text(CONFIGURATION)
    folder.chmod(0o755)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    certificate = self_signed(folder / "server.pem")
    run("rm", "--force", NAME)
    run("network", "rm", NAME)
    made = run("network", "create", "--internal", f"--subnet={SUBNET}", f"--gateway={GATEWAY}", NAME)
    assert made.returncode == 0, made.stderr
    hosts = [f"--add-host={name}:{address}" for name, addresses in RESOLVES.items() for address in addresses]
    hardened = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=256m"]
    # Squid takes no IPv6 address from a name where the machine itself has none.
    hardened += ["--sysctl=net.ipv6.conf.all.disable_ipv6=0", "--sysctl=net.ipv6.conf.lo.disable_ipv6=0"]
    mounted = f"--volume={folder}/squid.conf:/etc/egress-proxy/squid.conf:ro"
    try:
        started = run(
            "run", "--detach", f"--name={NAME}", f"--network={NAME}", f"--ip={PROXY}", *hosts, *hardened, mounted, image
        )
        assert started.returncode == 0, started.stderr
        with tls_server(certificate):
            until(lambda: "Accepting HTTP Socket connections" in run("logs", NAME).stderr, run("logs", NAME).stderr)
            yield Proxy(certificate)
    finally:
        run("rm", "--force", NAME)
        run("network", "rm", NAME)


def test_a_listed_domain_is_reached_with_its_own_certificate(proxy: Proxy):
    context = ssl.create_default_context(cafile=proxy.certificate)
    with closing(proxy.opened()) as connection:
        answer = status(connection, connect(f"{PASSED}:443"))
        connection.settimeout(20)
        with context.wrap_socket(connection, server_hostname=PASSED) as tls:
            said = tls.recv(100)

    assert (answer, said) == (200, b"hello from behind TLS")


@pytest.mark.parametrize("target", ["files.example.com:443", "PyPI.Example.ORG:443"])
def test_a_domain_below_a_listed_one_and_other_letters_are_passed_on(proxy: Proxy, target: str):
    assert proxy.connect(target) == 200


@pytest.mark.parametrize(
    "target",
    [
        "other.example.org:443",
        "example.org:443",
        "sub.pypi.example.org:443",
        f"{PASSED}.other.example.org:443",
        "notexample.com:443",
        "localhost:443",
    ],
)
def test_a_domain_that_is_not_listed_is_refused(proxy: Proxy, target: str):
    assert proxy.connect(target) == 403


@pytest.mark.parametrize("name", sorted(name for name in RESOLVES if name.endswith(".example.net")))
def test_a_listed_domain_that_resolves_to_the_inside_is_refused(proxy: Proxy, name: str):
    assert proxy.connect(f"{name}:443") == 403


@pytest.mark.parametrize("port", [22, 25, 80, 3128, 8443])
def test_a_listed_domain_is_refused_on_every_port_but_443(proxy: Proxy, port: int):
    assert proxy.connect(f"{PASSED}:{port}") == 403


@pytest.mark.parametrize("target", [f"{GATEWAY}:443", "169.254.169.254:443", "[::1]:443", "127.0.0.1:443", "127.1:443"])
def test_an_address_in_place_of_a_name_is_refused(proxy: Proxy, target: str):
    assert proxy.connect(target) == 403


@pytest.mark.parametrize("address", [f"http://{PASSED}/simple/", f"http://{PASSED}:443/", f"https://{PASSED}/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_anything_but_a_tunnel_is_refused(proxy: Proxy, method: str, address: str):
    assert proxy.ask(f"{method} {address} HTTP/1.1\r\nHost: {PASSED}\r\nContent-Length: 0\r\n\r\n") == 403


@pytest.mark.parametrize("path", ["/squid-internal-mgr/menu", f"http://{PROXY}:3128/squid-internal-mgr/info"])
def test_the_proxys_own_pages_are_refused(proxy: Proxy, path: str):
    assert proxy.ask(f"GET {path} HTTP/1.1\r\nHost: {PROXY}:3128\r\n\r\n") in {400, 403}


def test_a_second_host_header_does_not_change_where_a_tunnel_leads(proxy: Proxy):
    assert proxy.ask(f"CONNECT other.example.org:443 HTTP/1.1\r\nHost: {PASSED}:443\r\n\r\n") == 403


def test_one_client_does_not_take_all_connections(proxy: Proxy):
    connections = [proxy.opened() for _ in range(CONNECTIONS_OF_ONE_CLIENT + 1)]
    try:
        answers = [status(connection, connect("files.example.com:443")) for connection in connections]
    finally:
        for connection in connections:
            connection.close()

    assert 403 in answers
    # Those that ended leave room again.
    until(lambda: proxy.connect(f"{PASSED}:443") == 200, "no connection passes any more")


def test_the_log_names_each_target_with_its_result_but_no_query_and_no_probe(proxy: Proxy):
    proxy.opened().close()
    proxy.connect("other.example.org:443")
    proxy.ask(f"GET http://{PASSED}/page?token=s3cret HTTP/1.1\r\nHost: {PASSED}\r\n\r\n")
    until(lambda: f"to=http://{PASSED}/page" in proxy.told(), proxy.told())
    lines = proxy.told().splitlines()

    assert any("method=CONNECT to=other.example.org:443 status=403" in line for line in lines)
    assert "s3cret" not in proxy.told()
    assert all(
        re.match(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ client=203\.0\.113\.\d+ method=[A-Z]+ ", x) for x in lines
    )


def test_it_runs_as_the_user_that_its_pod_names_and_writes_no_file(proxy: Proxy):
    pod = deployment_spec(
        {"stack": "lab", "namespace": "lab", "image": "x", "domains": [], "clients": []}, CONFIGURATION
    )["template"]["spec"]
    inspected = json.loads(run("inspect", NAME).stdout)[0]
    security = pod["securityContext"]

    assert inspected["Config"]["User"] == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert inspected["State"]["Running"]
    # The engine made the place where the rules are mounted.
    changed = {line.split()[1] for line in run("diff", NAME).stdout.splitlines()}
    assert changed <= {"/etc", "/etc/egress-proxy", "/etc/egress-proxy/squid.conf"}


def test_it_ends_within_the_pods_grace(proxy: Proxy):
    pod = deployment_spec({"stack": "lab", "namespace": "lab", "image": "x", "domains": [], "clients": []}, "")
    grace = pod["template"]["spec"]["terminationGracePeriodSeconds"]
    with closing(proxy.opened()) as connection:
        assert status(connection, connect("files.example.com:443")) == 200
        assert run("stop", f"--time={grace}", NAME).returncode == 0

    # 137 would be the engine's kill.
    assert json.loads(run("inspect", NAME).stdout)[0]["State"]["ExitCode"] == 0
