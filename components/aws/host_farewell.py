"""Asking a host to let its users finish before it is ended, by way of Session Manager."""

import time
from collections.abc import Callable
from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import Resource

from components.aws.deletion_action import DeletionAction, aws_client

LEAVE_COMMAND = "/usr/local/sbin/hubstack-leave"
"""What `boot/pool_host.sh` puts on the host."""

SHELL_DOCUMENT = "AWS-RunShellScript"
DELIVERY_SECONDS = 60
"""How long a host may take to hear of the command; one that is stopped or has no agent never does."""

REMOVAL_SECONDS = 900
"""How long a host may take, beyond the time that its users get, to remove a thousand servers."""

LOOK_SECONDS = 5.0
OPEN = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


class HostFarewellInputs(TypedDict):
    """Who is asked."""

    instance: pulumi.Input[str]
    """Id of the instance."""
    region: pulumi.Input[str]
    profile: pulumi.Input[str]
    """Name of the AWS profile, as the provider has it; empty for the environment's credentials."""
    seconds: pulumi.Input[int]
    """How long its users get."""


def say_farewell(
    client: Any,
    instance: str,
    seconds: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Let the host's users finish, and wait until all that it runs is removed; returns how that went.

    Args:
        client: boto3's client of Systems Manager.
        instance: id of the instance.
        seconds: how long its users get.
        clock: seconds that only grow.
        sleep: waits.

    Raises:
        ClientError: AWS refuses, for another reason than that there is nobody to ask.
    """
    limit = seconds + REMOVAL_SECONDS
    try:
        sent = client.send_command(
            InstanceIds=[instance],
            DocumentName=SHELL_DOCUMENT,
            Parameters={"commands": [LEAVE_COMMAND], "executionTimeout": [str(limit)]},
            TimeoutSeconds=DELIVERY_SECONDS,
        )
    except client.exceptions.InvalidInstanceId:
        # It is not there, or its agent is not: there is nobody to ask.
        return "Undeliverable"
    until = clock() + limit + DELIVERY_SECONDS
    status = "Pending"
    while status in OPEN and clock() < until:
        sleep(LOOK_SECONDS)
        try:
            asked = client.get_command_invocation(CommandId=sent["Command"]["CommandId"], InstanceId=instance)
        except client.exceptions.InvocationDoesNotExist:
            # Systems Manager has not come to it yet.
            continue
        status = str(asked["Status"])
    return status


class _HostFarewellProvider(DeletionAction):
    inputs = HostFarewellInputs
    identity = "instance"

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Ask the host; it is ended however that went."""
        say_farewell(aws_client("ssm", _props), _props["instance"], int(_props["seconds"]))


class HostFarewell(Resource, module="aws", name="HostFarewell"):
    """Deleted before the host and its name, it lets the host's users finish."""

    def __init__(self, name: str, inputs: HostFarewellInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe it.

        Args:
            name: the resource's name.
            inputs: who is asked.
            opts: resource options.
        """
        super().__init__(_HostFarewellProvider(), name, {**inputs}, opts)
