"""What is asked of the Docker engine: docker-py in a few threads of its own."""

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import docker
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from runtime.tmpnb_node import servers
from runtime.tmpnb_node.servers import Json, Server
from runtime.tmpnb_node.settings import Settings

CALL_SECONDS = 30
"""How long the engine may take for one call."""

LISTEN_AGAIN_SECONDS = 2.0
OTHER_CALLS = 4
"""Threads beside those that start and remove servers, so that a class that goes home keeps nobody from looking."""

REMOVED_AT_ONCE = 4
"""Servers that are removed at the same time, unless more are started so: those that end keep their place until then."""

HEALTHY = "healthy"

_IDS = re.compile(rf"\b([0-9a-f]{{12,64}}|[a-z0-9]{{{servers.ID_LENGTH}}})\b")
"""Ids of containers and servers in the engine's messages: another one each time."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class EngineError(Exception):
    """The engine does not answer, or refuses; the message says what, the same for each try."""


@dataclass(frozen=True)
class Found:
    """A server's container in the engine's list."""

    id: str
    """The server's id."""
    running: bool
    spec: str
    """Digest of what it was made from; empty without a label."""
    address: str
    """On the servers' network; empty while it is not there."""
    created: datetime


@dataclass(frozen=True)
class ContainerState:
    """How a container is."""

    running: bool
    exit_code: int
    health: str
    """`healthy`, `unhealthy` or `starting`; empty if nobody checks."""


def removed_at_once(starts_at_once: int) -> int:
    """How many servers are removed at the same time."""
    return max(REMOVED_AT_ONCE, starts_at_once)


class Engine:
    """One Docker engine, by `DOCKER_HOST` or its socket; connected to when it is first asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(
            settings.starts_at_once + removed_at_once(settings.starts_at_once) + OTHER_CALLS,
            thread_name_prefix="engine",
        )
        self._connecting = threading.Lock()
        self._connection: docker.APIClient | None = None
        self._closed = False
        self.listening = False
        """Whether the engine tells of servers that end."""

    async def servers(self) -> list[Found]:
        """The containers of this node's servers, whatever their state.

        Raises:
            EngineError: the engine does not say.
        """

        def ask(client: docker.APIClient) -> list[Found]:
            filters = servers.label_filters(servers.labels(self._settings))
            found = (found_in(self._settings, each) for each in client.containers(all=True, filters=filters))
            return [each for each in found if each is not None]

        return await self._ask(ask)

    async def token(self, server_id: str) -> str | None:
        """A server's token as its container has it; None if that is gone, empty if it has none.

        Raises:
            EngineError: the engine does not say.
        """
        container = await self._inspect(servers.container_name(self._settings, server_id))
        return None if container is None else servers.token_in(container["Config"]["Env"] or [])

    async def state(self, name: str) -> ContainerState | None:
        """How the container of this name is; None if there is none.

        Raises:
            EngineError: the engine does not say.
        """
        container = await self._inspect(name)
        if container is None:
            return None
        state = container["State"]
        return ContainerState(state["Running"], state["ExitCode"], (state.get("Health") or {}).get("Status", ""))

    async def server_state(self, server_id: str) -> ContainerState | None:
        """How a server's container is; None if there is none.

        Raises:
            EngineError: the engine does not say.
        """
        return await self.state(servers.container_name(self._settings, server_id))

    async def start(self, server: Server) -> str:
        """Make and start a server's container, and return its address.

        Raises:
            EngineError: the engine refuses, or has no such image; a container that it made may be left.
        """

        def ask(client: docker.APIClient) -> str:
            host = client.create_host_config(**servers.host_arguments(self._settings))
            made = client.create_container(**servers.container_arguments(self._settings, server), host_config=host)
            client.start(made["Id"])
            return _address(client.inspect_container(made["Id"]), self._settings.network)

        address = await self._ask(ask)
        if not address:
            raise EngineError("a server ended as soon as it was started")
        return address

    async def remove(self, server_id: str) -> None:
        """Remove a server's container with its anonymous volumes, running or not; nothing happens if there is none.

        Raises:
            EngineError: the engine refuses.
        """

        def ask(client: docker.APIClient) -> None:
            try:
                client.remove_container(servers.container_name(self._settings, server_id), v=True, force=True)
            except NotFound:
                log.debug("server %s was gone already", server_id)

        await self._ask(ask)

    def listen(self, heard: Callable[[], None]) -> None:
        """From now on call `heard` in this event loop whenever a server ends."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop, heard), daemon=True, name="engine-events").start()

    def close(self) -> None:
        """Let go of the engine; what it was asked for last may still happen."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _listen(self, loop: asyncio.AbstractEventLoop, heard: Callable[[], None]) -> None:
        filters = servers.label_filters(servers.labels(self._settings))
        filters |= {"type": ["container"], "event": ["die", "destroy"]}
        while not self._closed:
            try:
                # The stubs of docker-py know no events.
                stream: Any = cast("Any", self._client()).events(filters=filters)
                self.listening = True
                # What ended before the stream began was not told.
                _call(loop, heard)
                for _ in stream:
                    _call(loop, heard)
            except (DockerException, RequestException) as error:
                log.debug("the engine tells of nothing: %s", error)
            finally:
                self.listening = False
            time.sleep(LISTEN_AGAIN_SECONDS)

    def _client(self) -> docker.APIClient:
        with self._connecting:
            if self._connection is None:
                host = os.environ.get("DOCKER_HOST")
                self._connection = docker.APIClient(base_url=host, version="auto", timeout=CALL_SECONDS)
            return self._connection

    async def _inspect(self, name: str) -> Json | None:
        def ask(client: docker.APIClient) -> Json | None:
            try:
                return client.inspect_container(name)
            except NotFound:
                return None

        return await self._ask(ask)

    async def _ask(self, call: Callable[[docker.APIClient], T]) -> T:
        def ask() -> T:
            try:
                return call(self._client())
            except APIError as error:
                raise refusal(self._settings.image, error) from error
            except (DockerException, RequestException) as error:
                # The message would hold an address in memory, another one each time.
                raise EngineError(f"the engine does not answer ({type(error).__name__})") from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)


def found_in(settings: Settings, container: Json) -> Found | None:
    """A container in the engine's list as a server; None if its name is none of this node's."""
    name = next((name.removeprefix("/") for name in container["Names"]), "")
    server_id = servers.id_in(settings, name)
    if server_id is None:
        return None
    return Found(
        id=server_id,
        running=container["State"] in {"running", "paused"},
        spec=container["Labels"].get(servers.SPEC_LABEL, ""),
        address=_address(container, settings.network),
        created=datetime.fromtimestamp(container["Created"], UTC),
    )


def refusal(image: str, error: APIError) -> EngineError:
    """What the engine's refusal means."""
    explanation = _IDS.sub("…", str(error.explanation or error))
    if "no such image" in explanation.lower():
        return EngineError(f"image {image} is not on this engine: no server can be started until it is there")
    return EngineError(f"the engine refuses: {explanation}")


def _address(container: Json, network: str) -> str:
    joined = container["NetworkSettings"]["Networks"].get(network) or {}
    return joined.get("IPAddress") or ""


def _call(loop: asyncio.AbstractEventLoop, heard: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(heard)
    except RuntimeError:
        log.debug("the event loop has ended")
