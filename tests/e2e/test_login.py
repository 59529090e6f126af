"""Who gets into a real JupyterHub that `configure_login` has configured, and as what."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from components.login import Login, LoginProvider, login_document
from tests.e2e.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider
from tests.stacks import ROOT

DOMAIN = "hub.example.org"
CALLBACK = "https://hub.example.org/hub/oauth_callback"
USERS = {"ada": False, "root": True}
"""The stack's list: names, and whether each is an administrator."""
PASSWORDS = {"user-password": "a password of all", "admin-password": "a password of administrators alone"}

CONFIGURATION = Path(__file__).with_name("login_hub_config.py")


class Hub:
    """A JupyterHub in a folder of its own, whose database outlives its restarts."""

    def __init__(self, folder: Path, login: Login, github: str = "") -> None:
        """Describe it; `github` is the address that stands for GitHub's."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.folder = folder
        self.document = login_document(login, DOMAIN)
        self._given = {
            "login": self.document,
            "secrets": {**PASSWORDS, "client-secret": CLIENT_SECRET},
            "url": self.url,
            "github": github,
        }

    @contextlib.contextmanager
    def running(self, users: Mapping[str, bool] = USERS) -> Iterator["Hub"]:
        """Run it for the users on the list."""
        (self.folder / "given.json").write_text(json.dumps({**self._given, "users": dict(users)}))
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", CONFIGURATION],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder)},
                stdout=log,
                stderr=log,
            )
        try:
            self._wait(process)
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}/hub/api/", timeout=10).ok:
                    return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text()[-4000:])


class Browser:
    """Somebody at the hub, whose public address leads to the hub on this machine."""

    def __init__(self, hub: Hub) -> None:
        """Start without a cookie."""
        self.hub = hub
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str) -> requests.Response:
        """Open a page of the hub, without following where it leads."""
        return self.session.get(f"{self.hub.url}{path}", allow_redirects=False, timeout=30)

    def log_in_at_provider(self) -> requests.Response:
        """Log in by the provider, and return the hub's answer to the callback."""
        answer = self.get("/hub/oauth_login?next=/hub/home")
        while "/hub/oauth_callback" not in (address := answer.headers["Location"]):
            answer = self.session.get(address, allow_redirects=False, timeout=30)
        assert address.startswith(f"{CALLBACK}?")
        return self.get(address.removeprefix(f"https://{DOMAIN}"))

    def log_in_by_password(self, name: str, password: str) -> requests.Response:
        """Log in by the form."""
        self.get("/hub/login")
        token = self.session.cookies.get("_xsrf")
        form = {"username": name, "password": password, "_xsrf": token}
        return self.session.post(
            f"{self.hub.url}/hub/login", params={"next": "/hub/home"}, data=form, allow_redirects=False, timeout=30
        )

    def is_in(self) -> bool:
        """Whether the hub shows its home page."""
        return self.get("/hub/home").status_code == 200

    def is_admin(self) -> bool:
        """Whether the hub shows the page that only administrators see."""
        return self.get("/hub/admin").status_code == 200


# GitHub takes the client's secret in the form; of OpenID providers some take it by HTTP Basic alone.
SECRET_METHODS = {LoginProvider.GITHUB: "client_secret_post", LoginProvider.OIDC: "client_secret_basic"}


def login_by(kind: LoginProvider, provider: IdentityProvider) -> Login:
    login: Login = {"provider": kind, "clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET}
    return {**login, "issuer": provider.url} if kind is LoginProvider.OIDC else login


@pytest.fixture(scope="module", params=SECRET_METHODS)
def provided(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Hub, IdentityProvider]]:
    with IdentityProvider(SECRET_METHODS[request.param]) as provider:
        login = login_by(request.param, provider)
        with Hub(tmp_path_factory.mktemp("hub"), login, provider.url).running() as hub:
            yield hub, provider


@pytest.fixture
def hub(provided: tuple[Hub, IdentityProvider]) -> Hub:
    return provided[0]


@pytest.fixture
def provider(provided: tuple[Hub, IdentityProvider]) -> IdentityProvider:
    return provided[1]


@pytest.fixture(scope="module")
def password_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub"), {}).running() as hub:
        yield hub


