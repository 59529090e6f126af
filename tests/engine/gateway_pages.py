"""Pages as a browser gets them through the gateway of the tests' cluster."""

from selenium.webdriver import Chrome

from tests.e2e.chromium import text_of
from tests.engine.cluster import until

NO_ROUTE = "404 page not found"
"""What the gateway shows where no route leads from an address."""

NO_SERVER = "no available server"
"""What it shows where a route has no pod behind it."""


def open_page(browser: Chrome, page: str, seconds: float) -> None:
    """Open a page of what runs; the gateway hears of routes and pods a moment after everybody else.

    Args:
        browser: it knows the gateway by the page's domain.
        page: address of the page.
        seconds: after which the test fails.
    """

    def opened() -> bool:
        browser.get(page)
        return text_of(browser, "body") not in (NO_ROUTE, NO_SERVER)

    until(opened, seconds, pause=1)
