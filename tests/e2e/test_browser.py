"""A person with a browser: logs in, starts a server, runs a cell."""

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.e2e.chromium import chromium, text_of, wait_for
from tests.e2e.hub_client import HubUser
from tests.e2e.jupyterlab import run_cell
from tests.stacks import ROOT, Stack

pytestmark = [pytest.mark.engine, pytest.mark.docker]


@pytest.fixture
def browser(tmp_path: Path):
    with chromium(tmp_path / "profile") as started:
        yield started


def test_a_person_logs_in_and_runs_a_cell_in_the_browser(hub: Stack, browser: webdriver.Chrome):
    outputs = hub.outputs()
    browser.get(f"{outputs['url']}/hub/login")
    name = wait_for(browser, "the login page opens", lambda b: b.find_element(By.ID, "username_input"), 60)
    name.send_keys("user6")
    browser.find_element(By.ID, "password_input").send_keys(outputs["password"])
    browser.find_element(By.ID, "login_submit").click()
    wait_for(browser, "the server opens", lambda b: "/user/user6/" in b.current_url, 180)

    assert run_cell(browser, "print('six times seven is', 6 * 7)") == "six times seven is 42"
    assert text_of(browser, ".Toastify__toast") == "", "nothing pops up over the notebook"
    screenshot = ROOT / "build" / "notebook.png"
    screenshot.parent.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(screenshot))
    HubUser(hub, "user6").stop()
