"""Logging in as a visitor: one password for all, and a fresh user for each visit.

A chart's hub runs this file as it stands here, among its `extraConfig`: nothing beside JupyterHub may be imported.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from jupyterhub.authenticators.shared import SharedPasswordAuthenticator


class VisitorAuthenticator(SharedPasswordAuthenticator):
    """The shared password lets somebody in as a user that nobody was before, and nobody can be again.

    The password is `SharedPasswordAuthenticator.user_password`. Names are not asked for: whoever chose one would
    share a server with everybody who chose the same.
    """

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> dict[str, Any] | None:
        """The new user, or None for a wrong password."""
        password = data.get("password", "")
        # The comparison behind it takes ASCII alone, and the stack refuses any other password.
        if not password.isascii():
            return None
        return await super().authenticate(handler, {"username": str(uuid.uuid4()), "password": password})

    def get_custom_html(self, base_url: str) -> str:  # noqa: ARG002  (JupyterHub's signature)
        """The form. JupyterHub fills it in, and answers a wrong password with an error where `username` is missing."""
        return """
<form action="{{ authenticator_login_url | e }}" method="post" role="form">
  <div class="auth-form-header"><h1>Temporary session</h1></div>
  <div class="auth-form-body m-auto">
    {% if login_error == "Invalid username or password" %}<p class="login_error">That is not the password.</p>
    {% elif login_error %}<p class="login_error">{{ login_error | e }}</p>{% endif %}
    <p>Nothing that you do here is kept: download your work before you leave.</p>
    <input type="hidden" name="_xsrf" value="{{ xsrf | e }}"/>
    <input type="hidden" name="username" value="visitor"/>
    <label for="password_input">Password:</label>
    <input id="password_input" class="form-control" type="password" name="password" autocomplete="current-password"
           autofocus required/>
    <div class="feedback-container">
      <input id="login_submit" class="btn btn-jupyter form-control" type="submit" value="Start"/>
    </div>
  </div>
</form>
"""
