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

    def active_servers(self, *, ending: bool = True) -> list[str]:
        """Service names of the servers that run or start, and of those that are `ending`."""
        return [
            spawner.object_name
            for user in self.app.users.values()
            for spawner in user.spawners.values()
            if spawner.active and getattr(spawner, "object_name", "") and (ending or not spawner.lets_go)
        ]

    def _knows_its_servers(self) -> bool:
        """Whether the hub has read who has a server: before, nobody seems to have one."""
        return self.app._start_future.done()  # noqa: SLF001  (nothing public says so)

    async def watch(self) -> None:
        """Join the proxy to networks that it misses; restore the routes when its container is a new one."""
        try:
            async with CHANGES:
                joined = await asyncio.to_thread(self.user_networks.join_all, self.active_servers(ending=False))
            identity = await asyncio.to_thread(self._proxy_id)
            if joined:
                self.log.info("joined the platform to %s", ", ".join(joined))
            if identity and identity != self._container:
                await self.check_routes(self.app.users, self.app._service_map)  # noqa: SLF001  (as JupyterHub's own check)
            self._container = identity or self._container
            if self._knows_its_servers():
                await self.remove_what_nobody_uses()
        except (APIError, RequestException, OSError) as error:
            self.log.warning("could not look after the proxy, trying again: %s", error)

    async def remove_what_nobody_uses(self) -> None:
        """Remove services and networks of servers that neither run nor start.

        JupyterHub removes what it stops. A server that ended by itself, a start that failed, and one that it lost while the
        engine did not answer keep their service: a network each, and a server that no limit counts.

        Whoever starts a server is active before it waits for `CHANGES`: either it is seen here and keeps what it has, or
        it makes it anew when this has removed the old one.
        """
        for server in sorted(await asyncio.to_thread(self.user_networks.started)):
            async with CHANGES:
                if server not in self.active_servers():
                    self.log.info("removing %s, which nobody uses any more", server)
                    await asyncio.to_thread(self.user_networks.end, server)
        for server in await asyncio.to_thread(self.user_networks.servers):
            async with CHANGES:
                if server not in self.active_servers():
                    await asyncio.to_thread(self.user_networks.remove, server)
