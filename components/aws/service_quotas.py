"""What a stack needs of AWS's own limits on an account."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class InstanceSize:
    """What an instance type has."""

    vcpus: int
    memory_mebibytes: int


@dataclass(frozen=True)
class QuotaNeed:
    """What a stack needs of one of the account's limits."""

    service: str
    """Service code, such as `ec2`."""
    code: str
    """Quota code, such as `L-1216C47A`."""
    title: str
    """AWS's name for it."""
    need: float
    """How much the stack needs at most."""


def standard_vcpus(need: float) -> QuotaNeed:
    """Processors of running on-demand instances of the families A, C, D, H, I, M, R, T and Z."""
    return QuotaNeed("ec2", "L-1216C47A", "Running On-Demand Standard instances, in vCPUs", need)


def elastic_addresses(need: float) -> QuotaNeed:
    """Elastic addresses of a region."""
    return QuotaNeed("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", need)


def volume_terabytes(need: float) -> QuotaNeed:
    """Storage of gp3 volumes, in TiB."""
    return QuotaNeed("ebs", "L-7A658B76", "Storage for General Purpose SSD (gp3) volumes, in TiB", need)


def shortfalls(needs: list[QuotaNeed], value: Callable[[QuotaNeed], float]) -> list[str]:
    """A sentence for each need that the account's limit does not meet."""
    found: list[str] = []
    for need in needs:
        limit = value(need)
        if limit < need.need:
            found.append(
                f"{need.title} ({need.service} {need.code}): the account has {limit:g}, this stack needs up to "
                f"{need.need:g}; ask AWS for more (Service Quotas) or lower hubstack:fleetQuota"
            )
    return found
