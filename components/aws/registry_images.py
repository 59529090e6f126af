"""Images in registries of ECR, which are asked for before hosts are that pull them by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

HOST_PARTS = ("dkr", "ecr")
"""What a registry's name has after the number of its account."""


@dataclass(frozen=True)
class RegistryImage:
    """An image by digest in a registry of ECR."""

    account: str
    region: str
    repository: str
    digest: str


def registry_image(name: str) -> RegistryImage | None:
    """What an image's name says of its place; None where that is no registry of ECR, or no digest is named.

    `123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack/notebook:7@sha256:…` is `hubstack/notebook` in `us-east-1`.
    """
    registry, _, rest = name.partition("/")
    path, _, digest = rest.partition("@")
    account, *host = registry.split(".")
    if tuple(host[:2]) != HOST_PARTS or len(host) < len(HOST_PARTS) + 1 or not digest:
        return None
    return RegistryImage(account, host[2], path.partition(":")[0], digest)


def image_mistakes(images: Mapping[str, str], opts: pulumi.InvokeOptions) -> list[pulumi.InputPropertyErrorDetails]:
    """Images that their registries do not have, or do not show to this account.

    Args:
        images: images by digest, by the argument that names each; those of other registries than ECR's are not asked for.
        opts: options of the questions.
    """
    errors: list[pulumi.InputPropertyErrorDetails] = []
    for path, name in images.items():
        image = registry_image(name)
        if image is None:
            continue
        try:
            aws.ecr.get_image(
                registry_id=image.account,
                region=image.region,
                repository_name=image.repository,
                image_digest=image.digest,
                opts=opts,
            )
        except Exception as error:  # noqa: BLE001  (the SDK raises bare exceptions with the provider's message)
            reason = f"{name} is not in its registry ({' '.join(str(error).split())}); push it or correct the name"
            errors.append({"property_path": path, "reason": reason})
    return errors
