"""How many servers a hub's chart allows, and for how long, by its values."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.hub_values import Values, on_hub_values
from policies.reader import UNKNOWN, is_number
from policies.registry import REGISTRY
from policies.resource_types import CHART, RELEASE

REGISTERED = {"services": "hub.services", "load_roles": "hub.loadRoles"}
"""JupyterHub's traits to which the chart adds its culler, and the values to which it adds as well."""


@REGISTRY.check(
    "hub-server-limit",
    family="quotas",
    severity="critical",
    types=(RELEASE, CHART),
    remediation="Set hub.activeServerLimit; the chart's default is no limit.",
)
@on_hub_values
def hub_server_limit(values: Values, config: Mapping[str, Any]) -> Iterator[Finding]:
    """The servers of all users together are capped."""
    own = values.config("JupyterHub", "active_server_limit")
    limit, most = values.get("hub.activeServerLimit") if own is None else own, config.get("maxServers")
    if limit is UNKNOWN:
        yield undecided("hub.activeServerLimit")
    elif not is_number(limit) or limit <= 0:
        yield violation(f"does not cap the number of servers (hub.activeServerLimit is {limit!r})")
    elif is_number(most) and limit > most:
        yield violation(f"allows {limit:g} servers; at most {most:g} (maxServers)")


@REGISTRY.check(
    "hub-named-servers",
    family="quotas",
    severity="medium",
    types=(RELEASE, CHART),
    remediation="Set hub.namedServerLimitPerUser, or hub.allowNamedServers to false.",
)
@on_hub_values
def hub_named_servers(values: Values, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A user has a number of servers that is limited."""
    allowed, limit = values.get("hub.allowNamedServers"), values.get("hub.namedServerLimitPerUser")
    own = values.config("JupyterHub", "allow_named_servers")
    allowed = allowed if own is None else own
    if allowed is UNKNOWN or (allowed and limit is UNKNOWN):
        yield undecided("hub.allowNamedServers")
    elif allowed and (not is_number(limit) or limit <= 0):
        yield violation(f"gives a user any number of servers (hub.namedServerLimitPerUser is {limit!r})")


@REGISTRY.check(
    "hub-cull",
    family="quotas",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Set cull.enabled to true and cull.timeout to the seconds after which an idle server is stopped.",
)
@on_hub_values
def hub_cull(values: Values, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A server that nobody uses is stopped, by a service that the chart registers beside those of `hub.services`."""
    for trait, path in REGISTERED.items():
        given = values.config("JupyterHub", trait)
        if given is UNKNOWN:
            yield undecided(f"hub.config.JupyterHub.{trait}")
        elif given is not None:
            yield violation(
                f"takes the culler away: JupyterHub's {trait} replaces what the chart registers; use {path}"
            )
    enabled, timeout = values.get("cull.enabled"), values.get("cull.timeout")
    if UNKNOWN in (enabled, timeout):
        yield undecided("cull")
    elif not enabled:
        yield violation(f"never stops a server (cull.enabled is {enabled!r})")
    else:
        yield from _seconds("cull.timeout", timeout, "never stops an idle server", config)


@REGISTRY.check(
    "hub-maximum-age",
    family="quotas",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Set cull.maxAge to the seconds after which any server is stopped; the chart's default is never.",
)
@on_hub_values
def hub_maximum_age(values: Values, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A server that never rests is stopped too: who mines coins is never idle."""
    age = values.get("cull.maxAge")
    if age is UNKNOWN:
        yield undecided("cull.maxAge")
    else:
        yield from _seconds("cull.maxAge", age, "never stops a busy server", config)


def _seconds(path: str, value: Any, what: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    most = config.get("maxAgeSeconds")
    if not is_number(value) or value <= 0:
        yield violation(f"{what} ({path} is {value!r})")
    elif is_number(most) and value > most:
        yield violation(f"lets servers run for {value:g} seconds ({path}); at most {most:g} (maxAgeSeconds)")
