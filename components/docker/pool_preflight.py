"""What stands in the way of a pool on its engines, asked before anything is made; everything is listed at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import docker
import pulumi
from docker.errors import APIError, NotFound

from components.docker.inspection import (
    EngineUnreachableError,
    engine_client,
    is_local,
    networks_in_use,
    port_user,
    routes_in_use,
    section,
)
from components.docker.lost_engines import VARIABLE, advice, is_lost
from components.docker.overlay import collisions
from components.docker.tmpnb_egress import bridges
from components.docker.tmpnb_plan import NodeSettings
from runtime.container_group import GROUP_LABEL, STACK_LABEL

ENGINES_AT_ONCE = 32

SYSTEM_BYTES = 2**29
"""Memory that the host's system and its engine take at least."""


@dataclass(frozen=True)
class EngineShare:
    """What a pool wants of one engine."""

    engine: str
    stack: str
    nodes: Sequence[NodeSettings]
    ports: Sequence[int]
    """Ports that are published there, the redirector's among them."""
    images: Sequence[str]
    """Images by digest or id that it must have or be able to pull."""
    pool: str
    """Range that the networks are cut from."""
    platform_bytes: int = 0
    """Memory that the containers of the nodes' and the redirector's own may take there."""


def require_engines(shares: Sequence[EngineShare]) -> None:
    """Ask all engines at once whether they can take what the pool wants of them, but for those that are lost.

    Raises:
        pulumi.RunError: some cannot; the message lists everything.
    """
    for share in shares:
        if is_lost(share.engine):
            pulumi.warn(
                f"nothing is asked of the engine at {share.engine}: {VARIABLE} says that it is lost; take its lines out"
            )
    asked = [share for share in shares if not is_lost(share.engine)]
    with ThreadPoolExecutor(ENGINES_AT_ONCE) as pool:
        mistakes = [sentence for found in pool.map(engine_mistakes, asked) for sentence in found]
    if mistakes:
        lines = "\n".join(f"  {sentence}" for sentence in mistakes)
        raise pulumi.RunError(f"the pool cannot be deployed, {len(mistakes)} mistake(s):\n{lines}")


def engine_mistakes(share: EngineShare) -> list[str]:
    """What stands in the way on one engine, a sentence each."""
    try:
        with engine_client(share.engine) as client:
            return (
                memory_mistakes(share, int(client.info()["MemTotal"]))
                + _port_mistakes(client, share)
                + _range_mistakes(client, share)
                + _image_mistakes(client, share)
            )
    except EngineUnreachableError as error:
        reason = str(error).replace("hubstack:engine", "the engine of its nodes (hubstack:tmpnb.nodes)")
        return [f"{reason}; {advice(share.engine)}"]
    except APIError as error:
        return [f"the engine at {share.engine} refused: {error.explanation}"]
    except OSError as error:
        return [f"the engine at {share.engine} stopped answering ({error}); try again"]


def memory_mistakes(share: EngineShare, total_bytes: int) -> list[str]:
    """Whether the host has the memory of every server that it may run at once, of the pool's own and some for itself."""
    wanted = sum(int(node.capacity * node.quota["memory_bytes"]) for node in share.nodes)
    own = share.platform_bytes + SYSTEM_BYTES
    if wanted + own <= total_bytes:
        return []
    names = ", ".join(
        f"{node.name} ({node.capacity} x {_gibibytes(node.quota['memory_bytes'])})" for node in share.nodes
    )
    return [
        f"{share.engine} has {_gibibytes(total_bytes)} of memory, and its servers may take {_gibibytes(wanted)} beside "
        f"{_gibibytes(own)} for the pool's containers and the system: {names}; lower capacity or hubstack:userQuota.memory"
    ]


def _gibibytes(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"


def _port_mistakes(client: docker.APIClient, share: EngineShare) -> list[str]:
    found: list[str] = []
    for port in share.ports:
        user = port_user(client, share.engine, port, share.stack)
        if user:
            found.append(f"port {port} on {share.engine} is in use by {user}; stop it or take another port")
    return found


def _range_mistakes(client: docker.APIClient, share: EngineShare) -> list[str]:
    in_use = networks_in_use(client, share.stack)
    if is_local(share.engine):
        mine = {f"{share.stack}-{node.name}" for node in share.nodes} | _nodes_there(client, share.stack)
        in_use += routes_in_use(tuple(bridge for group in sorted(mine) for bridge in bridges(group)))
    advice = "set hubstack:addressPool to a range that nothing uses"
    return [f"{sentence} on {share.engine}; {advice}" for sentence in collisions(share.pool, in_use)]


def _nodes_there(client: docker.APIClient, stack: str) -> set[str]:
    """Nodes of the stack that the engine has, those that this update removes included."""
    networks = client.networks(filters={"label": f"{STACK_LABEL}={stack}"})
    return {f"{stack}-{section(network, 'Labels').get(GROUP_LABEL, '')}" for network in networks}


def _image_mistakes(client: docker.APIClient, share: EngineShare) -> list[str]:
    return [f"{share.engine}: {sentence}" for image in share.images if (sentence := image_mistake(client, image))]


def image_mistake(client: docker.APIClient, image: str) -> str:
    """Why the engine cannot have the image, empty if it has it or its registry does."""
    try:
        client.inspect_image(image)
    except NotFound:
        try:
            client.inspect_distribution(image)
        except APIError as error:
            return f"the image {image} is neither there nor in its registry ({error.explanation}); push it or correct the name"
    return ""
