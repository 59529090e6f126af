"""Waiting until the hub answers: an update that says that it is done hands out an address that works."""

import time
from collections.abc import Mapping
from typing import Any, TypedDict

import docker
import pulumi
from docker.errors import APIError
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.docker.inspection import engine_client, service_containers
from components.docker.tls_proxy import TLS_PORT

READY_SECONDS = 180
"""How long the hub may take. It reads its database and every server's state before it answers."""
INTERVAL_SECONDS = 0.5
ASK_SECONDS = 5
LAST_LINES = 15

ASK = f"""
import ssl, urllib.request
unverified = ssl._create_unverified_context()
urllib.request.urlopen("https://127.0.0.1:{TLS_PORT}/hub/health", timeout={ASK_SECONDS}, context=unverified)
"""
"""Asks as a browser's request goes, through both proxies; the certificate is for the host's name, not for this address."""


class HubReadinessInputs(TypedDict):
    """Which hub, and what it is made of."""

    engine: pulumi.Input[str]
    """Address of the engine."""
    hub_service: pulumi.Input[str]
    """Service of the hub."""
    tls_service: pulumi.Input[str]
    """Service of the TLS proxy, where the hub is asked."""
    made_of: pulumi.Input[str]
    """Digest of the services' definitions: with another one it is waited again."""


class HubNotReadyError(Exception):
    """The hub does not answer; the message has its last words."""


class _HubReadinessProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Services of another definition have been started anew."""
        return DiffResult(changes=any(_olds.get(key) != _news.get(key) for key in HubReadinessInputs.__annotations__))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait until the hub answers."""
        _wait(props)
        return CreateResult(props["hub_service"], props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Wait again."""
        _wait(_news)
        return UpdateResult(_news)


class HubReadiness(Resource, module="docker", name="HubReadiness"):
    """The moment from which the hub answers; creating it fails when that does not come."""

    def __init__(self, name: str, inputs: HubReadinessInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe it.

        Args:
            name: the resource's name.
            inputs: which hub.
            opts: resource options.
        """
        super().__init__(_HubReadinessProvider(), name, {**inputs}, opts)


def _wait(props: Mapping[str, str]) -> None:
    with engine_client(props["engine"]) as client:
        wait_for_hub(client, hub_service=props["hub_service"], tls_service=props["tls_service"])


def wait_for_hub(client: docker.APIClient, *, hub_service: str, tls_service: str) -> None:
    """Wait until the hub answers through both proxies.

    Args:
        client: the engine, a manager of the swarm.
        hub_service: service of the hub.
        tls_service: service of the TLS proxy.

    Raises:
        HubNotReadyError: it does not within `READY_SECONDS`.
    """
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(client, tls_service):
        if time.monotonic() > deadline:
            raise HubNotReadyError(
                f"the hub does not answer after {READY_SECONDS} s; see: docker service ps --no-trunc {hub_service}; "
                f"its last words:\n{_last_words(client, hub_service)}"
            )
        time.sleep(INTERVAL_SECONDS)


def _answers(client: docker.APIClient, tls_service: str) -> bool:
    try:
        for container in service_containers(client, tls_service):
            asked = client.exec_create(container["Id"], ["python3", "-c", ASK])["Id"]
            client.exec_start(asked)
            if client.exec_inspect(asked)["ExitCode"] == 0:
                return True
    except APIError:
        # Ended between two questions: Swarm starts the next.
        return False
    return False


def _last_words(client: docker.APIClient, service: str) -> str:
    """What the latest container of the service said."""
    said = [client.logs(found["Id"], tail=LAST_LINES) for found in service_containers(client, service, ended=True)[:1]]
    return b"".join(said).decode(errors="replace").strip() or "(none)"
