"""Every mistake in what a `TmpnbNodePool` is told."""

import ipaddress
import re
from collections import Counter

import pulumi

from components.aws.tmpnb_plan import check_pool_on_ec2
from components.docker.tmpnb_plan import ADMIN_PORT, MOST_SERVERS, nodes_in
from components.egress import HIGHEST_PORT, EgressProfile, check_egress
from components.pool_arguments import (
    ACME,
    DEFAULT_BURST,
    DEFAULT_CAPACITY,
    DEFAULT_DOMAIN,
    DEFAULT_DRAIN_SECONDS,
    DEFAULT_ENGINE,
    DEFAULT_LANDING,
    DEFAULT_PER_MINUTE,
    DEFAULT_POOL,
    DEFAULT_STARTS_AT_ONCE,
    HTTPS,
    MOST_STARTS_AT_ONCE,
    NODE_NAME,
    TmpnbNodePoolArgs,
    engine_of,
    has_egress_proxy,
    is_elsewhere,
    is_local,
    is_on_ec2,
    node_number,
    node_port,
    node_quota,
    redirector_engine,
    redirector_port,
    visitor_ports,
)
from components.pool_plan import hosted_nodes
from components.quotas import UserQuota, check_user_quota, user_quota_document

LANDING = re.compile(r"/[A-Za-z0-9._~/-]*")


