"""Deploy the topology that the stack's configuration names."""

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

from components import SwarmCluster
from components.settings import parse_settings

configuration = CONFIG.get()
secret_keys = [key for key in configuration if is_config_secret(key)]
settings = parse_settings(configuration, pulumi.get_project(), secret_keys=secret_keys)
cluster = SwarmCluster(f"{pulumi.get_project()}-{pulumi.get_stack()}", settings.swarm_cluster())
pulumi.export("url", cluster.url)
pulumi.export("users", [user.name for user in settings.users])
pulumi.export("password", cluster.password)
pulumi.export("adminPassword", cluster.adminPassword)
pulumi.export("homesVolume", cluster.homesVolume)
