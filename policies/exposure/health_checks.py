"""Route 53's health checks: hosts whose names are told are asked whether they work."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.quotas.fleets import ADDRESSES
from policies.reader import UNKNOWN, Value, read
from policies.registry import REGISTRY, StackResource
from policies.resource_types import CERTIFICATE, HEALTH_CHECK, RECORD

PLAIN = frozenset({"HTTP", "HTTP_STR_MATCH", "TCP"})
"""Kinds of checks that an attacker on the way, or a port that is merely open, passes."""


@REGISTRY.check(
    "health-check-https",
    family="exposure",
    severity="medium",
    types=(HEALTH_CHECK,),
    remediation="Set type to HTTPS.",
)
def health_check_https(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A host is asked as visitors ask it, over TLS."""
    kind = read(properties, "type")
    if kind is UNKNOWN:
        yield undecided("type")
    elif kind is None or str(kind).upper() in PLAIN:
        yield violation(f"asks without TLS (type is {kind!r})")


def _host(name: Value) -> str:
    return str(name).rstrip(".").lower()


def _works(check: StackResource) -> bool:
    """Whether a health check says how its host is: a disabled one counts as healthy."""
    return read(check.inputs, "disabled") not in (True, UNKNOWN)


def _is_proof(record: StackResource, certificates: set[str]) -> bool:
    """Whether a record, of which nothing is known yet, is the one that proves a certificate's name: never an address."""
    sources = set(record.dependencies.get("type", ()))
    return read(record.inputs, "type") is UNKNOWN and bool(sources) and sources <= certificates


@REGISTRY.stack_check(
    "record-health-check",
    severity="medium",
    remediation="Add a health check of Route 53 for the name, or make the record an alias.",
)
def record_health_check(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """A host's name is checked continuously (seed 000); an alias has the health of what it stands for."""
    checks = [resource for resource in resources if resource.type == HEALTH_CHECK]
    hosts = [read(check.inputs, "fqdn") for check in checks if _works(check)]
    checked = {_host(name) for name in hosts if isinstance(name, str)}
    open_checks = UNKNOWN in hosts or any(read(check.inputs, "disabled") is UNKNOWN for check in checks)
    certificates = {resource.urn for resource in resources if resource.type == CERTIFICATE}
    for record in resources:
        if record.type != RECORD or _is_proof(record, certificates):
            continue
        kind, aliases, name, own = (read(record.inputs, key) for key in ("type", "aliases", "name", "healthCheckId"))
        if kind not in (*ADDRESSES, UNKNOWN) or (aliases and aliases is not UNKNOWN) or own is not None:
            continue
        if name is not UNKNOWN and _host(name) in checked:
            continue
        if UNKNOWN in (kind, aliases, name) or open_checks:
            yield record, undecided("whether a health check asks for its name")
        else:
            yield record, violation(f"points at a host that no health check asks ({_host(name)})")
