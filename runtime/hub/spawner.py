"""Single-user servers as Swarm services with hard quotas, each on a network of its own."""

import asyncio
import contextlib
from typing import Any, Literal

import docker
from docker.errors import APIError, NotFound
from docker.types import DNSConfig, DriverConfig, Mount, Resources, RestartPolicy
from dockerspawner import SwarmSpawner

from runtime.hub.culling import activity_interval_seconds
from runtime.hub.settings import HubSettings, Quota
from runtime.hub.user_networks import CHANGES, ROLE_LABEL, STACK_LABEL, USER_SERVER, UserNetworks

HOME = "/home/jovyan"
PROXY_NAME = "proxy"
PROXY_PORT = 8000
USER = "1000:100"

ENDED = frozenset({"complete", "failed", "orphaned", "rejected", "remove", "shutdown"})
"""States of a task that has ended; in all others it runs, or is on its way to a node."""

ENGINE_TRIES = 10
ENGINE_PAUSE_SECONDS = 2
"""A swarm that chooses another leader does not answer for some seconds."""


def user_networks(settings: HubSettings, client: docker.APIClient) -> UserNetworks:
    """The networks of the stack's servers."""
    return UserNetworks(
        client,
        settings.stack,
        settings.user_subnets,
        settings.proxy_service,
        settings.hub_service,
        encrypted=settings.nodes.encrypted,
        apart=settings.nodes.apart,
    )


class LimitedResources(Resources):
    """Resources of a task with a limit on processes, which docker-py has no argument for (engine API 1.41)."""

    def __init__(self, *, cpu: float, memory_bytes: int, processes: int, reserve_memory: bool = False) -> None:
        """Limit to `cpu` processors, `memory_bytes` of memory and `processes` processes and threads.

        With `reserve_memory` the task runs only where that much is free.
        """
        reserved = memory_bytes if reserve_memory else None
        super().__init__(cpu_limit=int(cpu * 1e9), mem_limit=memory_bytes, mem_reservation=reserved)
        self["Limits"]["Pids"] = processes


def server_mounts(home_volume: str, home_driver: str, quota: Quota) -> list[Mount]:
    """What a server may write to: its size-limited home and /tmp. The rest of its root is read-only."""
    return [
        Mount(
            target=HOME,
            source=home_volume,
            type="volume",
            driver_config=DriverConfig(name=home_driver, options={"size": str(quota.home_bytes)}),
        ),
        Mount(target="/tmp", source=None, type="tmpfs", tmpfs_size=quota.tmp_bytes, tmpfs_mode=0o1777),  # noqa: S108
    ]


def container_spec(settings: HubSettings, home_volume: str, proxy_address: str) -> dict[str, Any]:
    """Arguments of the server's container: a user without rights, nothing writable but home and /tmp.

    The proxy's name stands in the hosts file: Docker's resolver does not know a task that joined while it ran.

    Without a way out, names are looked up at the container's own loopback, where nothing answers: the engine would
    otherwise pass a query on to the host's resolver, and with it whatever the name carries (CVE-2024-29018).
    """
    spec: dict[str, Any] = {
        "mounts": server_mounts(home_volume, settings.home_driver, settings.quota),
        "user": USER,
        "workdir": HOME,
        "hosts": {PROXY_NAME: proxy_address},
        "read_only": True,
        "cap_drop": ["ALL"],
        "labels": {STACK_LABEL: settings.stack, ROLE_LABEL: USER_SERVER},
        "stop_grace_period": 10 * 10**9,
    }
    if settings.open_network is None:
        spec["dns_config"] = DNSConfig(nameservers=["127.0.0.1"], options=["timeout:1", "attempts:1"])
    return spec


