"""What code that users run may reach, one value for every platform."""

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum

import pulumi

METADATA_RANGES = ("169.254.0.0/16", "168.63.129.16/32", "fd00:ec2::254/128")
"""Metadata services of AWS, Google Cloud, Azure and their container services; design section 3."""

PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
"""Ranges that belong to an organisation's inside (RFC 1918, 6598, 4193, 3927)."""

UNROUTED_RANGES = ("0.0.0.0/8", "127.0.0.0/8", "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")
"""Ranges that nobody owns in public (RFC 6890): this network, loopback, protocols, benchmarks, multicast, reserved."""

NEVER_REACHED = (*METADATA_RANGES, *PRIVATE_RANGES, *UNROUTED_RANGES)
"""What no profile opens."""


class EgressProfile(str, Enum):
    """What a user's server may reach beside its hub; none opens `NEVER_REACHED`, another server or the host."""

    CLOSED = "closed"
    """Nothing."""
    DOMAINS = "domains"
    """HTTPS to named domains, through a proxy that knows no others."""
    PORTS = "ports"
    """Public addresses on named TCP ports."""
    OPEN = "open"
    """Every public address."""


PROFILES_WITHOUT_LISTS = (EgressProfile.CLOSED, EgressProfile.OPEN)
"""What platforms know that have neither rules per port nor a proxy for servers: the Swarm and hosts on EC2."""

REFUSED_PORTS = {
    25: "mail relays, what abused notebooks are used for first; hand mail in on port 465 or 587",
    53: "name servers; names are resolved by the cluster's alone, whose log then misses nothing",
    853: "name servers over TLS; names are resolved by the cluster's alone, whose log then misses nothing",
}
"""TCP ports that no list may name, and what is behind them."""

HIGHEST_PORT = 65535

INSIDE_NAMES = (".cluster.local", ".internal", ".invalid", ".local", ".localhost", ".svc", ".test")
"""Ends of names that have no public address (RFC 6761, 6762 and Kubernetes' own)."""

_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"\.?(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


def check_egress(
    profile: str, domains: Sequence[str], ports: Sequence[int], excluded: Sequence[str] = ()
) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments `egressProfile`, `egressDomains`, `egressPorts` and `egressExcluded`.

    A list that the profile does not use is one: whoever wrote it believes in a limit that is not there.
    """
    errors = check_known_profile(profile, tuple(EgressProfile))
    lists = ((EgressProfile.DOMAINS, "egressDomains", domains), (EgressProfile.PORTS, "egressPorts", ports))
    for user, path, given in lists:
        if given and profile in set(EgressProfile) - {EgressProfile.CLOSED, user}:
            reason = f"the profile {EgressProfile(profile).value} does not use it; set egressProfile to {user.value}"
            errors.append({"property_path": path, "reason": f"{reason} or leave the list empty"})
    for number, domain in enumerate(domains):
        mistake = _domain_mistake(domain)
        if mistake:
            errors.append({"property_path": f"egressDomains[{number}]", "reason": f"{domain!r} {mistake}"})
    for number, port in enumerate(ports):
        if not 1 <= port <= HIGHEST_PORT or port != int(port):
            reason = f"{port} is not a TCP port; 1 to {HIGHEST_PORT}"
            errors.append({"property_path": f"egressPorts[{number}]", "reason": reason})
        elif port in REFUSED_PORTS:
            errors.append({"property_path": f"egressPorts[{number}]", "reason": f"{port}: {REFUSED_PORTS[int(port)]}"})
    for number, text in enumerate(excluded):
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            reason = f"{error}; write an address range such as 203.0.113.0/24"
            errors.append({"property_path": f"egressExcluded[{number}]", "reason": reason})
    return errors


def check_known_profile(profile: str, known: Collection[EgressProfile]) -> list[pulumi.InputPropertyErrorDetails]:
    """A mistake in the argument `egressProfile` where a platform knows only some profiles."""
    names = [one.value for one in known]
    if profile in names:
        return []
    text = profile.value if isinstance(profile, EgressProfile) else profile
    return [{"property_path": "egressProfile", "reason": f"{text} is not known here; one of {', '.join(names)}"}]


def _is_address(text: str) -> bool:
    """Whether programs take the text for an IP address: also `[::1]`, `127.1` and `0x7f.1` are."""
    bare = text.removeprefix(".").removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return bool(re.fullmatch(r"[0-9]+|0x[0-9a-f]*", bare.rsplit(".", 1)[-1], re.IGNORECASE))
    return True


_DOMAIN_MISTAKES: tuple[tuple[Callable[[str], object], str], ...] = (
    (lambda text: "/" in text, "is the address of a page; write the domain alone, like pypi.org"),
    (lambda text: "*" in text, "has a star; a leading dot stands for a domain and all below, like .example.org"),
    (_is_address, "is an IP address; the proxy knows names alone"),
    (lambda text: ":" in text, "has a port; every domain is reached on 443 alone"),
    (lambda text: not text.isascii(), "has letters beyond ASCII; write its xn-- form"),
    (lambda text: text != text.lower(), "has capital letters; write it in small ones"),
    (
        lambda text: not _NAME.fullmatch(text),
        "is no domain name; write it like pypi.org, or .example.org for a domain and all below",
    ),
    (lambda text: "." not in text[1:], "is one word; a domain has at least two, like example.org"),
    (
        lambda text: f".{text}".endswith(INSIDE_NAMES),
        "is a name of the inside; the proxy reaches public addresses alone",
    ),
)
"""What a text has that is no domain of the list, the first that applies first."""


def _domain_mistake(domain: str) -> str | None:
    """What is wrong with a domain of the list, or None."""
    return next((sentence for applies, sentence in _DOMAIN_MISTAKES if applies(domain)), None)


def public_ranges(excluded: Iterable[str] = NEVER_REACHED) -> tuple[str, ...]:
    """The fewest IPv4 ranges that cover every address outside `excluded`, for platforms whose rules can only allow."""
    left = [ipaddress.IPv4Network("0.0.0.0/0")]
    for text in excluded:
        gone = ipaddress.ip_network(text)
        if not isinstance(gone, ipaddress.IPv4Network):
            continue
        kept: list[ipaddress.IPv4Network] = []
        for network in left:
            if gone.subnet_of(network):
                kept += network.address_exclude(gone)
            elif not network.subnet_of(gone):
                kept.append(network)
        left = kept
    return tuple(str(network) for network in ipaddress.collapse_addresses(left))
