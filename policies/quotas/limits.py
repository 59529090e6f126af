"""Limits on everything that runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.container_group import containers
from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, is_number, read
from policies.registry import REGISTRY
from policies.resource_types import CONTAINER, CONTAINER_GROUP, SERVICE

UNLIMITED_LOGS = (None, "", "json-file")
"""Log drivers that write to the host's disk for ever unless they are told to stop: the engine's default is one."""


def _limit(properties: Value, path: tuple[str, ...], what: str, unit: str) -> Iterator[Finding]:
    value = read(properties, *path)
    if value is UNKNOWN:
        yield undecided(".".join(path))
    elif not is_number(value) or value <= 0:
        yield violation(f"has no {what} limit ({'.'.join(path)} is {value!r}; a number of {unit} above 0 is required)")


@REGISTRY.check(
    "service-memory-limit",
    family="quotas",
    severity="high",
    types=(SERVICE,),
    remediation="Set taskSpec.resources.limits.memoryBytes.",
)
def service_memory_limit(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A service has a memory limit (CIS Docker 5.11)."""
    yield from _limit(properties, ("taskSpec", "resources", "limits", "memoryBytes"), "memory", "bytes")


@REGISTRY.check(
    "service-cpu-limit",
    family="quotas",
    severity="high",
    types=(SERVICE,),
    remediation="Set taskSpec.resources.limits.nanoCpus.",
)
def service_cpu_limit(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A service has a CPU limit (CIS Docker 5.12)."""
    yield from _limit(properties, ("taskSpec", "resources", "limits", "nanoCpus"), "CPU", "billionths of a processor")


@REGISTRY.check(
    "container-memory-limit",
    family="quotas",
    severity="high",
    types=(CONTAINER,),
    remediation="Set memory, and memorySwap to the same value: without it the engine grants as much swap again.",
)
def container_memory_limit(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A container has a memory limit and no swap beyond it (CIS Docker 5.11)."""
    yield from _limit(properties, ("memory",), "memory", "megabytes")
    memory, swap = read(properties, "memory"), read(properties, "memorySwap")
    if swap is UNKNOWN:
        yield undecided("memorySwap")
    elif is_number(memory) and memory > 0 and swap != memory:
        yield violation(f"may swap beyond its memory (memorySwap is {swap!r}, memory {memory!r})")


@REGISTRY.check(
    "container-cpu-limit",
    family="quotas",
    severity="high",
    types=(CONTAINER,),
    remediation="Set cpus.",
)
def container_cpu_limit(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A container has a CPU limit (CIS Docker 5.12)."""
    value = read(properties, "cpus")
    if value is UNKNOWN:
        yield undecided("cpus")
    elif not _is_positive(value):
        yield violation(f"has no CPU limit (cpus is {value!r})")


def _is_positive(value: Value) -> bool:
    """Whether the value is a number above 0, or a text that is one."""
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        return False


@REGISTRY.check(
    "container-processes-limit",
    family="quotas",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Set processes of the container.",
)
def container_processes_limit(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A container has a limit on processes, where it can be said: the engine's provider has none (CIS Docker 5.29)."""
    for name, container in containers(properties):
        value = read(container, "processes")
        if value is UNKNOWN:
            yield undecided(f"processes of the container {name}")
        elif not is_number(value) or value <= 0:
            yield violation(f"container {name}: has no limit on processes (processes is {value!r})")


@REGISTRY.check(
    "container-log-limit",
    family="quotas",
    severity="medium",
    types=(CONTAINER,),
    remediation='Set max-size in logOpts, or logDriver to "local".',
)
def container_log_limit(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A container's log does not fill the host's disk: the engine keeps all of it unless it is told a size."""
    driver, size = read(properties, "logDriver"), read(properties, "logOpts", "max-size")
    if driver not in (*UNLIMITED_LOGS, UNKNOWN) or (size and size is not UNKNOWN):
        return
    if UNKNOWN in (driver, size):
        yield undecided("logDriver" if driver is UNKNOWN else "logOpts.max-size")
    else:
        yield violation(f"writes its log to the host's disk for ever (logOpts.max-size is {size!r})")
