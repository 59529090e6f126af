"""What a `TmpnbNodePool` is told, and what follows from it for each node."""

import re
from typing import NotRequired, TypedDict
from urllib.parse import urlsplit

from components.aws.tmpnb_plan import DEFAULT_NODE_TYPE, REDIRECTOR, PoolOnEc2
from components.egress import EgressProfile
from components.quotas import FleetQuota, UserQuota

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
ON_EC2 = "ec2://"
"""What stands for the engine of an instance that the stack makes, before the name of what runs there."""

DEFAULT_DOMAIN = "tmp.localhost"
"""Browsers take every name below `localhost` for their own machine; no certificate may have a star right below it."""
LOCAL_DOMAIN = ".localhost"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_POOL = "10.217.0.0/16"
DEFAULT_CAPACITY = 16
DEFAULT_LANDING = "/lab"
DEFAULT_BURST = 100
DEFAULT_PER_MINUTE = 10
BURST_AT_REDIRECTOR, RATE_AT_REDIRECTOR = 2, 6
"""How many times what an address gets of a node it gets of the redirector. A redirect is no server yet: who comes to a node
that is full, or leaves their browser's page waiting, asks again and is counted again."""

DEFAULT_DRAIN_SECONDS = 600
DEFAULT_STARTS_AT_ONCE = 2
"""As tmpnb's `max_dock_workers`."""

MOST_STARTS_AT_ONCE = 64
"""Each takes a thread of the node's service, and a processor of its host for seconds."""

HTTPS = 443
ACME = 80
"""Port on which Let's Encrypt asks a host that wants a certificate."""

LOCAL_PORT = 8443
"""Port of the redirector for a machine without a name; each node's is higher by its number."""

TMPNB_QUOTA_DEFAULTS: UserQuota = {
    "cpu": 1.0,
    "memory": "1G",
    "processes": 256,
    "home": "512M",
    "tmp": "128M",
    "idle": 600,
    "maxAge": 4 * 3600,
}
"""Of servers that nobody has to give back; tmpnb's own ended after an hour idle and four in all."""

NODE_NAME = re.compile(r"[a-z]([a-z-]{0,20}[a-z])?([0-9]{1,4})")
"""Letters, and the node's number."""


class TmpnbNodeArgs(TypedDict):
    """One node of the pool. Its name ends in its number, which it keeps for life."""

    name: str
    """Such as `tmp01`: its host name below the domain."""
    engine: NotRequired[str]
    """Docker engine that it runs on: `unix://…`, `ssh://user@host` or `tcp://host:2376`.

    Default: this machine's; with `ec2` an instance that the stack makes. An engine of another machine needs a `domain` that
    visitors find it by.
    """
    address: NotRequired[str]
    """IPv4 address that visitors reach the engine's host at, for the node's record; needed with `ec2` and `engine`."""
    instanceType: NotRequired[str]
    """Instance type, for a node on EC2. Default: the pool's `workerType`."""
    capacity: NotRequired[int]
    """Servers at once, 1 to 1000. Default: the pool's."""
    image: NotRequired[str]
    """Image of its servers by digest. Default: the pool's."""
    userQuota: NotRequired[UserQuota]
    """What one of its servers may use, beside what the pool says. Default: the pool's."""
    port: NotRequired[int]
    """Published TCP port. Default 443; on a machine without a name 8443 and the node's number."""


class TmpnbNodePoolArgs(TypedDict):
    """Arguments of `TmpnbNodePool`. All are plain values: they decide what the stack consists of."""

    nodes: list[TmpnbNodeArgs]
    """The nodes; at least one. What is taken out of the list is drained and then removed."""
    domain: NotRequired[str]
    """Name that visitors type; nodes are `<name>.<domain>`. Default `tmp.localhost`: a machine without a name.

    With a domain, each node and the redirector has an engine of its own: certificates are asked for on port 80.
    """
    port: NotRequired[int]
    """Published TCP port of the redirector. Default 443; on a machine without a name 8443."""
    engine: NotRequired[str]
    """Docker engine that the redirector runs on. Default: this machine's; with `ec2` an instance that the stack makes."""
    address: NotRequired[str]
    """IPv4 address that visitors reach the redirector's host at, for its record; needed with `ec2` and `engine`."""
    ec2: NotRequired[PoolOnEc2]
    """Names in Route 53, with a health check and an alarm for each, and hosts on EC2 for all that names no engine.

    Default: neither.
    """
    capacity: NotRequired[int]
    """Servers of a node that does not say, 1 to 1000. Default 16."""
    userQuota: NotRequired[UserQuota]
    """What one server may use; homes lie in the server's memory. Default: 1G, idle for 10 minutes, four hours at most."""
    fleetQuota: NotRequired[FleetQuota]
    """`servers`: most servers of all nodes together; nodes that would hold more are a mistake. Default: what they hold."""
    egressProfile: NotRequired[EgressProfile]
    """What servers may reach: `closed`, `domains`, `ports` or `open`. Default `closed`.

    A change between the first two and the others makes the bridges of nodes anew, which ends all servers.
    """
    egressDomains: NotRequired[list[str]]
    """What the profile `domains` opens, over HTTPS alone: names, or `.example.org` for a domain with all below it."""
    egressPorts: NotRequired[list[int]]
    """TCP ports of public addresses that the profile `ports` opens."""
    addressPool: NotRequired[str]
    """Private IPv4 range, /20 or larger, that all networks are cut from. Default `10.217.0.0/16`."""
    landing: NotRequired[str]
    """Path that a visitor of `/` ends at. Default `/lab`."""
    visitorBurst: NotRequired[int]
    """How many servers of a node one address may have, and get at once, at least 1: a classroom has one address.

    The limit is each node's; the redirector sends one address on twice as often in all. For a lecture of 500 take 500.
    Default: half of the node's servers, 100 at most; twice 100 at the redirector.
    """
    visitorsPerMinute: NotRequired[float]
    """How many servers of a node one address may get in a minute in the long run, above 0. Default 10.

    The limit is each node's; the redirector sends one address on six times as often in all.
    """
    drainSeconds: NotRequired[int]
    """How long a node that is removed waits for its users, at most a day. Default 600."""
    startsAtOnce: NotRequired[int]
    """Servers that a node starts at the same time, 1 to 64. Default 2.

    Each takes a processor for some seconds. A node keeps up while its servers end no faster than it can start others:
    1,000 servers that people have for 40 minutes take 0.4 starts a second.
    """
    notebookImage: NotRequired[str]
    """Image of the servers by digest (`name@sha256:…`). Default: built from `images/notebook` on this machine's engine."""
    nodeImage: NotRequired[str]
    """Image of nodes by digest, for engines of other machines. Default: built from `images/tmpnb-node`."""
    redirectorImage: NotRequired[str]
    """Image of the redirector by digest, for engines of other machines. Default: built from `images/redirector`."""
    egressProxyImage: NotRequired[str]
    """Image of nodes' egress proxies by digest, for engines of other machines. Default: built from `images/egress-proxy`."""
    email: NotRequired[str]
    """Who hears from Let's Encrypt and, with `ec2`, when a host does not answer; needed with a domain."""
    buildFromRegistry: NotRequired[bool]
    """Whether images start from a registry's Python image instead of Debian's packages. Default False."""


