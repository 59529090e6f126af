"""Hold the rules of a bridge in place: `python -m runtime.egress_guard [OPTION …] BRIDGE SUBNET FORBIDDEN …`.

Options: `--gate=ADDRESS` reaches every server, `--egress-proxy=ADDRESS:PORT` is reached by every server, `--port=PORT` is
a TCP port to which servers are held outside; each may be given several times.

Runs on the host's network with the right to change it (NET_ADMIN). Rules stay when the guard is killed and when it is
replaced while servers are on the bridge; a guard that is told to end takes them along once nobody is on it. With
`--check` as the first argument it only says, by its exit code, whether the rules are in place.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.egress_guard.rules import (
    Bridge,
    filter_table,
    filter_table_ipv6,
    host_resolvers,
    nat_table,
    rule_counts,
)

WATCH_SECONDS = 5.0
RESOLV_CONF = Path("/etc/resolv.conf")
IPV6 = Path("/proc/net/if_inet6")
INTERFACES = Path("/sys/class/net")

GATE, PROXY, PORT = "--gate=", "--egress-proxy=", "--port="
EVERYWHERE = "0.0.0.0/0"

ENDINGS = (signal.SIGTERM, signal.SIGINT)
VARIANTS = ("nft", "legacy")
"""Builds of iptables; the engine has made its chains with one of them."""


class PacketFilterError(Exception):
    """The kernel did not take the rules."""


@dataclass(frozen=True)
class PacketFilter:
    """The host's packet filter, by the variant of iptables that the engine uses."""

    variant: str

    def run(self, *arguments: str, family: str = "ip", text: str | None = None, check: bool = True) -> bool:
        """Run `iptables ARGUMENTS`, or `iptables-restore` with `text`; False if it fails and `check` is not set.

        Raises:
            PacketFilterError: it failed; the message is iptables' own.
        """
        program = f"{family}tables-{self.variant}" + ("" if text is None else "-restore")
        command = [program, *(("--noflush",) if text is not None else ()), "--wait", "5", *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode and check:
            raise PacketFilterError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.returncode == 0

    def holds(self, bridge: Bridge) -> bool:
        """Whether every packet of the bridge is led through its chains, and these have all their rules."""
        return all(
            self.run("-t", table, "-C", chain, *rule, check=False, family=family)
            for table, chain, rule, family in _jumps(bridge)
        ) and self._rules(bridge) == rule_counts(bridge)

    def _rules(self, bridge: Bridge) -> dict[str, int]:
        """How many rules each of the filter's chains for IPv4 has."""
        counts: dict[str, int] = {}
        for chain in rule_counts(bridge):
            command = [f"iptables-{self.variant}", "--wait", "5", "-t", "filter", "-S", chain]
            listed = subprocess.run(command, capture_output=True, text=True, check=False)
            counts[chain] = sum(line.startswith("-A ") for line in listed.stdout.splitlines())
        return counts

    def load(self, bridge: Bridge) -> None:
        """Put the rules in place: the filters first, then what opens the way."""
        if IPV6.exists():
            self.run(family="ip6", text=filter_table_ipv6(bridge))
        self.run(text=filter_table(bridge))
        self.run(text=nat_table(bridge))
        for table, chain, rule, family in _jumps(bridge):
            if not self.run("-t", table, "-C", chain, *rule, check=False, family=family):
                self.run("-t", table, "-I", chain, "1", *rule, family=family)

    def unload(self, bridge: Bridge) -> None:
        """Take the rules away, what opens the way first."""
        for table, chain, rule, family in reversed(_jumps(bridge)):
            self.run("-t", table, "-D", chain, *rule, check=False, family=family)
            self.run("-t", table, "-F", rule[-1], check=False, family=family)
            self.run("-t", table, "-X", rule[-1], check=False, family=family)


def packet_filter() -> PacketFilter:
    """The variant of iptables that has the engine's chain `DOCKER-USER`.

    Raises:
        PacketFilterError: none has; the engine does not manage the packet filter.
    """
    for variant in VARIANTS:
        found = PacketFilter(variant)
        if found.run("-t", "filter", "-S", "DOCKER-USER", check=False):
            return found
    raise PacketFilterError("there is no chain DOCKER-USER: the engine runs without iptables, which `open` needs")


def _jumps(bridge: Bridge) -> list[tuple[str, str, list[str], str]]:
    jumps = [(table, chain, rule, "ip") for table, chain, rule in bridge.jumps]
    if IPV6.exists():
        # The engine has no DOCKER-USER for IPv6 unless it was told to filter it.
        ipv6 = [(table, chain, rule, "ip6") for table, chain, rule in bridge.jumps if table == "filter"]
        jumps = [
            (table, chain.replace("DOCKER-USER", "FORWARD"), rule, family) for table, chain, rule, family in ipv6
        ] + jumps
    return jumps


def in_use(bridge: Bridge) -> bool:
    """Whether a server is on the bridge."""
    members = INTERFACES / bridge.name / "brif"
    return members.is_dir() and any(members.iterdir())


def guard(bridge: Bridge) -> None:
    """Hold the rules until told to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    held = packet_filter()
    held.load(bridge)
    print(f"{bridge.name}: rules in place ({held.variant})", flush=True)
    while signal.sigtimedwait(ENDINGS, WATCH_SECONDS) is None:
        if not held.holds(bridge):
            print(f"{bridge.name}: somebody took rules away; putting them back", flush=True)
            held.load(bridge)
    if not in_use(bridge):
        held.unload(bridge)


def parse_bridge(arguments: Sequence[str], resolv_conf: str) -> Bridge:
    """The bridge that the arguments describe, beside a host with this resolv.conf.

    Where everything is forbidden, so are the host's name servers.

    Raises:
        ValueError: bridge or subnet is missing, or a port is no number.
    """

    def given(option: str) -> tuple[str, ...]:
        return tuple(text.removeprefix(option) for text in arguments if text.startswith(option))

    name, subnet, *forbidden = (text for text in arguments if not text.startswith((GATE, PROXY, PORT)))
    resolvers = () if EVERYWHERE in forbidden else host_resolvers(resolv_conf)
    proxies = tuple((address, int(port)) for address, _, port in (text.partition(":") for text in given(PROXY)))
    return Bridge(name, subnet, tuple(forbidden), resolvers, given(GATE), proxies, tuple(map(int, given(PORT))))


def main(arguments: list[str]) -> int:
    """Guard the bridge, or check that it is guarded."""
    check = arguments[:1] == ["--check"]
    bridge = parse_bridge(arguments[1:] if check else arguments, RESOLV_CONF.read_text())
    try:
        if check:
            return 0 if packet_filter().holds(bridge) else 1
        guard(bridge)
    except PacketFilterError as error:
        print(f"{bridge.name}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
