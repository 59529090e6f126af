"""The egress guard: the one service or container that may be on a host's network and change its packet filter."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from policies.address_space import Network, merged, span_of
from policies.programs import arguments, runs_as
from policies.reader import UNKNOWN, Value

ROLE = "egress-guard"
COMMAND = ("python", "-m", "runtime.egress_guard")
GATE, CHECK = "--gate=", "--check"
EVERYTHING = frozenset({"0.0.0.0/0", "::/0"})


@dataclass(frozen=True)
class Guarding:
    """What a guard's arguments say."""

    gates: tuple[str, ...]
    """Addresses on the bridge that reach every server there."""
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


def is_egress_guard(properties: Value) -> Value:
    """Whether a service or container is the guard and runs nothing else; `UNKNOWN` while that cannot be told."""
    return runs_as(properties, ROLE, COMMAND)


def guarding(words: Sequence[Value]) -> Guarding | None:
    """What a guard's command guards: None where it names no bridge and range, or where a word is not known."""
    told = [str(word) for word in words[len(COMMAND) :]]
    bare = [word for word in told if not word.startswith(GATE)]
    if UNKNOWN in words or list(words[: len(COMMAND)]) != list(COMMAND) or len(bare) < 2:  # noqa: PLR2004  (bridge, range)
        return None
    gates = tuple(word.removeprefix(GATE) for word in told if word.startswith(GATE))
    return Guarding(gates, bare[0], bare[1], tuple(bare[2:]))


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
