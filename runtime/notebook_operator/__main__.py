"""The operator: `python3 -m runtime.notebook_operator [SETTINGS]`.

SETTINGS is the stack's file, by default where the stack mounts it. `/healthz` on port 8080, or the port in `HEALTH_PORT`,
answers while it works.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import kopf

from runtime.notebook_operator.operator import Operator, handlers
from runtime.notebook_operator.settings import SETTINGS_FILE, load_settings

HEALTH_PORT = 8080


def main(arguments: Sequence[str]) -> None:
    """Run until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for talkative in ("httpx2", "aiohttp.access"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    # What the framework tells of its own start and of every event.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    settings = load_settings(Path(arguments[0]) if arguments else SETTINGS_FILE)
    port = int(os.environ.get("HEALTH_PORT", HEALTH_PORT))
    asyncio.run(
        kopf.operator(
            registry=handlers(Operator(settings)),
            clusterwide=True,
            standalone=True,
            liveness_endpoint=f"http://0.0.0.0:{port}/healthz",
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
