"""A headless Chromium for tests that need a person's eyes and hands."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.quiet_network import quiet_network

T = TypeVar("T")

DRIVER, BROWSER = Path("/usr/bin/chromedriver"), Path("/usr/bin/chromium")


@contextmanager
def chromium(profile: Path, hosts: Mapping[str, str] | None = None) -> Iterator[webdriver.Chrome]:
    """A browser that knows what `profile` holds; the test is skipped, with the reason, where there is none.

    Args:
        profile: folder of what it remembers.
        hosts: addresses of names that no resolver knows.
    """
    if not DRIVER.exists() or not BROWSER.exists():
        pytest.skip("chromium and chromium-driver are not installed; `make test` installs them")
    with quiet_network(hosts) as network:
        browser = profile / "browser"
        profile.mkdir(parents=True, exist_ok=True)
        browser.write_text(f'#!/bin/sh\nexec {shlex.join(network.command(str(BROWSER)))} "$@"\n')
        browser.chmod(0o755)
        options = webdriver.ChromeOptions()
        options.binary_location = str(browser)
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
            f"--user-data-dir={profile}",
            # The driver is outside the namespace, where the browser's own port could not be reached.
            "--remote-debugging-pipe",
            f"--proxy-server={network.proxy}",
            # Chromium leaves the loopback out by itself.
            "--proxy-bypass-list=<-loopback>",
        ):
            options.add_argument(flag)
        started = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        try:
            yield started
        finally:
            started.quit()


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    """The text of all elements that a CSS selector finds."""
    return " ".join(element.text for element in browser.find_elements("css selector", selector))


def wait_for(browser: webdriver.Chrome, what: str, holds: Callable[[webdriver.Chrome], T], seconds: float) -> T:
    """Wait until the answer is true, and return it; else the test fails with what the browser shows.

    Args:
        browser: it shows the page or is about to.
        what: what is waited for, for the message.
        holds: what is asked of it.
        seconds: after which the test fails.
    """
    try:
        return WebDriverWait(browser, seconds).until(holds)
    except TimeoutException:
        shown = f"{browser.current_url}:\n{text_of(browser, 'body')}\n{browser.get_log('browser')}"
        pytest.fail(f"{what}: not within {seconds:.0f} s at {shown}")
