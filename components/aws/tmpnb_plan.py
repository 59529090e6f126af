"""What a pool of temporary notebooks has on AWS, as plain data: arguments, checks and needs."""

import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi

from components.aws.checks import check_place
from components.aws.service_quotas import InstanceSize, QuotaNeed, elastic_addresses, standard_vcpus, volume_terabytes
from components.aws.subnets import MOST_ZONES, NATIVE_RESERVED, plan_subnets
from components.quotas import parse_size

DEFAULT_CIDR = "10.10.0.0/16"
DEFAULT_ZONES = 2
DEFAULT_REDIRECTOR_TYPE = "t3.small"
DEFAULT_NODE_TYPE = "m6i.2xlarge"
REDIRECTOR = "redirector"

ENGINE_BRIDGE = "172.17.0.0/16"
"""The bridge that each host's engine makes by itself. Hosts there could not be reached."""

ROOT_GIGABYTES = 30
"""Root disk of a host: the images, their layers and the engine's logs. Nothing of a server is on it."""

HOST_MEBIBYTES = 768
"""Memory that a host's system and engine take."""

USABLE_MEMORY = 0.96
"""Part of an instance type's memory that its kernel leaves to programs."""


class PoolOnEc2(TypedDict):
    """Names in Route 53 for a `TmpnbNodePool`, and hosts on EC2 for what of it names no engine."""

    zone: str
    """Name of the public hosted zone in Route 53 that `domain` lies in."""
    cidr: NotRequired[str]
    """Private range of the VPC, /16 to /20. Default 10.10.0.0/16.

    It must overlap neither `addressPool` nor 172.17.0.0/16, which engines use themselves.
    """
    zones: NotRequired[int]
    """Availability zones that hosts spread over, 1 to 4. Default 2."""
    managerType: NotRequired[str]
    """Instance type of the redirector. Default t3.small."""
    workerType: NotRequired[str]
    """Instance type of nodes that do not say. Default m6i.2xlarge."""
    image: NotRequired[str]
    """Machine image of the hosts, an id of a Debian 12 image. Default: the newest that Debian publishes."""
    monthlyBudget: NotRequired[int]
    """US dollars a month at which the owner gets a warning; needs `budgetEmail`. Default: no budget."""
    budgetEmail: NotRequired[str]
    """Who gets the warning."""
    alarmEmail: NotRequired[str]
    """Who hears by e-mail that a host does not answer, or does again. Default: `email` of the pool."""


@dataclass(frozen=True)
class NodeHost:
    """A node that runs on an instance of its own."""

    name: str
    type_path: str
    """Argument that names the instance type: `workerType`, or the node's own."""
    instance_type: str
    servers: int
    """Servers at once."""
    memory: str
    """Memory of one server."""
    capacity_path: str
    """Argument that says how many servers it has."""


def instance_types(args: PoolOnEc2, hosts: Sequence[NodeHost], *, redirector: bool) -> dict[str, str]:
    """The instance types that are used, by the argument that names them.

    Args:
        args: the pool's.
        hosts: nodes on instances.
        redirector: whether the redirector is on one.
    """
    used = {"managerType": args.get("managerType", DEFAULT_REDIRECTOR_TYPE)} if redirector else {}
    return {**used, **{host.type_path: host.instance_type for host in hosts}}


def quota_needs(sizes: Mapping[str, InstanceSize], hosts: Sequence[NodeHost], *, redirector: bool) -> list[QuotaNeed]:
    """What the pool needs of the account's limits, each host with an address and a root disk."""
    used = [sizes[host.type_path] for host in hosts] + ([sizes["managerType"]] if redirector else [])
    if not used:
        return []
    return [
        standard_vcpus(sum(size.vcpus for size in used)),
        elastic_addresses(len(used)),
        volume_terabytes(math.ceil(len(used) * ROOT_GIGABYTES / 1024)),
    ]


def check_memory(
    sizes: Mapping[str, InstanceSize], hosts: Sequence[NodeHost], platform_bytes: Mapping[str, int]
) -> list[pulumi.InputPropertyErrorDetails]:
    """Nodes whose servers do not fit the memory of their instance; nothing for a type that AWS does not know.

    Args:
        sizes: instance types by the argument that names each.
        hosts: nodes on instances.
        platform_bytes: memory that the containers of a node's own may take, by its name.
    """
    errors: list[pulumi.InputPropertyErrorDetails] = []
    for host in hosts:
        memory = sizes[host.type_path].memory_mebibytes
        usable = int(memory * USABLE_MEMORY - HOST_MEBIBYTES - platform_bytes[host.name] / 2**20)
        wanted = math.ceil(host.servers * parse_size(host.memory) / 2**20)
        if memory and wanted > usable:
            reason = (
                f"the servers of {host.name} may take {wanted} MiB, and an {host.instance_type} has {max(0, usable)} MiB "
                f"for them; lower it or hubstack:userQuota.memory, or take a larger {host.type_path}"
            )
            errors.append({"property_path": host.capacity_path, "reason": reason})
    return errors


def check_pool_on_ec2(
    domain: str, args: PoolOnEc2, pool: str, hosts: Sequence[NodeHost], *, redirector: bool
) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed.

    Args:
        domain: name that visitors type.
        args: the pool's.
        pool: range that the networks of nodes are cut from.
        hosts: nodes on instances.
        redirector: whether the redirector is on one.
    """
    errors = check_place(domain, args, instance_types(args, hosts, redirector=redirector))

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    zones = args.get("zones", DEFAULT_ZONES)
    if not 1 <= zones <= MOST_ZONES:
        wrong("zones", f"{zones} zones; 1 to {MOST_ZONES}")
        return errors
    try:
        plan = plan_subnets(args.get("cidr", DEFAULT_CIDR), zones)
    except ValueError as error:
        wrong("cidr", str(error))
        return errors
    taken = {"hubstack:addressPool": pool, "the bridge that the hosts' engines make for themselves,": ENGINE_BRIDGE}
    for owner, text in taken.items():
        if _overlap(plan.vpc, text):
            wrong("cidr", f"{plan.vpc} overlaps {owner} {text}; hosts and servers need ranges of their own")
    room = min(ipaddress.IPv4Network(subnet).num_addresses - NATIVE_RESERVED for subnet in plan.public)
    wanted = math.ceil((len(hosts) + int(redirector)) / zones)
    if wanted > room:
        wrong("cidr", f"its public subnets hold {room} hosts each, and {wanted} are wanted in one; raise zones")
    return errors


def _overlap(one: str, other: str) -> bool:
    """Whether two ranges have an address in common; what is no range, which other checks report, has none."""
    try:
        return ipaddress.ip_network(one).overlaps(ipaddress.ip_network(other))
    except ValueError:
        return False
