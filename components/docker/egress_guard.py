"""The egress guard: a global service whose task filters, on its node, what servers send to the outside."""

from collections.abc import Sequence

import pulumi
import pulumi_docker as docker

from components.docker.labels import Role, labels
from components.docker.service import STOP_GRACE_PERIOD
from components.egress import NEVER_REACHED

GUARD_COMMAND = ("python", "-m", "runtime.egress_guard")
"""What the guard runs; the policy pack lets nothing else onto the host's network."""

CHECK_INTERVAL = "5s"


def guard_arguments(bridge: str, subnet: str, forbidden: Sequence[str] = NEVER_REACHED) -> list[str]:
    """Arguments of `runtime.egress_guard` for the bridge: its servers never reach `forbidden`."""
    return [bridge, subnet, *forbidden]


def egress_guard(
    name: str,
    *,
    stack: str,
    image: pulumi.Input[str],
    host_network: pulumi.Input[str],
    bridge: str,
    subnet: str,
    opts: pulumi.ResourceOptions,
) -> docker.Service:
    """Run the guard on each node, on its host's network with the one right to change the packet filter.

    Args:
        name: the service's name.
        stack: the stack's label.
        image: the hub's image.
        host_network: id, in this swarm, of the network of each node's host.
        bridge: interface that servers leave by.
        subnet: their range on it.
        opts: resource options.
    """
    arguments = guard_arguments(bridge, subnet)
    marks = labels(stack, Role.EGRESS_GUARD)
    return docker.Service(
        name,
        name=name,
        labels=[docker.ServiceLabelArgs(**mark) for mark in marks],
        mode=docker.ServiceModeArgs(global_=True),
        task_spec=docker.ServiceTaskSpecArgs(
            container_spec=docker.ServiceTaskSpecContainerSpecArgs(
                image=image,
                commands=["tini", "--"],
                args=[*GUARD_COMMAND, *arguments],
                read_only=True,
                stop_grace_period=STOP_GRACE_PERIOD,
                cap_drops=["ALL"],
                cap_adds=["CAP_NET_ADMIN"],
                healthcheck=docker.ServiceTaskSpecContainerSpecHealthcheckArgs(
                    tests=["CMD", *GUARD_COMMAND, "--check", *arguments], interval=CHECK_INTERVAL, timeout="10s"
                ),
                labels=[docker.ServiceTaskSpecContainerSpecLabelArgs(**mark) for mark in marks],
            ),
            networks_advanceds=[docker.ServiceTaskSpecNetworksAdvancedArgs(id=host_network)],
            resources=docker.ServiceTaskSpecResourcesArgs(
                limits=docker.ServiceTaskSpecResourcesLimitsArgs(memory_bytes=64 * 2**20, nano_cpus=250_000_000)
            ),
            restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(condition="any", delay="2s", window="0s"),
        ),
        opts=opts,
    )
