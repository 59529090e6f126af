"""Limits on every container in a cluster, and what a namespace's own limits must name."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.operator_settings import Settings, on_operator_settings
from policies.kubernetes.pods import INIT, MAIN, containers, quantity
from policies.reader import UNKNOWN, Value, as_mapping, entries, is_number, items, read
from policies.registry import REGISTRY
from policies.resource_types import CONFIG_MAP, LIMIT_RANGE, POD, RESOURCE_QUOTA

RESOURCES = ("cpu", "memory", "ephemeral-storage")
MAXIMA = {"cpu": "maxCpu", "memory": "maxMemoryBytes"}


def _limits(pod: Value, resource: str) -> Iterator[tuple[str, Value]]:
    """Each container's limit; debug containers cannot have one, and a pod's own counts for all of its containers."""
    of_all = read(pod, "spec", "resources", "limits", resource)
    for container in containers(pod, INIT, MAIN):
        own = read(container.given, "resources", "limits", resource)
        yield container.what, of_all if own is None else own


def _limited(pod: Value, resource: str) -> Iterator[Finding]:
    for what, limit in _limits(pod, resource):
        amount = quantity(limit)
        if limit is UNKNOWN:
            yield undecided(f"{what}'s resources.limits.{resource}")
        elif amount is None or amount <= 0:
            yield violation(f"{what} has no {resource} limit (resources.limits.{resource} is {limit!r})")


@REGISTRY.check(
    "pod-memory-limit",
    family="quotas",
    severity="high",
    types=(POD,),
    remediation="Set resources.limits.memory of each container.",
)
def pod_memory_limit(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every container has a memory limit (NSA Kubernetes guide: resource policies)."""
    yield from _limited(pod, "memory")


@REGISTRY.check(
    "pod-cpu-limit",
    family="quotas",
    severity="high",
    types=(POD,),
    remediation="Set resources.limits.cpu of each container.",
)
def pod_cpu_limit(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every container has a CPU limit (NSA Kubernetes guide: resource policies)."""
    yield from _limited(pod, "cpu")


@REGISTRY.check(
    "pod-storage-limit",
    family="quotas",
    severity="high",
    types=(POD,),
    remediation="Set resources.limits.ephemeral-storage of each container: without it one pod fills its node's disk.",
)
def pod_storage_limit(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every container has a limit on the node's disk that it fills (NSA Kubernetes guide: resource policies)."""
    yield from _limited(pod, "ephemeral-storage")


@REGISTRY.check(
    "pod-maximum",
    family="quotas",
    severity="high",
    types=(POD,),
    remediation="Lower the limit, or raise the maximum in the policy pack's configuration.",
)
def pod_maximum(_name: str, pod: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """No container may have more than the organisation's maxima."""
    for resource, key in MAXIMA.items():
        most = config.get(key)
        for what, limit in _limits(pod, resource):
            amount = quantity(limit)
            if is_number(most) and amount is not None and amount > most:
                yield violation(f"{what} may have {resource} of {limit!r}; at most {most:g} ({key})")


@REGISTRY.check(
    "pod-scratch-size",
    family="quotas",
    severity="medium",
    types=(POD,),
    remediation="Set sizeLimit.",
)
def pod_scratch_size(_name: str, pod: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A volume on the node's disk or in its memory is limited in size (Kyverno add-emptydir-sizelimit)."""
    for volume in items(pod, "spec", "volumes"):
        scratch, size = read(volume, "emptyDir"), read(volume, "emptyDir", "sizeLimit")
        if scratch is UNKNOWN or size is UNKNOWN:
            yield undecided("spec.volumes")
        elif scratch is not None and not quantity(size):
            yield violation(f"the volume {read(volume, 'name')} has no sizeLimit")


@REGISTRY.check(
    "quota-complete",
    family="quotas",
    severity="high",
    types=(RESOURCE_QUOTA,),
    remediation="Name pods and limits.cpu, limits.memory and limits.ephemeral-storage in hard.",
)
def quota_complete(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A namespace's quota counts its pods and all that their containers may use (NSA guide: ResourceQuota)."""
    hard = read(properties, "spec", "hard")
    if hard is UNKNOWN:
        yield undecided("spec.hard")
        return
    named = {key for key, value in entries(hard) if value is UNKNOWN or quantity(value) is not None}
    # A limit is never below its request, so that a quota on limits counts both.
    missing = [key for key in (f"limits.{resource}" for resource in RESOURCES) if key not in named]
    missing += [] if named & {"pods", "count/pods"} else ["pods"]
    for key in missing:
        value = read(hard, key)
        yield undecided(f"spec.hard.{key}") if value is UNKNOWN else violation(f"does not limit {key} ({value!r})")


@REGISTRY.check(
    "limit-range-complete",
    family="quotas",
    severity="medium",
    types=(LIMIT_RANGE,),
    remediation="Give containers a default and a max of cpu, memory and ephemeral-storage.",
)
def limit_range_complete(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Containers that name no limits get some, and none may have more than the largest (NSA guide: LimitRange)."""
    limits = list(items(properties, "spec", "limits"))
    ours = [limit for limit in limits if read(limit, "type") in ("Container", UNKNOWN)]
    for part in ("default", "max"):
        for resource in RESOURCES:
            values = [read(limit, part, resource) for limit in ours]
            if not any(quantity(value) is not None for value in values):
                unknown = UNKNOWN in values
                where = f"{part}.{resource}"
                yield undecided(where) if unknown else violation(f"gives containers no {where} ({values!r})")


@REGISTRY.check(
    "operator-settings",
    family="quotas",
    severity="critical",
    types=(CONFIG_MAP,),
    remediation="Write the settings as the notebook operator reads them.",
)
@on_operator_settings
def operator_settings_readable(settings: Settings, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The notebook operator's settings can be read, so that nothing in them goes unjudged."""
    for key in ("notebook", "profile", "fleet", "route"):
        if not as_mapping(settings.get(key)):
            yield violation(f"has no {key} among the operator's settings ({settings.get(key)!r})")


@REGISTRY.check(
    "notebook-times",
    family="quotas",
    severity="high",
    types=(CONFIG_MAP,),
    remediation="Set idleSeconds and maxAgeSeconds, the latter no longer than maxAgeSeconds of the pack's configuration.",
)
@on_operator_settings
def notebook_times(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A notebook that nobody uses is stopped, and one that never rests too."""
    notebook, most = as_mapping(settings.get("notebook")), config.get("maxAgeSeconds")
    for key in ("idleSeconds", "maxAgeSeconds"):
        value = notebook.get(key)
        if not is_number(value) or value <= 0:
            yield violation(f"never stops notebooks (notebook.{key} is {value!r})")
        elif is_number(most) and value > most:
            yield violation(
                f"lets notebooks run for {value:g} seconds (notebook.{key}); at most {most:g} (maxAgeSeconds)"
            )


@REGISTRY.check(
    "notebook-cap",
    family="quotas",
    severity="critical",
    types=(CONFIG_MAP,),
    remediation="Set fleet.notebooks.",
)
@on_operator_settings
def notebook_cap(settings: Settings, config: Mapping[str, Any]) -> Iterator[Finding]:
    """The notebooks of all users together are capped."""
    notebooks, most = as_mapping(settings.get("fleet")).get("notebooks"), config.get("maxServers")
    if not is_number(notebooks) or notebooks <= 0:
        yield violation(f"does not cap the number of notebooks (fleet.notebooks is {notebooks!r})")
    elif is_number(most) and notebooks > most:
        yield violation(f"allows {notebooks:g} notebooks; at most {most:g} (maxServers)")
