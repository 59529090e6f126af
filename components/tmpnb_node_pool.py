"""Temporary notebooks on any number of nodes, handed out in milliseconds (seed 000)."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi
import pulumi_docker as docker
import pulumi_random as random

from components.docker.build_context import REGISTRY_IMAGE
from components.docker.container_group import ContainerGroup
from components.docker.images import build_image
from components.docker.overlay import parse_pool
from components.docker.pool_preflight import EngineShare
from components.docker.redirector import PoolNode, RedirectorSettings, redirector_group
from components.docker.tls_proxy import Certificate, self_signed_certificate
from components.docker.tmpnb_node import MOST_SERVERS, NodeSettings, TmpnbNode, nodes_in
from components.egress import PROFILES_WITHOUT_LISTS, EgressProfile, check_known_profile
from components.quotas import FleetQuota, UserQuota, check_user_quota, user_quota_document

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
DEFAULT_DOMAIN = "tmp.localhost"
"""Browsers take every name below `localhost` for their own machine; no certificate may have a star right below it."""
LOCAL_DOMAIN = ".localhost"
DEFAULT_POOL = "10.217.0.0/16"
DEFAULT_CAPACITY = 16
DEFAULT_LANDING = "/lab"
DEFAULT_BURST = 100
DEFAULT_PER_MINUTE = 10
DEFAULT_DRAIN_SECONDS = 600
TOKEN_LENGTH = 48
HTTPS = 443
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

_NODE_NAME = re.compile(r"[a-z]([a-z-]{0,20}[a-z])?([0-9]{1,4})")
_LANDING = re.compile(r"/[A-Za-z0-9._~/-]*")


class TmpnbNodeArgs(TypedDict):
    """One node of the pool. Its name ends in its number, which it keeps for life."""

    name: str
    """Such as `tmp01`: its host name below the domain."""
    engine: NotRequired[str]
    """Docker engine that it runs on: `unix://…`, `ssh://user@host` or `tcp://host:2376`. Default: this machine's."""
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
    """Name that visitors type; nodes are `<name>.<domain>`. Default `tmp.localhost`: a machine without a name."""
    port: NotRequired[int]
    """Published TCP port of the redirector. Default 443; on a machine without a name 8443."""
    engine: NotRequired[str]
    """Docker engine that the redirector runs on. Default: this machine's."""
    capacity: NotRequired[int]
    """Servers of a node that does not say, 1 to 1000. Default 16."""
    userQuota: NotRequired[UserQuota]
    """What one server may use; homes lie in the server's memory. Default: 1G, idle for 10 minutes, four hours at most."""
    fleetQuota: NotRequired[FleetQuota]
    """`servers`: most servers of all nodes together; nodes that would hold more are a mistake. Default: what they hold."""
    egressProfile: NotRequired[EgressProfile]
    """What servers may reach: `closed` or `open`. Default `closed`."""
    addressPool: NotRequired[str]
    """Private IPv4 range, /20 or larger, that all networks are cut from. Default `10.217.0.0/16`."""
    landing: NotRequired[str]
    """Path that a visitor of `/` ends at. Default `/lab`."""
    visitorBurst: NotRequired[int]
    """How many servers one address may get at once: a classroom has one address. Default 100."""
    visitorsPerMinute: NotRequired[float]
    """How many servers one address may get in a minute in the long run. Default 10."""
    drainSeconds: NotRequired[int]
    """How long a node that is removed waits for its users, at most a day. Default 600."""
    notebookImage: NotRequired[str]
    """Image of the servers by digest (`name@sha256:…`). Default: built from `images/notebook` on this machine's engine."""
    nodeImage: NotRequired[str]
    """Image of nodes by digest, for engines of other machines. Default: built from `images/tmpnb-node`."""
    redirectorImage: NotRequired[str]
    """Image of the redirector by digest, for engines of other machines. Default: built from `images/redirector`."""
    email: NotRequired[str]
    """Who hears from Let's Encrypt; needed with a domain."""
    buildFromRegistry: NotRequired[bool]
    """Whether images start from a registry's Python image instead of Debian's packages. Default False."""


