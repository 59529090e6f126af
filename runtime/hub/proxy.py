"""The connection to the proxy's service: when its container was replaced, networks and routes are put back at once."""

import asyncio
from typing import Any

from docker.errors import APIError
from jupyterhub.proxy import ConfigurableHTTPProxy
from requests.exceptions import RequestException
from tornado.ioloop import PeriodicCallback

from runtime.hub.user_networks import CHANGES, UserNetworks

WATCH_INTERVAL_MS = 2000


class ServiceProxy(ConfigurableHTTPProxy):
    """configurable-http-proxy in a service of its own, so that a restart of the hub cuts nobody off."""

    user_networks: UserNetworks
    """The stack's user networks; the hub's configuration sets it on the class."""

    def __init__(self, **kwargs: Any) -> None:
        """Start watching the proxy's container."""
        super().__init__(**kwargs)
        # Known from the start: the hub checks its routes by itself then, and a later change is seen as one.
        self._container = self._proxy_id()
        self._watch = PeriodicCallback(self.watch, WATCH_INTERVAL_MS)
        self._watch.start()

    def _proxy_id(self) -> str | None:
        container = self.user_networks.proxy_container()
        return container["Id"] if container else None

    def running_servers(self) -> list[str]:
        """Service names of the servers that the hub knows to be running or starting."""
        return [
            spawner.object_name
            for user in self.app.users.values()
            for spawner in user.spawners.values()
            if spawner.active and getattr(spawner, "object_name", "")
        ]

    async def watch(self) -> None:
        """Join the proxy to networks that it misses; restore the routes when its container is a new one."""
        try:
            joined = await asyncio.to_thread(self.user_networks.join_all)
            identity = await asyncio.to_thread(self._proxy_id)
            if joined:
                self.log.info("joined the platform to %s", ", ".join(joined))
            if identity and identity != self._container:
                await self.check_routes(self.app.users, self.app._service_map)  # noqa: SLF001  (as JupyterHub's own check)
            self._container = identity or self._container
            await self.remove_unused_networks()
        except (APIError, RequestException, OSError) as error:
            self.log.warning("could not look after the proxy, trying again: %s", error)

    async def remove_unused_networks(self) -> None:
        """Remove the networks of servers that neither run nor start.

        Whoever starts a server is active before it waits for `CHANGES`: either it is seen here and keeps its network, or
        it makes one when this has removed the old one.
        """
        for server in await asyncio.to_thread(self.user_networks.servers):
            async with CHANGES:
                if server not in self.running_servers():
                    await asyncio.to_thread(self.user_networks.remove, server)
