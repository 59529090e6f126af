"""What a Swarm on EC2 consists of, as plain data: arguments, checks, needs and the documents that hosts read."""

import ipaddress
import math
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi

from components.aws.checks import check_alarm_email, check_place
from components.aws.service_quotas import InstanceSize, QuotaNeed, elastic_addresses, standard_vcpus, volume_terabytes
from components.aws.subnets import MOST_ZONES, plan_subnets
from components.aws.swarm_bundle import HOMES, HUB_DATA

DEFAULT_CIDR = "10.10.0.0/16"
DEFAULT_ZONES = 3
DEFAULT_MANAGERS = 3
DEFAULT_MANAGER_TYPE = "t3.medium"
DEFAULT_WORKERS = 2
DEFAULT_WORKER_TYPE = "m6i.xlarge"
FEWEST_ZONES = 2
"""A load balancer stands in two zones at least."""

ENGINE_NETWORKS = "172.20.0.0/16"
"""What the hosts' engines cut their bridges from; `boot/swarm_node.sh` tells them. A host there could not be reached."""

MANAGER_COUNTS = (1, 3, 5, 7)
"""Odd, so that no half is a majority; more than seven slow Swarm down (Docker's administration guide)."""

MOST_WORKERS = 100
ROOT_GIGABYTES = 30
"""Root disk of a host: the images, their layers and the engine's logs."""

HOST_MEBIBYTES = 768
"""Memory that a worker's system, engine and platform services take."""

USABLE_MEMORY = 0.96
"""Part of an instance type's memory that its kernel leaves to programs."""


class SwarmOnEc2(TypedDict):
    """Hosts on EC2 for a `SwarmCluster`."""

    zone: str
    """Name of the public hosted zone in Route 53 that `domain` lies in."""
    cidr: NotRequired[str]
    """Private range of the VPC, /16 to /20. Default 10.10.0.0/16.

    It must overlap neither `addressPool` nor 172.20.0.0/16, which engines use themselves.
    """
    zones: NotRequired[int]
    """Availability zones, 2 to 4. Default 3."""
    natPerZone: NotRequired[bool]
    """Whether each zone has a NAT gateway; one serves all otherwise. Default False."""
    managers: NotRequired[int]
    """Managers, spread over the zones: 1, 3, 5 or 7. Default 3."""
    managerType: NotRequired[str]
    """Instance type of managers. Default t3.medium."""
    workers: NotRequired[int]
    """Workers, which users' servers run on, 1 to 100; one that fails is replaced. Default 2."""
    workerType: NotRequired[str]
    """Instance type of workers. Default m6i.xlarge."""
    image: NotRequired[str]
    """Machine image of the hosts, an id of a Debian 12 image. Default: the newest that Debian publishes."""
    encrypted: NotRequired[bool]
    """Whether what goes from host to host is encrypted (IPsec). Default True; needless on types that do it themselves."""
    interfaceEndpoints: NotRequired[list[str]]
    """AWS services that hosts reach without the NAT gateway, such as `ecr.dkr`; each costs by the hour. Default: none."""
    monthlyBudget: NotRequired[int]
    """US dollars a month at which the owner gets a warning; needs `budgetEmail`. Default: no budget."""
    budgetEmail: NotRequired[str]
    """Who gets the warning."""
    alarmEmail: NotRequired[str]
    """Who hears by e-mail that the hub does not answer, or does again. Default: `budgetEmail`; one of both is needed."""


def instance_types(args: SwarmOnEc2) -> dict[str, str]:
    """The instance types by the argument that names them."""
    return {
        "managerType": args.get("managerType", DEFAULT_MANAGER_TYPE),
        "workerType": args.get("workerType", DEFAULT_WORKER_TYPE),
    }


def gateways(args: SwarmOnEc2) -> int:
    """NAT gateways, each with an address."""
    return args.get("zones", DEFAULT_ZONES) if args.get("natPerZone", False) else 1


