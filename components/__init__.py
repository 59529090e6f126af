"""Jupyter notebook services as Pulumi components."""

from components.ec2_hub_cluster import Ec2HubCluster, Ec2HubClusterArgs
from components.egress import EgressProfile
from components.login import Login, LoginProvider
from components.quotas import FleetQuota, UserQuota
from components.swarm_cluster import SwarmCluster, SwarmClusterArgs
from components.users import HubUser

__all__ = [
    "Ec2HubCluster",
    "Ec2HubClusterArgs",
    "EgressProfile",
    "FleetQuota",
    "HubUser",
    "Login",
    "LoginProvider",
    "SwarmCluster",
    "SwarmClusterArgs",
    "UserQuota",
]
