"""A host's way into the swarm and out of it."""

from typing import Any

import docker

from runtime.swarm_node.invitations import Invitation, read_invitation
from runtime.swarm_node.settings import Deployment, Node, NodeRole

SUBNET_SIZE = 24
"""Prefix length of networks that Swarm cuts from its own range."""

MANAGER_PORT = 2377
ACTIVE = "active"
HALF_WAY = ("pending", "error")


class NotYetError(Exception):
    """Something that another host must do first is not done; the next round comes back to it."""


def swarm_of(client: docker.APIClient) -> dict[str, Any]:
    """What the engine says of its swarm."""
    return client.info()["Swarm"]


def become_member(client: docker.APIClient, node: Node, address: str, deployment: Deployment, secrets: Any) -> None:
    """Join the swarm unless the host is in it; the founder makes it if there is none.

    Args:
        client: the host's engine.
        node: the host.
        address: where the other hosts reach it.
        deployment: the stack.
        secrets: boto3's client of Secrets Manager.

    Raises:
        NotYetError: there is no swarm, and another host makes it.
    """
    state = swarm_of(client)["LocalNodeState"]
    if state == ACTIVE:
        return
    if state in HALF_WAY:
        # A join that did not come through goes on in the engine for ever, with what is known of the managers by then.
        client.leave_swarm(force=True)
    invitation = read_invitation(secrets, node.invitations[node.role])
    if invitation is not None:
        client.join_swarm(remote_addrs=list(invitation.managers), join_token=invitation.token, advertise_addr=address)
    elif node.founder:
        client.init_swarm(advertise_addr=address, default_addr_pool=[deployment.swarm_pool], subnet_size=SUBNET_SIZE)
    else:
        raise NotYetError("there is no swarm yet; its first manager makes it")


def invitations(client: docker.APIClient) -> dict[NodeRole, Invitation]:
    """How to join the swarm that this host manages, by role."""
    tokens = client.inspect_swarm()["JoinTokens"]
    managers = sorted(
        node["ManagerStatus"]["Addr"]
        for node in client.nodes()
        if node.get("ManagerStatus", {}).get("Reachability") == "reachable"
    )
    return {
        NodeRole.MANAGER: Invitation(tokens["Manager"], tuple(managers)),
        NodeRole.WORKER: Invitation(tokens["Worker"], tuple(managers)),
    }


def leave(client: docker.APIClient) -> None:
    """Leave the swarm: its servers stop, and their homes are put away."""
    if swarm_of(client)["LocalNodeState"] == ACTIVE:
        client.leave_swarm()
