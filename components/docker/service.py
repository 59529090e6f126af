"""A Swarm service of the platform with the settings that all of them share."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_docker as docker

from components.docker.labels import Role, labels
from components.quotas import parse_size

STOP_GRACE_PERIOD = "30s"
"""Time between SIGTERM and SIGKILL. Unset, the provider sends 0 s, and every update would kill the hub's database.

The provider waits as long for the containers of a service that it deletes, at least 5 s, and fails if they still run.
"""


class PlatformService(TypedDict):
    """What differs between the platform's services."""

    role: Role
    image: pulumi.Input[str]
    """By id or digest, never by tag: Swarm would ask a registry for a tag at every start."""
    command: Sequence[str]
    cpu: float
    memory: str
    networks: Sequence[tuple[docker.Network, Sequence[str]]]
    """Networks to join, each with the aliases of the service there."""
    environment: NotRequired[Mapping[str, pulumi.Input[str]]]
    secrets: NotRequired[Mapping[str, docker.Secret]]
    """Secrets by the file name that they get below `/run/secrets`."""
    configs: NotRequired[Mapping[str, docker.ServiceConfig]]
    """Configuration files by their path."""
    mounts: NotRequired[Sequence[docker.ServiceTaskSpecContainerSpecMountArgs]]
    published_port: NotRequired[int]
    target_port: NotRequired[int]
    keeps_data: NotRequired[bool]
    """Whether it gets `STOP_GRACE_PERIOD` to put its data in order before it is killed. Default False."""
    start_first: NotRequired[bool]
    """Whether an update starts the new task before it stops the old one. Default False."""


def platform_service(name: str, stack: str, spec: PlatformService, opts: pulumi.ResourceOptions) -> docker.Service:
    """Declare one replica on the manager: limited, without capabilities, on a read-only root.

    Names are served without virtual addresses (`dnsrr`) and ports in `host` mode: neither needs IPVS in the kernel,
    and the client's address is kept.
    """
    marks = labels(stack, spec["role"])
    port = spec.get("published_port")
    ports = (
        [
            docker.ServiceEndpointSpecPortArgs(
                published_port=port, target_port=spec.get("target_port", port), publish_mode="host"
            )
        ]
        if port
        else None
    )
    container = docker.ServiceTaskSpecContainerSpecArgs(
        image=spec["image"],
        commands=["tini", "--"],
        args=list(spec["command"]),
        env=dict(spec.get("environment", {})),
        read_only=True,
        cap_drops=["ALL"],
        stop_grace_period=STOP_GRACE_PERIOD if spec.get("keeps_data") else None,
        labels=[docker.ServiceTaskSpecContainerSpecLabelArgs(**mark) for mark in marks],
        secrets=[
            docker.ServiceTaskSpecContainerSpecSecretArgs(
                secret_id=secret.id, secret_name=secret.name, file_name=f"/run/secrets/{file}", file_mode=0o400
            )
            for file, secret in sorted(spec.get("secrets", {}).items())
        ],
        configs=[
            docker.ServiceTaskSpecContainerSpecConfigArgs(
                config_id=config.id, config_name=config.name, file_name=path, file_mode=0o444
            )
            for path, config in sorted(spec.get("configs", {}).items())
        ],
        mounts=[
            docker.ServiceTaskSpecContainerSpecMountArgs(
                target="/tmp",  # noqa: S108  (the container's own)
                type="tmpfs",
                tmpfs_options=docker.ServiceTaskSpecContainerSpecMountTmpfsOptionsArgs(size_bytes=parse_size("64M")),
            ),
            *spec.get("mounts", []),
        ],
    )
    return docker.Service(
        name,
        name=name,
        labels=[docker.ServiceLabelArgs(**mark) for mark in marks],
        mode=docker.ServiceModeArgs(replicated=docker.ServiceModeReplicatedArgs(replicas=1)),
        task_spec=docker.ServiceTaskSpecArgs(
            container_spec=container,
            networks_advanceds=[
                docker.ServiceTaskSpecNetworksAdvancedArgs(id=network.id, aliases=list(aliases))
                for network, aliases in spec["networks"]
            ],
            placement=docker.ServiceTaskSpecPlacementArgs(constraints=["node.role==manager"]),
            resources=docker.ServiceTaskSpecResourcesArgs(
                limits=docker.ServiceTaskSpecResourcesLimitsArgs(
                    memory_bytes=parse_size(spec["memory"]), nano_cpus=int(spec["cpu"] * 1e9)
                )
            ),
            restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(condition="any", delay="1s", window="5s"),
        ),
        endpoint_spec=docker.ServiceEndpointSpecArgs(mode="dnsrr", ports=ports),
        update_config=docker.ServiceUpdateConfigArgs(
            parallelism=1,
            order="start-first" if spec.get("start_first") else "stop-first",
            failure_action="rollback",
            monitor="5s",
        ),
        converge_config=docker.ServiceConvergeConfigArgs(delay="1s", timeout="2m"),
        opts=opts,
    )
