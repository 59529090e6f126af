"""Visitors at a real JupyterHub behind a real proxy, configured by the values that EphemeralHub gives the chart."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By

from components.content_links import git_pull_link
from components.kubernetes.chart_values import chart_values
from components.kubernetes.hub_arguments import EphemeralHubArgs, hub_chart
from components.kubernetes.hub_chart import Access, HubSecrets
from tests.e2e.chromium import chromium, text_of, wait_for
from tests.stacks import ROOT

PASSWORD = "a password of all visitors"
CONFIGURATION = Path(__file__).with_name("visitors_hub_config.py")


def free_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@contextlib.contextmanager
def running(folder: Path, access: Access = Access.PASSWORD) -> Iterator[str]:
    """A hub with its proxy, that lets in as `access` says; its address."""
    if not shutil.which("configurable-http-proxy"):
        pytest.skip("configurable-http-proxy is not on the path; `make test` installs it")
    arguments: EphemeralHubArgs = {"image": "a/b:1", "fleetQuota": {"servers": 10}, "access": access}
    chart = hub_chart("lab", arguments)
    given = {
        "hub": chart_values(chart, HubSecrets("ab" * 32, "cd" * 32, "ef" * 32, "mark"))["hub"],
        "secret": {"hub": {"config": {"SharedPasswordAuthenticator": {"user_password": PASSWORD}}}},
        "url": free_url(),
        "hub_url": free_url(),
        "proxy_api_url": free_url(),
    }
    (folder / "given.json").write_text(json.dumps(given))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "--config", CONFIGURATION],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "HOME": str(folder),
                # Where Debian keeps the proxy's modules; a Node.js from elsewhere does not know.
                "NODE_PATH": "/usr/share/nodejs",
            },
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_hub(given["url"], process, folder / "log")
        yield given["url"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_for_hub(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/hub/api/", timeout=10).ok:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-4000:])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("hub")) as url:
        yield url


def log_in(browser: webdriver.Chrome, password: str, name: str = "") -> None:
    if name:
        browser.find_element(By.ID, "username_input").send_keys(name)
    field = browser.find_element(By.ID, "password_input")
    field.clear()
    field.send_keys(password)
    browser.find_element(By.ID, "login_submit").click()


def served(browser: webdriver.Chrome) -> dict[str, str]:
    """What the visitor's server answered, once it runs."""
    wait_for(browser, "a server", lambda b: "/user/" in b.current_url and text_of(b, "body").startswith("{"), 60)
    return json.loads(text_of(browser, "body"))


def test_a_wrong_password_is_refused_with_a_message_and_the_right_one_lets_in(hub: str, tmp_path: Path):
    with chromium(tmp_path) as browser:
        browser.get(hub)
        assert [
            field.get_attribute("type") for field in browser.find_elements(By.CSS_SELECTOR, "#login-main input")
        ] == [
            "hidden",
            "hidden",
            "password",
            "submit",
        ]
        assert text_of(browser, ".login_error") == ""

        log_in(browser, "a wrong password")

        told = wait_for(browser, "the password is refused", lambda b: text_of(b, ".login_error"), 60)
        assert told == "That is not the password."
        assert "/hub/login" in browser.current_url

        log_in(browser, PASSWORD)

        assert UUID(served(browser)["user"]).version == 4


def test_two_visitors_are_two_users_and_one_of_them_stays_who_they_are(hub: str, tmp_path: Path):
    users: list[str] = []
    for visitor in ("first", "second"):
        with chromium(tmp_path / visitor) as browser:
            browser.get(hub)
            log_in(browser, PASSWORD)
            users.append(served(browser)["user"])
            browser.get(f"{hub}/hub/")
            assert served(browser)["user"] == users[-1]
            browser.get(f"{hub}/hub/admin")
            assert "403" in text_of(browser, "body")

    assert len(set(users)) == 2


def test_who_logs_out_and_in_again_is_somebody_else(hub: str, tmp_path: Path):
    with chromium(tmp_path) as browser:
        browser.get(hub)
        log_in(browser, PASSWORD)
        first = served(browser)["user"]
        browser.get(f"{hub}/hub/logout")
        browser.get(hub)
        log_in(browser, PASSWORD)

        assert served(browser)["user"] != first


def test_by_the_stock_shared_password_whoever_takes_the_same_name_has_the_same_server(tmp_path: Path):
    with running(tmp_path, Access.SHARED_PASSWORD) as hub:
        users: list[str] = []
        for visitor, name in (("first", "ann"), ("second", "ann"), ("third", "bob")):
            with chromium(tmp_path / visitor) as browser:
                browser.get(hub)
                log_in(browser, "a wrong password", name)
                told = wait_for(browser, "the password is refused", lambda b: text_of(b, ".login_error"), 60)
                assert told == "Invalid username or password"
                browser.get(hub)
                log_in(browser, PASSWORD, name)
                users.append(served(browser)["user"])

    assert users == ["ann", "ann", "bob"]


def test_an_open_hub_asks_nothing_and_makes_each_visitor_a_user_of_their_own(tmp_path: Path):
    with running(tmp_path, Access.OPEN) as hub:
        users: set[str] = set()
        for visitor in ("first", "second"):
            with chromium(tmp_path / visitor) as browser:
                browser.get(hub)
                users.add(served(browser)["user"])

    assert len(users) == 2


def test_a_link_to_content_leads_through_the_login_to_the_visitors_own_server(hub: str, tmp_path: Path):
    link = git_pull_link(hub, "https://github.com/example/course", branch="main", path="week 1/index.ipynb")
    with chromium(tmp_path) as browser:
        browser.get(link)
        log_in(browser, PASSWORD)
        answer = served(browser)

    asked = urlsplit(answer["asked"])
    assert asked.path == f"/user/{answer['user']}/git-pull"
    assert parse_qs(asked.query) == {
        "repo": ["https://github.com/example/course"],
        "branch": ["main"],
        "urlpath": ["lab/tree/course/week 1/index.ipynb"],
    }


@pytest.mark.parametrize("password", ["", "wrong", "straße", PASSWORD.title()])
def test_no_other_form_of_the_password_is_taken_and_none_makes_the_hub_fail(hub: str, password: str):
    session = requests.Session()
    session.trust_env = False
    session.get(f"{hub}/hub/login", timeout=30)
    form = {"username": "root", "password": password, "_xsrf": session.cookies.get("_xsrf", path="/hub/")}
    answer = session.post(f"{hub}/hub/login", data=form, allow_redirects=False, timeout=30)

    assert answer.status_code == 403
    assert "That is not the password." in answer.text
