"""The public listener: what visitors, the redirector and monitoring ask for."""

import hmac
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from runtime.tmpnb_node import VERSION, pages
from runtime.tmpnb_node.metrics import Metrics
from runtime.tmpnb_node.pages import Page
from runtime.tmpnb_node.pool import NoServerError, Pool, Refusal
from runtime.tmpnb_node.routes import USER_ROUTES
from runtime.tmpnb_node.servers import Server
from runtime.tmpnb_node.settings import Secrets, Settings
from runtime.tmpnb_node.troubles import Part, Troubles
from runtime.tmpnb_node.visitors import COOKIE, Cookies, Desk, HoldsTooManyError, TooManyError, split_target
from runtime.visitor_rates import forwarded_address

NO_STORE = {"Cache-Control": "no-store"}
PROMETHEUS_TEXT = "text/plain; version=0.0.4"

REFUSAL_PAGES = {
    Refusal.FULL: pages.FULL,
    Refusal.DRAINING: pages.DRAINING,
    Refusal.CLOSED: pages.CLOSED,
}


@dataclass(frozen=True)
class Web:
    """The listener's handlers."""

    settings: Settings
    secrets: Secrets
    pool: Pool
    desk: Desk
    cookies: Cookies
    troubles: Troubles
    metrics: Metrics
    alive: Callable[[], bool]
    """Whether the loop that looks after the pool goes round."""

    def application(self) -> web.Application:
        """The application; where `api-token` is a secret, without what is for people."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/stats", self.stats),
                web.get("/api/stats", self.stats),
                web.get("/health", self.health),
                web.get("/metrics", self.tell_metrics),
                web.post("/api/spawn", self.spawn),
                web.route("*", "/api/spawn", _not_allowed),
                web.get("/proxy-error/{code}", self.proxy_error),
                web.route("*", "/user/{rest:.*}", self.without_route),
            ]
        )
        if self.secrets.api is None:
            # What browsers and crawlers ask for by themselves is no visit.
            app.add_routes(
                [
                    web.get("/favicon.ico", _not_found),
                    web.get("/robots.txt", _no_crawlers),
                    web.get("/{rest:.*}", self.visit, allow_head=False),
                    web.head("/{rest:.*}", _nothing),
                ]
            )
        return app

    async def stats(self, _: web.Request) -> web.Response:
        """How many servers there are."""
        counts = self.pool.counts()
        return web.json_response(
            {
                "available": counts.available,
                "capacity": counts.capacity,
                "version": VERSION,
                "container_image": self.settings.image,
                "node": self.settings.node,
                "used": counts.used,
                "starting": counts.starting,
                "draining": self.pool.draining,
            },
            headers=NO_STORE,
        )

    async def health(self, _: web.Request) -> web.Response:
        """Whether the loop goes round and the engine answers; other troubles are told, but users keep their servers."""
        well = self.alive() and not self.troubles.has(Part.ENGINE)
        body = {"status": "ok" if well else "failing", "problems": dict(self.troubles.texts())}
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return web.json_response(body, status=status, headers=NO_STORE)

    async def tell_metrics(self, _: web.Request) -> web.Response:
        """The metrics."""
        return web.Response(body=self.metrics.text(), headers={"Content-Type": PROMETHEUS_TEXT})

    async def spawn(self, request: web.Request) -> web.Response:
        """Hand out a server to a program."""
        if self.secrets.api is not None and not has_token(request, self.secrets.api):
            return web.json_response({"status": "forbidden"}, status=HTTPStatus.FORBIDDEN)
        try:
            server = await self._new(request, limited=self.secrets.api is None)
        except NoServerError as error:
            wait = REFUSAL_PAGES[error.refusal].retry_seconds
            return _wait({"status": "full"}, wait or 1)
        except TooManyError as error:
            return _wait({"status": "limited"}, math.ceil(error.seconds))
        url = self.desk.location(server, "/", "", self.settings.landing)
        return web.json_response({"status": "spawned", "url": url}, headers=NO_STORE)

    async def visit(self, request: web.Request) -> web.Response:
        """Send a visitor to their server."""
        target = split_target(request.raw_path)
        if target is None:
            return self._page(pages.BAD_ADDRESS, HTTPStatus.BAD_REQUEST)
        path, query = target
        again = f"{self.settings.redirector}{path}{f'?{query}' if query else ''}"
        server = self.desk.returning(request.cookies.get(COOKIE))
        if server is None:
            try:
                server = await self._new(request, limited=True)
            except NoServerError as error:
                return self._page(REFUSAL_PAGES[error.refusal], HTTPStatus.SERVICE_UNAVAILABLE, again)
            except TooManyError as error:
                # Here and nowhere else: each node counts for itself, and the redirector would lead past this one's limit.
                page = pages.holds_too_many if isinstance(error, HoldsTooManyError) else pages.too_many
                return self._page(page(math.ceil(error.seconds)), HTTPStatus.TOO_MANY_REQUESTS)
        where = self.desk.location(server, path, query, self.settings.landing)
        # Not an exception: its text would be the address, and with it the token.
        response = web.Response(
            status=HTTPStatus.FOUND, headers={"Location": where, "Referrer-Policy": "no-referrer", **NO_STORE}
        )
        response.set_cookie(
            COOKIE,
            self.cookies.value(server.id),
            max_age=self.settings.quota.max_age_seconds,
            path="/",
            secure=self.settings.url.startswith("https:"),
            httponly=True,
            samesite="Lax",
        )
        return response

    async def without_route(self, request: web.Request) -> web.Response:
        """Who asks for a server to which the proxy has no route."""
        return self._missing(request.path)

    async def proxy_error(self, request: web.Request) -> web.Response:
        """The page that the proxy shows for whom it does not reach; it sends it with a status of its own."""
        return self._missing(request.query.get("url", ""))

    def _missing(self, path: str) -> web.Response:
        if not path.startswith(USER_ROUTES):
            # Who comes for a notebook while a proxy that was started anew has no routes yet.
            return self._page(pages.COMING, HTTPStatus.SERVICE_UNAVAILABLE)
        server_id = path.removeprefix(USER_ROUTES).partition("/")[0].partition("?")[0]
        if not self.pool.adopted or (self.pool.knows(server_id) and server_id not in self.pool.ending):
            return self._page(pages.COMING, HTTPStatus.SERVICE_UNAVAILABLE)
        return self._page(pages.GONE, HTTPStatus.GONE)

    def _page(self, page: Page, status: HTTPStatus, again: str = "") -> web.Response:
        """A page; visitors who are to be given a server later ask `again` at the redirector, which knows who has room."""
        headers = dict(pages.HEADERS)
        if page.retry_seconds:
            headers["Retry-After"] = str(page.retry_seconds)
        html = page.html(self.settings.redirector, again)
        return web.Response(text=html, content_type="text/html", charset="utf-8", status=status, headers=headers)

    async def _new(self, request: web.Request, *, limited: bool) -> Server:
        began = time.perf_counter()
        try:
            server = await (self.desk.new(self._address(request)) if limited else self.desk.unlimited())
        except NoServerError as error:
            self.metrics.refusals.labels(error.refusal.value).inc()
            raise
        except TooManyError:
            self.metrics.refusals.labels("limited").inc()
            raise
        self.metrics.hand_out_seconds.observe(time.perf_counter() - began)
        return server

    def _address(self, request: web.Request) -> str:
        header = ",".join(request.headers.getall("X-Forwarded-For", []))
        return forwarded_address(header, self.settings.forwarded_hops, request.remote or "")


def has_token(request: web.Request, token: str) -> bool:
    """Whether the request is authorized with this token."""
    given = request.headers.get("Authorization", "")
    return hmac.compare_digest(given.encode(errors="surrogateescape"), f"token {token}".encode())


def _wait(body: dict[str, str], seconds: int) -> web.Response:
    headers = {"Retry-After": str(seconds), **NO_STORE}
    return web.json_response(body, status=HTTPStatus.TOO_MANY_REQUESTS, headers=headers)


async def _not_allowed(_: web.Request) -> web.Response:
    return web.json_response({"status": "POST it"}, status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})


async def _not_found(_: web.Request) -> web.Response:
    return web.Response(status=HTTPStatus.NOT_FOUND)


async def _no_crawlers(_: web.Request) -> web.Response:
    return web.Response(text="User-agent: *\nDisallow: /\n")


async def _nothing(_: web.Request) -> web.Response:
    return web.Response(headers=NO_STORE)
