"""The stack of a hub for visitors under the real engine, with the policy pack, on a real cluster with a browser.

`CHART` names an archive of the real chart; without it, the one in `stand_in_chart` takes the same values.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.e2e.chromium import chromium, text_of, wait_for
from tests.e2e.jupyterlab import run_cell
from tests.engine import hub_image
from tests.engine.cluster import Cluster, until
from tests.engine.cluster_stack import PAUSE, ask, everything, gone, reaching
from tests.engine.gateway_pages import open_page
from tests.engine.project_images import image, notebook_image, put_into
from tests.stacks import Stack, needs_engine_and_docker

pytestmark = [pytest.mark.engine, pytest.mark.kubernetes, pytest.mark.docker]

SLOW_SECONDS = 300
"""How long a server may take to start or stop where much else runs."""

CHART = Path(os.environ.get("CHART") or Path(__file__).with_name("stand_in_chart")).resolve()
DOMAIN = "try.example.org"


def configuration(cluster: Cluster, **changes: Any) -> dict[str, object]:
    """A stack's configuration for `cluster`, whose node has the images."""
    needs_engine_and_docker()
    hub, proxy, notebooks = hub_image.build(), image("egress-proxy"), notebook_image()
    put_into(cluster, [hub, proxy, notebooks])
    ephemeral = {
        "chart": str(CHART),
        "chartImages": {"hub": hub, "proxy": hub, "awaiter": hub, "pause": PAUSE},
        "front": {"kind": "gateway", "gateway": "gateway", "gatewayNamespace": "gateway", "gatewaySection": "https"},
        "egressProxyImage": proxy,
        "nodes": 1,
    }
    return {
        "kubernetes:upsertExistingObjects": True,
        "topology": "ephemeral",
        "domain": DOMAIN,
        "notebookImage": notebooks,
        "userQuota": {"cpu": 0.5, "memory": "384M", "home": "64M", "tmp": "64M"},
        "fleetQuota": {"servers": 3},
        "dataProtection": False,
        "ephemeral": ephemeral,
        **changes,
    }


@dataclass(frozen=True)
class Hub:
    """A hub that is deployed, and where its gateway is."""

    stack: Stack
    gateway: str
    namespace: str
    password: str

    def visitor(self, folder: Path) -> Any:
        """A browser that knows what `folder` holds."""
        return chromium(folder, {DOMAIN: self.gateway})


@pytest.fixture(scope="module", params=["closed", "domains"])
def hub(
    request: pytest.FixtureRequest, cluster: Cluster, gateway: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """A hub under an egress profile, of which nothing is left at the end."""
    profile: str = request.param
    before = everything(cluster)
    folder = tmp_path_factory.mktemp("stack")
    domains = {"egressDomains": ["pypi.org"]} if profile == "domains" else {}
    with reaching(cluster, folder / "bin"):
        stack = Stack(profile, folder, configuration(cluster, egressProfile=profile, **domains))
        try:
            previewed = stack.run("preview", "--stack", stack.name, "--policy-pack", "policies")
            assert "to create" in previewed
            assert everything(cluster) - before == set(), "a preview makes nothing"
            stack.up("--skip-preview")
            told = stack.outputs()
            yield Hub(stack, gateway, told["namespace"], told["password"])
        finally:
            stack.destroy()
    gone(cluster, before)


def log_in(browser: webdriver.Chrome, password: str) -> None:
    fields = wait_for(browser, "a password is asked for", lambda b: b.find_elements(By.NAME, "password"), SLOW_SECONDS)
    fields[0].send_keys(password)
    browser.find_element(By.ID, "login_submit").click()


def user_of(browser: webdriver.Chrome) -> str:
    """The user whose server the browser sees, once it has started."""
    wait_for(browser, "a server opens", lambda b: "/user/" in b.current_url and "/lab" in b.current_url, SLOW_SECONDS)
    return browser.current_url.partition("/user/")[2].partition("/")[0]


def servers(cluster: Cluster, hub: Hub) -> list[str]:
    """Names of the pods of users."""
    # The probe's pod has a user's labels as well, but no user.
    selector = "--selector=component=singleuser-server,hub.jupyter.org/username"
    return ask(cluster, "get", "pods", f"--namespace={hub.namespace}", selector, "--output=name").split()


def test_a_visitor_gets_in_by_the_password_alone_and_runs_a_cell(cluster: Cluster, hub: Hub, tmp_path: Path):
    with hub.visitor(tmp_path) as browser:
        open_page(browser, f"https://{DOMAIN}/", SLOW_SECONDS)
        log_in(browser, "a wrong password")
        told = wait_for(browser, "the password is refused", lambda b: text_of(b, ".login_error"), SLOW_SECONDS)
        assert told == "That is not the password."
        assert servers(cluster, hub) == []

        log_in(browser, hub.password)
        user = user_of(browser)
        assert run_cell(browser, "print(6 * 7)", SLOW_SECONDS) == "42"
        assert len(servers(cluster, hub)) == 1

        with hub.visitor(tmp_path / "second") as another:
            open_page(another, f"https://{DOMAIN}/", SLOW_SECONDS)
            log_in(another, hub.password)
            assert user_of(another) != user
        browser.get(f"https://{DOMAIN}/hub/logout")
    until(lambda: len(servers(cluster, hub)) == 1, SLOW_SECONDS, pause=1)


@pytest.mark.parametrize("hub", ["closed"], indirect=True)
def test_a_server_that_outgrows_its_home_ends_and_the_next_one_begins_with_an_empty_home(
    cluster: Cluster, hub: Hub, tmp_path: Path
):
    before = set(servers(cluster, hub))
    with hub.visitor(tmp_path) as browser:
        open_page(browser, f"https://{DOMAIN}/", SLOW_SECONDS)
        log_in(browser, hub.password)
        user = user_of(browser)
        [pod] = set(servers(cluster, hub)) - before
        fill = "print(open('big', 'wb').write(bytes(100 * 2**20)))"
        assert run_cell(browser, fill, SLOW_SECONDS) == str(100 * 2**20), "the kubelet counts, it does not stop a write"

        def why() -> str:
            chosen = f"--field-selector=reason=Evicted,involvedObject.name={pod.removeprefix('pod/')}"
            form = "--output=jsonpath={.items[*].message}"
            return ask(cluster, "get", "events", f"--namespace={hub.namespace}", chosen, form)

        assert 'EmptyDir volume "home" exceeds the limit "64Mi"' in until(why, SLOW_SECONDS, pause=1)

        browser.get("about:blank")
        until(lambda: set(servers(cluster, hub)) == before, SLOW_SECONDS, pause=1)
        browser.get(f"https://{DOMAIN}/hub/spawn")
        assert user_of(browser) == user
        assert run_cell(browser, "import os; print(os.path.exists('big'))", SLOW_SECONDS) == "False"
        browser.get(f"https://{DOMAIN}/hub/logout")
    until(lambda: set(servers(cluster, hub)) == before, SLOW_SECONDS, pause=1)


def test_another_update_changes_nothing_and_stops_nobody(cluster: Cluster, hub: Hub):
    def pods() -> str:
        form = "--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{'\\n'}{end}"
        return ask(cluster, "get", "pods", f"--namespace={hub.namespace}", form)

    before = pods()
    hub.stack.up("--skip-preview", "--expect-no-changes")
    hub.stack.run("refresh", "--yes", "--skip-preview", "--stack", hub.stack.name, "--expect-no-changes")

    assert pods() == before
