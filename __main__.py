"""Deploy the topology that the stack's configuration names."""

import gc

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

import components
from components.settings import StackSettings, Topology, parse_settings


def export(**outputs: pulumi.Input[object]) -> None:
    """The stack's outputs."""
    for name, value in outputs.items():
        pulumi.export(name, value)


def deploy_swarm(name: str, settings: StackSettings) -> None:
    """A hub on a Docker Swarm."""
    cluster = components.SwarmCluster(name, settings.swarm_cluster())
    export(
        url=cluster.url, password=cluster.password, adminPassword=cluster.adminPassword, homesVolume=cluster.homesVolume
    )


def deploy_ec2_hub(name: str, settings: StackSettings) -> None:
    """A hub that gives each user an EC2 instance."""
    cluster = components.Ec2HubCluster(name, settings.ec2_hub_cluster())
    export(
        url=cluster.url,
        password=cluster.password,
        adminPassword=cluster.adminPassword,
        managerAddress=cluster.managerAddress,
        monthlyCost=cluster.monthlyCost,
    )


def deploy_ephemeral_hub(name: str, settings: StackSettings) -> None:
    """A hub on Kubernetes for visitors."""
    # Stacks of other topologies need no client of Kubernetes.
    from components.kubernetes.hub_preflight import require_place  # noqa: PLC0415

    args = settings.ephemeral_hub()
    require_place(name, args)
    hub = components.EphemeralHub(name, args)
    export(url=hub.url, password=hub.password, namespace=hub.namespace, contentLinks=hub.contentLinks)


def deploy_platform(name: str, settings: StackSettings) -> None:
    """Notebooks as objects of a Kubernetes cluster."""
    from components.kubernetes.platform_preflight import require_free_cluster  # noqa: PLC0415

    args = settings.notebook_platform()
    require_free_cluster(name, args)
    platform = components.NotebookPlatform(name, args)
    export(namespace=platform.namespace, userGroup=platform.userGroup, urls=platform.urls)


def deploy_tmpnb(name: str, settings: StackSettings) -> None:
    """Temporary notebooks on any number of nodes."""
    from components.docker.pool_preflight import require_engines  # noqa: PLC0415
    from components.pool_plan import engine_shares  # noqa: PLC0415

    args = settings.tmpnb_node_pool()
    require_engines(engine_shares(name, args))
    pool = components.TmpnbNodePool(name, args)
    export(url=pool.url, urls=pool.nodeUrls, adminToken=pool.adminToken)


TOPOLOGIES = {
    Topology.SWARM: deploy_swarm,
    Topology.EC2HUB: deploy_ec2_hub,
    Topology.EPHEMERAL: deploy_ephemeral_hub,
    Topology.PLATFORM: deploy_platform,
    Topology.TMPNB: deploy_tmpnb,
}

# All that a program declares is alive until it ends: each look for garbage goes through more and finds nothing.
gc.disable()
configuration = CONFIG.get()
parsed = parse_settings(
    configuration,
    pulumi.get_project(),
    stack=pulumi.get_stack(),
    secret_keys=[*filter(is_config_secret, configuration)],
)
TOPOLOGIES[parsed.topology](f"{pulumi.get_project()}-{pulumi.get_stack()}", parsed)
pulumi.export("users", [user.name for user in parsed.users])
