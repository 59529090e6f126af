"""What a squid's configuration lets through: tunnels to named domains, or something else."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from policies.address_space import Network, merged, span_of
from policies.egress_guard import networks_in

PORT = 3128

FIRST = ("deny !tunnel", "deny !https")
LAST = ("deny too_many", "deny never_reached", "allow all")
RULES = {(*FIRST, "deny !named", *LAST), (*FIRST, "deny all", *LAST)}
"""The rules of access in their order: squid takes the first that applies."""

LISTS = {
    "tunnel": [["method", "CONNECT"]],
    "https": [["port", "443"]],
    "asked": [["has", "request"]],
}
"""Lists that say one thing; another line of a list adds to it."""

HARMLESS = frozenset(
    {
        *("cache", "cache_log", "cache_mem", "cache_store_log", "client_lifetime", "connect_timeout", "coredump_dir"),
        *("dns_timeout", "forwarded_for", "htcp_port", "httpd_suppress_version_string", "icp_port", "logformat"),
        *(
            "access_log",
            "max_filedescriptors",
            "memory_cache_shared",
            "netdb_filename",
            "pid_filename",
            "pinger_enable",
        ),
        *("shutdown_lifetime", "snmp_port", "strip_query_terms", "via", "visible_hostname"),
    }
)
"""Directives that open nothing; squid has hundreds more, which do."""

_WORD = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_DOMAIN = re.compile(rf"\.?({_WORD}\.)+(?!([0-9]+|0x[0-9a-f]*)$){_WORD}")
"""A name of two words or more, perhaps after a dot; what ends in a number is an address."""


def squid_mistakes(text: str, never_reached: Iterable[Network]) -> Iterator[str]:
    """What a configuration has that lets through more than HTTPS to named domains, a sentence's end each.

    Args:
        text: squid's configuration.
        never_reached: what no name may lead to.
    """
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    told = {word: [rest for first, *rest in lines if first == word] for word in ("acl", "http_access", "http_port")}
    if any(line[-1].endswith("\\") for line in lines):
        yield "has a line that goes on in the next one"
    for word in sorted({line[0] for line in lines} - HARMLESS - set(told)):
        yield f"has the directive {word!r}, which no check knows"
    if told["http_port"] != [[str(PORT)]]:
        yield f"listens on {told['http_port']!r}"
    rules = tuple(" ".join(words) for words in told["http_access"])
    if ("deny !named" in rules) != any(words[:1] == ["named"] for words in told["acl"]):
        yield "has a rule on names without names, or names without a rule"
    if rules not in RULES:
        yield f"lets through what these rules do: {', '.join(rules)}"
    yield from _list_mistakes(told["acl"], never_reached)


def _list_mistakes(lines: Sequence[Sequence[str]], never_reached: Iterable[Network]) -> Iterator[str]:
    """What is wrong with the lists that the rules name."""
    lists: dict[str, list[Any]] = {}
    for name, *words in lines:
        lists.setdefault(name, []).append(words)
    named, connections, ranges = (lists.pop(name, []) for name in ("named", "too_many", "never_reached"))
    for name in sorted({*LISTS, *lists}):
        if lists.get(name) != LISTS.get(name):
            yield f"has another list {name!r} than this pack knows ({lists.get(name)!r})"
    if len(connections) != 1 or connections[0][0] != "maxconn":
        yield "lets one server have any number of connections"
    for kind, *words in named:
        if kind != "dstdomain" or words[:1] != ["-n"]:
            yield f"knows servers by {kind!r} {words[:1]!r} and not by their names alone"
        for domain in words[1:]:
            if not _DOMAIN.fullmatch(domain):
                yield f"passes on {domain!r}, which is no domain"
    given = [text for kind, *words in ranges if kind == "dst" for text in words]
    left = [str(network) for network in never_reached if not _covers(given, network)]
    if left:
        yield f"passes on names that lead to {', '.join(left)}"


def _covers(given: Iterable[str], network: Network) -> bool:
    first, last = span_of(network)
    spans = merged(span_of(found) for text in given for found in networks_in(text, network.version))
    return any(start <= first and last <= end for start, end in spans)
