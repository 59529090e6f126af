"""A file system that all hosts share: encrypted, reached over TLS alone, backed up, kept when the stack goes."""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.aws.access import CLUSTER_TAG, policy_document

COLD_AFTER = "AFTER_30_DAYS"
"""When a file that nobody opens moves to cheaper storage; it comes back when somebody does."""


def shared_file_system(
    name: str,
    *,
    cluster: str,
    subnets: Sequence[pulumi.Input[str]],
    security_group: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
    data_opts: pulumi.ResourceOptions,
) -> aws.efs.FileSystem:
    """Declare the file system with a mount target in each of `subnets`.

    Args:
        name: prefix of the resources' names.
        cluster: value of the cluster's tag.
        subnets: a subnet for each zone.
        security_group: group of the mount targets.
        opts: resource options.
        data_opts: options of the file system itself, which holds what people made, and of what guards it.
    """
    system = aws.efs.FileSystem(
        name,
        encrypted=True,
        throughput_mode="elastic",
        lifecycle_policies=[
            aws.efs.FileSystemLifecyclePolicyArgs(transition_to_ia=COLD_AFTER),
            aws.efs.FileSystemLifecyclePolicyArgs(transition_to_primary_storage_class="AFTER_1_ACCESS"),
        ],
        tags={"Name": name, CLUSTER_TAG: cluster},
        opts=data_opts,
    )
    aws.efs.FileSystemPolicy(name, file_system_id=system.id, policy=system.arn.apply(over_tls_alone), opts=data_opts)
    # Daily, kept for five weeks: AWS Backup's plan for file systems.
    aws.efs.BackupPolicy(
        name,
        file_system_id=system.id,
        backup_policy=aws.efs.BackupPolicyBackupPolicyArgs(status="ENABLED"),
        opts=data_opts,
    )
    for number, subnet in enumerate(subnets, 1):
        aws.efs.MountTarget(
            f"{name}-{number}",
            file_system_id=system.id,
            subnet_id=subnet,
            security_groups=[security_group],
            opts=opts,
        )
    return system


def over_tls_alone(file_system: str) -> str:
    """Who may mount the file system: any host that its mount targets' group lets in, over TLS."""
    mount = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess"]
    return policy_document(
        [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": mount,
                "Resource": [file_system],
                "Condition": {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}},
            },
            {
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": ["*"],
                "Resource": [file_system],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ]
    )