def quota_needs(args: SwarmOnEc2, sizes: Mapping[str, InstanceSize]) -> list[QuotaNeed]:
    """What the stack needs of the account's limits; a worker that fails is there beside the one that replaces it."""
    managers, workers = args.get("managers", DEFAULT_MANAGERS), args.get("workers", DEFAULT_WORKERS) + 1
    return [
        standard_vcpus(managers * sizes["managerType"].vcpus + workers * sizes["workerType"].vcpus),
        elastic_addresses(gateways(args)),
        volume_terabytes(math.ceil((managers + workers) * ROOT_GIGABYTES / 1024)),
    ]


def servers_that_fit(workers: int, worker: InstanceSize, server_bytes: int) -> int:
    """How many servers the workers hold at once, each with its whole memory."""
    usable = worker.memory_mebibytes * USABLE_MEMORY - HOST_MEBIBYTES
    return workers * max(0, int(usable * 2**20 // server_bytes))


def check_capacity(
    args: SwarmOnEc2, worker: InstanceSize, servers: int, server_bytes: int
) -> list[pulumi.InputPropertyErrorDetails]:
    """Whether the workers hold as many servers as are allowed; nothing for a type that AWS does not know."""
    workers = args.get("workers", DEFAULT_WORKERS)
    fit = servers_that_fit(workers, worker, server_bytes)
    if not worker.memory_mebibytes or fit >= servers:
        return []
    kind = args.get("workerType", DEFAULT_WORKER_TYPE)
    reason = (
        f"{workers} workers of type {kind} hold {fit} servers of {server_bytes // 2**20} MiB, and {servers} are "
        "allowed; raise workers, take a larger workerType, or lower hubstack:fleetQuota or hubstack:userQuota"
    )
    return [{"property_path": "workers", "reason": reason}]


def check_swarm_on_ec2(domain: str, args: SwarmOnEc2, pool: str) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors = [*check_place(domain, args, instance_types(args)), *check_alarm_email(args)]

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    zones = args.get("zones", DEFAULT_ZONES)
    if not FEWEST_ZONES <= zones <= MOST_ZONES:
        wrong(
            "zones", f"{zones} zones; {FEWEST_ZONES} to {MOST_ZONES}: a load balancer stands in {FEWEST_ZONES} at least"
        )
    taken = {"hubstack:addressPool": pool, "the networks that the hosts' engines make for themselves,": ENGINE_NETWORKS}
    try:
        # As many zones as there may be, so that a mistake in their number is none in the range.
        vpc = ipaddress.IPv4Network(plan_subnets(args.get("cidr", DEFAULT_CIDR), MOST_ZONES).vpc)
        for owner, text in taken.items():
            if _overlap(str(vpc), text):
                wrong("cidr", f"{vpc} overlaps {owner} {text}; hosts and servers need ranges of their own")
    except ValueError as error:
        wrong("cidr", str(error))
    if _overlap(pool, ENGINE_NETWORKS):
        wrong(
            "addressPool", f"{pool} overlaps {ENGINE_NETWORKS}, which the hosts' engines use for networks of their own"
        )
    managers, workers = args.get("managers", DEFAULT_MANAGERS), args.get("workers", DEFAULT_WORKERS)
    if managers not in MANAGER_COUNTS:
        wrong("managers", f"{managers} managers; {', '.join(map(str, MANAGER_COUNTS))}: a swarm needs a majority")
    if not 1 <= workers <= MOST_WORKERS:
        wrong("workers", f"{workers} workers; 1 to {MOST_WORKERS}")
    return errors


def deployment(
    *, hub_image: str, notebook_image: str, driver: str, home_bytes: int, swarm_pool: str, open_subnet: str
) -> dict[str, object]:
    """What hosts prepare, as `runtime/swarm_node/settings.py` reads it."""
    return {
        "images": {"manager": [hub_image], "worker": [hub_image, notebook_image]},
        "swarm_pool": swarm_pool,
        "home_driver": driver,
        "home_image": hub_image,
        "home_pool": str(HOMES),
        "home_bytes": home_bytes,
        "hub_data": str(HUB_DATA),
        "open_subnet": open_subnet,
    }


def _overlap(one: str, other: str) -> bool:
    """Whether two ranges have an address in common; what is no range, which other checks report, has none."""
    try:
        return ipaddress.ip_network(one).overlaps(ipaddress.ip_network(other))
    except ValueError:
        return False
