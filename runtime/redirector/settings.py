"""What the deployment tells the redirector: one JSON file, which the stack replaces when a node comes or goes."""

import ipaddress
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HIGHEST_PORT = 65535
MOST_HOPS = 10


class SettingsError(ValueError):
    """The file cannot be used; the message lists every mistake."""


@dataclass(frozen=True)
class Node:
    """One node of the pool."""

    name: str
    """What people call it, such as `tmp01`."""
    url: str
    """Origin that visitors are sent to, such as `https://tmp01.example.org`: no path and no slash at the end."""
    stats: str
    """Address that tells its load."""
    connect: str | None = None
    """IP address that the node is asked at, whatever its name leads to; None: where its name leads."""


@dataclass(frozen=True)
class VisitorLimit:
    """How many redirects one address gets."""

    burst: int
    """Redirects at once, at least 1."""
    per_minute: float
    """Redirects in the long run, above 0."""


@dataclass(frozen=True)
class Settings:
    """The redirector's part of a stack."""

    stack: str
    """Name of the stack, which pages show."""
    nodes: tuple[Node, ...]
    ca_file: str | None
    """PEM file of certificates that nodes' certificates may be signed with beside the system's; None for none."""
    poll_seconds: float
    """How often each node is asked for its load, above 0."""
    deadline_seconds: float
    """How long a node may take to answer, above 0."""
    port: int
    """Port of the service, 1 to 65535; another one takes effect when the redirector starts anew."""
    visitors: VisitorLimit
    forwarded_hops: int
    """Proxies in front of the redirector that add the visitor's address to `X-Forwarded-For`, 0 to 10."""


def parse_settings(document: Any) -> Settings:
    """Read the stack's JSON document.

    Raises:
        SettingsError: a key is missing or unknown, or a value makes no sense.
    """
    try:
        fields = dict(document)
        settings = Settings(
            nodes=tuple(Node(**node) for node in fields.pop("nodes")),
            visitors=VisitorLimit(**fields.pop("visitors")),
            **fields,
        )
    except KeyError as error:
        raise SettingsError(f"the key {error} is missing") from error
    except (TypeError, ValueError) as error:
        # Python's own words name the key: "unexpected keyword argument 'prot'".
        raise SettingsError(str(error).replace(".__init__()", "")) from error
    mistakes = [*_value_mistakes(settings), *_node_mistakes(settings.nodes)]
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    return settings


class SettingsFile:
    """The file, of which it is noticed when it changes."""

    def __init__(self, path: Path) -> None:
        """Watch `path`; nothing is read before it is asked for."""
        self._path = path
        self._seen: bytes | str = b""

    def read(self) -> Settings:
        """The settings that the file holds.

        Raises:
            SettingsError: it cannot be read or used.
        """
        self._seen, content = self._look()
        if content is None:
            raise SettingsError(str(self._seen))
        return _parse_text(content)

    def changed(self) -> Settings | None:
        """The settings if the file is not what it was when it was last read, else None.

        Raises:
            SettingsError: it changed, and cannot be read or used; once for each change.
        """
        return None if self._look()[0] == self._seen else self.read()

    def _look(self) -> tuple[bytes | str, bytes | None]:
        # The whole content: times of change are too coarse for a file that is replaced twice in a row.
        try:
            content = self._path.read_bytes()
        except OSError as error:
            return f"{self._path} cannot be read: {error.strerror}", None
        return content, content


def _parse_text(content: bytes) -> Settings:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"the file is no JSON: {error}") from error
    return parse_settings(document)


def _value_mistakes(settings: Settings) -> Iterable[str]:
    if not isinstance(settings.stack, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield f"stack must be a text, not {settings.stack!r}"
    if not isinstance(settings.ca_file, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield f"ca_file must be a path or null, not {settings.ca_file!r}"
    numbers: Mapping[str, object] = {
        "poll_seconds": settings.poll_seconds,
        "deadline_seconds": settings.deadline_seconds,
        "visitors.per_minute": settings.visitors.per_minute,
    }
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            yield f"{name} must be a number above 0, not {value!r}"
    if not _is_whole(settings.port, 1, HIGHEST_PORT):
        yield f"port must be 1 to {HIGHEST_PORT}, not {settings.port!r}"
    if not _is_whole(settings.visitors.burst, 1):
        yield f"visitors.burst must be a whole number of at least 1, not {settings.visitors.burst!r}"
    if not _is_whole(settings.forwarded_hops, 0, MOST_HOPS):
        yield f"forwarded_hops must be 0 to {MOST_HOPS}, not {settings.forwarded_hops!r}"


def _node_mistakes(nodes: tuple[Node, ...]) -> Iterable[str]:
    texts = [text for node in nodes for text in (node.name, node.url, node.stats)]
    if not all(isinstance(text, str) for text in texts):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield "name, url and stats of every node must be texts"
        return
    for what, values in (("name", [node.name for node in nodes]), ("url", [node.url for node in nodes])):
        yield from (f"several nodes have the {what} {value!r}" for value, count in Counter(values).items() if count > 1)
    for node in nodes:
        if not node.name or not node.name.isprintable():
            yield f"{node.name!r} is no name of a node"
        if not is_origin(node.url):
            yield f"url of {node.name!r} must be like https://tmp01.example.org, without a path, not {node.url!r}"
        if node.connect is not None and not _is_ip_address(node.connect):
            yield f"connect of {node.name!r} must be an IP address or null, not {node.connect!r}"
        if not _is_address(node.stats):
            yield f"stats of {node.name!r} must be an address like https://tmp01.example.org/api/stats, not {node.stats!r}"


def is_origin(url: str) -> bool:
    """Whether a URL is a scheme, a host and perhaps a port alone, so that a path behind it cannot lead elsewhere."""
    return _is_address(url) and url == f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"


def _is_address(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or set(url) & set(" \\<>\"'`{}|^"):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not parts.netloc.endswith(":")
        and port != 0
    )


def _is_ip_address(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _is_whole(value: object, least: int, most: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
