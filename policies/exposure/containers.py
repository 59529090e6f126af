"""What containers are handed of the host, and what they show to the outside."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.egress_guard import is_egress_guard
from policies.findings import Finding, undecided, violation
from policies.pool_settings import is_node_service
from policies.reader import UNKNOWN, Value, entries, items, label, read
from policies.registry import REGISTRY
from policies.resource_types import CONTAINER, IMAGE, SERVICE

SENSITIVE = ("/", "/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/run", "/sys", "/usr", "/var")
SOCKET = re.compile(r"(^|/)(docker|containerd|podman|crio)[^/]*\.sock$")
SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL)", re.IGNORECASE)
HANDED_OVER = "/run/"
"""Start of the paths where containers find secrets as files."""

NO_NEW_PRIVILEGES = frozenset({"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"})
ITS_PROGRAM = "its role or command"
GUARDS_CAPABILITY = ("CAP_NET_ADMIN", "NET_ADMIN")
SECRET_POINTER = re.compile(r"_(FILE|PATH|NAME|ID)$", re.IGNORECASE)


def _host_paths(properties: Value) -> Iterator[Value]:
    """Host paths that a service or container mounts, normalised; `UNKNOWN` for those not known."""
    for mount in (*items(properties, "taskSpec", "containerSpec", "mounts"), *items(properties, "mounts")):
        kind, source = read(mount, "type"), read(mount, "source")
        if mount is UNKNOWN or kind is UNKNOWN or (kind == "bind" and source is UNKNOWN):
            yield UNKNOWN
        elif kind == "bind" and source:
            yield _normal(str(source))
    for volume in items(properties, "volumes"):
        path = read(volume, "hostPath")
        if volume is UNKNOWN or path is UNKNOWN:
            yield UNKNOWN
        elif path:
            yield _normal(str(path))


def _normal(path: str) -> str:
    clean = posixpath.normpath(path)
    clean = "/" + clean.lstrip("/") if clean.startswith("/") else clean
    return clean.replace("/var/run/", "/run/", 1)


@REGISTRY.check(
    "docker-socket",
    family="exposure",
    severity="critical",
    types=(SERVICE, CONTAINER),
    remediation="Remove the mount: who has the engine's socket has the host. Only what makes servers gets it: the hub, and "
    "the service of a pool's node, which runs runtime.tmpnb_node and nothing else.",
)
def docker_socket(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The engine's socket is mounted by the hub and by a node's service alone (CIS Docker 5.32)."""
    role, service = label(properties, "hubstack.role"), is_node_service(properties)
    for path in _host_paths(properties):
        if path is UNKNOWN:
            yield undecided("a mount's source")
        elif not SOCKET.search(path) or role == "hub" or service is True:
            continue
        elif UNKNOWN in (role, service):
            yield undecided(ITS_PROGRAM)
        else:
            yield violation(f"mounts the engine's socket {path} with role {role!r}")


