"""The redirector's fleet page: it fits a phone with each node's name and load, and it is live."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from runtime.redirector.fleet import Fleet
from tests.e2e.chromium import chromium, text_of, wait_for
from tests.stacks import ROOT
from tests.unit.redirector import Web, answer, node, web_of

HEIGHT = 844
PHONES_BELOW = 600
LIVE_SECONDS = 15
"""Within which the page shows what has changed; it asks every two."""

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


@dataclass
class Site:
    """A redirector that runs in a thread of its own."""

    web: Web
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    ended: threading.Event

    @property
    def url(self) -> str:
        """The page's address on this machine."""
        return f"http://127.0.0.1:{self.web.port}/fleet"

    def hear(self, told: Callable[[Fleet], None]) -> None:
        """Let the redirector's fleet be told something."""
        self.loop.call_soon_threadsafe(told, self.web.fleet)

    def stop(self) -> None:
        """End it; nothing happens if it has ended."""
        self.ended.set()
        self.thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    started, ended = Future[tuple[Web, asyncio.AbstractEventLoop]](), threading.Event()

    async def serve() -> None:
        async with web_of([]) as web:
            tell(web)
            started.set_result((web, asyncio.get_running_loop()))
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    running = Site(*started.result(30), thread, ended)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("phone") / "profile") as browser:
        yield browser


@pytest.mark.parametrize("width", [390, 320])
def test_the_fleet_page_fits_a_phone_and_shows_each_nodes_name_and_load(
    browser: webdriver.Chrome, site: Site, width: int
):
    rows = opened(browser, site, width)
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


def test_the_fleet_page_shows_what_nodes_tell_later_and_says_when_it_has_lost_contact(
    browser: webdriver.Chrome, site: Site
):
    def shown(name: str, *kinds: str) -> list[str]:
        return [rows[name].find_element(By.CLASS_NAME, kind).text for kind in kinds]

    rows = opened(browser, site, 1400)
    assert shown("tmp01", "state", "number", "version") == ["Up", "5", "0.1.0"]
    assert shown("tmp06", "state", "version") == ["Not heard of yet", "\u2013"]
    assert "Lost contact" not in text_of(browser, "#contact")

    site.hear(lambda fleet: fleet.answered(node("tmp01"), replace(answer(2, used=62), version="0.2.0"), 0))
    site.hear(lambda fleet: fleet.answered(node("tmp06"), replace(answer(0, used=64), version="0.3.0"), 0))
    for _ in range(2):
        site.hear(lambda fleet: fleet.missed(node("tmp03")))

    later = {"tmp01": ["Up", "0.2.0"], "tmp06": ["Full", "0.3.0"], "tmp03": ["Down", "0.1.0"]}
    wait_for(
        browser,
        "the page shows it by itself",
        lambda _: {name: shown(name, "state", "version") for name in later} == later,
        LIVE_SECONDS,
    )
    assert [number.text for number in rows["tmp01"].find_elements(By.CLASS_NAME, "number")] == ["62", "2", "64"]

    site.stop()
    wait_for(
        browser, "it says that it is out of date", lambda b: "Lost contact" in text_of(b, "#contact"), LIVE_SECONDS
    )
    assert shown("tmp01", "version") == ["0.2.0"], "what was told last stays"


def opened(browser: webdriver.Chrome, site: Site, width: int) -> dict[str, WebElement]:
    """The rows of the page on a screen of this width, by the nodes' names."""
    screen: dict[str, Any] = {"width": width, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": width < PHONES_BELOW}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(site.url)
    return wait_for(browser, "all nodes are there", lambda b: rows_by_name(b, len(ANSWERS) + len(SILENT)), 30)


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
