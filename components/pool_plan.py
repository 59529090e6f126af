"""What the nodes, the redirector, the engines and the instances of a `TmpnbNodePool` are, everything filled in."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pulumi

from components.aws.tmpnb_plan import NodeHost
from components.docker.overlay import parse_pool
from components.docker.pool_preflight import EngineShare
from components.docker.redirector import PoolNode, RedirectorSettings, redirector_group
from components.docker.tmpnb_node import node_group
from components.docker.tmpnb_plan import NodeSettings
from components.egress import EgressProfile
from components.pool_arguments import (
    BURST_AT_REDIRECTOR,
    DEFAULT_BURST,
    DEFAULT_CAPACITY,
    DEFAULT_DOMAIN,
    DEFAULT_DRAIN_SECONDS,
    DEFAULT_LANDING,
    DEFAULT_PER_MINUTE,
    DEFAULT_POOL,
    DEFAULT_STARTS_AT_ONCE,
    HTTPS,
    RATE_AT_REDIRECTOR,
    TmpnbNodeArgs,
    TmpnbNodePoolArgs,
    declared_nodes,
    engine_of,
    has_egress_proxy,
    https_url,
    is_local,
    is_on_ec2,
    node_number,
    node_port,
    node_quota,
    node_type,
    redirector_engine,
    redirector_port,
    redirector_url,
    visitor_ports,
)
from components.quotas import user_quota_document
from runtime.container_group import GroupSpec


def node_capacity(args: TmpnbNodePoolArgs, node: TmpnbNodeArgs) -> int:
    """Servers that a node may have."""
    return int(node.get("capacity", args.get("capacity", DEFAULT_CAPACITY)))


def default_burst(capacity: int) -> int:
    """Servers of a node that one address may have where nobody says: half of them, so that others get some as well."""
    return min(DEFAULT_BURST, max(1, capacity // 2))


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
            capacity=node_capacity(args, node),
            quota=user_quota_document(node_quota(args, node)),
            profile=EgressProfile(args.get("egressProfile", EgressProfile.CLOSED)),
            pool=args.get("addressPool", DEFAULT_POOL),
            landing=args.get("landing", DEFAULT_LANDING),
            burst=int(args.get("visitorBurst", default_burst(node_capacity(args, node)))),
            per_minute=float(args.get("visitorsPerMinute", DEFAULT_PER_MINUTE)),
            drain_seconds=int(args.get("drainSeconds", DEFAULT_DRAIN_SECONDS)),
            starts_at_once=int(args.get("startsAtOnce", DEFAULT_STARTS_AT_ONCE)),
            redirector=redirector_url(args),
            acme_email="" if is_local(args) else args.get("email", ""),
            domains=tuple(args.get("egressDomains", ())),
            ports=tuple(int(port) for port in args.get("egressPorts", ())),
        )
        for node in sorted(args["nodes"], key=lambda node: node["name"])
    ]


def redirector_settings(name: str, args: TmpnbNodePoolArgs, nodes: list[NodeSettings]) -> RedirectorSettings:
    """What the redirector is; its networks lie in the range of node number 0, which no node has."""
    engine = redirector_engine(args)
    base = parse_pool(args.get("addressPool", DEFAULT_POOL)).network_address
    declared = declared_nodes(args)
    listed: list[PoolNode] = [{"name": node.name, "url": node.url, "stats": f"{node.url}/api/stats"} for node in nodes]
    return RedirectorSettings(
        stack=name,
        domain=args.get("domain", DEFAULT_DOMAIN),
        port=redirector_port(args),
        subnet=f"{base}/25",
        nodes=listed,
        own_certificate=is_local(args),
        acme_email="" if is_local(args) else args.get("email", ""),
        nodes_on_host=[node.name for node in nodes if engine_of(args, declared[node.name]) == engine],
        burst=BURST_AT_REDIRECTOR * int(args.get("visitorBurst", DEFAULT_BURST)),
        per_minute=RATE_AT_REDIRECTOR * float(args.get("visitorsPerMinute", DEFAULT_PER_MINUTE)),
    )


def engine_shares(name: str, args: TmpnbNodePoolArgs) -> list[EngineShare]:
    """What the pool wants of each engine that is there already, for `require_engines`."""
    redirector = redirector_engine(args)
    nodes: dict[str, list[NodeSettings]] = {redirector: []}
    ports: dict[str, list[int]] = {redirector: [*visitor_ports(args, redirector_port(args))]}
    images: dict[str, list[str]] = {redirector: [image] if (image := args.get("redirectorImage", "")) else []}
    settings, declared = node_settings(name, args), declared_nodes(args)
    front = redirector_group(redirector_settings(name, args, settings))
    platform = Counter({redirector: group_bytes(front)})
    for node in settings:
        engine = engine_of(args, declared[node.name])
        if is_on_ec2(engine):
            continue
        nodes.setdefault(engine, []).append(node)
        platform[engine] += group_bytes(node_group(node))
        ports.setdefault(engine, []).extend([*visitor_ports(args, node.port), node.admin_port])
        given = [args.get("nodeImage", ""), declared[node.name].get("image") or args.get("notebookImage", "")]
        given += [args.get("egressProxyImage", "")] if node.has_egress_proxy else []
        images.setdefault(engine, []).extend(image for image in given if image)
    pool = args.get("addressPool", DEFAULT_POOL)
    return [
        EngineShare(
            engine, name, there, tuple(ports[engine]), tuple(sorted(set(images[engine]))), pool, platform[engine]
        )
        for engine, there in sorted(nodes.items())
        if not is_on_ec2(engine)
    ]


def group_bytes(group: GroupSpec) -> int:
    """Memory that a group's containers may take together."""
    return sum(container["memory_bytes"] for container in group["containers"].values())


