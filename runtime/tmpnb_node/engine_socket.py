"""Noticing that the engine was restarted under the service.

A container is given the engine's socket as a file. An engine that stops deletes the file and makes another one when it
starts: where it lets containers go on meanwhile (`live-restore`), the service holds a file that leads nowhere, for good.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

SOCKET = "/var/run/docker.sock"
UNIX = "unix://"

LOOK_SECONDS = 2.0
LOOKS = 5
"""Looks in a row at a deleted socket after which it is given up: an engine's restart takes seconds, in which the service
goes on handing out servers; after it, no other engine answers here."""


def socket_path(environment: Mapping[str, str]) -> Path | None:
    """The engine's socket by `DOCKER_HOST`; None for an engine that is reached otherwise."""
    host = environment.get("DOCKER_HOST") or f"{UNIX}{SOCKET}"
    return Path(host.removeprefix(UNIX)) if host.startswith(UNIX) else None


def is_deleted(socket: Path) -> bool:
    """Whether the socket's file was deleted where the engine made it, and is only held here."""
    try:
        return socket.stat().st_nlink == 0
    except OSError:
        return False


async def until_cut_off(socket: Path | None, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Return once the socket leads nowhere any more, which is never for one that is found by its path each time.

    Args:
        socket: the engine's socket, if there is one.
        sleep: waits.
    """
    looks = 0
    while looks < LOOKS:
        await sleep(LOOK_SECONDS)
        looks = looks + 1 if socket is not None and is_deleted(socket) else 0
