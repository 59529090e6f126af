"""Jupyter notebook services as Pulumi components."""

from components.egress import EgressProfile
from components.quotas import FleetQuota, UserQuota
from components.swarm_cluster import HubUser, SwarmCluster, SwarmClusterArgs

__all__ = ["EgressProfile", "FleetQuota", "HubUser", "SwarmCluster", "SwarmClusterArgs", "UserQuota"]
