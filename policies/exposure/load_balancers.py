"""Load balancers: how they are reached, and how they reach hosts."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, items, read
from policies.registry import REGISTRY
from policies.resource_types import LISTENER, OLD_LISTENER, OLD_TARGET_GROUP, TARGET_GROUP

ENCRYPTED = ("HTTPS", "TLS")
TLS_1_2 = re.compile(r"ELBSecurityPolicy-(TLS13-1-[23]|TLS-1-2|FS-1-2)-.+")
"""AWS's names of policies that refuse everything older than TLS 1.2."""


@REGISTRY.check(
    "listener-tls",
    family="exposure",
    severity="critical",
    types=(LISTENER, OLD_LISTENER),
    remediation="Listen with protocol HTTPS; on plain HTTP answer with a redirect to HTTPS and nothing else.",
)
def listener_tls(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Users reach the hub over TLS; plain HTTP only sends them there."""
    protocol = read(properties, "protocol")
    if protocol is UNKNOWN:
        yield undecided("protocol")
    elif protocol == "HTTP":
        actions = list(items(properties, "defaultActions"))
        for action in actions:
            kind, target = read(action, "type"), read(action, "redirect", "protocol")
            if kind is UNKNOWN or target is UNKNOWN:
                yield undecided("defaultActions")
            elif kind != "redirect" or target != "HTTPS":
                yield violation(f"answers plain HTTP with {kind!r} and not with a redirect to HTTPS")
        if not actions:
            yield violation("answers plain HTTP and has no redirect to HTTPS")
    elif protocol not in ENCRYPTED:
        yield violation(f"is reached without TLS (protocol is {protocol!r})")


@REGISTRY.check(
    "listener-tls-version",
    family="exposure",
    severity="high",
    types=(LISTENER, OLD_LISTENER),
    remediation="Set sslPolicy to ELBSecurityPolicy-TLS13-1-2-2021-06; AWS's default takes TLS 1.0.",
)
def listener_tls_version(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Nobody connects with TLS 1.0 or 1.1."""
    if read(properties, "protocol") not in ENCRYPTED:
        return
    policy = read(properties, "sslPolicy")
    if policy is UNKNOWN:
        yield undecided("sslPolicy")
    elif not TLS_1_2.fullmatch(str(policy)):
        yield violation(f"takes connections older than TLS 1.2 (sslPolicy is {policy!r})")


@REGISTRY.check(
    "target-tls",
    family="exposure",
    severity="high",
    types=(TARGET_GROUP, OLD_TARGET_GROUP),
    remediation="Set protocol to HTTPS; the hosts' TLS proxy has a certificate of its own.",
)
def target_tls(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What a load balancer passes on is encrypted on its way to the hosts, too."""
    protocol = read(properties, "protocol")
    if protocol is UNKNOWN:
        yield undecided("protocol")
    elif protocol not in ENCRYPTED and read(properties, "targetType") != "lambda":
        yield violation(f"is spoken to without TLS (protocol is {protocol!r})")
