"""How people log in to a hub: GitHub, any OpenID provider, or a password that users share."""

from collections.abc import Sequence
from enum import Enum
from typing import NotRequired, TypedDict
from urllib.parse import urlparse

import pulumi


class LoginProvider(str, Enum):
    """Who says that somebody is who they claim to be."""

    PASSWORD = "password"  # noqa: S105  (the name of a way to log in)
    """A password that all users share, and another for administrators."""
    GITHUB = "github"
    """GitHub, through an OAuth application."""
    OIDC = "oidc"
    """Any provider of OpenID Connect."""


class Login(TypedDict):
    """How people log in. Nobody but the users on the stack's list gets in, whatever the provider says of them."""

    provider: NotRequired[LoginProvider]
    """Default `password`."""
    clientId: NotRequired[str]
    """The OAuth application's id; needed but for `password`."""
    clientSecret: NotRequired[pulumi.Input[str]]
    """The OAuth application's secret; needed but for `password`."""
    issuer: NotRequired[str]
    """Address of an OpenID provider, such as `https://login.example.org`; needed for `oidc`."""
    userNameClaim: NotRequired[str]
    """Claim of an OpenID provider that holds the user's name. Default `preferred_username`."""


def callback_address(domain: str) -> str:
    """What to register with the provider; it must match to the letter (seed 004)."""
    return f"https://{domain}/hub/oauth_callback"


def login_document(login: Login, domain: str) -> dict[str, str]:
    """What the hub needs to know of it, without the secret; `runtime/hub/login.py` reads it."""
    document = {
        "provider": LoginProvider(login.get("provider", LoginProvider.PASSWORD)).value,
        "callback": callback_address(domain),
    }
    if "clientId" in login:
        document["client_id"] = login["clientId"]
    if "issuer" in login:
        document["issuer"] = login["issuer"].rstrip("/")
        document["user_name_claim"] = login.get("userNameClaim", "preferred_username")
    return document


def check_login(login: Login, users: Sequence[str]) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in it, each with what is needed."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": f"login.{path}", "reason": reason})

    provider = LoginProvider(login.get("provider", LoginProvider.PASSWORD))
    if provider is not LoginProvider.PASSWORD:
        for key in ("clientId", "clientSecret"):
            if not login.get(key):
                wrong(key, f"{provider.value} needs the OAuth application's {key}")
    if provider is LoginProvider.OIDC:
        issuer = urlparse(login.get("issuer", ""))
        if issuer.scheme != "https" or not issuer.netloc:
            wrong("issuer", f"{login.get('issuer', '')!r} is no https address of an OpenID provider")
    if not users:
        errors.append({"property_path": "users", "reason": "nobody could log in; name at least one user"})
    return errors
