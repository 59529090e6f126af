"""The listener for administrators: draining a node and ending its servers."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus

from aiohttp import web

from runtime.tmpnb_node.keeper import Keeper
from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.state import Drain, StateError
from runtime.tmpnb_node.troubles import Troubles
from runtime.tmpnb_node.web import NO_STORE, has_token

FAREWELL = "farewell"
"""Query of `/api/pool` for a drain that goes with a removal, and is told apart from an administrator's own."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def admin_application(token: str, pool: Pool, keeper: Keeper, troubles: Troubles) -> web.Application:
    """The application; every request needs `Authorization: token <token>`.

    `DELETE /api/pool` drains the node until `POST /api/pool`, which takes back whatever it is drained for. With the query
    `farewell` both are about the drain of a removal alone.
    """

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not has_token(request, token):
            return web.json_response({"status": "forbidden"}, status=HTTPStatus.FORBIDDEN)
        return await handler(request)

    async def tell(_: web.Request) -> web.Response:
        told = {"draining": pool.draining, "known": pool.adopted, **asdict(pool.counts())}
        return _answer({**told, "problems": dict(troubles.texts())})

    async def drain(request: web.Request) -> web.Response:
        why = Drain.FAREWELL if FAREWELL in request.query else Drain.ADMINISTRATOR
        told = {"status": "draining", "known": pool.adopted, "used": len(pool.used)}
        return _answer({**told, **_kept(lambda: keeper.drain(why))})

    async def resume(request: web.Request) -> web.Response:
        whose = frozenset({Drain.FAREWELL} if FAREWELL in request.query else Drain)
        kept = _kept(lambda: keeper.resume(whose))
        return _answer({"status": "draining" if pool.draining else "serving", "used": len(pool.used), **kept})

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


def _kept(change: Callable[[], None]) -> dict[str, str]:
    """Drain or not; what is to be said if a restart would forget it."""
    try:
        change()
    except StateError as error:
        return {"warning": f"a restart forgets it: {error}"}
    return {}


def _answer(body: dict[str, object]) -> web.Response:
    return web.json_response(body, headers=NO_STORE)
