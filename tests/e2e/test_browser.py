"""A person with a browser: logs in, starts a server, runs a cell."""

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.hub_client import HubUser
from tests.stacks import ROOT, Stack

pytestmark = [pytest.mark.engine, pytest.mark.docker]

DRIVER, BROWSER = Path("/usr/bin/chromedriver"), Path("/usr/bin/chromium")


@pytest.fixture
def browser(tmp_path: Path):
    if not DRIVER.exists() or not BROWSER.exists():
        pytest.skip("chromium and chromium-driver are not installed; `make test` installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--ignore-certificate-errors",
        "--window-size=1400,900",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(flag)
    started = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield started
    started.quit()


def test_a_person_logs_in_and_runs_a_cell_in_the_browser(hub: Stack, browser: webdriver.Chrome):
    outputs = hub.outputs()
    wait = WebDriverWait(browser, 60)
    browser.get(f"{outputs['url']}/hub/login")
    browser.find_element(By.ID, "username_input").send_keys("user6")
    browser.find_element(By.ID, "password_input").send_keys(outputs["password"])
    browser.find_element(By.ID, "login_submit").click()
    wait.until(lambda b: "/user/user6/" in b.current_url)
    wait.until(
        lambda b: b.find_elements(By.CSS_SELECTOR, "[data-category='Notebook'] .jp-LauncherCard, .jp-LauncherCard")
    )
    browser.find_element(By.CSS_SELECTOR, "[data-category='Notebook'] .jp-LauncherCard, .jp-LauncherCard").click()
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".jp-Notebook .cm-content"))
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".jp-Notebook-ExecutionIndicator[data-status='idle']"))

    browser.find_element(By.CSS_SELECTOR, ".jp-Notebook .cm-content").click()
    browser.switch_to.active_element.send_keys("print('six times seven is', 6 * 7)")
    browser.switch_to.active_element.send_keys(webdriver.Keys.SHIFT, webdriver.Keys.ENTER)

    wait.until(lambda b: text_of(b, ".jp-OutputArea-output"))
    assert text_of(browser, ".jp-OutputArea-output") == "six times seven is 42"
    assert text_of(browser, ".Toastify__toast") == "", "nothing pops up over the notebook"
    screenshot = ROOT / "build" / "notebook.png"
    screenshot.parent.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(screenshot))
    HubUser(hub, "user6").stop()


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    return " ".join(element.text for element in browser.find_elements(By.CSS_SELECTOR, selector))
