"""What the nodes, the redirector, the engines and the instances of a `TmpnbNodePool` are, everything filled in."""

from collections.abc import Mapping

import pulumi

from components.aws.tmpnb_plan import NodeHost
from components.docker.overlay import parse_pool
from components.docker.pool_arguments import (
    DEFAULT_BURST,
    DEFAULT_CAPACITY,
    DEFAULT_DOMAIN,
    DEFAULT_DRAIN_SECONDS,
    DEFAULT_LANDING,
    DEFAULT_PER_MINUTE,
    DEFAULT_POOL,
    TmpnbNodePoolArgs,
    declared_nodes,
    engine_of,
    https_url,
    is_local,
    is_on_ec2,
    node_number,
    node_port,
    node_quota,
    node_type,
    redirector_engine,
    redirector_port,
)
from components.docker.pool_preflight import EngineShare
from components.docker.redirector import PoolNode, RedirectorSettings
from components.docker.tmpnb_plan import NodeSettings
from components.egress import EgressProfile
from components.quotas import user_quota_document
from runtime.container_group import GroupSpec


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
            domains=tuple(args.get("egressDomains", ())),
            ports=tuple(int(port) for port in args.get("egressPorts", ())),
        )
        for node in sorted(args["nodes"], key=lambda node: node["name"])
    ]


def redirector_settings(name: str, args: TmpnbNodePoolArgs, nodes: list[NodeSettings]) -> RedirectorSettings:
    """What the redirector is; its networks lie in the range of node number 0, which no node has."""
    engine = redirector_engine(args)
    base = parse_pool(args.get("addressPool", DEFAULT_POOL)).network_address
    listed: list[PoolNode] = [{"name": node.name, "url": node.url, "stats": f"{node.url}/api/stats"} for node in nodes]
    domain, declared = args.get("domain", DEFAULT_DOMAIN), declared_nodes(args)
    return RedirectorSettings(
        stack=name,
        domain=domain,
        port=redirector_port(args),
        subnet=f"{base}/25",
        nodes=listed,
        own_certificate=is_local(args),
        acme_email="" if is_local(args) else args.get("email", ""),
        names_on_host=[f"{node.name}.{domain}" for node in nodes if engine_of(args, declared[node.name]) == engine],
    )


def engine_shares(name: str, args: TmpnbNodePoolArgs) -> list[EngineShare]:
    """What the pool wants of each engine that is there already, for `require_engines`."""
    redirector = redirector_engine(args)
    nodes: dict[str, list[NodeSettings]] = {redirector: []}
    ports: dict[str, list[int]] = {redirector: [redirector_port(args)]}
    images: dict[str, list[str]] = {redirector: [image] if (image := args.get("redirectorImage", "")) else []}
    declared = declared_nodes(args)
    for node in node_settings(name, args):
        engine = engine_of(args, declared[node.name])
        nodes.setdefault(engine, []).append(node)
        ports.setdefault(engine, []).extend([node.port, node.admin_port])
        given = [args.get("nodeImage", ""), declared[node.name].get("image") or args.get("notebookImage", "")]
        given += [args.get("egressProxyImage", "")] if node.has_egress_proxy else []
        images.setdefault(engine, []).extend(image for image in given if image)
    pool = args.get("addressPool", DEFAULT_POOL)
    return [
        EngineShare(engine, name, there, tuple(ports[engine]), tuple(sorted(set(images[engine]))), pool)
        for engine, there in sorted(nodes.items())
        if not is_on_ec2(engine)
    ]


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
                servers=int(node.get("capacity", args.get("capacity", DEFAULT_CAPACITY))),
                memory=node_quota(args, node).get("memory", ""),
                capacity_path=f"{path}.capacity" if "capacity" in node else "capacity",
            )
        )
    return found


def named_images(group: GroupSpec, images: Mapping[str, pulumi.Input[str]]) -> dict[str, str]:
    """The images that a group's containers use, each named by digest as `check_tmpnb_node_pool` demands on EC2."""
    used = {
        short
        for one in group["containers"].values()
        for short in (one["image"], *one.get("image_variables", {}).values())
    }
    return {short: str(images[short]) for short in sorted(used)}
