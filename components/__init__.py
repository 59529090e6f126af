"""Jupyter notebook services as Pulumi components.

Each is loaded when it is first used: the AWS SDK alone takes longer to load than a program without it runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.ec2_hub_cluster import Ec2HubCluster, Ec2HubClusterArgs
    from components.egress import EgressProfile
    from components.ephemeral_hub import EphemeralHub, EphemeralHubArgs
    from components.login import Login, LoginProvider
    from components.notebook_platform import NotebookPlatform, NotebookPlatformArgs
    from components.quotas import FleetQuota, UserQuota
    from components.swarm_cluster import SwarmCluster, SwarmClusterArgs
    from components.tmpnb_node_pool import TmpnbNodeArgs, TmpnbNodePool, TmpnbNodePoolArgs
    from components.users import HubUser

__all__ = [
    "Ec2HubCluster",
    "Ec2HubClusterArgs",
    "EgressProfile",
    "EphemeralHub",
    "EphemeralHubArgs",
    "FleetQuota",
    "HubUser",
    "Login",
    "LoginProvider",
    "NotebookPlatform",
    "NotebookPlatformArgs",
    "SwarmCluster",
    "SwarmClusterArgs",
    "TmpnbNodeArgs",
    "TmpnbNodePool",
    "TmpnbNodePoolArgs",
    "UserQuota",
]

_MODULES = {
    "Ec2HubCluster": "ec2_hub_cluster",
    "Ec2HubClusterArgs": "ec2_hub_cluster",
    "EgressProfile": "egress",
    "EphemeralHub": "ephemeral_hub",
    "EphemeralHubArgs": "ephemeral_hub",
    "FleetQuota": "quotas",
    "HubUser": "users",
    "Login": "login",
    "LoginProvider": "login",
    "NotebookPlatform": "notebook_platform",
    "NotebookPlatformArgs": "notebook_platform",
    "SwarmCluster": "swarm_cluster",
    "SwarmClusterArgs": "swarm_cluster",
    "TmpnbNodeArgs": "tmpnb_node_pool",
    "TmpnbNodePool": "tmpnb_node_pool",
    "TmpnbNodePoolArgs": "tmpnb_node_pool",
    "UserQuota": "quotas",
}


def __getattr__(name: str) -> object:
    """Load what is asked for.

    Raises:
        AttributeError: there is no such component.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
