"""Limits of whole namespaces, which are two objects that are worth little without each other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.spaces import Spaces, gather
from policies.registry import REGISTRY, StackResource
from policies.resource_types import CHART, LIMIT_RANGE, NOTEBOOK, RELEASE, RESOURCE_QUOTA


def _unplaced(spaces: Spaces, *kinds: str) -> list[tuple[StackResource, Finding]]:
    finding = undecided("the namespace, which tells what this counts with,")
    return [(resource, finding) for resource in spaces.unknown(*kinds)]


@REGISTRY.stack_check(
    "quota-with-limits",
    severity="high",
    remediation="Make a ResourceQuota and a LimitRange in the same namespace.",
)
def quota_with_limits(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """A quota and a limit range come together (NSA Kubernetes guide: resource policies).

    With a quota alone, pods that name no limits are refused; with limits alone, nobody counts how many there are.
    """
    spaces = gather(resources)
    unplaced = _unplaced(spaces, RESOURCE_QUOTA, LIMIT_RANGE)
    yield from unplaced
    for space in () if unplaced else spaces.found.values():
        if space.is_open:
            continue
        quotas = [*space.quotas, *space.scoped_quotas]
        if quotas and not space.limits:
            yield quotas[0], violation(f"is a quota without a LimitRange in the namespace {space.name}")
        elif space.limits and not quotas:
            yield space.limits[0], violation(f"is a LimitRange without a quota in the namespace {space.name}")


@REGISTRY.stack_check(
    "users-namespace-quota",
    severity="critical",
    remediation="Make a ResourceQuota in it.",
)
def users_namespace_quota(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """A namespace that the stack makes for users' code has a quota (NSA Kubernetes guide: resource policies).

    One with scopes counts some pods alone, such as those of a priority class (Kubernetes: ResourceQuota, quota scopes).
    """
    spaces = gather(resources)
    unplaced = _unplaced(spaces, RESOURCE_QUOTA)
    yield from unplaced
    yield from _unplaced(spaces, NOTEBOOK, RELEASE, CHART)
    for space in () if unplaced else spaces.found.values():
        if space.made is None or not space.has_users or space.quotas:
            continue
        if space.is_open:
            yield space.made, undecided(f"whether {space.name} has a quota")
        else:
            without = "no quota but with scopes" if space.scoped_quotas else "no quota"
            yield space.made, violation(f"has {without}, though users' code runs in it ({space.name})")