def platform_bytes(nodes: Sequence[NodeSettings]) -> dict[str, int]:
    """Memory that the containers of each node's own may take, by its name."""
    return {node.name: group_bytes(node_group(node)) for node in nodes}


def engines_asked(args: TmpnbNodePoolArgs) -> list[tuple[str, int]]:
    """Address and port of the nodes on engines that a redirector on EC2 asks elsewhere than at the port of HTTPS."""
    if not is_on_ec2(redirector_engine(args)):
        return []
    elsewhere = {
        (node.get("address", ""), node_port(args, node))
        for node in args["nodes"]
        if not is_on_ec2(engine_of(args, node))
    }
    return sorted((address, port) for address, port in elsewhere if port != HTTPS)


def hosted_nodes(args: TmpnbNodePoolArgs) -> list[NodeHost]:
    """The nodes that run on instances, with what these must have."""
    found: list[NodeHost] = []
    for number, node in enumerate(args["nodes"]):
        if not is_on_ec2(engine_of(args, node)):
            continue
        path = f"nodes[{number}]"
        found.append(
            NodeHost(
                name=node["name"],
                type_path=f"{path}.instanceType" if "instanceType" in node else "workerType",
                instance_type=node_type(args, node),
                servers=node_capacity(args, node),
                memory=node_quota(args, node).get("memory", ""),
                capacity_path=f"{path}.capacity" if "capacity" in node else "capacity",
            )
        )
    return found


def hosted_images(args: TmpnbNodePoolArgs) -> dict[str, str]:
    """The images that hosts on EC2 pull, by the argument that names each."""
    found: dict[str, str] = {}
    if is_on_ec2(redirector_engine(args)):
        found["redirectorImage"] = args.get("redirectorImage", "")
    for number, node in enumerate(args["nodes"]):
        if not is_on_ec2(engine_of(args, node)):
            continue
        found["nodeImage"] = args.get("nodeImage", "")
        if "image" in node:
            found[f"nodes[{number}].image"] = node["image"]
        else:
            found["notebookImage"] = args.get("notebookImage", "")
        if has_egress_proxy(args):
            found["egressProxyImage"] = args.get("egressProxyImage", "")
    return found


def named_images(group: GroupSpec, images: Mapping[str, pulumi.Input[str]]) -> dict[str, str]:
    """The images that a group's containers use, each named by digest as `check_tmpnb_node_pool` demands on EC2."""
    used = {
        short
        for one in group["containers"].values()
        for short in (one["image"], *one.get("image_variables", {}).values())
    }
    return {short: str(images[short]) for short in sorted(used)}
