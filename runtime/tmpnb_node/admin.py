"""The listener for administrators: draining a node and ending its servers."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus

from aiohttp import web

from runtime.tmpnb_node.keeper import Keeper
from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.state import StateError
from runtime.tmpnb_node.troubles import Troubles
from runtime.tmpnb_node.web import NO_STORE, has_token

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def admin_application(token: str, pool: Pool, keeper: Keeper, troubles: Troubles) -> web.Application:
    """The application; every request needs `Authorization: token <token>`."""

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not has_token(request, token):
            return web.json_response({"status": "forbidden"}, status=HTTPStatus.FORBIDDEN)
        return await handler(request)

    async def tell(_: web.Request) -> web.Response:
        return _answer({"draining": pool.draining, **asdict(pool.counts()), "problems": dict(troubles.texts())})

    async def drain(_: web.Request) -> web.Response:
        return _answer({"status": "draining", "used": len(pool.used), **_set(keeper, draining=True)})

    async def resume(_: web.Request) -> web.Response:
        return _answer({"status": "serving", "used": len(pool.used), **_set(keeper, draining=False)})

    async def end_everything(_: web.Request) -> web.Response:
        return _answer({"status": "ending", "servers": keeper.end_everything()})

    app = web.Application(middlewares=[authorize])
    app.add_routes(
        [
            web.get("/api/pool", tell),
            web.delete("/api/pool", drain),
            web.post("/api/pool", resume),
            web.delete("/api/servers", end_everything),
        ]
    )
    return app


def _set(keeper: Keeper, *, draining: bool) -> dict[str, str]:
    """Drain or not; what is to be said if a restart would forget it."""
    try:
        keeper.drain(draining=draining)
    except StateError as error:
        return {"warning": f"a restart forgets it: {error}"}
    return {}


def _answer(body: dict[str, object]) -> web.Response:
    return web.json_response(body, headers=NO_STORE)
