"""Ending what the hub launched: instances, and homes if the stack says so, found by the cluster's tag alone."""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import Resource

from components.aws.access import CLUSTER_TAG, USER_TAG
from components.aws.deletion_action import DeletionAction, aws_client

ALIVE = ("pending", "running", "stopping", "stopped")
WAIT = {"Delay": 5, "MaxAttempts": 120}


class LaunchedInstancesInputs(TypedDict):
    """Whose instances."""

    cluster: pulumi.Input[str]
    """Value of the cluster's tag; nothing without it is touched."""
    region: pulumi.Input[str]
    profile: pulumi.Input[str]
    """Name of the AWS profile, as the provider has it; empty for the environment's credentials."""
    delete_homes: pulumi.Input[bool]
    """Whether homes go too."""


def end_instances(client: Any, cluster: str) -> list[str]:
    """End the cluster's instances, wait until they are gone and return their ids.

    Raises:
        ValueError: `cluster` is empty, which would mean every instance of the region (seed 004).
    """
    if not cluster:
        raise ValueError("without a cluster's name every instance of the region would end")
    filters = [
        {"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]},
        {"Name": "tag-key", "Values": [USER_TAG]},
        {"Name": "instance-state-name", "Values": list(ALIVE)},
    ]
    pages = client.get_paginator("describe_instances").paginate(Filters=filters)
    ids = [i["InstanceId"] for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]
    if ids:
        client.terminate_instances(InstanceIds=ids)
        client.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=WAIT)
    return sorted(ids)


def delete_homes(client: Any, cluster: str) -> list[str]:
    """Delete the cluster's home volumes and return their ids; the manager's own disk is not a home.

    Raises:
        ValueError: `cluster` is empty.
    """
    if not cluster:
        raise ValueError("without a cluster's name every volume of the region would be deleted")
    filters = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}, {"Name": "tag-key", "Values": [USER_TAG]}]
    pages = client.get_paginator("describe_volumes").paginate(Filters=filters)
    ids = [volume["VolumeId"] for page in pages for volume in page["Volumes"]]
    if ids:
        client.get_waiter("volume_available").wait(VolumeIds=ids, WaiterConfig=WAIT)
        for volume in ids:
            client.delete_volume(VolumeId=volume)
    return sorted(ids)


class _LaunchedInstancesProvider(DeletionAction):
    inputs = LaunchedInstancesInputs
    identity = "cluster"

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """End the instances, and the homes too if the stack keeps no data."""
        client = aws_client("ec2", _props)
        end_instances(client, _props["cluster"])
        if _props["delete_homes"]:
            delete_homes(client, _props["cluster"])


class LaunchedInstances(Resource, module="aws", name="LaunchedInstances"):
    """The instances that the hub launched; deleting it ends them, and deletes homes if it was told to."""

    def __init__(self, name: str, inputs: LaunchedInstancesInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe them.

        Args:
            name: the resource's name.
            inputs: whose they are.
            opts: resource options.
        """
        super().__init__(_LaunchedInstancesProvider(), name, {**inputs}, opts)
