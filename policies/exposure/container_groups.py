"""Groups of containers: whether what they are can be told, and what their description shows."""

from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from policies.container_group import containers
from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, as_mapping, entries, holds_unknown, items, plain, read
from policies.registry import REGISTRY
from policies.resource_types import CONTAINER_GROUP

GROUP_KEYS = frozenset({"stack", "group", "networks", "containers", "order", "texts", "farewell", "probe"})
NETWORK_KEYS = frozenset({"subnet", "internal", "bridge", "apart"})
CONTAINER_KEYS = frozenset(
    {
        *("role", "image", "command", "cpu", "memory_bytes", "processes", "networks", "host_network", "environment"),
        *("image_variables", "texts", "secrets", "reloads", "volumes", "engine_socket", "cap_add", "user", "ports"),
        *("health", "restarts"),
    }
)
"""Everything that this pack reads, or knows to be harmless."""

SHORTEST_SECRET = 16
"""Shorter ones are words that may stand anywhere."""

LOCAL_SCHEMES = frozenset({"unix", "npipe"})
PLAIN_PORT = 2375


def _is_left_out(properties: Value) -> bool:
    """Whether an update leaves it out (`--exclude`): then the engine hands it over without a single property."""
    return read(properties, "spec") is None and read(properties, "engine") is None


@REGISTRY.check(
    "container-group-readable",
    family="exposure",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Describe the group as runtime/container_group.py does, with nothing in it that is known only in the update.",
)
def container_group_readable(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """All of a group can be judged before the update, and nothing of it escapes the checks of containers."""
    if _is_left_out(properties):
        return
    spec = plain(read(properties, "spec"))
    if holds_unknown(spec):
        yield undecided("a part of spec")
    elif not as_mapping(as_mapping(spec).get("containers")):
        yield violation("describes no containers")
    else:
        yield from _strange_keys(as_mapping(spec))
        yield from _loose_ends(properties)


def _strange_keys(spec: Mapping[str, Value]) -> Iterator[Finding]:
    places = {"spec": (spec, GROUP_KEYS)}
    for kind, known in (("containers", CONTAINER_KEYS), ("networks", NETWORK_KEYS)):
        places |= {f"{kind}.{name}": (found, known) for name, found in as_mapping(spec.get(kind)).items()}
    for place, (found, known) in places.items():
        if not as_mapping(found):
            yield violation(f"has {found!r} for {place}")
        for key in sorted(set(as_mapping(found)) - known):
            yield violation(f"has the key {key!r} in {place}, which no check knows")


def _loose_ends(properties: Value) -> Iterator[Finding]:
    """Names in containers that stand for nothing."""
    images, networks, texts = (
        read(properties, *path) for path in (("images",), ("spec", "networks"), ("spec", "texts"))
    )
    for name, container in containers(properties):
        named = [(images, "image", read(container, "image"))]
        named += [(images, "image", short) for _, short in entries(container, "image_variables")]
        named += [(networks, "network", short) for short, _ in entries(container, "networks")]
        named += [(texts, "text", short) for short in items(container, "texts")]
        for given, what, short in named:
            if given is not UNKNOWN and read(given, str(short)) is None:
                yield violation(f"container {name}: names the {what} {short!r}, which the group does not have")


@REGISTRY.check(
    "container-group-secrets",
    family="exposure",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation="Hand it over in secrets and read the file.",
)
def container_group_secrets(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No secret of a group stands in its description, which previews, the state and `docker inspect` show.

    A secret that is unknown at preview is one that this update makes: it is in no description that is known.
    """
    told = list(_texts(plain(read(properties, "spec"))))
    for name, secret in sorted(entries(properties, "secrets")):
        known = isinstance(secret, str) and len(secret.strip()) >= SHORTEST_SECRET
        if known and any(secret.strip() in text for text in told):
            yield violation(f"shows the secret {name} in its description")


def _texts(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    inside = cast("list[Value]", value) if isinstance(value, list) else as_mapping(value).values()
    for inner in inside:
        yield from _texts(inner)


@REGISTRY.check(
    "engine-tls",
    family="exposure",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation="Reach the engine by ssh://user@host, or by tcp:// on a port with TLS and client certificates (2376).",
)
def engine_tls(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No engine is told what to run in plain text, where anybody may tell it (CIS Docker 2.7)."""
    engine = read(properties, "engine")
    if engine is UNKNOWN:
        yield undecided("engine")
    elif not _is_left_out(properties) and not _is_kept_from_others(str(engine)):
        yield violation(f"is told to {engine!r}, which anybody on the way reads and may change")


def _is_kept_from_others(engine: str) -> bool:
    try:
        address = urlsplit(engine)
        port = address.port
    except ValueError:
        return False
    encrypted = address.scheme in {"ssh", "https"} or (address.scheme == "tcp" and port not in (None, PLAIN_PORT))
    return address.scheme in LOCAL_SCHEMES or encrypted
