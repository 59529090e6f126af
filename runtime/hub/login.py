"""JupyterHub's authenticator as the stack's settings name it; nobody gets in who is not on the user list."""

import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

DISCOVERY_SECONDS = 10


class _User(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def admin(self) -> bool: ...


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
    """
    listed = list(users)
    c.Authenticator.allowed_users = {user.name for user in listed}
    c.Authenticator.admin_users = {user.name for user in listed if user.admin}
    c.Authenticator.allow_all = False
    provider = login["provider"]
    if provider == "password":
        c.JupyterHub.authenticator_class = "shared-password"
        c.SharedPasswordAuthenticator.user_password = read_secret("user-password")
        c.SharedPasswordAuthenticator.admin_password = read_secret("admin-password")
        return
    c.OAuthenticator.client_id = login["client_id"]
    c.OAuthenticator.client_secret = read_secret("client-secret")
    c.OAuthenticator.oauth_callback_url = login["callback"]
    if provider == "github":
        c.JupyterHub.authenticator_class = "github"
        return
    c.JupyterHub.authenticator_class = "generic-oauth"
    provided = discover(login["issuer"])
    c.GenericOAuthenticator.authorize_url = provided["authorization_endpoint"]
    c.GenericOAuthenticator.token_url = provided["token_endpoint"]
    c.GenericOAuthenticator.userdata_url = provided["userinfo_endpoint"]
    c.GenericOAuthenticator.username_claim = login["user_name_claim"]
    c.GenericOAuthenticator.scope = ["openid", "profile", "email"]


def discover(issuer: str) -> dict[str, str]:
    """The provider's endpoints, as it publishes them (OpenID Connect Discovery 1.0, section 4).

    Raises:
        URLError: it does not answer within seconds.
    """
    address = f"{issuer}/.well-known/openid-configuration"
    with urllib.request.urlopen(address, timeout=DISCOVERY_SECONDS) as answer:  # noqa: S310  (checked to be https)
        return json.load(answer)
