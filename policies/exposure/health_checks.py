"""Route 53's health checks: hosts whose names are told are asked whether they work."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.quotas.fleets import ADDRESSES
from policies.reader import UNKNOWN, Value, items, read
from policies.registry import REGISTRY, StackResource
from policies.resource_types import CERTIFICATE, HEALTH_CHECK, METRIC_ALARM, RECORD

PLAIN = frozenset({"HTTP", "HTTP_STR_MATCH", "TCP"})
"""Kinds of checks that an attacker on the way, or a port that is merely open, passes."""

METRIC = {"namespace": "AWS/Route53", "metricName": "HealthCheckStatus"}
METRICS_REGION = "us-east-1"
"""Where Route 53 writes how hosts are; an alarm of another region waits for figures that never come."""


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


def _tells(alarm: StackResource) -> Value:
    """Whether an alarm tells somebody what a health check finds; `UNKNOWN` before that is known."""
    given = {key: read(alarm.inputs, key) for key in (*METRIC, "actionsEnabled", "region")}
    right = {key: (wanted, UNKNOWN) for key, wanted in METRIC.items()}
    right |= {"actionsEnabled": (None, True, UNKNOWN), "region": (None, METRICS_REGION, UNKNOWN)}
    actions = read(alarm.inputs, "alarmActions")
    if any(given[key] not in allowed for key, allowed in right.items()):
        return False
    if UNKNOWN in (actions, *given.values()):
        return UNKNOWN
    return any(True for _ in items(alarm.inputs, "alarmActions"))


def _watches(alarm: StackResource, check: StackResource) -> Value:
    """Whether an alarm is about a health check; `UNKNOWN` before that is known."""
    sources = alarm.dependencies.get("dimensions", ())
    if check.urn in sources:
        return True
    watched = read(alarm.inputs, "dimensions", "HealthCheckId")
    if watched is UNKNOWN:
        return False if sources else UNKNOWN
    return watched is not None and watched == check.id


@REGISTRY.stack_check(
    "health-check-alarm",
    severity="medium",
    remediation=f"Add a CloudWatch alarm on HealthCheckStatus of this check, in {METRICS_REGION}, that tells a topic.",
)
def health_check_alarm(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """Somebody hears when a host does not answer: a health check by itself tells nobody and changes nothing."""
    alarms = [(alarm, _tells(alarm)) for alarm in resources if alarm.type == METRIC_ALARM]
    for check in resources:
        if check.type != HEALTH_CHECK or read(check.inputs, "disabled") is True:
            continue
        found = [(tells, _watches(alarm, check)) for alarm, tells in alarms]
        if (True, True) in found:
            continue
        if any(False not in both for both in found):
            yield check, undecided("whether an alarm tells of it")
        else:
            yield check, violation("tells nobody when its host does not answer")
