"""Quotas of users' servers and of the fleet, in the settings that a hub gets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.findings import Finding, violation
from policies.hub_settings import Settings, on_hub_settings
from policies.reader import as_mapping, is_number
from policies.registry import REGISTRY
from policies.resource_types import BUNDLE, CONFIG

REQUIRED = ("cpu", "memory_bytes", "processes", "home_bytes", "tmp_bytes", "idle_seconds", "max_age_seconds")
MAXIMA = {"cpu": "maxCpu", "memory_bytes": "maxMemoryBytes", "max_age_seconds": "maxAgeSeconds"}


@REGISTRY.check(
    "user-quota-complete",
    family="quotas",
    severity="critical",
    types=(CONFIG, BUNDLE),
    remediation="Set it in hubstack:userQuota.",
)
@on_hub_settings
def user_quota_complete(settings: Settings, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A user's server is limited in CPU, memory, processes, home, /tmp, idle time and age."""
    yield from missing_limits(settings, REQUIRED)


def missing_limits(settings: Settings, required: Sequence[str]) -> Iterator[Finding]:
    """What to say of each part of the quota in settings that is no number above 0."""
    quota = as_mapping(settings.get("quota"))
    for key in required:
        value = quota.get(key)
        if not is_number(value) or value <= 0:
            yield violation(f"gives users' servers no limit on {key} (it is {value!r})")


@REGISTRY.check(
    "user-quota-maximum",
    family="quotas",
    severity="high",
    types=(CONFIG, BUNDLE),
    remediation="Lower it in hubstack:userQuota, or raise the maximum in the policy pack's configuration.",
)
@on_hub_settings
def user_quota_maximum(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A user's quota stays within the organisation's maxima."""
    yield from beyond_maxima(settings, config)


def beyond_maxima(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """What to say of each part of the quota in settings that is larger than the configuration allows."""
    quota = as_mapping(settings.get("quota"))
    for key, limit in MAXIMA.items():
        value, most = quota.get(key), config.get(limit)
        if is_number(value) and is_number(most) and value > most:
            yield violation(f"grants {key} of {value:g}; at most {most:g} ({limit})")


@REGISTRY.check(
    "fleet-cap",
    family="quotas",
    severity="critical",
    types=(CONFIG, BUNDLE),
    remediation="Set servers in hubstack:fleetQuota.",
)
@on_hub_settings
def fleet_cap(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """The servers of all users together are capped."""
    servers, most = as_mapping(settings.get("fleet")).get("servers"), config.get("maxServers")
    if not is_number(servers) or servers <= 0:
        yield violation(f"does not cap the number of servers (fleet.servers is {servers!r})")
    elif is_number(most) and servers > most:
        yield violation(f"allows {servers:g} servers; at most {most:g} (maxServers)")
