"""The redirector's fleet page on a phone: everything fits its width, and each node's name and load are to be seen."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.e2e.chromium import chromium, wait_for
from tests.stacks import ROOT
from tests.unit.redirector import Web, answer, node, web_of

HEIGHT = 844

ANSWERS = {
    "tmp01": answer(59, used=5),
    "a-name-as-long-as-may-be1234": answer(120, capacity=1000, used=880),
    "tmp03": answer(0, used=64),
    "tmp04": answer(used=17, draining=True),
}
SILENT = {"tmp05": "Down", "tmp06": "Not heard of yet"}
"""Nodes that tell nothing, and what is told of them."""

WIDE = "return [window.innerWidth, document.documentElement.scrollWidth]"
PART = "return arguments[0].getBoundingClientRect().width / arguments[1].getBoundingClientRect().width"


def tell(web: Web) -> None:
    """Let the nodes have told all kinds of things."""
    web.fleet.replace([node(name) for name in (*ANSWERS, *SILENT)])
    for name, told in ANSWERS.items():
        web.fleet.answered(node(name), told, 0)
    for _ in range(2):
        web.fleet.missed(node("tmp05"))


@contextmanager
def served() -> Iterator[str]:
    """The page's address on this machine; the redirector runs in a thread."""
    port, ended = Future[int](), threading.Event()

    async def serve() -> None:
        async with web_of([]) as web:
            tell(web)
            port.set_result(web.port)
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield f"http://127.0.0.1:{port.result(30)}/fleet"
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with served() as url, chromium(tmp_path_factory.mktemp("phone") / "profile") as browser:
        browser.get(url)
        yield browser


@pytest.mark.parametrize("width", [390, 320])
def test_the_fleet_page_fits_a_phone_and_shows_each_nodes_name_and_load(browser: webdriver.Chrome, width: int):
    phone: dict[str, Any] = {"width": width, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)

    rows = wait_for(browser, "all nodes are there", lambda b: rows_by_name(b, len(ANSWERS) + len(SILENT)), 30)
    browser.save_screenshot(str(picture(width)))

    # A page that is too wide makes a phone show more of it, smaller.
    window, content = browser.execute_script(WIDE)
    assert window == width
    assert content <= width
    for name, told in ANSWERS.items():
        used, _, capacity = numbers = rows[name].find_elements(By.CLASS_NAME, "number")
        assert [int(number.text.replace(",", "")) for number in numbers] == [told.used, told.available, told.capacity]
        bar = rows[name].find_element(By.CSS_SELECTOR, ".load .bar")
        part = browser.execute_script(PART, bar.find_element(By.CLASS_NAME, "used"), bar)
        assert part == pytest.approx(told.used / told.capacity, abs=0.01)
        for shown in (rows[name].find_element(By.TAG_NAME, "a"), used, capacity, bar):
            assert is_in_sight(shown, width), name
    for name, state in SILENT.items():
        assert rows[name].find_element(By.CLASS_NAME, "state").text == state
        for shown in (rows[name].find_element(By.TAG_NAME, "a"), rows[name].find_element(By.CLASS_NAME, "state")):
            assert is_in_sight(shown, width), name


def rows_by_name(browser: webdriver.Chrome, count: int) -> dict[str, WebElement]:
    """The rows of the table once there are so many."""
    rows = browser.find_elements(By.CSS_SELECTOR, "#nodes tr")
    return {row.find_element(By.TAG_NAME, "a").text: row for row in rows} if len(rows) == count else {}


def is_in_sight(element: WebElement, width: int) -> bool:
    """Whether all of an element can be seen without scrolling to a side."""
    place = element.rect
    return element.is_displayed() and place["width"] > 0 and place["x"] >= 0 and place["x"] + place["width"] <= width


def picture(width: int) -> Path:
    """Where a picture of the page is kept."""
    file = ROOT / "build" / f"fleet-{width}.png"
    file.parent.mkdir(exist_ok=True)
    return file
