"""Hosts: which image, how their metadata service and disks are closed, and how their program reaches them."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

DEBIAN_OWNER = "136693071363"
"""AWS account of the Debian project, which publishes its images."""

DEBIAN_NAME = "debian-12-amd64-*"

ROOT_DEVICE = "/dev/xvda"
"""Root disk of Debian's images."""

METADATA_HOPS = 1
"""A token's answer dies at the host itself: containers behind its bridge get none."""


def debian_image(opts: pulumi.InvokeOptions) -> str:
    """Id of the newest Debian 12 image of the region.

    Raises:
        Exception: the provider finds none; its message says for which filter.
    """
    found = aws.ec2.get_ami(
        most_recent=True,
        owners=[DEBIAN_OWNER],
        filters=[
            aws.ec2.GetAmiFilterArgs(name="name", values=[DEBIAN_NAME]),
            aws.ec2.GetAmiFilterArgs(name="virtualization-type", values=["hvm"]),
        ],
        opts=opts,
    )
    return found.id


def encrypted_root(gigabytes: int) -> aws.ec2.InstanceRootBlockDeviceArgs:
    """An encrypted root disk that ends with its host."""
    return aws.ec2.InstanceRootBlockDeviceArgs(
        volume_size=gigabytes, volume_type="gp3", encrypted=True, delete_on_termination=True
    )


def host(
    name: str,
    *,
    image: pulumi.Input[str],
    instance_type: str,
    subnet: pulumi.Input[str],
    security_groups: list[pulumi.Input[str]],
    profile: pulumi.Input[str],
    user_data: pulumi.Input[str],
    disk_gigabytes: int,
    tags: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> aws.ec2.Instance:
    """Declare a host that is reached by Session Manager alone: no key, no port 22, tokens for its metadata service."""
    return aws.ec2.Instance(
        name,
        ami=image,
        instance_type=instance_type,
        subnet_id=subnet,
        vpc_security_group_ids=security_groups,
        iam_instance_profile=profile,
        user_data_base64=user_data,
        user_data_replace_on_change=True,
        root_block_device=encrypted_root(disk_gigabytes),
        metadata_options=aws.ec2.InstanceMetadataOptionsArgs(
            http_tokens="required",
            http_put_response_hop_limit=METADATA_HOPS,
            http_endpoint="enabled",
            instance_metadata_tags="disabled",
        ),
        disable_api_termination=False,
        tags={"Name": name, **tags},
        opts=opts,
    )


def launch_template(
    name: str,
    *,
    image: pulumi.Input[str],
    instance_type: str,
    security_groups: list[pulumi.Input[str]],
    disk_gigabytes: int,
    profile: pulumi.Input[str] | None = None,
    user_data: pulumi.Input[str] | None = None,
    opts: pulumi.ResourceOptions,
) -> aws.ec2.LaunchTemplate:
    """What hosts that come and go are launched from: no key, no public address, and no role unless one is given.

    Args:
        name: name of the template.
        image: id of the machine image.
        instance_type: what the hosts are.
        security_groups: ids of their groups.
        disk_gigabytes: size of the root disk.
        profile: ARN of an instance profile. Default: none, for hosts that users have to themselves.
        user_data: what they do at their start, in base64. Default: whoever launches them says.
        opts: resource options.
    """
    return aws.ec2.LaunchTemplate(
        name,
        name=name,
        image_id=image,
        instance_type=instance_type,
        update_default_version=True,
        vpc_security_group_ids=security_groups,
        iam_instance_profile=aws.ec2.LaunchTemplateIamInstanceProfileArgs(arn=profile) if profile else None,
        user_data=user_data,
        instance_initiated_shutdown_behavior="stop",
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            # cloud-init reads its user data from here; the host's own filter closes it to everybody but root.
            http_endpoint="enabled",
            http_tokens="required",
            http_put_response_hop_limit=METADATA_HOPS,
            instance_metadata_tags="disabled",
        ),
        block_device_mappings=[
            aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                device_name=ROOT_DEVICE,
                ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                    volume_size=disk_gigabytes, volume_type="gp3", encrypted="true", delete_on_termination="true"
                ),
            )
        ],
        opts=opts,
    )
