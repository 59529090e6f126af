"""A node's parts put together, and run until told to stop."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web

from runtime.server_activity import Get
from runtime.tmpnb_node import activity
from runtime.tmpnb_node.activity import Checks
from runtime.tmpnb_node.admin import admin_application
from runtime.tmpnb_node.engine import Engine
from runtime.tmpnb_node.engine_socket import socket_path, until_cut_off
from runtime.tmpnb_node.journal import Journal
from runtime.tmpnb_node.keeper import Keeper
from runtime.tmpnb_node.metrics import Metrics
from runtime.tmpnb_node.parts import Parts
from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.retirement import Ended
from runtime.tmpnb_node.routes import Routes
from runtime.tmpnb_node.servers import spec_digest
from runtime.tmpnb_node.settings import Secrets, Settings
from runtime.tmpnb_node.starts import Starter
from runtime.tmpnb_node.state import StateFolder
from runtime.tmpnb_node.surroundings import Surroundings
from runtime.tmpnb_node.troubles import Troubles
from runtime.tmpnb_node.visitors import Cookies, Desk
from runtime.tmpnb_node.web import Web
from runtime.visitor_rates import VisitorRates

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  (the container's own networks: the proxy's and the servers')

LAST_ANSWERS_SECONDS = 5.0
"""How long visitors who are being answered have when the service is told to stop."""

log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """Ends every task of the service."""


@dataclass(frozen=True)
class Outside:
    """What a node works with that is not its own."""

    engine: Engine
    routes: Routes
    get: Get
    """Asks a server."""


class Node:
    """The parts of one node."""

    def __init__(
        self, settings: Settings, secrets: Secrets, folder: Path, outside: Outside, around: Surroundings
    ) -> None:
        """Put them together.

        Args:
            settings: the node's settings.
            secrets: its secrets.
            folder: its state folder.
            outside: engine, proxy and servers.
            around: time, chance and tasks.
        """
        self.troubles, self.state, self.journal = Troubles(), StateFolder(folder), Journal(folder)
        self.pool = Pool(settings.capacity, spec_digest(settings), self.journal, self.troubles)
        self.metrics = Metrics(self.pool.counts, self.troubles.texts)
        self.starter = Starter(
            self.pool,
            outside.engine,
            outside.routes,
            outside.get,
            self.troubles,
            around,
            at_once=settings.starts_at_once,
            tell=self.metrics.started,
            done=self._start_ended,
        )
        parts = Parts(self.pool, outside.engine, outside.routes, self.journal, self.state, self.starter, self.troubles)
        self.keeper = Keeper(settings, parts, around, self._ended)
        self.checks = Checks(self.pool, outside.get, settings.quota.idle_seconds, end=self.keeper.end, around=around)
        cookies = Cookies(secrets.proxy)
        rates = VisitorRates(settings.visitors.burst, settings.visitors.per_minute, around.timer)
        desk = Desk(self.pool, cookies, rates, settings.visitors.burst, around.clock)
        self.public = Web(
            settings, secrets, self.pool, desk, cookies, self.troubles, self.metrics, lambda: self.keeper.alive
        ).application()
        self.admin = admin_application(secrets.admin, self.pool, self.keeper, self.troubles)

    def _start_ended(self) -> None:
        self.keeper.wake()

    def _ended(self, reason: Ended) -> None:
        self.metrics.ended.labels(reason.value).inc()


async def run(settings: Settings, secrets: Secrets, folder: Path, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; no server is ended by it.

    Raises:
        ExceptionGroup: part of the service failed, which no part of it expects.
    """
    async with AsyncExitStack() as stack:
        engine = Engine(settings)
        stack.callback(engine.close)
        asking = await stack.enter_async_context(activity.session())
        routing = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        routes = Routes(routing, settings.proxy_api, secrets.proxy)
        try:
            async with asyncio.TaskGroup() as group:
                around = Surroundings(spawn=group.create_task, clock=lambda: datetime.now(UTC), timer=time.monotonic)
                node = Node(settings, secrets, folder, Outside(engine, routes, activity.getter(asking)), around)
                stack.callback(node.state.release)
                stack.push_async_callback(node.journal.close)
                group.create_task(node.keeper.run())
                group.create_task(node.checks.run())
                group.create_task(_stop_when_cut_off(stop))
                async with _listening(node, settings):
                    log.info("node %s of stack %s keeps %d servers", settings.node, settings.stack, settings.capacity)
                    await stop.wait()
                raise _StoppedError
        except* _StoppedError:
            log.info("told to stop: servers go on")


async def _stop_when_cut_off(stop: asyncio.Event) -> None:
    await until_cut_off(socket_path(os.environ), asyncio.sleep)
    log.warning("the engine was restarted and is not reached any more: the service ends, and the engine starts it anew")
    stop.set()


@asynccontextmanager
async def _listening(node: Node, settings: Settings) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for app, address, port in (
            (node.public, EVERY_ADDRESS, settings.public_port),
            (node.admin, settings.admin_address, settings.admin_port),
        ):
            # Requests hold visitors' tokens: there is no log of them.
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=LAST_ANSWERS_SECONDS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, address, port, backlog=1024).start()
        yield