class HubstackSpawner(SwarmSpawner):
    """Starts a server with the stack's quotas on an internal network that only the proxy shares with it."""

    settings: HubSettings
    """The stack's settings; the hub's configuration sets it on the class."""

    lets_go = False
    """Whether the server's service is being removed: nobody joins its network any more."""

    @property
    def service(self) -> str:
        """Name of the server's service."""
        return str(self.object_name)

    @property
    def home_volume(self) -> str:
        """Name of the user's home volume, which outlives the server."""
        return f"{self.settings.stack}-home-{self.escaped_name}"

    def user_networks(self) -> UserNetworks:
        """The networks of this stack's servers."""
        return user_networks(self.settings, self.client)

    def get_env(self) -> dict[str, str]:
        """The server's environment: it reaches the hub through the proxy, the only neighbour that it has."""
        environment = super().get_env()
        base = environment.get("JUPYTERHUB_BASE_URL", "/")
        api = f"http://{PROXY_NAME}:{PROXY_PORT}{base}hub/api"
        environment["JUPYTERHUB_API_URL"] = api
        if environment.get("JUPYTERHUB_ACTIVITY_URL"):
            environment["JUPYTERHUB_ACTIVITY_URL"] = f"{api}/users/{self.user.escaped_name}/activity"
        # A kernel that computes with no browser is known by what the server itself tells, every 5 minutes by default.
        environment["JUPYTERHUB_ACTIVITY_INTERVAL"] = str(activity_interval_seconds(self.settings.quota.idle_seconds))
        environment["JUPYTERHUB_SERVICE_URL"] = (
            f"http://0.0.0.0:{self.port}{self.server.base_url if self.server else base}"
        )
        environment["HOME"] = HOME
        return environment

    async def create_object(self) -> dict[str, Any]:
        """Make the user's network and then the service on it."""
        quota = self.settings.quota
        async with CHANGES:
            network = await asyncio.to_thread(self.user_networks().ensure, self.service)
        proxy_address = await asyncio.to_thread(self.user_networks().proxy_address, self.service)
        self.extra_container_spec = container_spec(self.settings, self.home_volume, proxy_address)
        nodes = self.settings.nodes
        resources = LimitedResources(
            cpu=quota.cpu,
            memory_bytes=quota.memory_bytes,
            processes=quota.processes,
            reserve_memory=nodes.reserve_memory,
        )
        self.extra_placement_spec = {"constraints": list(nodes.constraints)}
        self.extra_task_spec = {
            "networks": [{"Target": target} for target in (network, self.settings.open_network) if target],
            "resources": resources,
            # The hub starts servers, nobody else: after a node's restart a user comes back through the hub.
            "restart_policy": RestartPolicy(condition="none"),
        }
        self.extra_endpoint_spec = {"mode": "dnsrr"}
        self.extra_create_kwargs = {"labels": {STACK_LABEL: self.settings.stack, ROLE_LABEL: USER_SERVER}}
        return await super().create_object()

    async def start_object(self) -> None:
        """Wait until the server's container runs, then take the swap that the engine grants beside the memory."""
        while True:
            task = await self.get_task()
            if task is None:
                raise RuntimeError(f"service {self.object_name} is gone")
            status = task["Status"]
            if status["State"] == "running":
                break
            if status["State"] in ENDED:
                raise RuntimeError(f"server did not start: {status.get('Err') or status.get('Message')}")
            await asyncio.sleep(0.2)
        await asyncio.to_thread(self.user_networks().join, self.service)
        await self._forbid_swap(status["ContainerStatus"]["ContainerID"])

    async def _forbid_swap(self, container: str) -> None:
        """Hold memory and swap together to the memory limit.

        A service has no such setting, and the engine grants as much swap again as memory. Only this node's containers
        can be updated from here; other nodes run without swap.
        """
        memory = self.settings.quota.memory_bytes
        try:
            await self.docker("update_container", container, mem_limit=memory, memswap_limit=memory)
        except NotFound:
            self.log.debug("container %s runs on another node", container)
        except APIError as error:
            self.log.warning("could not take the swap of %s: %s", self.object_name, error.explanation)

    async def get_object(self) -> dict[str, Any] | None:
        """The server's service, or None if there is none.

        Raises:
            APIError: the engine could not say for 20 seconds. The base takes that for an end, and the server would run on
                without anybody who counts or ends it.
        """
        tries = ENGINE_TRIES
        while True:
            tries -= 1
            try:
                found: dict[str, Any] = await self.docker("inspect_service", self.service)
            except NotFound:
                self.object_id = ""
                return None
            except APIError:
                if not tries:
                    raise
            else:
                self.object_id = found[self.object_id_key]
                return found
            await asyncio.sleep(ENGINE_PAUSE_SECONDS)

    async def poll(self) -> str | Literal[0] | None:
        """None while the server runs or starts, what the swarm says of its end, or 0 where there is none."""
        task = await self.get_task()
        if task is None:
            return 0
        status = task["Status"]
        return (status.get("Err") or status["State"]) if status["State"] in ENDED else None

    async def remove_object(self) -> None:
        """Remove the service, and its network once the container has let go of it."""
        self.lets_go = True
        try:
            async with CHANGES:
                await asyncio.to_thread(self.user_networks().leave, self.service)
            with contextlib.suppress(NotFound):
                await super().remove_object()
            for _ in range(100):
                async with CHANGES:
                    if await asyncio.to_thread(self.user_networks().remove, self.service):
                        return
                await asyncio.sleep(0.2)
            self.log.warning("network of %s is still in use; the hub removes it later", self.service)
        finally:
            self.lets_go = False
