"""The egress guard: the services or containers that may be on a host's network and change its packet filter."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from policies.address_space import Network, merged, span_of
from policies.programs import arguments, runs_as
from policies.reader import UNKNOWN, Value

ROLE, PROXY_ROLE = "egress-guard", "egress-proxy-guard"
"""Roles of what guards servers, and of what guards an egress proxy."""
COMMAND = ("python", "-m", "runtime.egress_guard")
GATE, PROXY, PORT, CHECK = "--gate=", "--egress-proxy=", "--port=", "--check"
EVERYTHING = frozenset({"0.0.0.0/0", "::/0"})


@dataclass(frozen=True)
class Guarding:
    """What a guard's arguments say."""

    gates: tuple[str, ...]
    """Addresses on the bridge that reach every server there."""
    proxies: tuple[str, ...]
    """Addresses and ports on the bridge that every server reaches, as `10.0.0.2:3128`."""
    ports: tuple[str, ...]
    """TCP ports that servers are held to outside; none for every port and protocol."""
    bridge: str
    """Name of the interface."""
    subnet: str
    """Range of the servers' addresses."""
    forbidden: tuple[str, ...]
    """Ranges that no server reaches."""

    @property
    def is_closed(self) -> bool:
        """Whether everything is forbidden, in the words by which the guard forbids the host's name servers, too."""
        return set(self.forbidden) >= EVERYTHING

    def forbids(self, network: Network) -> bool:
        """Whether no address of the network is reached; ranges that are none forbid nothing."""
        first, last = span_of(network)
        spans = merged(span_of(found) for text in self.forbidden for found in networks_in(text, network.version))
        return any(start <= first and last <= end for start, end in spans)


def is_egress_guard(properties: Value, *roles: str) -> Value:
    """Whether a service or container is a guard and runs nothing else; `UNKNOWN` while that cannot be told.

    Args:
        properties: what it is.
        roles: its role is one of these. Default: either role.
    """
    verdicts = [runs_as(properties, role, COMMAND) for role in roles or (ROLE, PROXY_ROLE)]
    return True if True in verdicts else UNKNOWN if UNKNOWN in verdicts else False


def guarding(words: Sequence[Value]) -> Guarding | None:
    """What a guard's command guards: None where it names no bridge and range, or where a word is not known."""
    told = [str(word) for word in words[len(COMMAND) :]]
    bare = [word for word in told if not word.startswith((GATE, PROXY, PORT))]
    if UNKNOWN in words or list(words[: len(COMMAND)]) != list(COMMAND) or len(bare) < 2:  # noqa: PLR2004  (bridge, range)
        return None
    gates, proxies, ports = (
        tuple(word.removeprefix(option) for word in told if word.startswith(option)) for option in (GATE, PROXY, PORT)
    )
    return Guarding(gates, proxies, ports, bare[0], bare[1], tuple(bare[2:]))


def guarding_of(properties: Value) -> Guarding | None:
    """What a service or container guards; None as for `guarding`."""
    return guarding(arguments(properties))


def networks_in(text: str, version: int) -> list[Network]:
    """The range or address that a text is, if it is one of this version of IP."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return []
    return [network] if network.version == version else []
