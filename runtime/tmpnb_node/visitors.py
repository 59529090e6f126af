"""Who comes, what they get, and where they are sent."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import quote, unquote

from runtime.tmpnb_node.pool import NoServerError, Pool
from runtime.tmpnb_node.servers import Server
from runtime.visitor_rates import VisitorRates, visitor_key

COOKIE = "hubstack-server"

KEPT_CHARACTERS = "/%:?#[]@!$&'()*+,;=-._~"
"""What a request's target holds as it is: what an address may consist of, and what is encoded already."""


REACHED_WITHIN = timedelta(seconds=60)
"""In this time a visitor has followed the redirect to their server."""


HELD_SECONDS = 30.0
"""When an address that holds too many servers asks again: nobody knows when one of them ends."""


class TooManyError(Exception):
    """Too many servers for one address."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the next one in {seconds:.0f} s")
        self.seconds = seconds
        """When the address gets the next one."""


class HoldsTooManyError(TooManyError):
    """As many servers as one address may have live: one of them has to end first."""

    def __init__(self) -> None:
        super().__init__(HELD_SECONDS)


class Cookies:
    """Names a visitor's server in a cookie that only this node's proxy token can sign."""

    def __init__(self, proxy_token: str) -> None:
        self._key = hmac.digest(proxy_token.encode(), COOKIE.encode(), hashlib.sha256)

    def value(self, server_id: str) -> str:
        """The cookie of who got this server."""
        return f"{server_id}.{self._signature(server_id)}"

    def server_id(self, value: str) -> str | None:
        """The server that a cookie names; None if it is not signed as it should be."""
        server_id, _, signature = value.partition(".")
        given, right = signature.encode(errors="replace"), self._signature(server_id).encode()
        return server_id if hmac.compare_digest(given, right) else None

    def _signature(self, server_id: str) -> str:
        return hmac.digest(self._key, server_id.encode(errors="replace"), hashlib.sha256).hex()


class Desk:
    """Gives visitors the server that they have, or a new one."""

    def __init__(
        self, pool: Pool, cookies: Cookies, rates: VisitorRates, most_held: int, clock: Callable[[], datetime]
    ) -> None:
        """Describe the desk.

        Args:
            pool: the servers.
            cookies: reads visitors' cookies.
            rates: how many servers one address gets.
            most_held: how many servers that live one address has; who got one before a restart of the service is forgotten.
            clock: tells the time.
        """
        self._pool, self._cookies, self._rates, self._clock = pool, cookies, rates, clock
        self._most_held = most_held
        self._holders: dict[str, str] = {}
        """Whose a server is, by the server's id."""
        self._asking = Counter[str]()
        """Requests that are being served."""

    def location(self, server: Server, path: str, query: str, landing: str) -> str:
        """Where the server's visitor goes on, as `location` says."""
        return location(server, path, query, landing, token=needs_token(server, self._clock()))

    def returning(self, cookie: str | None) -> Server | None:
        """The server that a visitor has, while it lives."""
        server_id = self._cookies.server_id(cookie) if cookie else None
        return self._pool.used.get(server_id) if server_id else None

    async def new(self, address: str) -> Server:
        """A server for a visitor from this address.

        Raises:
            NoServerError: there is none; it does not count for the address.
            TooManyError: the address has had too many, or (`HoldsTooManyError`) has too many.
        """
        refusal = self._pool.refusal()
        if refusal:
            raise NoServerError(refusal)
        holder = visitor_key(address)
        self._holders = {server: key for server, key in self._holders.items() if server in self._pool.used}
        if list(self._holders.values()).count(holder) + self._asking[holder] >= self._most_held:
            raise HoldsTooManyError
        wait = self._rates.wait_seconds(address)
        if wait:
            raise TooManyError(wait)
        self._asking[holder] += 1
        try:
            server = await self._pool.hand_out(self._clock())
        finally:
            self._asking -= Counter([holder])
        self._holders[server.id] = holder
        return server

    async def unlimited(self) -> Server:
        """A server for who is trusted to limit visitors.

        Raises:
            NoServerError: there is none.
        """
        return await self._pool.hand_out(self._clock())


def split_target(target: str) -> tuple[str, str] | None:
    """Path and query of a request's target as it was sent, encoded as a `Location` needs it.

    None if the path is not one that a browser asks for: it does not begin with a slash, or has a segment `..`, by which
    a server's token could end up at another server.
    """
    path, _, query = quote(target.partition("#")[0], safe=KEPT_CHARACTERS, errors="surrogateescape").partition("?")
    if not path.startswith("/") or not {".", ".."}.isdisjoint(unquote(path).split("/")):
        return None
    return path, query


def location(server: Server, path: str, query: str, landing: str, *, token: bool) -> str:
    """Where a visitor who asked for `path` goes on: always a path of this host, below the server's own.

    Args:
        server: the visitor's server.
        path: path that was asked for, encoded; `/` becomes `landing`.
        query: query that was asked for, encoded; its own token does not count, since the last one does.
        landing: path below a server's own.
        token: whether the server's token goes with it.
    """
    pairs = "&".join(part for part in (query, f"token={server.token}" if token else "") if part)
    where = f"{server.path}{landing if path == '/' else path}"
    return f"{where}?{pairs}" if pairs else where


def needs_token(server: Server, now: datetime) -> bool:
    """Whether the server is so new that its visitor may not have reached it, and with it Jupyter's own cookie.

    Later the token stays here: every server of this host is sent the visitor's cookie, and may be somebody's trap.
    """
    return server.handed_out is None or now - server.handed_out <= REACHED_WITHIN
