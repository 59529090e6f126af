"""The rules as text for `iptables-restore`: what a server may reach through its node's bridge."""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bridge:
    """The bridge that servers of one stack leave by, on one node."""

    name: str
    """Name of the interface."""
    subnet: str
    """Range of the servers' addresses on it, IPv4."""
    forbidden: tuple[str, ...]
    """Ranges that no server reaches, IPv4 and IPv6."""
    resolvers: tuple[str, ...]
    """The host's name servers, which servers may ask (port 53) wherever they are."""
    gates: tuple[str, ...] = ()
    """IPv4 addresses on the bridge that reach every server there; servers reach none of them by themselves."""
    proxies: tuple[tuple[str, int], ...] = ()
    """IPv4 addresses on the bridge with a TCP port each that every server reaches; they reach no server by themselves."""
    ports: tuple[int, ...] = ()
    """TCP ports of what is not forbidden, to which servers are held; none for every port and protocol."""

    @property
    def chain(self) -> str:
        """Start of the names of this bridge's chains, within the 28 characters that iptables takes."""
        return f"EGRESS-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @property
    def jumps(self) -> tuple[tuple[str, str, list[str]], ...]:
        """Table, chain and rule of what leads packets into this bridge's chains.

        `DOCKER-USER` is walked before Docker's own rules and is left alone by the engine.
        """
        return (
            ("filter", "INPUT", ["-i", self.name, "-j", f"{self.chain}-HOST"]),
            ("filter", "DOCKER-USER", ["-i", self.name, "-j", f"{self.chain}-OUT"]),
            # The engine does not masquerade for this network: without the filter above there is no way back in.
            ("nat", "POSTROUTING", ["-s", self.subnet, "-j", f"{self.chain}-NAT"]),
        )


def host_resolvers(resolv_conf: str) -> tuple[str, ...]:
    """Name servers in the text of a resolv.conf that are not on loopback; those the engine asks from the host."""
    found: list[str] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if not address.is_loopback:
                found.append(str(address))
    return tuple(found)


def filter_table(bridge: Bridge) -> str:
    """The filter's chains: to the host nothing but names, out what is not forbidden, and to no neighbour on the bridge."""
    host, out = f"{bridge.chain}-HOST", f"{bridge.chain}-OUT"
    answers = "-m conntrack --ctstate RELATED,ESTABLISHED"
    resolvers = [
        f"-d {address} -p {way} --dport 53" for address in _version(bridge.resolvers, 4) for way in ("udp", "tcp")
    ]
    rules = [
        f"-A {host} {answers} -j RETURN",
        *(f"-A {host} {asked} -j RETURN" for asked in resolvers),
        f"-A {host} -j DROP",
        # Before all others: the engine drops whatever stays on a bridge like this, answers too.
        *(f"-A {out} -s {gate} -o {bridge.name} -j ACCEPT" for gate in bridge.gates),
        *(f"-A {out} -d {gate} -o {bridge.name} {answers} -j ACCEPT" for gate in bridge.gates),
        *(
            f"-A {out} -s {bridge.subnet} -d {proxy} -o {bridge.name} -p tcp --dport {port} -j ACCEPT"
            for proxy, port in bridge.proxies
        ),
        *(f"-A {out} -s {proxy} -o {bridge.name} {answers} -j ACCEPT" for proxy, _ in bridge.proxies),
        f"-A {out} {answers} -j RETURN",
        f"-A {out} -o {bridge.name} -j DROP",
        # A server has no other address than its own: what claims one is forged.
        f"-A {out} ! -s {bridge.subnet} -j DROP",
    ]
    rules += [f"-A {out} {asked} -j RETURN" for asked in resolvers]
    rules += [f"-A {out} -d {subnet} -j DROP" for subnet in _version(bridge.forbidden, 4)]
    if bridge.ports:
        rules += [f"-A {out} -p tcp --dport {port} -j RETURN" for port in bridge.ports]
        rules.append(f"-A {out} -j DROP")
    return _table("filter", [host, out], rules)


def rule_counts(bridge: Bridge) -> dict[str, int]:
    """How many rules each of the filter's chains has."""
    rules = [line.split()[1] for line in filter_table(bridge).splitlines() if line.startswith("-A ")]
    return {chain: rules.count(chain) for chain in sorted(set(rules))}


def nat_table(bridge: Bridge) -> str:
    """The chain that lets answers find the way back; loaded last."""
    chain = f"{bridge.chain}-NAT"
    return _table("nat", [chain], [f"-A {chain} ! -o {bridge.name} -j MASQUERADE"])


def filter_table_ipv6(bridge: Bridge) -> str:
    """The same chains for IPv6: servers have none on this bridge, so nothing passes."""
    host, out = f"{bridge.chain}-HOST", f"{bridge.chain}-OUT"
    return _table("filter", [host, out], [f"-A {host} -j DROP", f"-A {out} -j DROP"])


def _table(name: str, chains: list[str], rules: list[str]) -> str:
    # Naming a chain empties it: loading twice leaves the same rules, in one step.
    lines = [f"*{name}", *(f":{chain} - [0:0]" for chain in chains), *rules, "COMMIT"]
    return "\n".join(lines) + "\n"


def _version(addresses: Iterable[str], version: int) -> list[str]:
    return [address for address in addresses if ipaddress.ip_network(address).version == version]