def check_tmpnb_node_pool(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors = check_egress(
        args.get("egressProfile", EgressProfile.CLOSED), args.get("egressDomains", []), args.get("egressPorts", [])
    )
    errors += _check_visits(args) + _check_names(args) + _check_images(args) + _check_addresses(args)
    if "ec2" in args:
        domain, pool = args.get("domain", DEFAULT_DOMAIN), args.get("addressPool", DEFAULT_POOL)
        hosts, redirector = hosted_nodes(args), is_on_ec2(redirector_engine(args))
        errors += check_pool_on_ec2(domain, args["ec2"], pool, hosts, redirector=redirector)
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
    if not LANDING.fullmatch(args.get("landing", DEFAULT_LANDING)):
        wrong("landing", f"{args.get('landing')!r} is no path; write it like /lab or /tree")
    if args.get("visitorBurst", DEFAULT_BURST) < 1:
        wrong("visitorBurst", f"{args.get('visitorBurst')} is below 1: nobody would get a server")
    if args.get("visitorsPerMinute", DEFAULT_PER_MINUTE) <= 0:
        wrong("visitorsPerMinute", f"{args.get('visitorsPerMinute')} is not above 0")
    if not 0 <= args.get("drainSeconds", DEFAULT_DRAIN_SECONDS) <= 86400:  # noqa: PLR2004  (named in the docstring)
        wrong("drainSeconds", f"{args.get('drainSeconds')} is not between 0 and 86400 seconds")
    if not 1 <= args.get("startsAtOnce", DEFAULT_STARTS_AT_ONCE) <= MOST_STARTS_AT_ONCE:
        wrong("startsAtOnce", f"{args.get('startsAtOnce')} servers; 1 to {MOST_STARTS_AT_ONCE}")
    return errors


def _check_images(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Images that move, or that engines of other machines have no way to."""
    elsewhere = sorted(node["name"] for node in args["nodes"] if engine_of(args, node) != DEFAULT_ENGINE)
    errors: list[pulumi.InputPropertyErrorDetails] = []
    on_other_engines = {"nodeImage": elsewhere, "notebookImage": elsewhere}
    if redirector_engine(args) != DEFAULT_ENGINE:
        on_other_engines["redirectorImage"] = ["the redirector"]
    if has_egress_proxy(args):
        on_other_engines["egressProxyImage"] = elsewhere
    for key in ("nodeImage", "redirectorImage", "notebookImage", "egressProxyImage"):
        image = str(args.get(key, ""))
        users = on_other_engines.get(key)
        errors += _unpinned(key, image)
        if not image and users:
            reason = f"{', '.join(users)} pull it by digest from a registry; `make push` builds and pushes it"
            errors.append({"property_path": key, "reason": reason})
    for number, node in enumerate(args["nodes"]):
        errors += _unpinned(f"nodes[{number}].image", node.get("image", ""))
    return errors


def _unpinned(path: str, image: str) -> list[pulumi.InputPropertyErrorDetails]:
    """The mistake in an image that is named, but not by digest."""
    if not image or "sha256:" in image:
        return []
    return [{"property_path": path, "reason": f"{image} is not pinned; name it by digest (name@sha256:…)"}]


def _check_names(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in the names of nodes and in what follows from their numbers: ranges, and ports of one engine."""
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
    for number, node in enumerate(args["nodes"]):
        path, name = f"nodes[{number}]", node["name"]
        if not NODE_NAME.fullmatch(name) or node_number(name) == 0:
            reason = f"{name!r} is no name of a node; letters and a number from 1, like tmp01"
            errors.append({"property_path": f"{path}.name", "reason": reason})
            continue
        engine = engine_of(args, node)
        place = (engine, node_number(name) % places)
        other = taken.setdefault(place, name)
        if (place[1] == 0 and not is_on_ec2(engine)) or other != name:
            reason = (
                f"{name} and {other if other != name else 'the redirector'} would have one range of {pool} on {engine}"
            )
            errors.append(
                {"property_path": f"{path}.name", "reason": f"{reason}; take another number or a larger pool"}
            )
    return errors + _check_ports(args)


def _check_ports(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Ports that two want of one engine's host, those of nodes' administrations among them."""
    nodes = [(number, node) for number, node in enumerate(args["nodes"]) if node_number(node["name"])]
    # First, since they follow from a node's number: what collides with one takes another port.
    users = {
        (engine, ADMIN_PORT + node_number(node["name"])): f"the administration of {node['name']}"
        for _, node in nodes
        if not is_on_ec2(engine := engine_of(args, node))
    }
    wanted = [("", "the redirector", redirector_engine(args), redirector_port(args))]
    wanted += [
        (f"nodes[{number}].", node["name"], engine_of(args, node), node_port(args, node)) for number, node in nodes
    ]
    errors: list[pulumi.InputPropertyErrorDetails] = []
    for path, name, engine, own in wanted:
        for port in visitor_ports(args, own):
            user = users.setdefault((engine, port), name)
            if user != name:
                errors.append(_port_taken(path, port, user, engine, acme=not is_local(args)))
    return errors


def _port_taken(path: str, port: int, user: str, engine: str, *, acme: bool) -> pulumi.InputPropertyErrorDetails:
    """The mistake in a node whose port another one has, which nothing but another engine mends where it is `ACME`."""
    if acme and port == ACME:
        reason = (
            f"{engine} has {user}, and Let's Encrypt asks each on port {ACME}; with a domain, each has its own engine"
        )
        return {"property_path": f"{path}engine", "reason": reason}
    return {"property_path": f"{path}port", "reason": f"{port} is the port of {user} on {engine} as well"}


def _check_addresses(args: TmpnbNodePoolArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in where visitors reach nodes and the redirector, and in what belongs to hosts on EC2 alone."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def check(path: str, engine: str, address: str | None, port: int) -> None:
        if "ec2" in args and not is_on_ec2(engine) and address is None:
            reason = f"its record in {args['ec2']['zone']} needs the IPv4 address of the host of {engine}"
            errors.append({"property_path": f"{path}address", "reason": reason})
        elif address is not None and ("ec2" not in args or is_on_ec2(engine)):
            reason = "only with `ec2` and an engine has it a record with an address that the stack does not know"
            errors.append({"property_path": f"{path}address", "reason": reason})
        elif address is not None and not _is_ipv4(address):
            reason = f"{address!r} is no IPv4 address; write it like 203.0.113.7"
            errors.append({"property_path": f"{path}address", "reason": reason})
        if is_local(args) and is_elsewhere(engine):
            domain = args.get("domain", DEFAULT_DOMAIN)
            reason = (
                f"{engine} is another machine, and browsers take {domain} for their own; set hubstack:domain to a name"
            )
            errors.append({"property_path": f"{path}engine", "reason": reason})
        if not 1 <= port <= HIGHEST_PORT:
            errors.append({"property_path": f"{path}port", "reason": f"{port} is no TCP port; 1 to {HIGHEST_PORT}"})
        elif is_on_ec2(engine) and port != HTTPS:
            reason = f"{port}: hosts on EC2 let visitors in on {HTTPS} alone; leave it out"
            errors.append({"property_path": f"{path}port", "reason": reason})

    check("", redirector_engine(args), args.get("address"), redirector_port(args))
    for number, node in enumerate(args["nodes"]):
        path, engine = f"nodes[{number}].", engine_of(args, node)
        check(path, engine, node.get("address"), node_port(args, node))
        if "instanceType" in node and not is_on_ec2(engine):
            reason = f"{node['name']} runs on {engine}, which has no instance type"
            errors.append({"property_path": f"{path}instanceType", "reason": reason})
    return errors


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


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
