"""A service beside the hub that looks for instances which no server of the hub needs, and ends what is too old.

The hub forgets a server whose stop AWS refused, and a hub that was killed may never have known of one. Neither may cost
money until its user comes back.
"""

import asyncio
import json
import logging
import os
import sys
import time
import urllib.request
from collections.abc import Collection
from typing import Any

from runtime.ec2_spawner.fleet import Fleet, FleetError, account_fleet
from runtime.ec2_spawner.settings import load_settings

INTERVAL_SECONDS = 120.0
PAGE = 100
ANSWER_SECONDS = 30
HANDED_ON = ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "LAUNCH_TEMPLATE", "PYTHONPATH", "SUBNETS")
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

log = logging.getLogger("sweep")


async def sweep(fleet: Fleet, needed: Collection[str], max_age_seconds: int, unneeded: Collection[str]) -> set[str]:
    """Stop instances that are not needed for the second time, and end those that nobody needs and are too old.

    Args:
        fleet: the cluster's instances.
        needed: users with a server that runs or is on its way. One that starts at this moment may not be among them,
            so a single look decides nothing about an instance that runs.
        max_age_seconds: greatest age of an instance.
        unneeded: ids of instances that were not needed the last time.

    Returns:
        Ids of the instances that run and are not needed now.
    """
    found: set[str] = set()
    for host in await fleet.hosts(fresh=True):
        if host.user in needed:
            continue
        try:
            if host.age_seconds() >= max_age_seconds:
                log.warning("Ending %s of %s: it is too old", host.id, host.user)
                await fleet.terminate([host])
            elif host.state in {"pending", "running"}:
                found.add(host.id)
                if host.id in unneeded:
                    log.warning("Stopping %s of %s: the hub knows of no such server", host.id, host.user)
                    await fleet.stop(host)
        except FleetError:
            log.exception("Trying again in %.0f seconds", INTERVAL_SECONDS)
    return found


def users_with_servers() -> set[str]:
    """Users whose server runs or is on its way, as the hub says.

    Raises:
        URLError: the hub does not answer.
    """
    names: set[str] = set()
    while True:
        page = _asked(f"users?state=active&limit={PAGE}&offset={len(names)}")
        names |= {user["name"] for user in page}
        if len(page) < PAGE:
            return names


def configure_sweep(c: Any) -> None:
    """Add the service and its rights to JupyterHub's configuration `c`, which has services and roles already."""
    environment = {name: os.environ[name] for name in (*HANDED_ON, *CREDENTIALS) if name in os.environ}
    command = [sys.executable, "-m", "runtime.ec2_spawner.sweep"]
    c.JupyterHub.services.append({"name": "sweep", "command": command, "environment": environment})
    c.JupyterHub.load_roles.append(
        {"name": "sweep", "services": ["sweep"], "scopes": ["list:users", "read:users:name", "read:servers"]}
    )


def main() -> None:
    """Sweep until the hub ends this."""
    logging.basicConfig(level=logging.INFO)
    settings = load_settings()
    fleet = account_fleet(settings)
    unneeded: set[str] = set()
    while True:
        time.sleep(INTERVAL_SECONDS)
        try:
            needed = users_with_servers()
            unneeded = asyncio.run(sweep(fleet, needed, settings.quota.max_age_seconds, unneeded))
        except (OSError, FleetError):
            log.exception("Trying again in %.0f seconds", INTERVAL_SECONDS)


def _asked(path: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310  (the hub's own address)
        f"{os.environ['JUPYTERHUB_API_URL']}/{path}",
        headers={"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    main()
