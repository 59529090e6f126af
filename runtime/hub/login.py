"""JupyterHub's authenticator as the stack's settings name it; nobody gets in who is not on the user list."""

import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

from jupyterhub.auth import Authenticator

DISCOVERY_SECONDS = 10

AUTHENTICATORS = {"password": "shared-password", "github": "github", "oidc": "generic-oauth"}
"""JupyterHub's name of the authenticator for each provider."""


class _User(Protocol):
    @property
    def name(self) -> str:
        """The name that the hub knows them by."""
        ...

    @property
    def admin(self) -> bool:
        """Whether they administer the hub."""
        ...


def configure_login(
    c: Any,
    login: Mapping[str, str],
    users: Iterable[_User],
    read_secret: Callable[[str], str],
) -> None:
    """Fill JupyterHub's configuration `c`.

    Args:
        c: the configuration object.
        login: `provider` (`password`, `github` or `oidc`), `callback`, and for a provider `client_id`, `issuer`,
            `user_name_claim`.
        users: everybody who may log in.
        read_secret: returns a secret's value by its name.

    Raises:
        URLError: an OpenID provider does not answer within seconds.
        ValueError: it names another issuer than the one that was asked.
    """
    listed = list(users)
    c.Authenticator.allowed_users = {user.name for user in listed}
    c.Authenticator.admin_users = {user.name for user in listed if user.admin}
    c.Authenticator.allow_all = False
    # By default whoever is in the hub's database stays allowed, also after the stack's list no longer has the name.
    c.Authenticator.allow_existing_users = False
    provider = login["provider"]
    c.JupyterHub.authenticator_class = listed_only(AUTHENTICATORS[provider])
    if provider == "password":
        c.SharedPasswordAuthenticator.user_password = read_secret("user-password")
        c.SharedPasswordAuthenticator.admin_password = read_secret("admin-password")
        return
    c.OAuthenticator.client_id = login["client_id"]
    c.OAuthenticator.client_secret = read_secret("client-secret")
    c.OAuthenticator.oauth_callback_url = login["callback"]
    if provider == "oidc":
        provided = discover(login["issuer"])
        c.GenericOAuthenticator.authorize_url = provided["authorization_endpoint"]
        c.GenericOAuthenticator.token_url = provided["token_endpoint"]
        c.GenericOAuthenticator.userdata_url = provided["userinfo_endpoint"]
        c.GenericOAuthenticator.basic_auth = "client_secret_post" not in secret_methods(provided)
        c.GenericOAuthenticator.username_claim = login["user_name_claim"]
        c.GenericOAuthenticator.scope = ["openid", "profile", "email"]


def listed_only(name: str) -> type[Authenticator]:
    """JupyterHub's authenticator `name`, for which the user list counts at every moment.

    JupyterHub alone looks at the list when somebody logs in: a session outlives the user's removal from it, and who was
    an administrator once stays one.
    """
    [found] = entry_points(group="jupyterhub.authenticators", name=name)

    class Listed(found.load()):
        def is_admin(self, _handler: Any, authentication: Mapping[str, Any]) -> bool:
            """Whether somebody who logs in is an administrator; JupyterHub leaves the right as it was otherwise."""
            return authentication["name"] in self.admin_users

        async def refresh_user(self, user: Any, _handler: Any = None, **_more: Any) -> dict[str, Any] | bool:
            """Who is logged in, asked for on a user's first request and every few minutes; False ends the session."""
            return user.name in self.allowed_users and {"name": user.name, "admin": user.name in self.admin_users}

    return Listed


def discover(issuer: str) -> dict[str, Any]:
    """What the provider publishes of itself (OpenID Connect Discovery 1.0, section 4).

    Raises:
        URLError: it does not answer within seconds.
        ValueError: it names another issuer: the answer is somebody else's.
    """
    address = f"{issuer}/.well-known/openid-configuration"
    with urllib.request.urlopen(address, timeout=DISCOVERY_SECONDS) as answer:  # noqa: S310  (checked to be https)
        provided: dict[str, Any] = json.load(answer)
    if str(provided.get("issuer", "")).rstrip("/") != issuer:
        raise ValueError(f"{address} names the issuer {provided.get('issuer')!r}, not {issuer!r}")
    return provided


def secret_methods(provided: Mapping[str, Any]) -> list[str]:
    """How the provider takes the client's secret; HTTP Basic where it does not say (section 3)."""
    return provided.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
