"""Pre-pulling: a global service whose tasks hold an image on every node, new ones included."""

import pulumi
import pulumi_docker as docker

from components.docker.labels import Role, labels


def pre_puller(name: str, *, stack: str, image: pulumi.Input[str], opts: pulumi.ResourceOptions) -> docker.Service:
    """Run a task on each node that does nothing but keep `image` there, pulled and safe from pruning.

    A node that joins later gets its task from Swarm, without an update. An image by id is only on the node that built
    it; several nodes need one that a registry serves, by digest.
    """
    return docker.Service(
        name,
        name=name,
        labels=[docker.ServiceLabelArgs(**label) for label in labels(stack, Role.PRE_PULLER)],
        mode=docker.ServiceModeArgs(global_=True),
        task_spec=docker.ServiceTaskSpecArgs(
            container_spec=docker.ServiceTaskSpecContainerSpecArgs(
                image=image,
                commands=["tini", "--", "sleep", "infinity"],
                read_only=True,
                cap_drops=["ALL"],
                user="1000:100",
                labels=[
                    docker.ServiceTaskSpecContainerSpecLabelArgs(**label) for label in labels(stack, Role.PRE_PULLER)
                ],
            ),
            resources=docker.ServiceTaskSpecResourcesArgs(
                limits=docker.ServiceTaskSpecResourcesLimitsArgs(memory_bytes=16 * 2**20, nano_cpus=50_000_000)
            ),
        ),
        opts=opts,
    )
