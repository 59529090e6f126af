"""What a hub's configuration says of logins; tests/e2e/test_login.py has real logins."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.error import HTTPError

import pytest
from traitlets.config import Config

from components.login import Login, LoginProvider, callback_address, check_login, login_document
from runtime.hub.login import configure_login, discover
from runtime.hub.settings import User

Publish = Callable[[dict[str, Any] | None], str]


@pytest.fixture
def publish() -> Iterator[Publish]:
    """Publishes what an OpenID provider says of itself beside its address; None for an error."""
    documents: list[dict[str, Any] | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = documents[-1] if self.path == "/.well-known/openid-configuration" else None
            self.send_response(503 if document is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()

    def published(document: dict[str, Any] | None) -> str:
        endpoints = {"authorization_endpoint": "a", "token_endpoint": "t", "userinfo_endpoint": "u"}
        documents.append(None if document is None else {"issuer": address, **endpoints, **document})
        return address

    yield published
    server.shutdown()
    server.server_close()


def configured(login: Login) -> Config:
    c = Config()
    users = [User("ada", admin=False), User("root", admin=True)]
    configure_login(c, login_document(login, "hub.example.org"), users, lambda name: f"value of {name}")
    return c


def oidc(issuer: str) -> Login:
    return {"provider": LoginProvider.OIDC, "clientId": "id", "clientSecret": "secret", "issuer": issuer}


@pytest.mark.parametrize("provider", LoginProvider)
def test_no_way_to_log_in_admits_everybody_or_whom_the_database_remembers(provider: LoginProvider, publish: Publish):
    c = configured({**oidc(publish({})), "provider": provider})

    assert c.Authenticator.allow_all is False
    assert c.Authenticator.allow_existing_users is False
    assert c.Authenticator.allowed_users == {"ada", "root"}
    assert c.Authenticator.admin_users == {"root"}
    assert not [key for section in c.values() for key in section if key == "allow_all" and section[key]]


def test_the_callback_is_the_domains_own():
    assert callback_address("hub.example.org") == "https://hub.example.org/hub/oauth_callback"


@pytest.mark.parametrize(
    ("methods", "basic"),
    [
        (["client_secret_post"], False),
        (["client_secret_basic", "client_secret_post"], False),
        (["client_secret_basic"], True),
        (None, True),
    ],
)
def test_the_clients_secret_is_handed_over_as_the_provider_takes_it(
    methods: list[str] | None, basic: bool, publish: Publish
):
    document = {} if methods is None else {"token_endpoint_auth_methods_supported": methods}

    assert configured(oidc(publish(document))).GenericOAuthenticator.basic_auth is basic


def test_endpoints_of_another_issuer_are_refused(publish: Publish):
    address = publish({"issuer": "https://login.example.com"})

    with pytest.raises(ValueError, match=r"names the issuer 'https://login\.example\.com'"):
        discover(address)


def test_an_issuer_may_end_with_a_slash(publish: Publish):
    address = publish({})
    publish({"issuer": f"{address}/"})

    assert configured(oidc(f"{address}/")).GenericOAuthenticator.token_url == "t"


def test_a_provider_that_does_not_answer_is_an_error(publish: Publish):
    with pytest.raises(HTTPError, match="503"):
        discover(publish(None))


@pytest.mark.parametrize("key", ["clientId", "clientSecret", "issuer"])
def test_what_a_provider_needs_is_asked_for(key: str):
    login = oidc("https://login.example.org")
    assert check_login(login, ["ada"]) == []

    [error] = check_login({name: value for name, value in login.items() if name != key}, ["ada"])  # pyright: ignore[reportArgumentType]

    assert error["property_path"] == f"login.{key}"
