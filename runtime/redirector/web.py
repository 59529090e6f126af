"""What the redirector answers: redirects to nodes, and a few endpoints of its own.

It is one handler on aiohttp's low-level server: a router's work for each redirect would take as long as the redirect.
"""

import json
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import web
from multidict import CIMultiDict

from runtime.redirector import VERSION, pages
from runtime.redirector.fleet import Fleet
from runtime.redirector.metrics import Metrics
from runtime.redirector.settings import Settings, VisitorLimit
from runtime.visitor_rates import VisitorRates, forwarded_address

SPAWN_PATH = "/api/spawn"
SAFE_METHODS = frozenset({"GET", "HEAD"})

RETRY_SECONDS = (5, 15)
"""After how long a visitor who finds no room tries again: drawn anew each time, so that not all come at once."""

STARTING_RETRY_SECONDS = (1, 3)
"""The same while nodes have not been heard of yet."""

LIMITED_JITTER_SECONDS = 5
"""By how much longer at most a visitor who asked too often waits than they must."""

HELD_SECONDS_PER_NODE = 0.0001
"""How long what is told of the fleet is told again, for each node: some twenty times what it takes to put together."""

PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))

NO_ROBOTS = "User-agent: *\nDisallow: /\n"
"""A crawler that follows links here would take notebook servers."""


def origin_form(target: str) -> str:
    """Path and query of a request's target, byte by byte as they came, so that they can stand behind an origin.

    Args:
        target: as aiohttp gives it: bytes that are no ASCII decoded with `surrogateescape`. The absolute form of
            requests to proxies, `http://host/path`, loses its origin.
    """
    if not target.startswith("/"):
        _, _, rest = target.partition("://")
        start = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
        target = rest[start:] if rest.startswith("/", start) else "/" + rest[start:]
    if target.isascii() and target.isprintable() and " " not in target:
        return target
    return quote(target.encode("utf-8", "surrogateescape"), safe=PRINTABLE)


class Held:
    """A text that is put together anew when it is asked for, but not all the time."""

    def __init__(self, make: Callable[[], Any], timer: Callable[[], float] = time.monotonic) -> None:
        """Hold the JSON of what `make` returns; `timer` gives seconds that only grow."""
        self._make, self._timer = make, timer
        self._text, self._until = "", -math.inf

    def text(self, held_seconds: float) -> str:
        """The text; one that was made is told again for `held_seconds`."""
        now = self._timer()
        if now >= self._until:
            self._text, self._until = json.dumps(self._make(), separators=(",", ":")), now + held_seconds
        return self._text


