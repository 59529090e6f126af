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


TOPOLOGIES = {Topology.SWARM: deploy_swarm, Topology.EC2HUB: deploy_ec2_hub}

configuration = CONFIG.get()
secret_keys = [key for key in configuration if is_config_secret(key)]
parsed = parse_settings(configuration, pulumi.get_project(), secret_keys=secret_keys)
TOPOLOGIES[parsed.topology](f"{pulumi.get_project()}-{pulumi.get_stack()}", parsed)
pulumi.export("users", [user.name for user in parsed.users])
