"""One round of a host: `python3 -m runtime.swarm_node NODE FOLDER STATE`.

NODE is the file that the host's user data wrote, FOLDER the unpacked bundle, STATE a folder for notes.

A timer calls it every few seconds. Each round looks at what is and does what lacks, so that a host that was killed at
any moment goes on in the next.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3  # pyright: ignore[reportMissingTypeStubs]  (it ships none)
import docker
from botocore.exceptions import ClientError
from docker.errors import APIError, NotFound

from runtime.home_volumes.plugin import ensure_plugin
from runtime.home_volumes.pool import write_minimum_size
from runtime.open_network import ensure_node_network, ensure_swarm_network
from runtime.swarm_node import leader, membership
from runtime.swarm_node.invitations import write_invitation
from runtime.swarm_node.metadata import metadata
from runtime.swarm_node.settings import Deployment, Node, NodeRole, load_deployment, load_node

TERMINATED = "Terminated"
"""What the metadata service says of an instance that its Auto Scaling group ends."""

APPLIED_FILE = "applied"
ENGINE_SECONDS = 300

log = logging.getLogger("hubstack-node")


def main(arguments: Sequence[str]) -> int:
    """Do what lacks; 0 when all is done, 1 when the next round must come back to something."""
    file, folder, state = (Path(argument) for argument in arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    node, deployment = load_node(file), load_deployment(folder)
    # The engine that the command line's client talks to as well.
    client = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto", timeout=ENGINE_SECONDS)
    try:
        if node.group and metadata("autoscaling/target-lifecycle-state") == TERMINATED:
            go(client, node)
            return 0
        prepare(client, node, deployment)
        secrets: Any = boto3.client("secretsmanager")  # pyright: ignore[reportUnknownMemberType]
        membership.become_member(client, node, metadata("local-ipv4"), deployment, secrets)
        if node.role is NodeRole.MANAGER:
            lead(client, node, deployment, secrets, folder, state / APPLIED_FILE)
    except membership.NotYetError as reason:
        log.info("%s", reason)
        return 1
    except subprocess.CalledProcessError as error:
        log.warning("%s: %s", " ".join(error.cmd[:3]), error.stderr.strip())
        return 1
    except APIError as error:
        log.warning("the engine refused: %s", error.explanation)
        return 1
    except ClientError as error:
        log.warning("AWS refused: %s", error)
        return 1
    finally:
        client.close()
    return 0


def go(client: docker.APIClient, node: Node) -> None:
    """Leave the swarm, and let the Auto Scaling group end the host."""
    membership.leave(client)
    scaling: Any = boto3.client("autoscaling")  # pyright: ignore[reportUnknownMemberType]
    scaling.complete_lifecycle_action(
        LifecycleHookName=node.lifecycle_hook,
        AutoScalingGroupName=node.group,
        InstanceId=metadata("instance-id"),
        LifecycleActionResult="CONTINUE",
    )
    log.info("left the swarm: the group ends this host")


def prepare(client: docker.APIClient, node: Node, deployment: Deployment) -> None:
    """Hold the images, and on a worker what servers need: the homes' driver and their way out.

    Before the host joins: nothing is placed on it that it could not run. Swarm's own pulls would need a registry's
    token, which ends after hours; the host has a helper that renews its own.
    """
    for image in deployment.images[node.role]:
        try:
            client.inspect_image(image)
        except NotFound:
            log.info("pulling %s", image)
            subprocess.run(["docker", "pull", "--quiet", image], check=True, capture_output=True, text=True)
    if node.role is NodeRole.MANAGER:
        Path(deployment.hub_data).mkdir(parents=True, exist_ok=True)
        return
    Path(deployment.home_pool).mkdir(parents=True, exist_ok=True)
    write_minimum_size(Path(deployment.home_pool), deployment.home_bytes)
    ensure_plugin(client, deployment.home_driver, deployment.home_image, deployment.home_pool)
    if deployment.open_subnet:
        ensure_node_network(client, node.stack, deployment.open_subnet)


def lead(
    client: docker.APIClient, node: Node, deployment: Deployment, secrets: Any, folder: Path, applied: Path
) -> None:
    """On the swarm's leader, look after the swarm and the stack; nothing on another manager."""
    nodes = client.nodes()
    if not leader.is_leader(nodes, membership.swarm_of(client)["NodeID"]):
        return
    for role, invitation in membership.invitations(client).items():
        write_invitation(secrets, node.invitations[role], invitation)
    for lost in leader.gone(nodes, datetime.now(UTC)):
        log.info("%s is gone", lost["ID"])
        leader.forget(client, lost)
    leader.place_hub(client, client.nodes(), node.stack)
    if deployment.open_subnet:
        ensure_node_network(client, node.stack, deployment.open_subnet)
        ensure_swarm_network(client, node.stack)
    version = leader.keep_secrets(client, node.stack, secrets, node.hub_secret)
    if leader.deploy(node.stack, folder, version, applied):
        log.info("deployed the stack with secrets of version %s", version)
    leader.sweep(client, node.stack, version)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