def node_number(name: str) -> int:
    """The number at the end of a node's name, which `check_tmpnb_node_pool` has found to be one."""
    found = NODE_NAME.fullmatch(name)
    return int(found[2]) if found else 0


def declared_nodes(args: TmpnbNodePoolArgs) -> dict[str, TmpnbNodeArgs]:
    """The nodes by name, as they are declared."""
    return {node["name"]: node for node in args["nodes"]}


def engine_of(args: TmpnbNodePoolArgs, node: TmpnbNodeArgs) -> str:
    """Engine of a node; `ec2://` and its name for that of an instance of its own."""
    return node.get("engine") or (f"{ON_EC2}{node['name']}" if "ec2" in args else DEFAULT_ENGINE)


def redirector_engine(args: TmpnbNodePoolArgs) -> str:
    """Engine of the redirector, as `engine_of`."""
    return args.get("engine") or (f"{ON_EC2}{REDIRECTOR}" if "ec2" in args else DEFAULT_ENGINE)


def is_on_ec2(engine: str) -> bool:
    """Whether an engine is that of an instance which the stack makes."""
    return engine.startswith(ON_EC2)


def is_elsewhere(engine: str) -> bool:
    """Whether an engine is one of another machine that is there already."""
    try:
        parts = urlsplit(engine)
    except ValueError:
        return False
    return parts.scheme in ("ssh", "tcp") and parts.hostname not in LOOPBACK


def has_egress_proxy(args: TmpnbNodePoolArgs) -> bool:
    """Whether servers reach the outside by way of a proxy."""
    return args.get("egressProfile") == EgressProfile.DOMAINS and bool(args.get("egressDomains"))


def node_type(args: TmpnbNodePoolArgs, node: TmpnbNodeArgs) -> str:
    """Instance type of a node on EC2."""
    return node.get("instanceType") or args.get("ec2", {}).get("workerType", DEFAULT_NODE_TYPE)


def is_local(args: TmpnbNodePoolArgs) -> bool:
    """Whether the pool is one of a machine without a name."""
    return args.get("domain", DEFAULT_DOMAIN).endswith(LOCAL_DOMAIN)


def visitor_ports(args: TmpnbNodePoolArgs, port: int) -> tuple[int, ...]:
    """Ports of a host that the whole world reaches: one for visitors and, where Let's Encrypt gives certificates, its own."""
    return (port,) if is_local(args) else (port, ACME)


def node_quota(args: TmpnbNodePoolArgs, node: TmpnbNodeArgs) -> UserQuota:
    """What a server of the node may use."""
    return {**TMPNB_QUOTA_DEFAULTS, **args.get("userQuota", {}), **node.get("userQuota", {})}


def node_port(args: TmpnbNodePoolArgs, node: TmpnbNodeArgs) -> int:
    """A node's published port."""
    return int(node.get("port", LOCAL_PORT + node_number(node["name"]) if is_local(args) else HTTPS))


def redirector_port(args: TmpnbNodePoolArgs) -> int:
    """The redirector's published port."""
    return int(args.get("port", LOCAL_PORT if is_local(args) else HTTPS))


def https_url(host: str, port: int) -> str:
    """An address over HTTPS, its port left out where it is the usual one."""
    return f"https://{host}" if port == HTTPS else f"https://{host}:{port}"


def redirector_url(args: TmpnbNodePoolArgs) -> str:
    """Where visitors come."""
    return https_url(args.get("domain", DEFAULT_DOMAIN), redirector_port(args))
