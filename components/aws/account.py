"""What a stack needs to know of an AWS account, asked before anything is made; what stands in its way is gathered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pulumi
import pulumi_aws as aws

from components.aws.dns import hosted_zone
from components.aws.hosts import debian_image
from components.aws.service_quotas import InstanceSize, QuotaNeed, shortfalls

T = TypeVar("T")


UNKNOWN_SIZE = InstanceSize(0, 0)
"""Of a type that AWS does not know, so that the other mistakes are found too."""


@dataclass(frozen=True)
class Account:
    """The account and region that a stack goes to."""

    id: str
    partition: str
    region: str
    zones: Sequence[str]
    """Names of the region's availability zones, as many as were asked for."""
    image: str
    """Id of the hosts' machine image."""
    zone_id: str
    """Id of the hosted zone."""
    sizes: Mapping[str, InstanceSize]
    """What the instance types have, by the arguments that name them."""
    errors: list[pulumi.InputPropertyErrorDetails]
    """What the account lacks; a stack with any of them cannot go there."""


def read_account(
    *,
    hosted_zone_name: str,
    zones: int,
    image: str | None,
    instance_types: Mapping[str, str],
    needs: Callable[[Mapping[str, InstanceSize]], Sequence[QuotaNeed]],
    opts: pulumi.InvokeOptions,
) -> Account:
    """Ask AWS for what the stack needs to know and may not exceed; mistakes are gathered, not raised.

    Args:
        hosted_zone_name: public hosted zone in Route 53.
        zones: availability zones that the stack spreads over.
        image: id of the hosts' machine image; None for the newest that Debian publishes.
        instance_types: instance types by the argument that names them, such as `workerType`.
        needs: what the stack needs of the account's limits, given the sizes by the same keys.
        opts: options of the questions.
    """
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def asked(path: str, ask: Callable[[], T], instead: T) -> T:
        try:
            return ask()
        except Exception as error:  # noqa: BLE001  (the SDK raises bare exceptions with the provider's message)
            errors.append({"property_path": path, "reason": " ".join(str(error).split())})
            return instead

    names = asked("zones", lambda: aws.get_availability_zones(state="available", opts=opts).names, [])
    if names and len(names) < zones:
        errors.append({"property_path": "zones", "reason": f"the region has {len(names)} zones, not {zones}"})
    sizes = {
        path: asked(path, lambda kind=kind: instance_size(kind, opts), UNKNOWN_SIZE)
        for path, kind in instance_types.items()
    }
    value = account_value(opts)
    for need in needs(sizes):
        sentences = asked("fleetQuota", lambda need=need: shortfalls([need], value), [])
        errors.extend({"property_path": "fleetQuota", "reason": sentence} for sentence in sentences)
    return Account(
        id=asked("account", lambda: aws.get_caller_identity(opts=opts).account_id, ""),
        partition=asked("region", lambda: aws.get_partition(opts=opts).partition, ""),
        region=asked("region", lambda: aws.get_region(opts=opts).region, ""),
        zones=names[:zones],
        image=image or asked("image", lambda: debian_image(opts), ""),
        zone_id=asked("zone", lambda: hosted_zone(hosted_zone_name, opts), ""),
        sizes=sizes,
        errors=errors,
    )


def instance_size(instance_type: str, opts: pulumi.InvokeOptions) -> InstanceSize:
    """Processors and memory of an instance type.

    Raises:
        Exception: AWS does not know it; the provider's message names it.
    """
    found = aws.ec2.get_instance_type(instance_type=instance_type, opts=opts)
    return InstanceSize(found.default_vcpus, found.memory_size)


def account_value(opts: pulumi.InvokeOptions) -> Callable[[QuotaNeed], float]:
    """Reads a limit's value in the account and region of the provider."""

    def value(need: QuotaNeed) -> float:
        return aws.servicequotas.get_service_quota(service_code=need.service, quota_code=need.code, opts=opts).value

    return value
