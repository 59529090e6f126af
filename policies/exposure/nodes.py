"""Nodes of a pool: their administration, the images of their servers and how the redirector reaches them."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from policies.container_group import containers
from policies.findings import Finding, undecided, violation
from policies.hub_settings import Settings
from policies.iam_documents import as_list
from policies.pool_settings import REDIRECTOR, is_node_service, on_pool_settings
from policies.reader import UNKNOWN, Value, as_mapping, entries, items, read
from policies.registry import REGISTRY
from policies.resource_types import CONTAINER, CONTAINER_GROUP


@REGISTRY.check(
    "node-admin-loopback",
    family="exposure",
    severity="critical",
    types=(CONTAINER,),
    remediation="Publish it on 127.0.0.1, and reach it by SSH.",
)
def node_admin_loopback(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A node's service shows its administration to its own host alone, as tmpnb did (CIS Docker 5.14)."""
    service = is_node_service(properties)
    for port in items(properties, "ports") if service is not False else ():
        address = read(port, "ip")
        if address is UNKNOWN:
            yield undecided("the address of a published port")
        elif service is UNKNOWN:
            # Whatever it is then, a port of its own is none that it may publish (`published-port`).
            continue
        elif not _is_loopback(address):
            yield violation(f"publishes port {read(port, 'external')} on {address!r}")


def _is_loopback(address: Value) -> bool:
    try:
        return ipaddress.ip_address(str(address)).is_loopback
    except ValueError:
        return False


@REGISTRY.check(
    "node-image-pinned",
    family="exposure",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Name the image by id or digest.",
)
def node_image_pinned(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The servers that a node starts by itself run what was tested: their image is named by content, too.

    An image that is unknown at preview is one that this update makes; the check decides before the update uses it.
    """
    for name, container in containers(properties):
        for variable, short in entries(container, "image_variables"):
            image = None if short is UNKNOWN else read(properties, "images", str(short))
            if image is not None and image is not UNKNOWN and "sha256:" not in str(image):
                yield violation(f"container {name}: starts {image!r} ({variable}), which is another image tomorrow")


@REGISTRY.check(
    "redirector-nodes-over-tls",
    family="exposure",
    severity="high",
    types=(CONTAINER_GROUP,),
    remediation="Write the addresses of nodes and of their stats as https://.",
)
@on_pool_settings(REDIRECTOR)
def redirector_nodes_over_tls(settings: Settings, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Visitors, whose addresses hold the token of their server, and the redirector itself reach nodes over TLS."""
    nodes = as_list(settings.get("nodes"))
    if not nodes:
        yield violation(f"has no list of nodes that can be read (nodes is {settings.get('nodes')!r})")
    for node in map(as_mapping, nodes):
        for key in ("url", "stats"):
            if not str(node.get(key)).startswith("https://"):
                yield violation(f"reaches {key} of the node {node.get('name')!r} without TLS ({node.get(key)!r})")