class TmpnbNodePool(pulumi.ComponentResource):
    """Nodes that keep servers started for whoever comes, and a redirector that sends each visitor to one with room.

    Servers belong to nobody and keep nothing. They are limited in everything, reach what the egress profile opens, and
    never each other or the host.
    """

    url: pulumi.Output[str]
    """Address of the redirector, known once it works."""
    nodeUrls: pulumi.Output[dict[str, str]]
    """Addresses of the nodes by name."""
    adminToken: pulumi.Output[str]
    """Token of the nodes' administration, a secret."""

    def __init__(self, name: str, args: TmpnbNodePoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the pool.

        Args:
            name: prefix of everything on the engines, and the value of the label `hubstack.stack`.
            args: see `TmpnbNodePoolArgs`.
            opts: resource options.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong; every mistake is listed.
        """
        super().__init__("hubstack:index:TmpnbNodePool", name, {}, opts)
        errors = check_tmpnb_node_pool(args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        self._name, self._args = name, args
        self._local = pulumi.ResourceOptions(parent=self)
        images = self._images()
        certificate = self._certificate()
        admin_token = self._token("admin-token")
        nodes = node_settings(name, args)
        made = {
            node.name: TmpnbNode(
                f"{name}-{node.name}",
                engine_of(args, node.name),
                node,
                {"node": images["node"], "notebook": given_image(args, node.name) or images["notebook"]},
                {
                    "proxy-token": self._token(f"{node.name}-proxy-token"),
                    "admin-token": admin_token,
                    **certificate_files(certificate),
                },
                self._local,
            )
            for node in nodes
        }
        redirector = ContainerGroup(
            f"{name}-redirector",
            {
                "engine": args.get("engine", DEFAULT_ENGINE),
                "spec": redirector_group(redirector_settings(name, args, nodes)),
                "images": {"redirector": images["redirector"]},
                "secrets": certificate_files(certificate),
            },
            self._local,
        )
        address = redirector_url(args)
        self.url = redirector.id.apply(lambda _: address)
        self.nodeUrls = pulumi.Output.all(**{node: one.url for node, one in made.items()}).apply(dict)
        self.adminToken = admin_token
        self.register_outputs({"url": self.url, "nodeUrls": self.nodeUrls, "adminToken": self.adminToken})

    def _token(self, label: str) -> pulumi.Output[str]:
        """A random token that the state holds encrypted, as it does not hold a `RandomId`, whose id tells it."""
        made = random.RandomPassword(f"{self._name}-{label}", length=TOKEN_LENGTH, special=False, opts=self._local)
        return pulumi.Output.secret(made.result)

    def _certificate(self) -> Certificate | None:
        domain = self._args.get("domain", DEFAULT_DOMAIN)
        if not is_local(self._args):
            return None
        return self_signed_certificate(f"{self._name}-tls", domain, self._local, more_domains=[f"*.{domain}"])

    def _images(self) -> Mapping[str, pulumi.Input[str]]:
        """Images by short name: those that are named, and the others built on this machine's engine."""
        given = {
            "node": self._args.get("nodeImage"),
            "redirector": self._args.get("redirectorImage"),
            "notebook": self._args.get("notebookImage"),
        }
        named: dict[str, pulumi.Input[str]] = {label: image for label, image in given.items() if image}
        if len(named) == len(given):
            return named
        rootfs = not self._args.get("buildFromRegistry", False)
        source: dict[str, pulumi.Input[str]] = {"SOURCE": "scratch" if rootfs else REGISTRY_IMAGE}
        provider = docker.Provider(f"{self._name}-engine", host=DEFAULT_ENGINE, opts=self._local)
        opts = pulumi.ResourceOptions(parent=self, provider=provider)

        def built(label: str, image: str, build_args: dict[str, pulumi.Input[str]], base: str) -> docker.RemoteImage:
            name = f"{self._name}-{label}-image"
            return build_image(name, image, rootfs=rootfs, build_args=build_args, base_digest=base, opts=opts)[0]

        made = dict(named)
        for label, folder in (("node", "tmpnb-node"), ("redirector", "redirector")):
            if label not in made:
                made[label] = built(label, folder, source, "").image_id
        if "notebook" not in made:
            base, digest = build_image(
                f"{self._name}-base", "base", rootfs=rootfs, build_args=source, base_digest="", opts=opts
            )
            made["notebook"] = built("notebook", "notebook", {"BASE": base.name}, digest).image_id
        return made


def certificate_files(certificate: Certificate | None) -> dict[str, pulumi.Input[str]]:
    """The certificate as the TLS proxies read it; nothing where Let's Encrypt gives them theirs."""
    return {"tls-cert": certificate.chain, "tls-key": certificate.key} if certificate else {}


def node_number(name: str) -> int:
    """The number at the end of a node's name, which `check_tmpnb_node_pool` has found to be one."""
    found = _NODE_NAME.fullmatch(name)
    return int(found[2]) if found else 0


def engine_of(args: TmpnbNodePoolArgs, node: str) -> str:
    """Engine of a node."""
    return next(one.get("engine", DEFAULT_ENGINE) for one in args["nodes"] if one["name"] == node)


def given_image(args: TmpnbNodePoolArgs, node: str) -> str:
    """A node's own image; empty where it has the pool's."""
    return next(one.get("image", "") for one in args["nodes"] if one["name"] == node)


def is_local(args: TmpnbNodePoolArgs) -> bool:
    """Whether the pool is one of a machine without a name."""
    return args.get("domain", DEFAULT_DOMAIN).endswith(LOCAL_DOMAIN)


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


def node_settings(name: str, args: TmpnbNodePoolArgs) -> list[NodeSettings]:
    """Every node with all that it does not say filled in, by name."""
    domain = args.get("domain", DEFAULT_DOMAIN)
    return [
        NodeSettings(
            stack=name,
            name=node["name"],
            number=node_number(node["name"]),
            url=https_url(f"{node['name']}.{domain}", node_port(args, node)),
            port=node_port(args, node),
            capacity=int(node.get("capacity", args.get("capacity", DEFAULT_CAPACITY))),
            quota=user_quota_document(node_quota(args, node)),
            profile=EgressProfile(args.get("egressProfile", EgressProfile.CLOSED)),
            pool=args.get("addressPool", DEFAULT_POOL),
            landing=args.get("landing", DEFAULT_LANDING),
            burst=int(args.get("visitorBurst", DEFAULT_BURST)),
            per_minute=float(args.get("visitorsPerMinute", DEFAULT_PER_MINUTE)),
            drain_seconds=int(args.get("drainSeconds", DEFAULT_DRAIN_SECONDS)),
            acme_email="" if is_local(args) else args.get("email", ""),
        )
        for node in sorted(args["nodes"], key=lambda node: node["name"])
    ]


def redirector_settings(name: str, args: TmpnbNodePoolArgs, nodes: list[NodeSettings]) -> RedirectorSettings:
    """What the redirector is; its networks lie in the range of node number 0, which no node has."""
    engine = args.get("engine", DEFAULT_ENGINE)
    base = parse_pool(args.get("addressPool", DEFAULT_POOL)).network_address
    listed: list[PoolNode] = [{"name": node.name, "url": node.url, "stats": f"{node.url}/api/stats"} for node in nodes]
    domain = args.get("domain", DEFAULT_DOMAIN)
    return RedirectorSettings(
        stack=name,
        domain=domain,
        port=redirector_port(args),
        subnet=f"{base}/25",
        nodes=listed,
        own_certificate=is_local(args),
        acme_email="" if is_local(args) else args.get("email", ""),
        names_on_host=[f"{node.name}.{domain}" for node in nodes if engine_of(args, node.name) == engine],
    )


def engine_shares(name: str, args: TmpnbNodePoolArgs) -> list[EngineShare]:
    """What the pool wants of each engine, for `require_engines`."""
    redirector = args.get("engine", DEFAULT_ENGINE)
    nodes: dict[str, list[NodeSettings]] = {redirector: []}
    ports: dict[str, list[int]] = {redirector: [redirector_port(args)]}
    images: dict[str, list[str]] = {redirector: [image] if (image := args.get("redirectorImage", "")) else []}
    for node in node_settings(name, args):
        engine = engine_of(args, node.name)
        nodes.setdefault(engine, []).append(node)
        ports.setdefault(engine, []).extend([node.port, node.admin_port])
        given = [args.get("nodeImage", ""), given_image(args, node.name) or args.get("notebookImage", "")]
        images.setdefault(engine, []).extend(image for image in given if image)
    pool = args.get("addressPool", DEFAULT_POOL)
    return [
        EngineShare(engine, name, there, tuple(ports[engine]), tuple(sorted(set(images[engine]))), pool)
        for engine, there in sorted(nodes.items())
    ]


def check_tmpnb_node_pool(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors = check_known_profile(args.get("egressProfile", EgressProfile.CLOSED), PROFILES_WITHOUT_LISTS)
    errors += _check_visits(args) + _check_names(args) + _check_images(args)
    for number, node in enumerate(args["nodes"]):
        capacity = node.get("capacity", args.get("capacity", DEFAULT_CAPACITY))
        if not 1 <= capacity <= MOST_SERVERS:
            path = f"nodes[{number}].capacity" if "capacity" in node else "capacity"
            reason = f"{capacity} servers; 1 to {MOST_SERVERS}, which is what a bridge holds"
            errors.append({"property_path": path, "reason": reason})
        errors += check_tmpnb_quota(node_quota(args, node), f"nodes[{number}].userQuota")
    most = args.get("fleetQuota", {}).get("servers")
    total = sum(int(node.get("capacity", args.get("capacity", DEFAULT_CAPACITY))) for node in args["nodes"])
    if most is not None and total > most:
        reason = f"the nodes hold {total} servers, and {most} are allowed; lower capacity or raise this"
        errors.append({"property_path": "fleetQuota.servers", "reason": reason})
    return _once(errors)


def _check_visits(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in how visitors come and go."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    if not args["nodes"]:
        wrong("nodes", "a pool has at least one node")
    if not is_local(args) and "@" not in args.get("email", ""):
        wrong("email", "Let's Encrypt needs an address for the certificates of the domain and its nodes")
    if not _LANDING.fullmatch(args.get("landing", DEFAULT_LANDING)):
        wrong("landing", f"{args.get('landing')!r} is no path; write it like /lab or /tree")
    if args.get("visitorBurst", DEFAULT_BURST) < 1:
        wrong("visitorBurst", f"{args.get('visitorBurst')} is below 1: nobody would get a server")
    if args.get("visitorsPerMinute", DEFAULT_PER_MINUTE) <= 0:
        wrong("visitorsPerMinute", f"{args.get('visitorsPerMinute')} is not above 0")
    if not 0 <= args.get("drainSeconds", DEFAULT_DRAIN_SECONDS) <= 86400:  # noqa: PLR2004  (named in the docstring)
        wrong("drainSeconds", f"{args.get('drainSeconds')} is not between 0 and 86400 seconds")
    return errors


def _check_images(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Images that move, or that engines of other machines have no way to."""
    elsewhere = sorted(node["name"] for node in args["nodes"] if node.get("engine", DEFAULT_ENGINE) != DEFAULT_ENGINE)
    errors: list[pulumi.InputPropertyErrorDetails] = []
    on_other_engines = {"nodeImage": elsewhere, "notebookImage": elsewhere}
    if args.get("engine", DEFAULT_ENGINE) != DEFAULT_ENGINE:
        on_other_engines["redirectorImage"] = ["the redirector"]
    for key in ("nodeImage", "redirectorImage", "notebookImage"):
        image = str(args.get(key, ""))
        users = on_other_engines.get(key)
        if image and "sha256:" not in image:
            errors.append({"property_path": key, "reason": f"{image} is not pinned; name it by digest (name@sha256:…)"})
        if not image and users:
            reason = f"{', '.join(users)} pull it by digest from a registry; `make push` builds and pushes it"
            errors.append({"property_path": key, "reason": reason})
    for number, node in enumerate(args["nodes"]):
        image = node.get("image", "")
        if image and "sha256:" not in image:
            reason = f"{image} is not pinned; name it by digest (name@sha256:…)"
            errors.append({"property_path": f"nodes[{number}].image", "reason": reason})
    return errors


def _check_names(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in the names of nodes and in what follows from their numbers: ranges and ports."""
    errors: list[pulumi.InputPropertyErrorDetails] = []
    pool = args.get("addressPool", DEFAULT_POOL)
    try:
        places = nodes_in(pool)
    except ValueError as error:
        return [{"property_path": "addressPool", "reason": str(error)}]
    seen = Counter(node["name"] for node in args["nodes"])
    for name, times in sorted(seen.items()):
        if times > 1:
            errors.append({"property_path": "nodes", "reason": f"{times} nodes are called {name}; names are unique"})
    taken: dict[tuple[str, int], str] = {}
    ports: dict[tuple[str, int], str] = {(args.get("engine", DEFAULT_ENGINE), redirector_port(args)): "the redirector"}
    for number, node in enumerate(args["nodes"]):
        path, name = f"nodes[{number}]", node["name"]
        if not _NODE_NAME.fullmatch(name) or node_number(name) == 0:
            reason = f"{name!r} is no name of a node; letters and a number from 1, like tmp01"
            errors.append({"property_path": f"{path}.name", "reason": reason})
            continue
        engine = node.get("engine", DEFAULT_ENGINE)
        place, port = (engine, node_number(name) % places), (engine, node_port(args, node))
        other = taken.setdefault(place, name)
        if place[1] == 0 or other != name:
            reason = (
                f"{name} and {other if other != name else 'the redirector'} would have one range of {pool} on {engine}"
            )
            errors.append(
                {"property_path": f"{path}.name", "reason": f"{reason}; take another number or a larger pool"}
            )
        user = ports.setdefault(port, name)
        if user != name:
            reason = f"{port[1]} is the port of {user} on {engine} as well"
            errors.append({"property_path": f"{path}.port", "reason": reason})
    return errors


def check_tmpnb_quota(quota: UserQuota, path: str) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in a server's quota; home and /tmp lie in its memory."""
    errors = check_user_quota(quota, path)
    if errors:
        return errors
    document = user_quota_document(quota)
    if document["home_bytes"] + document["tmp_bytes"] >= document["memory_bytes"]:
        reason = (
            f"{quota.get('home')} and {quota.get('tmp')} of /tmp do not fit the memory of {quota.get('memory')}, where both "
            "lie; raise memory or lower them"
        )
        return [{"property_path": f"{path}.home", "reason": reason}]
    return []


def _once(errors: list[pulumi.InputPropertyErrorDetails]) -> list[pulumi.InputPropertyErrorDetails]:
    """Each mistake once, although the pool's own values count for each of its nodes."""
    found: dict[str, pulumi.InputPropertyErrorDetails] = {}
    for error in errors:
        key = re.sub(r"^nodes\[\d+\]\.(?=userQuota)", "", error["property_path"])
        found.setdefault(f"{key}: {error['reason']}", error)
    return list(found.values())
