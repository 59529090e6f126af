"""A service of the platform: what it is, as plain data, and its translation for the engine's provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NotRequired, TypedDict

import pulumi
import pulumi_docker as docker

from components.docker.labels import Role, labels
from components.quotas import parse_size

STOP_GRACE_PERIOD = "55s"
"""Time between SIGTERM and SIGKILL, enough for a hub on a busy machine. A minute and more has two spellings, which the
provider takes for a change. Unset, it sends 0 s, and every update would kill the hub's database.

The provider waits as long for the containers of a service that it deletes, at least 5 s, and fails if they still run.
"""

HOST_NETWORK = "host"
"""The network of each node's host."""

TMP_SIZE = "64M"


class Placement(str, Enum):
    """Which nodes a service's tasks run on."""

    HUB_NODE = "hub-node"
    """One task, on the node of the hub: it and the proxy join users' networks through the engine that they share."""
    MANAGERS = "managers"
    """A task on each manager that is reached from the outside."""
    SERVER_NODES = "server-nodes"
    """A task on each node that users' servers run on, new ones included."""
    EVERY_NODE = "every-node"
    """A task on each node, new ones included."""


class Mount(TypedDict):
    """A folder or volume of the host in the container."""

    type: str
    """`bind` or `volume`."""
    source: str
    """Path on the host, or name of the volume."""
    target: str
    """Path in the container."""


class PlatformService(TypedDict):
    """What differs between the platform's services; networks, secrets and configurations by their short names."""

    role: Role
    command: Sequence[str]
    cpu: float
    memory: str
    placement: Placement
    networks: NotRequired[Mapping[str, Sequence[str]]]
    """Networks to join, each with the aliases of the service there; `HOST_NETWORK` is the host's own."""
    environment: NotRequired[Mapping[str, str]]
    secrets: NotRequired[Sequence[str]]
    """Secrets, each a file of its name below `/run/secrets`."""
    configs: NotRequired[Mapping[str, str]]
    """Configuration files by their path."""
    mounts: NotRequired[Sequence[Mount]]
    user: NotRequired[str]
    """User and group as `1000:100`. Default: the image's."""
    cap_add: NotRequired[Sequence[str]]
    """Capabilities, without which everything is dropped."""
    health_check: NotRequired[Sequence[str]]
    """Command that fails while the service does not work."""
    published_port: NotRequired[int]
    target_port: NotRequired[int]
    keeps_data: NotRequired[bool]
    """Whether it gets `STOP_GRACE_PERIOD` to put its data in order before it is killed. Default False."""


HEALTH_INTERVAL = "5s"
HEALTH_TIMEOUT = "10s"


@dataclass(frozen=True)
class EngineParts:
    """What services refer to, as the engine has it, by short name."""

    networks: Mapping[str, pulumi.Input[str]]
    """Ids of networks."""
    secrets: Mapping[str, docker.Secret]
    configs: Mapping[str, docker.ServiceConfig]

    @property
    def ids(self) -> list[pulumi.Input[str]]:
        """Ids of all of them: another secret or configuration has another id."""
        return [*self.networks.values(), *(found.id for found in (*self.secrets.values(), *self.configs.values()))]