class Redirector:
    """The handler of every request."""

    def __init__(
        self,
        fleet: Fleet,
        metrics: Metrics,
        settings: Settings,
        lives: Callable[[], bool],
        rng: random.Random | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Answer for `fleet`.

        Args:
            fleet: the nodes.
            metrics: what is counted in.
            settings: the stack's.
            lives: whether nodes are being asked for their load.
            rng: where chance comes from; the system's by default.
            timer: seconds that only grow, for visitors' limits.
        """
        self._fleet, self._metrics, self._lives = fleet, metrics, lives
        self._rng, self._timer = rng or random.SystemRandom(), timer
        self._settings = settings
        self._rates = self._new_rates(settings.visitors)
        self._stats = Held(lambda: fleet.stats(VERSION), timer)
        self._fleet_data = Held(self._describe_fleet, timer)
        self._endpoints: Mapping[str, Callable[[], web.Response]] = {
            "/stats": lambda: self._told(self._stats),
            "/api/stats": lambda: self._told(self._stats),
            "/fleet": lambda: web.Response(text=pages.FLEET_PAGE, headers=pages.FLEET_PAGE_HEADERS),
            "/api/fleet": lambda: self._told(self._fleet_data),
            "/health": self._health,
            "/metrics": self._exposition,
            "/robots.txt": lambda: web.Response(text=NO_ROBOTS),
            "/favicon.ico": lambda: web.Response(status=404, text="There is no icon.\n"),
        }

    def apply(self, settings: Settings) -> None:
        """Answer by these settings from now on; visitors' counts stay if their limit does."""
        if settings.visitors != self._settings.visitors:
            self._rates = self._new_rates(settings.visitors)
        self._settings = settings

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        target, method = request.raw_path, request.method
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return self._refuse_websocket()
        path = target.partition("?")[0]
        if path == SPAWN_PATH:
            return self._redirect_spawn(request, target) if method == "POST" else _not_allowed("POST")
        if method not in SAFE_METHODS:
            return _not_allowed("GET, HEAD")
        endpoint = self._endpoints.get(path)
        return endpoint() if endpoint else self._redirect_visit(request, target, takes=method == "GET")

    def _redirect_visit(self, request: web.BaseRequest, target: str, *, takes: bool) -> web.Response:
        if not self._fleet.room:
            return self._no_room()
        wait = self._wait(request)
        if wait:
            seconds = math.ceil(wait + self._rng.random() * LIMITED_JITTER_SECONDS)
            return _waiting(429, pages.LIMITED, seconds)
        (self._metrics.visits if takes else self._metrics.looks).inc()
        return self._redirect(302, target, takes=takes)

    def _redirect_spawn(self, request: web.BaseRequest, target: str) -> web.Response:
        if not self._fleet.room:
            self._metrics.no_room.inc()
            return _status_json("full", self._rng.randint(*RETRY_SECONDS))
        wait = self._wait(request)
        if wait:
            return _status_json("limited", math.ceil(wait))
        self._metrics.spawns.inc()
        return self._redirect(307, target, takes=True)

    def _redirect(self, status: int, target: str, *, takes: bool) -> web.Response:
        node = self._fleet.choose(takes=takes)
        if takes:
            self._metrics.last_minute.add()
        headers = CIMultiDict({"Location": node.url + origin_form(target), "Cache-Control": "no-store"})
        return web.Response(status=status, headers=headers)

    def _wait(self, request: web.BaseRequest) -> float:
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        address = forwarded_address(forwarded, self._settings.forwarded_hops, request.remote or "")
        wait = self._rates.wait_seconds(address)
        if wait:
            self._metrics.limited.inc()
        return wait

    def _no_room(self) -> web.Response:
        self._metrics.no_room.inc()
        waiting = pages.reason_without_room(self._fleet.states)
        span = STARTING_RETRY_SECONDS if waiting is pages.STARTING else RETRY_SECONDS
        return _waiting(503, waiting, self._rng.randint(*span))

    def _refuse_websocket(self) -> web.Response:
        self._metrics.websockets.inc()
        refusal = web.Response(
            status=400, text="Websockets do not pass through here: open them on the node that you were sent to.\n"
        )
        refusal.force_close()
        return refusal

    def _told(self, held: Held) -> web.Response:
        told = _json(held.text(HELD_SECONDS_PER_NODE * len(self._settings.nodes)))
        told.enable_compression()
        return told

    def _describe_fleet(self) -> dict[str, Any]:
        totals = self._fleet.totals()
        return {
            "stack": self._settings.stack,
            "version": VERSION,
            "poll_seconds": self._settings.poll_seconds,
            "redirects_per_minute": self._metrics.last_minute.count(),
            "totals": {
                "available": totals.available,
                "used": totals.used,
                "capacity": totals.capacity,
                "states": {state.value: count for state, count in self._fleet.states.items()},
            },
            "nodes": list(self._fleet.rows()),
        }

    def _health(self) -> web.Response:
        if self._lives():
            return web.Response(text="Nodes are being asked for their load.\n")
        return web.Response(status=503, text="Nodes are not being asked for their load any more.\n")

    def _exposition(self) -> web.Response:
        return web.Response(
            body=self._metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    def _new_rates(self, limit: VisitorLimit) -> VisitorRates:
        return VisitorRates(limit.burst, limit.per_minute, timer=self._timer)


def _waiting(status: int, waiting: pages.Waiting, seconds: int) -> web.Response:
    headers = {**pages.WAITING_PAGE_HEADERS, "Retry-After": str(seconds)}
    return web.Response(status=status, text=pages.waiting_page(waiting, seconds), headers=headers)


def _status_json(status: str, seconds: int) -> web.Response:
    return _json(json.dumps({"status": status}), status=429, retry_after=seconds)


def _json(text: str, status: int = 200, retry_after: int | None = None) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return web.Response(status=status, text=text, headers=headers, content_type="application/json")


def _not_allowed(methods: str) -> web.Response:
    return web.Response(status=405, headers={"Allow": methods}, text=f"Allowed here: {methods}.\n")
