"""What a hub keeps secret: made once, kept in the state, the same whatever deploys the hub."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.docker.tls_proxy import self_signed_certificate
from components.random_secrets import random_password, random_token


@dataclass(frozen=True)
class HubSecrets:
    """A hub's secrets."""

    user_password: pulumi.Output[str]
    """What users log in with."""
    admin_password: pulumi.Output[str]
    """What administrators log in with."""
    values: Mapping[str, pulumi.Input[str]]
    """All of them by the names that the services read them under."""


def hub_secrets(
    name: str,
    *,
    domain: str,
    password: pulumi.Input[str] | None,
    client_secret: pulumi.Input[str] | None,
    opts: pulumi.ResourceOptions,
) -> HubSecrets:
    """Make the secrets.

    Args:
        name: prefix of the resources' names.
        domain: name that the TLS proxy's own certificate is for.
        password: what users share; None for a generated one.
        client_secret: secret of the OAuth application; None for a hub with passwords.
        opts: resource options.
    """
    generated = random_password(f"{name}-user-password", 20, opts)
    user_password = pulumi.Output.secret(password or generated)
    admin_password = random_password(f"{name}-admin-password", 40, opts)
    certificate = self_signed_certificate(f"{name}-tls", domain, opts)
    values: dict[str, pulumi.Input[str]] = {
        "proxy-token": random_token(f"{name}-proxy-token", opts),
        "cookie-secret": random_token(f"{name}-cookie-secret", opts),
        "user-password": user_password,
        "admin-password": admin_password,
        "tls-cert": certificate.chain,
        "tls-key": certificate.key,
    }
    if client_secret is not None:
        values["client-secret"] = client_secret
    return HubSecrets(user_password, admin_password, values)