@REGISTRY.check(
    "sensitive-mount",
    family="exposure",
    severity="critical",
    types=(SERVICE, CONTAINER),
    remediation="Mount a volume instead.",
)
def sensitive_mount(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No folder of the host's system is mounted (CIS Docker 5.6)."""
    for path in _host_paths(properties):
        if path is UNKNOWN or SOCKET.search(path):
            continue
        if path in SENSITIVE or path.startswith(tuple(f"{folder}/" for folder in SENSITIVE if folder != "/")):
            yield violation(f"mounts {path} of the host")


@REGISTRY.check(
    "image-pinned",
    family="exposure",
    severity="high",
    types=(SERVICE, CONTAINER, IMAGE),
    remediation="Name the image by id or digest, or by a tag of its own where the stack builds it.",
)
def image_pinned(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What runs is named by content, not by a tag that moves.

    An image that is unknown at preview is one that this update makes; the check decides before the update uses it.
    """
    for path in (("taskSpec", "containerSpec", "image"), ("image",), ("name",)):
        image = read(properties, *path)
        if path == ("name",) and read(properties, "build") is None:
            # A service's or container's own name; an image that is pulled is judged where it is used.
            continue
        if image is None or image is UNKNOWN or "sha256:" in str(image):
            continue
        tag = str(image).rsplit("/", 1)[-1].partition(":")[2]
        if tag in ("", "latest"):
            yield violation(f"runs {image!r}, which is another image tomorrow")
        elif path != ("name",):
            yield violation(f"runs {image!r} by its tag, which can be moved")


@REGISTRY.check(
    "no-privileges",
    family="exposure",
    severity="critical",
    types=(SERVICE, CONTAINER),
    remediation="Remove it; a notebook service needs none of these.",
)
def no_privileges(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Nothing is privileged, shares the host's namespaces or adds capabilities, but the egress guard's one.

    CIS Docker 5.4, 5.5, 5.16, 5.17.
    """
    wanted = {"privileged": (True,), "pidMode": ("host",), "ipcMode": ("host",), "usernsMode": ("host",)}
    for key, bad in wanted.items():
        value = read(properties, key)
        if value is UNKNOWN:
            yield undecided(key)
        elif value in bad:
            yield violation(f"has {key} {value!r}")
    for path in (("taskSpec", "containerSpec", "capAdds"), ("capabilities", "adds"), ("devices",)):
        for added in items(properties, *path):
            guard = added in GUARDS_CAPABILITY and path != ("devices",) and is_egress_guard(properties)
            if guard is True:
                continue
            if UNKNOWN in (added, guard):
                yield undecided(".".join(path) if added is UNKNOWN else ITS_PROGRAM)
            else:
                yield violation(f"adds {added!r} ({'.'.join(path)})")


@REGISTRY.check(
    "capabilities-dropped",
    family="exposure",
    severity="medium",
    types=(SERVICE,),
    remediation='Set taskSpec.containerSpec.capDrops to ["ALL"].',
)
def capabilities_dropped(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A service runs without capabilities (CIS Docker 5.4)."""
    dropped = list(items(properties, "taskSpec", "containerSpec", "capDrops"))
    if UNKNOWN in dropped:
        yield undecided("taskSpec.containerSpec.capDrops")
    elif "ALL" not in dropped:
        yield violation(f"keeps capabilities (capDrops is {dropped!r})")


@REGISTRY.check(
    "read-only-root",
    family="exposure",
    severity="medium",
    types=(SERVICE, CONTAINER),
    remediation="Set readOnly to true and mount what must be writable: nothing else limits what a container writes.",
)
def read_only_root(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A container's root file system is read-only (CIS Docker 5.13)."""
    path = ("taskSpec", "containerSpec", "readOnly") if read(properties, "taskSpec") is not None else ("readOnly",)
    value = read(properties, *path)
    if value is UNKNOWN:
        yield undecided(".".join(path))
    elif value is not True:
        yield violation(f"can write to its root file system ({'.'.join(path)} is {value!r})")


@REGISTRY.check(
    "published-port",
    family="exposure",
    severity="high",
    types=(SERVICE, CONTAINER),
    remediation="Publish through the TLS proxy.",
)
def published_port(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Only the TLS proxy publishes ports, and a node's service its administration (`node-admin-loopback`)."""
    role, every = label(properties, "hubstack.role"), read(properties, "publishAllPorts")
    if every is UNKNOWN:
        yield undecided("publishAllPorts")
    elif every:
        yield violation("publishes every port of its image (publishAllPorts)")
    service = is_node_service(properties)
    if role == "tls-proxy" or service is True:
        return
    for port in (*items(properties, "endpointSpec", "ports"), *items(properties, "ports")):
        if UNKNOWN in (port, role, service):
            yield undecided("ports" if port is UNKNOWN else ITS_PROGRAM)
        else:
            number = read(port, "publishedPort") or read(port, "external") or read(port, "targetPort")
            yield violation(f"publishes port {number}")


@REGISTRY.check(
    "secret-in-environment",
    family="exposure",
    severity="critical",
    types=(SERVICE, CONTAINER),
    remediation="Hand it over as a Docker secret and read the file.",
)
def secret_in_environment(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No secret stands in an environment variable, where `docker inspect` shows it; where one lies may be told."""
    values = dict(entries(properties, "taskSpec", "containerSpec", "env"))
    for variable in items(properties, "envs"):
        if variable is UNKNOWN:
            yield undecided("envs")
        else:
            name, _, values[name] = str(variable).partition("=")
    if read(properties, "taskSpec", "containerSpec", "env") is UNKNOWN:
        yield undecided("taskSpec.containerSpec.env")
    for name, value in sorted(values.items()):
        pointer = SECRET_POINTER.search(name) or str(value).startswith(HANDED_OVER)
        if SECRET_NAME.search(name) and not pointer:
            yield violation(f"has a secret in the environment variable {name}")


@REGISTRY.check(
    "container-capabilities-dropped",
    family="exposure",
    severity="medium",
    types=(CONTAINER,),
    remediation='Set capabilities.drops to ["ALL"].',
)
def container_capabilities_dropped(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A container runs without capabilities (CIS Docker 5.4)."""
    dropped = list(items(properties, "capabilities", "drops"))
    if "ALL" in dropped:
        return
    yield (
        undecided("capabilities.drops")
        if UNKNOWN in dropped
        else violation(f"keeps capabilities (capabilities.drops is {dropped!r})")
    )


@REGISTRY.check(
    "container-no-new-privileges",
    family="exposure",
    severity="high",
    types=(CONTAINER,),
    remediation='Add "no-new-privileges" to securityOpts.',
)
def container_no_new_privileges(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No program in a container gains rights by setuid bits or file capabilities (CIS Docker 5.26)."""
    options = list(items(properties, "securityOpts"))
    if NO_NEW_PRIVILEGES & {str(option).lower() for option in options}:
        return
    yield (
        undecided("securityOpts")
        if UNKNOWN in options
        else violation(f"lets programs gain rights (securityOpts is {options!r})")
    )


@REGISTRY.check(
    "container-health-check",
    family="exposure",
    severity="low",
    types=(CONTAINER,),
    remediation="Set healthcheck.tests to a command that fails while it does not work.",
)
def container_health_check(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The engine is told when a container does not work (CIS Docker 5.27)."""
    tests = list(items(properties, "healthcheck", "tests"))
    if UNKNOWN in tests[:1]:
        yield undecided("healthcheck.tests")
    elif tests[:1] in ([], ["NONE"]):
        yield violation(f"is never asked whether it works (healthcheck.tests is {tests!r})")
