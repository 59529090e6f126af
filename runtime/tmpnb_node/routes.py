"""The routes of configurable-http-proxy, by its REST API."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import aiohttp

CALL_SECONDS = 10.0
"""How long the proxy may take for one call."""

CALLS_AT_ONCE = 16

USER_ROUTES = "/user/"
"""Start of the routes of servers; no other route but `/` is ever touched."""

DEFAULT_ROUTE = "/"


class ProxyError(Exception):
    """The proxy does not answer, or refuses; the message says what, the same for each try."""


class Routes:
    """What leads to where."""

    def __init__(self, session: aiohttp.ClientSession, api: str, token: str) -> None:
        """Describe the proxy.

        Args:
            session: what it is asked with.
            api: address of its API, without a slash at its end.
            token: what its API asks for.
        """
        self._session, self._api = session, api
        self._headers = {"Authorization": f"token {token}"}

    async def all(self) -> Mapping[str, str]:
        """The target of each route, by its path without a slash at its end; the default route is `/`.

        Raises:
            ProxyError: the proxy does not say.
        """
        routes = await self._ask("GET", "", HTTPStatus.OK)
        if not isinstance(routes, dict):
            raise ProxyError("the proxy's answer is no list of routes")
        return {path.rstrip("/") or DEFAULT_ROUTE: str(route.get("target", "")) for path, route in routes.items()}

    async def put(self, path: str, target: str) -> None:
        """Lead what begins with `path` to `target`.

        Raises:
            ProxyError: the proxy does not take it.
        """
        await self._ask("POST", path, HTTPStatus.CREATED, {"target": target})

    async def delete(self, path: str) -> None:
        """Remove the route of `path`; nothing happens if there is none.

        Raises:
            ProxyError: the proxy refuses.
        """
        await self._ask("DELETE", path, HTTPStatus.NO_CONTENT, None, HTTPStatus.NOT_FOUND)

    async def repair(self, wanted: Callable[[], Mapping[str, str]], starting: Callable[[], frozenset[str]]) -> int:
        """Put the routes that lack and delete those of servers that are gone; how many lacked.

        Args:
            wanted: what there should be, once the proxy has said what there is.
            starting: paths of servers that are being started then.

        Raises:
            ProxyError: the proxy does not answer, or does not take them all.
        """
        present = await self.all()
        lacking = missing(wanted(), present)
        for paths in _batches(stray(wanted(), present, starting())):
            await asyncio.gather(*(self.delete(path) for path in paths))
        # The default route comes last, so that no visitor comes before their server's route is there.
        for paths in _batches([path for path in lacking if path != DEFAULT_ROUTE]):
            await asyncio.gather(*(self.put(path, lacking[path]) for path in paths))
        if DEFAULT_ROUTE in lacking:
            await self.put(DEFAULT_ROUTE, lacking[DEFAULT_ROUTE])
        return len(lacking)

    async def _ask(
        self, method: str, path: str, expected: HTTPStatus, body: Any = None, also: HTTPStatus | None = None
    ) -> Any:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        url = f"{self._api}/api/routes{path}"
        try:
            async with self._session.request(
                method, url, json=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as answer:
                if answer.status not in {expected, also}:
                    raise ProxyError(f"the proxy's API answers {answer.status} to {method}")
                return await answer.json(content_type=None) if method == "GET" else None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProxyError(f"the proxy's API does not answer ({type(error).__name__})") from error
        except ValueError as error:
            raise ProxyError("the proxy's answer is no JSON") from error


def missing(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Routes to put."""
    return {path: target for path, target in wanted.items() if present.get(path) != target}


def stray(wanted: Mapping[str, str], present: Mapping[str, str], starting: frozenset[str]) -> list[str]:
    """Routes to delete: those of servers that are gone, and not of those that are about to be ready.

    Args:
        wanted: what there should be.
        present: what there is.
        starting: paths of servers that are being started.
    """
    return [path for path in present if path.startswith(USER_ROUTES) and path not in wanted and path not in starting]


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(paths), CALLS_AT_ONCE):
        yield paths[start : start + CALLS_AT_ONCE]