def platform_service(
    name: str,
    stack: str,
    spec: PlatformService,
    image: pulumi.Input[str],
    parts: EngineParts,
    opts: pulumi.ResourceOptions,
    *,
    environment: Mapping[str, pulumi.Input[str]] | None = None,
) -> docker.Service:
    """Declare the service: limited, without capabilities, on a read-only root.

    Names are served without virtual addresses (`dnsrr`) and ports in `host` mode: neither needs IPVS in the kernel,
    and the client's address is kept.

    Args:
        name: name of the service.
        stack: the stack's label.
        spec: what it is.
        image: by id or digest, never by tag: Swarm would ask a registry for a tag at every start.
        parts: what `spec` refers to.
        opts: resource options.
        environment: variables whose values other resources have, beside those of `spec`.
    """
    marks = labels(stack, spec["role"])
    everywhere = spec["placement"] in {Placement.EVERY_NODE, Placement.SERVER_NODES}
    return docker.Service(
        name,
        name=name,
        labels=[docker.ServiceLabelArgs(**mark) for mark in marks],
        mode=docker.ServiceModeArgs(global_=True)
        if everywhere
        else docker.ServiceModeArgs(replicated=docker.ServiceModeReplicatedArgs(replicas=1)),
        task_spec=docker.ServiceTaskSpecArgs(
            container_spec=_container(stack, spec, image, parts, environment or {}),
            networks_advanceds=[
                docker.ServiceTaskSpecNetworksAdvancedArgs(id=parts.networks[network], aliases=list(aliases))
                for network, aliases in spec.get("networks", {}).items()
            ],
            placement=None if everywhere else docker.ServiceTaskSpecPlacementArgs(constraints=["node.role==manager"]),
            resources=docker.ServiceTaskSpecResourcesArgs(
                limits=docker.ServiceTaskSpecResourcesLimitsArgs(
                    memory_bytes=parse_size(spec["memory"]), nano_cpus=int(spec["cpu"] * 1e9)
                )
            ),
            restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(condition="any", delay="1s", window="5s"),
        ),
        endpoint_spec=docker.ServiceEndpointSpecArgs(mode="dnsrr", ports=_ports(spec)),
        update_config=docker.ServiceUpdateConfigArgs(
            parallelism=1, order="stop-first", failure_action="rollback", monitor="5s"
        ),
        # The provider can wait for one task, not for one on each node.
        converge_config=None if everywhere else docker.ServiceConvergeConfigArgs(delay="1s", timeout="2m"),
        opts=opts,
    )


def _ports(spec: PlatformService) -> list[docker.ServiceEndpointSpecPortArgs] | None:
    port = spec.get("published_port")
    if not port:
        return None
    return [
        docker.ServiceEndpointSpecPortArgs(
            published_port=port, target_port=spec.get("target_port", port), publish_mode="host"
        )
    ]


def _container(
    stack: str,
    spec: PlatformService,
    image: pulumi.Input[str],
    parts: EngineParts,
    environment: Mapping[str, pulumi.Input[str]],
) -> docker.ServiceTaskSpecContainerSpecArgs:
    check = spec.get("health_check")
    return docker.ServiceTaskSpecContainerSpecArgs(
        image=image,
        commands=["tini", "--"],
        args=list(spec["command"]),
        env={**spec.get("environment", {}), **environment},
        user=spec.get("user"),
        read_only=True,
        cap_drops=["ALL"],
        cap_adds=list(spec.get("cap_add", ())) or None,
        stop_grace_period=STOP_GRACE_PERIOD if spec.get("keeps_data") else None,
        labels=[docker.ServiceTaskSpecContainerSpecLabelArgs(**mark) for mark in labels(stack, spec["role"])],
        healthcheck=docker.ServiceTaskSpecContainerSpecHealthcheckArgs(
            tests=["CMD", *check], interval=HEALTH_INTERVAL, timeout=HEALTH_TIMEOUT
        )
        if check
        else None,
        secrets=[
            docker.ServiceTaskSpecContainerSpecSecretArgs(
                secret_id=parts.secrets[name].id,
                secret_name=parts.secrets[name].name,
                file_name=f"/run/secrets/{name}",
                file_mode=0o400,
            )
            for name in sorted(spec.get("secrets", ()))
        ],
        configs=[
            docker.ServiceTaskSpecContainerSpecConfigArgs(
                config_id=parts.configs[name].id,
                config_name=parts.configs[name].name,
                file_name=path,
                file_mode=0o444,
            )
            for path, name in sorted(spec.get("configs", {}).items())
        ],
        mounts=[
            docker.ServiceTaskSpecContainerSpecMountArgs(
                target="/tmp",  # noqa: S108  (the container's own)
                type="tmpfs",
                tmpfs_options=docker.ServiceTaskSpecContainerSpecMountTmpfsOptionsArgs(size_bytes=parse_size(TMP_SIZE)),
            ),
            *(docker.ServiceTaskSpecContainerSpecMountArgs(**mount) for mount in spec.get("mounts", ())),
        ],
    )
