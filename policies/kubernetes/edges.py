"""Where TLS ends before a cluster: the hosts of an Ingress and the listeners of a Gateway, wherever they are written."""

from collections.abc import Iterator, Sequence

from policies.reader import UNKNOWN, Value, items

TLS_NAMES = ("https", "tls", "websecure")
"""Parts of names of listeners with TLS; the last is Traefik's (`ports` of its chart's values)."""


def is_with_tls(listener: Value) -> bool:
    """Whether a listener of a Gateway ends TLS, by its name: it stands on an object that is often another stack's."""
    return listener is not UNKNOWN and any(word in str(listener).lower() for word in TLS_NAMES)


def plain_hosts(hosts: Sequence[Value], tls: Sequence[Value]) -> Iterator[Value]:
    """Hosts of an Ingress that no entry of its `tls` names; None for every host, `UNKNOWN` where that is not known."""
    if UNKNOWN in tls:
        yield UNKNOWN
        return
    named = [host for entry in tls for host in items(entry, "hosts")]
    # An entry without hosts stands for all of them.
    if any(not list(items(entry, "hosts")) for entry in tls):
        return
    for host in hosts or [None]:
        if host not in named:
            yield UNKNOWN if UNKNOWN in (host, *named) else host
