"""What a hub keeps secret: made once, kept in the state, the same whatever deploys the hub."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.docker.tls_proxy import self_signed_certificate


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

    def token(label: str) -> pulumi.Output[str]:
        return random.RandomId(f"{name}-{label}", byte_length=32, opts=opts).hex

    generated = random.RandomPassword(f"{name}-user-password", length=20, special=False, opts=opts)
    admin = random.RandomPassword(f"{name}-admin-password", length=40, special=False, opts=opts)
    user_password = pulumi.Output.secret(password or generated.result)
    admin_password = pulumi.Output.secret(admin.result)
    certificate = self_signed_certificate(f"{name}-tls", domain, opts)
    values: dict[str, pulumi.Input[str]] = {
        "proxy-token": token("proxy-token"),
        "cookie-secret": token("cookie-secret"),
        "user-password": user_password,
        "admin-password": admin_password,
        "tls-cert": certificate.chain,
        "tls-key": certificate.key,
    }
    if client_secret is not None:
        values["client-secret"] = client_secret
    return HubSecrets(user_password, admin_password, values)
