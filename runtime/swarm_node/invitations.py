"""How to join the swarm, kept in Secrets Manager: a secret for each role, which the leader writes."""

import json
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError


@dataclass(frozen=True)
class Invitation:
    """What a host needs to join."""

    token: str
    """Swarm's join token of a role."""
    managers: tuple[str, ...]
    """Addresses of managers, with their ports."""


def read_invitation(secrets: Any, secret: str) -> Invitation | None:
    """The invitation in `secret`; None while nobody has written one, or when the owner has withdrawn it with `{}`.

    Args:
        secrets: boto3's client of Secrets Manager.
        secret: the secret's ARN.
    """
    try:
        text = secrets.get_secret_value(SecretId=secret)["SecretString"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            return None
        raise
    document = json.loads(text)
    return Invitation(document["token"], tuple(document["managers"])) if document else None


def write_invitation(secrets: Any, secret: str, invitation: Invitation) -> None:
    """Keep the invitation in `secret`, unless it holds the same already."""
    if read_invitation(secrets, secret) != invitation:
        document = {"token": invitation.token, "managers": list(invitation.managers)}
        secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(document, sort_keys=True))
