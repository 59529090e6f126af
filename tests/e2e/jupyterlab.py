"""What a person does in JupyterLab with a browser."""

import time
from collections.abc import Callable

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.e2e.chromium import text_of

CARD = "[data-category='Notebook'].jp-LauncherCard, [data-category='Notebook'] .jp-LauncherCard, .jp-LauncherCard"
CELL = ".jp-Notebook .cm-content"
IDLE = ".jp-Notebook-ExecutionIndicator[data-status='idle']"
OUTPUT = ".jp-OutputArea-output"

LOAD_ERROR = "File Load Error"
"""Title of what tells a person that a file could not be had; loading the page again is all that they can do."""

ERROR_PAGE = "#main-frame-error"
"""What Chromium shows where a page could not be had, with a button to load it again."""

DIALOG = ".jp-Dialog"
"""Over the page until it is answered; before a notebook is open it tells an error."""

AGAIN_SECONDS = 30
"""After how long a person tries again what the page, busy with loading itself, took no notice of."""


def run_cell(browser: webdriver.Chrome, code: str, limit: float = 180) -> str:
    """What the first cell of a new notebook prints, made from the launcher that is open or about to be.

    Args:
        browser: it shows JupyterLab, or waits for it.
        code: what to run, one line that may run twice.
        limit: seconds that each step may take.
    """

    def shown(selector: str) -> list[WebElement]:
        # A notebook that was opened twice hides its first page.
        return [element for element in browser.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]

    def open_notebook() -> None:
        if shown(ERROR_PAGE) or shown(DIALOG) or LOAD_ERROR in text_of(browser, "body"):
            # A server that has only just started may not answer in time.
            browser.refresh()
        else:
            shown(CARD)[0].click()

    def keys(*pressed: str) -> None:
        shown(CELL)[0].click()
        browser.switch_to.active_element.send_keys(*pressed)

    def type_code() -> None:
        keys(webdriver.Keys.CONTROL, "a")
        browser.switch_to.active_element.send_keys(code)

    steps: list[tuple[str, Callable[[], None], Callable[[], bool]]] = [
        ("a notebook opens", open_notebook, lambda: bool(shown(CELL))),
        ("the kernel is idle", lambda: None, lambda: bool(shown(IDLE))),
        ("the code is in the cell", type_code, lambda: code in text_of(browser, CELL)),
        (
            "the cell prints",
            lambda: keys(webdriver.Keys.SHIFT, webdriver.Keys.ENTER),
            lambda: bool(text_of(browser, OUTPUT)),
        ),
    ]
    for what, do, done in steps:
        _until(browser, what, do, done, limit)
    return text_of(browser, OUTPUT)


def _until(
    browser: webdriver.Chrome, what: str, do: Callable[[], None], done: Callable[[], bool], limit: float
) -> None:
    """Do something until it had its effect."""
    deadline, again, trouble = time.monotonic() + limit, 0.0, ""
    while True:
        try:
            if done():
                return
            if time.monotonic() > again:
                do()
                again = time.monotonic() + AGAIN_SECONDS
        except (WebDriverException, IndexError) as error:
            # The page makes itself anew while it loads: what was there goes, or is not there yet.
            trouble = repr(error)
        if time.monotonic() > deadline:
            seen = f"{browser.current_url}: {trouble}\n{text_of(browser, 'body')}"
            pytest.fail(f"{what}: not within {limit:.0f} s at {seen}")
        time.sleep(0.3)
