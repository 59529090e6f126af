"""What a chart's hub runs of the project's own: visitors' logins, the hub's address, and pods that end with it."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from jupyterhub.auth import Authenticator
from traitlets.config import Config

from components.kubernetes.chart_values import chart_values
from components.kubernetes.hub_arguments import EphemeralHubArgs, hub_chart
from components.kubernetes.hub_chart import HubSecrets
from components.kubernetes.images import image_mistake, split_image
from runtime.hub.hub_address import hub_address
from runtime.hub.user_pods import belong_to_the_hub

PASSWORD = "correct horse"
DIGEST = "sha256:" + "0" * 64


def configured(**args: object) -> Config:
    """What JupyterHub's configuration is after the chart has run the values' `extraConfig`, in its order."""
    given: EphemeralHubArgs = {"image": "a/b:1", **args}  # pyright: ignore[reportAssignmentType]
    hub = chart_values(hub_chart("lab", given), HubSecrets("a", "b", "c", "d"))["hub"]
    c = Config()
    for section, values in hub["config"].items():
        c[section].update(values)
    # The chart's configuration file has one namespace for all.
    names: dict[str, Any] = {"c": c, "__name__": "hub"}
    for key in sorted(hub["extraConfig"]):
        exec(compile(hub["extraConfig"][key], key, "exec"), names)
    return c


def authenticator() -> Authenticator:
    c = configured()
    c.SharedPasswordAuthenticator.user_password = PASSWORD
    return c.JupyterHub.authenticator_class(config=c)


def logged_in(known: Authenticator, **form: str) -> Any:
    return asyncio.run(known.get_authenticated_user(None, {"username": "visitor", **form}))  # pyright: ignore[reportArgumentType]


def test_the_right_password_makes_a_fresh_user_each_time_and_none_of_them_an_administrator():
    known = authenticator()
    visits = [logged_in(known, password=PASSWORD) for _ in range(3)]

    assert len({UUID(visit["name"]) for visit in visits}) == 3
    assert [visit["admin"] for visit in visits] == [False] * 3


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD.upper(), f"{PASSWORD} ", "straße"])
def test_any_other_password_lets_nobody_in(password: str):
    assert logged_in(authenticator(), password=password) is None


def test_a_visitor_cannot_choose_who_they_are():
    known = authenticator()

    assert logged_in(known, password=PASSWORD, username="root")["name"] != "root"
    assert 'type="text"' not in known.get_custom_html("")


def test_without_a_password_in_the_secret_nobody_gets_in():
    c = configured()

    assert logged_in(c.JupyterHub.authenticator_class(config=c), password="") is None


def test_servers_that_resolve_no_names_are_told_the_hubs_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HUB_SERVICE_HOST", "10.96.0.7")
    monkeypatch.setenv("HUB_SERVICE_PORT", "8081")

    assert configured(egressProfile="closed").JupyterHub.hub_connect_url == "http://10.96.0.7:8081"
    assert "hub_connect_url" not in configured().JupyterHub
    assert hub_address({"HUB_SERVICE_HOST": "fd00::7", "HUB_SERVICE_PORT": "8081"}) == "http://[fd00::7]:8081"


def test_a_users_pod_belongs_to_the_hubs_service():
    async def read(name: str, namespace: str) -> object:
        return SimpleNamespace(metadata=SimpleNamespace(uid=f"uid of {namespace}/{name}"))

    hook = configured().KubeSpawner.modify_pod_hook
    spawner = SimpleNamespace(api=SimpleNamespace(read_namespaced_service=read), namespace="lab")
    pod = SimpleNamespace(metadata=SimpleNamespace(owner_references=None))
    changed = asyncio.run(hook(spawner, pod))

    assert hook.__name__ == belong_to_the_hub.__name__
    assert changed.metadata.owner_references == [
        {"apiVersion": "v1", "kind": "Service", "name": "hub", "uid": "uid of lab/hub"}
    ]


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("redis:7", ("redis", "7")),
        ("localhost:5000/a/b:1.2", ("localhost:5000/a/b", "1.2")),
        (f"quay.io/a/b@{DIGEST}", ("quay.io/a/b@sha256", "0" * 64)),
        (f"quay.io/a/b:1@{DIGEST}", ("quay.io/a/b", f"1@{DIGEST}")),
    ],
)
def test_name_and_tag_joined_by_a_colon_are_the_image_again(image: str, parts: tuple[str, str]):
    assert split_image(image) == parts
    assert ":".join(parts) == image
    assert image_mistake(image) is None


@pytest.mark.parametrize("image", ["", "a", "localhost:5000/a", "a:latest", "A/B:1", "a@sha256:12", "a b:1", "a:1:2"])
def test_an_image_that_may_be_another_tomorrow_is_refused(image: str):
    assert image_mistake(image)
