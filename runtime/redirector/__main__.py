"""The redirector: `python -m runtime.redirector SETTINGS`.

SETTINGS is the stack's file. It may be replaced at any time, which is noticed within a second, and at once at SIGHUP.
"""

import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from runtime.redirector.service import Service
from runtime.redirector.settings import SettingsError, SettingsFile

WATCH_SECONDS = 0.5
SHUTDOWN_SECONDS = 2.0
ADDRESS = "0.0.0.0"  # noqa: S104  (all of the container's; the deployment decides what is published)
BACKLOG = 1024
"""Connections that wait to be accepted when many visitors come at once."""

ENDINGS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger("hubstack-redirector")


def main(arguments: Sequence[str]) -> int:
    """Redirect until told to end; 1 if the settings cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.server").addFilter(is_no_client_error)
    allow_connections()
    try:
        service = Service(SettingsFile(Path(arguments[0])))
    except SettingsError as error:
        log.critical("the settings cannot be used: %s", error)
        return 1
    asyncio.run(serve(service))
    return 0


async def serve(service: Service) -> None:
    """Redirect until SIGTERM or SIGINT."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for expected in (*ENDINGS, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(expected, signals.put_nowait, expected)
    async with service:
        runner = web.ServerRunner(web.Server(service.redirector, access_log=None), shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, ADDRESS, service.settings.port, backlog=BACKLOG).start()
            log.info("visitors of %s are sent to %d nodes", service.settings.stack, len(service.settings.nodes))
            # What is there by now stays: looking through it again and again would hold visitors up.
            gc.collect()
            gc.freeze()
            while (received := await next_signal(signals)) not in ENDINGS:
                service.reload(again=received is signal.SIGHUP)
        finally:
            await runner.cleanup()
    log.info("ended")


async def next_signal(signals: asyncio.Queue[signal.Signals]) -> signal.Signals | None:
    """The next signal, or None if there is none for a while."""
    try:
        return await asyncio.wait_for(signals.get(), WATCH_SECONDS)
    except TimeoutError:
        return None


def allow_connections() -> None:
    """Allow as many open connections as the system lets the process have: each node takes one, each visitor another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def is_no_client_error(record: logging.LogRecord) -> bool:
    """Whether the server's log record is of something else than a request that is no HTTP, of which anybody can send many."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
