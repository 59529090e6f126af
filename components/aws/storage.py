"""Disks that hold what people made: encrypted, snapshotted, and kept when the stack goes, unless it says otherwise."""

import base64
import hashlib
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.access import CLUSTER_TAG, trust

SNAPSHOT_POLICY = "arn:aws:iam::aws:policy/service-role/AWSDataLifecycleManagerServiceRole"
"""What the snapshot service may do; AWS keeps the policy."""

SNAPSHOT_HOUR = "03:00"


@dataclass(frozen=True)
class Bundle:
    """An archive in a bucket of the stack's own, which its hosts fetch and run."""

    address: pulumi.Output[str]
    """`s3://bucket/key`."""
    key: pulumi.Output[str]
    arn: pulumi.Output[str]
    digest: str
    """SHA-256 of the archive."""


def data_disk(
    name: str, *, zone: pulumi.Input[str], gigabytes: int, cluster: str, opts: pulumi.ResourceOptions
) -> aws.ebs.Volume:
    """An encrypted disk for a hub's database."""
    return aws.ebs.Volume(
        name,
        availability_zone=zone,
        size=gigabytes,
        type="gp3",
        encrypted=True,
        tags={"Name": name, CLUSTER_TAG: cluster},
        opts=opts,
    )


def daily_snapshots(name: str, *, cluster: str, keep: int, opts: pulumi.ResourceOptions) -> aws.dlm.LifecyclePolicy:
    """Snapshot every disk with the cluster's tag each night, `keep` of each; users' homes are among them."""
    role = aws.iam.Role(f"{name}-snapshots", assume_role_policy=trust("dlm.amazonaws.com"), opts=opts)
    aws.iam.RolePolicyAttachment(f"{name}-snapshots", role=role.name, policy_arn=SNAPSHOT_POLICY, opts=opts)
    return aws.dlm.LifecyclePolicy(
        f"{name}-snapshots",
        description=f"Nightly snapshots of {cluster}",
        execution_role_arn=role.arn,
        state="ENABLED",
        policy_details=aws.dlm.LifecyclePolicyPolicyDetailsArgs(
            resource_types=["VOLUME"],
            target_tags={CLUSTER_TAG: cluster},
            schedules=[
                aws.dlm.LifecyclePolicyPolicyDetailsScheduleArgs(
                    name="nightly",
                    create_rule=aws.dlm.LifecyclePolicyPolicyDetailsScheduleCreateRuleArgs(
                        interval=24, interval_unit="HOURS", times=SNAPSHOT_HOUR
                    ),
                    retain_rule=aws.dlm.LifecyclePolicyPolicyDetailsScheduleRetainRuleArgs(count=keep),
                    copy_tags=True,
                )
            ],
        ),
        opts=opts,
    )


def private_bucket(name: str, opts: pulumi.ResourceOptions) -> aws.s3.Bucket:
    """A bucket that nobody reads but who is allowed to by name; what is in it goes with the stack."""
    bucket = aws.s3.Bucket(name, force_destroy=True, opts=opts)
    aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=opts,
    )
    return bucket


def stored_bundle(name: str, key: str, content: bytes, opts: pulumi.ResourceOptions) -> Bundle:
    """Keep `content` under `key` in a private bucket of its own."""
    return bundle_in(private_bucket(name, opts), name, key, content, opts)


def bundle_in(bucket: aws.s3.Bucket, name: str, key: str, content: bytes, opts: pulumi.ResourceOptions) -> Bundle:
    """Keep `content` under `key` in the bucket."""
    stored = aws.s3.BucketObjectv2(
        name,
        bucket=bucket.id,
        key=key,
        content_base64=base64.b64encode(content).decode(),
        content_type="application/gzip",
        opts=opts,
    )
    return Bundle(
        address=pulumi.Output.concat("s3://", bucket.bucket, "/", stored.key),
        key=stored.key,
        arn=pulumi.Output.concat(bucket.arn, "/", stored.key),
        digest=hashlib.sha256(content).hexdigest(),
    )
