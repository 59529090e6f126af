"""What the deployment tells a node: one JSON file and a folder of secrets, read once when the service starts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE_VARIABLE = "NOTEBOOK_IMAGE"

MOST_SERVERS = 1000
"""Most servers of one node: what one proxy and one engine were measured with."""


@dataclass(frozen=True)
class Quota:
    """What one server may use."""

    cpu: float
    """Processors."""
    memory_bytes: int
    """Memory; there is no swap beyond it. Home and /tmp live in it, too."""
    processes: int
    """Processes and threads."""
    home_bytes: int
    """Size of the home, which lives in memory and ends with the server."""
    tmp_bytes: int
    """Size of /tmp, which lives in memory."""
    open_files: int
    """Files that one process may have open."""
    idle_seconds: int
    """A used server without activity for this long is ended."""
    max_age_seconds: int
    """A server is ended this long after it was handed out, whatever it does."""


@dataclass(frozen=True)
class VisitorLimit:
    """How many new servers one address gets."""

    burst: int
    """At once, at least 1."""
    per_minute: float
    """In the long run, above 0."""


@dataclass(frozen=True)
class Settings:
    """One node's part of a stack."""

    stack: str
    """Value of the label `hubstack.stack`, and the start of servers' names."""
    node: str
    """Name of the node, unique in the stack; value of the label `hubstack.node`."""
    url: str
    """What visitors see, without a slash at its end."""
    redirector: str
    """Where the pool's visitors come first, without a slash at its end."""
    image: str
    """Image of the servers, by digest or by id. It must be on the engine: it is never pulled."""
    capacity: int
    """Servers in all, used and unused, 1 to `MOST_SERVERS`."""
    quota: Quota
    network: str
    """The one network of the servers."""
    guard: str
    """Container that must be healthy before a server is started or handed out."""
    egress_proxy: str | None
    """Address of the proxy that servers reach the outside by; None for none."""
    resolver: bool
    """Whether servers may resolve names."""
    landing: str
    """Path below a server's own where a visitor who asks for `/` ends, such as `/lab`."""
    visitors: VisitorLimit
    starts_at_once: int
    """Most servers that are being started at the same time, at least 1."""
    proxy_api: str
    """Address of configurable-http-proxy's API, without a slash at its end."""
    service_address: str
    """Where the proxy reaches this service."""
    public_port: int
    admin_address: str
    """Address that the listener for administrators is bound to."""
    admin_port: int
    forwarded_hops: int
    """Where a visitor's address stands in `X-Forwarded-For`, counted from the right; 0 takes the peer's address."""


@dataclass(frozen=True)
class Secrets:
    """What nobody else may know; not shown when printed."""

    proxy: str = field(repr=False)
    """Token of the proxy's API; the key that cookies are signed with is made from it."""
    admin: str = field(repr=False)
    """Token of the listener for administrators."""
    api: str | None = field(repr=False)
    """Token that `POST /api/spawn` asks for; with it there are no pages for people. None: anybody may come."""


def parse_settings(document: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Read the stack's JSON document, and the image from `NOTEBOOK_IMAGE` where the document names none.

    Raises:
        KeyError, TypeError, ValueError: a key is missing or unknown, or a value makes no sense; the message names it.
    """
    fields = dict(document)
    if "image" not in fields:
        fields["image"] = environment[IMAGE_VARIABLE]
    quota, visitors = Quota(**fields.pop("quota")), VisitorLimit(**fields.pop("visitors"))
    settings = Settings(quota=quota, visitors=visitors, **fields)
    if not 1 <= settings.capacity <= MOST_SERVERS:
        raise ValueError(f"capacity must be 1 to {MOST_SERVERS}, not {settings.capacity}")
    if settings.starts_at_once < 1:
        raise ValueError(f"starts_at_once must be at least 1, not {settings.starts_at_once}")
    if visitors.burst < 1 or visitors.per_minute <= 0:
        raise ValueError(f"visitors must allow somebody in, not {visitors}")
    for limit in ("idle_seconds", "max_age_seconds"):
        if getattr(quota, limit) <= 0:
            raise ValueError(f"quota.{limit} must be positive, not {getattr(quota, limit)}")
    if not settings.landing.startswith("/"):
        raise ValueError(f"landing must begin with /, not {settings.landing!r}")
    for address in ("url", "redirector", "proxy_api", "service_address"):
        if getattr(settings, address).endswith("/"):
            raise ValueError(f"{address} must not end with /, not {getattr(settings, address)!r}")
    return settings


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read the settings that the stack mounted."""
    return parse_settings(json.loads(path.read_text()), environment)


def load_secrets(folder: Path) -> Secrets:
    """Read the files `proxy-token`, `admin-token` and, if it is there, `api-token`.

    Raises:
        OSError: one that must be there is not.
        ValueError: one is empty, which would let everybody in; the message names it.
    """
    api = folder / "api-token"
    return Secrets(
        proxy=_secret(folder / "proxy-token"),
        admin=_secret(folder / "admin-token"),
        api=_secret(api) if api.exists() else None,
    )


def _secret(path: Path) -> str:
    secret = path.read_text().strip()
    if not secret:
        raise ValueError(f"secret {path.name} is empty")
    return secret
