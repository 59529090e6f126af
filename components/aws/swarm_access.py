"""What hosts of a Swarm may do: IAM documents for managers and workers."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from components.aws.access import Statement, allow, policy_document

PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")


class HostScope(TypedDict):
    """What a host's rights are limited to."""

    bundle: str
    """ARN of the object that holds what hosts run."""
    repositories: Sequence[str]
    """ARNs of the image repositories."""
    reads: Sequence[str]
    """ARNs of the secrets that it reads; may be empty."""
    writes: NotRequired[Sequence[str]]
    """ARNs of the secrets that it writes."""
    group: NotRequired[str]
    """ARN of the Auto Scaling group that it may tell that it is ready to end."""


def host_policy(scope: HostScope) -> str:
    """The document: the bundle, the images and its own secrets; nothing else of the account.

    A worker knows the invitation of workers alone and none of the hub's secrets, so that whoever breaks out of a user's
    server on it cannot become a manager.
    """
    statements: list[Statement] = [allow(["s3:GetObject"], [scope["bundle"]])]
    if scope["reads"]:
        statements.append(allow(["secretsmanager:GetSecretValue"], scope["reads"]))
    if scope["repositories"]:
        statements += [
            # It knows no resources: a token for the registry, which the next statement limits.
            allow(["ecr:GetAuthorizationToken"], ["*"]),
            allow(PULL, scope["repositories"]),
        ]
    if writes := scope.get("writes"):
        statements.append(allow(["secretsmanager:PutSecretValue"], writes))
    if group := scope.get("group"):
        statements.append(allow(["autoscaling:CompleteLifecycleAction"], [group]))
    return policy_document(statements)


def repository_arns(images: Sequence[str], partition: str) -> list[str]:
    """ARNs of the ECR repositories among `images`; images of other registries need no right.

    `123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack/hub@sha256:…` is
    `arn:aws:ecr:us-east-1:123456789012:repository/hubstack/hub`.
    """
    found: set[str] = set()
    for image in images:
        registry, _, rest = image.partition("/")
        parts = registry.split(".")
        if parts[1:3] == ["dkr", "ecr"]:
            repository = rest.partition("@")[0].partition(":")[0]
            found.add(f"arn:{partition}:ecr:{parts[3]}:{parts[0]}:repository/{repository}")
    return sorted(found)


def registries(images: Sequence[str]) -> list[str]:
    """ECR registries among `images`, for which a host renews its own token."""
    names = {image.partition("/")[0] for image in images}
    return sorted(name for name in names if name.split(".")[1:3] == ["dkr", "ecr"])