@pytest.mark.parametrize(("person", "admin"), USERS.items())
def test_a_listed_user_gets_in_and_is_admin_as_the_list_says(
    hub: Hub, provider: IdentityProvider, person: str, admin: bool
):
    browser, provider.person = Browser(hub), person

    answer = browser.log_in_at_provider()

    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/home")
    assert browser.is_in()
    assert browser.is_admin() == admin


def test_the_provider_is_told_exactly_the_callback_that_was_registered_with_it(hub: Hub, provider: IdentityProvider):
    provider.callbacks.clear()

    Browser(hub).log_in_at_provider()

    assert provider.callbacks == [CALLBACK]


def test_whom_the_provider_knows_and_the_list_does_not_is_refused(hub: Hub, provider: IdentityProvider):
    browser, provider.person = Browser(hub), "mallory"

    assert browser.log_in_at_provider().status_code == 403
    assert not browser.is_in()


def test_an_answer_of_another_login_is_refused(hub: Hub, provider: IdentityProvider):
    provider.person = "ada"
    stolen = Browser(hub)
    address = stolen.get("/hub/oauth_login").headers["Location"]
    back = stolen.session.get(address, allow_redirects=False, timeout=30).headers["Location"]
    victim = Browser(hub)

    assert victim.get(back.removeprefix(f"https://{DOMAIN}")).status_code == 400
    assert not victim.is_in()


def test_without_the_clients_secret_nobody_gets_in(
    hub: Hub, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(provider, "secret", "another secret")
    browser, provider.person = Browser(hub), "ada"

    assert browser.log_in_at_provider().status_code >= 400
    assert not browser.is_in()


@pytest.mark.parametrize("name", USERS)
def test_a_password_lets_listed_users_in_and_administrators_by_theirs_alone(password_hub: Hub, name: str):
    own, other = ("admin-password", "user-password") if USERS[name] else ("user-password", "admin-password")
    browser = Browser(password_hub)

    assert browser.log_in_by_password(name, PASSWORDS[other]).status_code == 403
    assert browser.log_in_by_password(name, "a wrong password").status_code == 403
    assert browser.log_in_by_password(name, "").status_code == 403
    assert not browser.is_in()
    assert browser.log_in_by_password(name, PASSWORDS[own]).status_code == 302
    assert browser.is_in()
    assert browser.is_admin() == USERS[name]


@pytest.mark.parametrize("password", PASSWORDS.values())
def test_the_right_password_does_not_let_in_who_is_not_on_the_list(password_hub: Hub, password: str):
    browser = Browser(password_hub)

    assert browser.log_in_by_password("mallory", password).status_code == 403
    assert not browser.is_in()


@pytest.mark.parametrize("kind", [LoginProvider.PASSWORD, LoginProvider.GITHUB])
def test_who_is_struck_off_the_list_is_out_and_a_former_administrator_is_none(kind: LoginProvider, tmp_path: Path):
    before, after = {"ada": False, "eve": True, "root": True}, {"root": False}

    def log_in(browser: Browser, name: str, users: Mapping[str, bool]) -> requests.Response:
        provider.person = name
        password = PASSWORDS["admin-password" if users.get(name) else "user-password"]
        return browser.log_in_by_password(name, password) if by_password else browser.log_in_at_provider()

    by_password = kind is LoginProvider.PASSWORD
    with IdentityProvider(SECRET_METHODS[LoginProvider.GITHUB]) as provider:
        hub = Hub(tmp_path, {} if by_password else login_by(kind, provider), provider.url)
        browsers = {name: Browser(hub) for name in before}
        with hub.running(before):
            for name, browser in browsers.items():
                log_in(browser, name, before)
            assert {name: browser.is_admin() for name, browser in browsers.items()} == before
        with hub.running(after):
            again = {name: Browser(hub) for name in before}
            assert {name: log_in(browser, name, after).status_code for name, browser in again.items()} == {
                "ada": 403,
                "eve": 403,
                "root": 302,
            }
            # As an administrator still, the hub would show the page.
            assert not again["root"].is_admin()
            assert {name: browser.is_in() for name, browser in browsers.items()} == {
                "ada": False,
                "eve": False,
                "root": True,
            }
            assert not browsers["root"].is_admin()
