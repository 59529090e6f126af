"""How much a pool of temporary notebooks may hold: its nodes, their servers, and what one visitor gets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.hub_settings import Settings
from policies.pool_bundle import groups, may_hide_a_group
from policies.pool_settings import NODE_SERVICE, REDIRECTOR, on_pool_settings, pool_services
from policies.quotas.users import REQUIRED, beyond_maxima, missing_limits
from policies.reader import UNKNOWN, as_mapping, is_number, read
from policies.registry import REGISTRY, StackResource
from policies.resource_types import CONTAINER_GROUP

MOST_SERVERS = 1000
"""Ports of a bridge, less those of the node itself."""

NODE_LIMITS = (*REQUIRED, "open_files")
MOST_AT_ONCE, MOST_PER_MINUTE = 1000, 600
"""Servers of a node for one address: all of them at once, and ten a second in the long run."""

MOST_REDIRECTS_AT_ONCE, MOST_REDIRECTS_PER_MINUTE = 2 * MOST_AT_ONCE, 6 * MOST_PER_MINUTE
"""The pool's redirector sends an address on so many times as often as a node gives it a server."""

VISITOR_ADVICE = f"Set visitorBurst to 1 to {MOST_AT_ONCE}, and visitorsPerMinute above 0 to {MOST_PER_MINUTE}."


def _memory(settings: Settings) -> float:
    """Bytes that all servers of a node may use together; 0 where the settings do not say."""
    servers, memory = settings.get("capacity"), as_mapping(settings.get("quota")).get("memory_bytes")
    return servers * memory if is_number(servers) and is_number(memory) else 0


@REGISTRY.check(
    "node-capacity",
    family="quotas",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Lower capacity or the memory of userQuota, or raise maxNodeMemoryBytes in the policy pack's configuration.",
)
@on_pool_settings(NODE_SERVICE)
def node_capacity(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A node holds as many servers as a bridge has ports for, with memory for all (seed 000; tmpnb issue 46)."""
    servers, most = settings.get("capacity"), config.get("maxNodeMemoryBytes")
    if not is_number(servers) or not 1 <= servers <= MOST_SERVERS:
        yield violation(f"holds {servers!r} servers; 1 to {MOST_SERVERS}")
    if is_number(most) and _memory(settings) > most:
        yield violation(f"grants its servers {_memory(settings):g} bytes; at most {most:g} (maxNodeMemoryBytes)")


@REGISTRY.check(
    "node-quota-complete",
    family="quotas",
    severity="critical",
    types=(CONTAINER_GROUP,),
    remediation="Set it in hubstack:userQuota.",
)
@on_pool_settings(NODE_SERVICE)
def node_quota_complete(settings: Settings, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A node's servers are limited in all that they use, disk included (seed 000; tmpnb issue 36)."""
    yield from missing_limits(settings, NODE_LIMITS)


@REGISTRY.check(
    "node-quota-maximum",
    family="quotas",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Lower it in hubstack:userQuota, or raise the maximum in the policy pack's configuration.",
)
@on_pool_settings(NODE_SERVICE)
def node_quota_maximum(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """The quota of a node's servers stays within the organisation's maxima."""
    yield from beyond_maxima(settings, config)


@REGISTRY.check(
    "node-quota-fits",
    family="quotas",
    severity="medium",
    types=(CONTAINER_GROUP,),
    remediation="Raise memory in hubstack:userQuota, or lower home and tmp.",
)
@on_pool_settings(NODE_SERVICE)
def node_quota_fits(settings: Settings, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Home and /tmp of a node's server, which lie in its memory, leave some: a full home would end the server."""
    quota = as_mapping(settings.get("quota"))
    memory, home, tmp = (quota.get(key) for key in ("memory_bytes", "home_bytes", "tmp_bytes"))
    if is_number(memory) and is_number(home) and is_number(tmp) and home + tmp >= memory:
        yield violation(f"gives servers {memory:g} bytes of memory and {home + tmp:g} of home and /tmp in it")


def _beyond_rates(settings: Settings, most_at_once: int, most_per_minute: int) -> Iterator[Finding]:
    visitors = as_mapping(settings.get("visitors"))
    burst, rate = visitors.get("burst"), visitors.get("per_minute")
    if not is_number(burst) or not 1 <= burst <= most_at_once:
        yield violation(f"lets one address have {burst!r} at once (visitors.burst); 1 to {most_at_once}")
    if not is_number(rate) or not 0 < rate <= most_per_minute:
        yield violation(
            f"lets one address have {rate!r} a minute (visitors.per_minute); above 0, at most {most_per_minute}"
        )


@REGISTRY.check(
    "visitor-limit",
    family="quotas",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation=VISITOR_ADVICE,
)
@on_pool_settings(NODE_SERVICE)
def visitor_limit(settings: Settings, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """One address cannot take a whole node: how many servers it gets at once and in the long run is limited."""
    yield from _beyond_rates(settings, MOST_AT_ONCE, MOST_PER_MINUTE)


@REGISTRY.check(
    "redirect-limit",
    family="quotas",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation=VISITOR_ADVICE,
)
@on_pool_settings(REDIRECTOR)
def redirect_limit(settings: Settings, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """One address cannot take a whole pool: how often it is sent on at once and in the long run is limited."""
    yield from _beyond_rates(settings, MOST_REDIRECTS_AT_ONCE, MOST_REDIRECTS_PER_MINUTE)


def _nodes(resources: Sequence[StackResource]) -> Iterator[tuple[StackResource, Any, Any]]:
    """The nodes of a stack with their engines and settings, `UNKNOWN` before they are known."""
    for resource in resources:
        for group in groups(resource.type, resource.name, resource.inputs):
            for service in pool_services(group, NODE_SERVICE):
                yield resource, read(group, "engine"), service.settings
        if may_hide_a_group(resource.type, resource.inputs):
            yield resource, UNKNOWN, UNKNOWN


@REGISTRY.stack_check(
    "engine-memory",
    severity="high",
    remediation="Move a node to another engine, lower capacity or memory, or raise maxNodeMemoryBytes in the policy pack's "
    "configuration.",
)
def engine_memory(
    resources: Sequence[StackResource], config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """The nodes on one engine share the memory of its host: all their servers together fit in it."""
    used: dict[str, float] = {}
    most = config.get("maxNodeMemoryBytes")
    for node, engine, settings in _nodes(resources):
        if UNKNOWN in (engine, settings):
            yield node, undecided("the memory of the servers on its engine")
            continue
        before = used.get(str(engine), 0)
        used[str(engine)] = before + _memory(settings)
        # Told once, at the node that goes too far.
        if is_number(most) and before <= most < used[str(engine)]:
            yield (
                node,
                violation(f"is a node too many on {engine}: servers there may use more than {most:g} bytes together"),
            )


@REGISTRY.stack_check(
    "pool-servers",
    severity="high",
    remediation="Lower the capacity of nodes, or raise maxServers in the policy pack's configuration.",
)
def pool_servers(
    resources: Sequence[StackResource], config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """The servers of all nodes of a stack together are capped."""
    total: float = 0
    most = config.get("maxServers")
    for node, _, settings in _nodes(resources):
        if settings is UNKNOWN:
            yield node, undecided("the number of its servers")
            continue
        servers = as_mapping(settings).get("capacity")
        before, total = total, total + (servers if is_number(servers) else 0)
        if is_number(most) and before <= most < total:
            yield node, violation(f"makes the stack hold {total:g} servers; at most {most:g} (maxServers)")
