"""A provider of identities on loopback: GitHub's addresses, and OpenID Connect's with a discovery document."""

import base64
import hashlib
import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT_ID = "hub-client"
CLIENT_SECRET = "the-client-secret"


class IdentityProvider:
    """Vouches for whoever `person` is."""

    def __init__(self, secret_method: str) -> None:
        """Listen on a free port; `secret_method` is the one way in which it takes the client's secret."""
        self.person = "ada"
        self.callbacks: list[str] = []
        """Where it was told to send people back to."""
        self.secret = CLIENT_SECRET
        """The client's secret, as the provider knows it."""
        self._secret_method = secret_method
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, str] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                split = urlsplit(self.path)
                provider._get(self, split.path, {key: values[0] for key, values in parse_qs(split.query).items()})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider._token(self, {key: values[0] for key, values in parse_qs(body).items()})

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def answer(self, document: dict[str, Any], status: int = 200) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _get(self, handler: Any, path: str, query: dict[str, str]) -> None:
        if path == "/.well-known/openid-configuration":
            handler.answer(
                {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "userinfo_endpoint": f"{self.url}/userinfo",
                    "token_endpoint_auth_methods_supported": [self._secret_method],
                }
            )
        elif path in {"/authorize", "/login/oauth/authorize"}:
            self.callbacks.append(query["redirect_uri"])
            code = secrets.token_hex(8)
            self._codes[code] = query
            back = urlencode({"code": code, "state": query["state"]})
            handler.send_response(302)
            handler.send_header("Location", f"{query['redirect_uri']}?{back}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif path in {"/userinfo", "/api/v3/user"}:
            name = self._tokens.get(handler.headers.get("Authorization", "").split(" ")[-1])
            document = {"sub": "1", "login": name, "preferred_username": name, "email": "somebody@example.org"}
            handler.answer(document if name else {"error": "invalid_token"}, 200 if name else 401)
        else:
            handler.answer({"error": "not_found"}, 404)

    def _token(self, handler: Any, form: dict[str, str]) -> None:
        asked = self._codes.pop(form.get("code", ""), {})
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if self._client(handler, form) != (CLIENT_ID, self.secret):
            handler.answer({"error": "invalid_client"}, 401)
        elif (
            form.get("redirect_uri") != asked.get("redirect_uri")
            or base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked.get("code_challenge")
            or asked.get("client_id") != CLIENT_ID
        ):
            handler.answer({"error": "invalid_grant"}, 400)
        else:
            token = secrets.token_hex(8)
            self._tokens[token] = self.person
            handler.answer({"access_token": token, "token_type": "bearer", "scope": asked.get("scope", "")})

    def _client(self, handler: Any, form: dict[str, str]) -> tuple[str, ...]:
        if self._secret_method == "client_secret_basic":
            encoded = handler.headers.get("Authorization", "").removeprefix("Basic ")
            return tuple(base64.b64decode(encoded).decode().split(":", 1))
        return form.get("client_id", ""), form.get("client_secret", "")
