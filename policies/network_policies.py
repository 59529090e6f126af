"""What the NetworkPolicies of a cluster let one pod reach, or let reach it, together. Needs no Pulumi.

Kubernetes has no rule that forbids: a pod that some policy selects is isolated in the policy's directions, and may then
do whatever one rule of one of these policies allows. So each policy may pass alone and all of them be the world: only
their union says what a pod reaches. Objects are Kubernetes' own JSON (`networking.k8s.io/v1`) with every value known.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from policies.address_space import PORTS, Network, Opening, Segment, Span, segments

INGRESS, EGRESS = "Ingress", "Egress"
TCP = "TCP"
PROTOCOLS = (TCP, "UDP", "SCTP")
"""What a rule without ports opens; a rule's port without a protocol is one of TCP."""

EVERY_PORT: Span = (0, PORTS - 1)
EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that Kubernetes gives each namespace: its name."""

Object = Mapping[str, Any]
Labels = Mapping[str, str]
NamedPorts = Mapping[str, tuple[str, int]]
"""Protocol and number of each port that a pod's containers name."""


def selects(selector: Object | None, labels: Labels) -> bool:
    """Whether a label selector selects what has the labels; one that is empty or missing selects everything.

    Raises:
        ValueError: an expression has an operator that Kubernetes does not know.
    """
    given = selector or {}
    wanted: Object = given.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in given.get("matchExpressions") or ()
    )


def _holds(expression: Object, labels: Labels) -> bool:
    value, values = labels.get(str(expression.get("key"))), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            # What lacks the label is none of the values either.
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise ValueError(f"a label selector has the operator {other!r}")


def policy_types(spec: Object) -> tuple[str, ...]:
    """Directions in which a policy isolates; where it does not say, ingress, and egress if it has a rule for it."""
    given = spec.get("policyTypes") or ()
    return tuple(given) or ((INGRESS, EGRESS) if spec.get("egress") else (INGRESS,))


@dataclass(frozen=True)
class Port:
    """What one entry of a rule's `ports` opens."""

    protocol: str
    numbers: Span | None
    """None for a port by name, which is another number with every pod and none at an address."""
    name: str = ""

    @classmethod
    def of(cls, given: Object) -> "Port":
        """The entry as Kubernetes reads it: TCP where no protocol, every port where no port is given."""
        protocol, port, last = given.get("protocol") or TCP, given.get("port"), given.get("endPort")
        if port is None:
            return cls(protocol, EVERY_PORT)
        if isinstance(port, str):
            return cls(protocol, None, port)
        return cls(protocol, (int(port), int(port if last is None else last)))

    def opens(self, port: int, protocol: str, named: NamedPorts) -> bool:
        """Whether `port` is among these, on a pod that names its ports so."""
        if self.numbers is None:
            return named.get(self.name) == (protocol, port) and self.protocol == protocol
        return self.protocol == protocol and self.numbers[0] <= port <= self.numbers[1]


@dataclass(frozen=True)
class Rule:
    """One rule of a policy: all of its peers on all of its ports."""

    namespace: str
    """Its policy's, which a peer without a namespace selector is in."""
    peers: tuple[Object, ...] | None
    """None for everybody."""
    ports: tuple[Port, ...] | None
    """None for every port of every protocol."""

    def opens(self, port: int, protocol: str, named: NamedPorts) -> bool:
        """Whether the port is among the rule's."""
        return self.ports is None or any(given.opens(port, protocol, named) for given in self.ports)

    def spans(self, protocol: str) -> Iterator[Span]:
        """The rule's ports by number."""
        if self.ports is None:
            yield EVERY_PORT
            return
        yield from (given.numbers for given in self.ports if given.numbers and given.protocol == protocol)

    def networks(self) -> Iterator[Network]:
        """Addresses that the rule names, without its exceptions; selected pods have none that is known."""
        if self.peers is None:
            yield from EVERYWHERE
            return
        for peer in self.peers:
            if peer.get("ipBlock"):
                yield from _without(peer["ipBlock"])

    def selects_pod(self, labels: Labels, namespace: str, namespace_labels: Labels) -> bool:
        """Whether the rule names a pod by its labels."""
        return self.peers is None or any(
            self._selects(peer, labels, namespace, namespace_labels) for peer in self.peers
        )

    def _selects(self, peer: Object, labels: Labels, namespace: str, namespace_labels: Labels) -> bool:
        spaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
        if spaces is None:
            return pods is not None and namespace == self.namespace and selects(pods, labels)
        return selects(spaces, namespace_labels) and selects(pods, labels)


def _without(block: Object) -> Iterator[Network]:
    """A block's addresses without its exceptions."""
    left: list[Network] = [ipaddress.ip_network(block["cidr"], strict=False)]
    for text in block.get("except") or ():
        gone = ipaddress.ip_network(text, strict=False)
        left = list(chain.from_iterable(_less(network, gone) for network in left))
    yield from left


