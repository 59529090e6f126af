"""Deploy the topology that the stack's configuration names."""

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

import components
from components.settings import StackSettings, Topology, parse_settings


def deploy_swarm(name: str, settings: StackSettings) -> None:
    """A hub on a Docker Swarm."""
    cluster = components.SwarmCluster(name, settings.swarm_cluster())
    pulumi.export("url", cluster.url)
    pulumi.export("password", cluster.password)
    pulumi.export("adminPassword", cluster.adminPassword)
    pulumi.export("homesVolume", cluster.homesVolume)


def deploy_ec2_hub(name: str, settings: StackSettings) -> None:
    """A hub that gives each user an EC2 instance."""
    cluster = components.Ec2HubCluster(name, settings.ec2_hub_cluster())
    pulumi.export("url", cluster.url)
    pulumi.export("password", cluster.password)
    pulumi.export("adminPassword", cluster.adminPassword)
    pulumi.export("managerAddress", cluster.managerAddress)
    pulumi.export("monthlyCost", cluster.monthlyCost)


def deploy_ephemeral_hub(name: str, settings: StackSettings) -> None:
    """A hub on Kubernetes for visitors."""
    # Stacks of other topologies need no client of Kubernetes.
    from components.kubernetes.access_check import require_cluster  # noqa: PLC0415
    from components.kubernetes.hub_arguments import hub_namespace  # noqa: PLC0415
    from components.kubernetes.hub_rights import ephemeral_needs  # noqa: PLC0415
    from components.kubernetes.occupancy import require_namespace  # noqa: PLC0415

    args = settings.ephemeral_hub()
    require_cluster(*ephemeral_needs(name, args))
    require_namespace(hub_namespace(name, args), stack=name, create=args.get("createNamespace", True))
    hub = components.EphemeralHub(name, args)
    pulumi.export("url", hub.url)
    pulumi.export("password", hub.password)
    pulumi.export("namespace", hub.namespace)
    pulumi.export("contentLinks", hub.contentLinks)


def deploy_platform(name: str, settings: StackSettings) -> None:
    """Notebooks as objects of a Kubernetes cluster."""
    # Stacks of other topologies need no client of Kubernetes.
    from components.kubernetes.access_check import require_cluster  # noqa: PLC0415
    from components.notebook_platform import platform_rights  # noqa: PLC0415

    args = settings.notebook_platform()
    require_cluster(*platform_rights(args))
    platform = components.NotebookPlatform(name, args)
    pulumi.export("namespace", platform.namespace)
    pulumi.export("userGroup", platform.userGroup)
    pulumi.export("urls", platform.urls)


TOPOLOGIES = {
    Topology.SWARM: deploy_swarm,
    Topology.EC2HUB: deploy_ec2_hub,
    Topology.EPHEMERAL: deploy_ephemeral_hub,
    Topology.PLATFORM: deploy_platform,
}

configuration = CONFIG.get()
secret_keys = [key for key in configuration if is_config_secret(key)]
parsed = parse_settings(configuration, pulumi.get_project(), secret_keys=secret_keys)
TOPOLOGIES[parsed.topology](f"{pulumi.get_project()}-{pulumi.get_stack()}", parsed)
pulumi.export("users", [user.name for user in parsed.users])
