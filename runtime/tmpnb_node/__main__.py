"""The service: `python -m runtime.tmpnb_node SETTINGS SECRETS STATE`.

SETTINGS is the stack's file, SECRETS a folder with the files `proxy-token`, `admin-token` and perhaps `api-token`,
STATE a folder that outlives the service. The engine is the one that `DOCKER_HOST` names, by default the local socket.
`NOTEBOOK_IMAGE` is the servers' image where the file does not name one.

`python -m runtime.tmpnb_node drain SECONDS TOKEN`, beside the running service, hands out nothing any more and waits for
users at most so long; TOKEN is the file with the administrators' token. `python -m runtime.tmpnb_node stay TOKEN` takes
that back.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from runtime.tmpnb_node.farewell import FarewellError, drain, stay
from runtime.tmpnb_node.node import run
from runtime.tmpnb_node.settings import Secrets, Settings, load_secrets, load_settings

DRAIN, STAY = "drain", "stay"

log = logging.getLogger("runtime.tmpnb_node")


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop, or drain, or take that back; 1 if that failed, 2 if it was not called as it should be."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # What users' programs answer is not worth a line, and would have as many as they like.
    for talkative in ("aiohttp.client", "urllib3"):
        logging.getLogger(talkative).setLevel(logging.CRITICAL)
    try:
        if arguments[:1] == [DRAIN]:
            _, seconds, token = arguments
            return _asked(drain(Path(token).read_text().strip(), float(seconds)))
        if arguments[:1] == [STAY]:
            _, token = arguments
            return _asked(stay(Path(token).read_text().strip()))
        file, secrets, state = (Path(argument) for argument in arguments)
        loaded = load_settings(file, os.environ), load_secrets(secrets)
    except (OSError, KeyError, TypeError, ValueError) as error:
        log.error("it cannot start: %s", error)  # noqa: TRY400  (the message says all)
        return 2
    try:
        asyncio.run(_serve(*loaded, state))
    except ExceptionGroup:
        log.exception("the service failed")
        return 1
    return 0


def _asked(asking: Coroutine[Any, Any, int | None]) -> int:
    try:
        asyncio.run(asking)
    except FarewellError as error:
        log.error("%s", error)  # noqa: TRY400  (the message says all)
        return 1
    return 0


async def _serve(settings: Settings, secrets: Secrets, state: Path) -> None:
    stop = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, stop.set)
    await run(settings, secrets, state, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