def _less(network: Network, gone: Network) -> list[Network]:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(gone, ipaddress.IPv4Network):
        return list(network.address_exclude(gone)) if gone.subnet_of(network) else _unless_inside(network, gone)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(gone, ipaddress.IPv6Network):
        return list(network.address_exclude(gone)) if gone.subnet_of(network) else _unless_inside(network, gone)
    return [network]


def _unless_inside(network: Network, gone: Network) -> list[Network]:
    return [] if network.overlaps(gone) else [network]


@dataclass(frozen=True)
class Union:
    """What all policies together say of one pod in one direction."""

    isolated: bool
    """Whether any policy selects the pod; if none does, everything is allowed."""
    rules: tuple[Rule, ...]
    """Each allows what it names."""
    named_ports: NamedPorts
    """The pod's own, which ingress rules may name."""
    direction: str

    @classmethod
    def of(
        cls,
        policies: Sequence[Object],
        labels: Labels,
        namespace: str,
        direction: str,
        named_ports: NamedPorts | None = None,
    ) -> "Union":
        """The union of the policies that select a pod.

        Args:
            policies: complete NetworkPolicies, or their specs alone; one without a namespace is in the pod's.
            labels: the pod's.
            namespace: the pod's.
            direction: `Ingress` or `Egress`.
            named_ports: the pod's ports that have a name; counts for ingress.

        Raises:
            ValueError: the direction or an operator of a selector is none of Kubernetes'.
        """
        if direction not in (INGRESS, EGRESS):
            raise ValueError(f"{direction!r} is no direction; {INGRESS} and {EGRESS} are")
        rules: list[Rule] = []
        isolated = False
        for policy in policies:
            metadata: Object = policy.get("metadata") or {}
            place: str = metadata.get("namespace") or namespace
            spec: Object = policy.get("spec", policy)
            if (
                place != namespace
                or direction not in policy_types(spec)
                or not selects(spec.get("podSelector"), labels)
            ):
                continue
            isolated = True
            rules += [_rule(given, place, direction) for given in spec.get(direction.lower()) or ()]
        return cls(isolated, tuple(rules), named_ports or {}, direction)

    def reaches_address(self, ip: str, port: int, protocol: str = TCP) -> bool:
        """Whether traffic with an address outside the cluster is allowed.

        Args:
            ip: IPv4 or IPv6 address.
            port: of the destination, which is the pod itself for ingress.
            protocol: `TCP`, `UDP` or `SCTP`.
        """
        if not self.isolated:
            return True
        address = ipaddress.ip_address(ip)
        named: NamedPorts = self.named_ports if self.direction == INGRESS else {}
        return any(
            rule.opens(port, protocol, named) and any(address in network for network in rule.networks())
            for rule in self.rules
        )

    def reaches_pod(
        self,
        labels: Labels,
        namespace: str,
        port: int,
        protocol: str = TCP,
        *,
        namespace_labels: Labels | None = None,
        named_ports: NamedPorts | None = None,
        ip: str | None = None,
    ) -> bool:
        """Whether traffic with another pod is allowed, as far as the policies of this one say.

        Args:
            labels: the other pod's.
            namespace: the other pod's.
            port: of the destination.
            protocol: `TCP`, `UDP` or `SCTP`.
            namespace_labels: the other namespace's; its name's label always counts among them.
            named_ports: the other pod's ports that have a name; counts for egress.
            ip: the other pod's address, by which a rule for a range may let it through.
        """
        if not self.isolated:
            return True
        spaces = {**(namespace_labels or {}), NAMESPACE_NAME: namespace}
        named = self.named_ports if self.direction == INGRESS else named_ports or {}
        address = None if ip is None else ipaddress.ip_address(ip)
        return any(
            rule.opens(port, protocol, named)
            and (
                rule.selects_pod(labels, namespace, spaces)
                or (address is not None and any(address in network for network in rule.networks()))
            )
            for rule in self.rules
        )

    def segments(self, protocol: str = TCP) -> tuple[Segment, ...]:
        """All addresses that are allowed, cut where they change from one port to the next; IPv4 before IPv6.

        Ports by name are left out: at an address there is none.
        """
        openings = (
            (
                Opening(span, network)
                for rule in self.rules
                for span in rule.spans(protocol)
                for network in rule.networks()
            )
            if self.isolated
            else (Opening(EVERY_PORT, network) for network in EVERYWHERE)
        )
        return tuple(segments(openings))

    def addresses(self, port: int, protocol: str = TCP) -> tuple[Segment, ...]:
        """The addresses that are allowed on one port: at most one segment for each version of IP."""
        return tuple(found for found in self.segments(protocol) if found.ports[0] <= port <= found.ports[1])


def _rule(given: Object, namespace: str, direction: str) -> Rule:
    peers, ports = given.get("to" if direction == EGRESS else "from"), given.get("ports")
    return Rule(
        namespace,
        tuple(peers) if peers else None,
        tuple(Port.of(port) for port in ports) if ports else None,
    )
