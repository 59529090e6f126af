"""The section `hubstack:login`."""

from components.login import LoginProvider
from components.settings.strict import Strict


class LoginSettings(Strict):
    """`hubstack:login`; the secret of an OAuth application is `hubstack:clientSecret`."""

    provider: LoginProvider = LoginProvider.PASSWORD
    clientId: str | None = None
    issuer: str | None = None
    userNameClaim: str | None = None
