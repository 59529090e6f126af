"""Stopping servers that are idle or have reached the greatest age, the same for every hub of the project."""

import sys
from typing import Any

SHORTEST_INTERVAL_SECONDS = 5
LONGEST_INTERVAL_SECONDS = 60


def activity_interval_seconds(idle_seconds: int) -> int:
    """How often activity is asked for and servers are culled: a sixth of the idle time, 5 s to a minute.

    JupyterHub's own 5 minutes would take a user who works for idle under a shorter limit.
    """
    return max(SHORTEST_INTERVAL_SECONDS, min(LONGEST_INTERVAL_SECONDS, idle_seconds // 6))


def configure_culling(c: Any, idle_seconds: int, max_age_seconds: int) -> None:
    """Fill JupyterHub's configuration `c` with the idle culler and what it needs to see in time.

    Args:
        c: the configuration object.
        idle_seconds: a server without activity for this long is stopped.
        max_age_seconds: a server this old is stopped, whatever it does.
    """
    interval = activity_interval_seconds(idle_seconds)
    c.JupyterHub.last_activity_interval = interval
    c.JupyterHub.activity_resolution = min(30, interval)
    c.JupyterHub.services = [
        {
            "name": "idle-culler",
            "command": [
                sys.executable,
                "-m",
                "jupyterhub_idle_culler",
                f"--timeout={idle_seconds}",
                f"--max-age={max_age_seconds}",
                f"--cull-every={interval}",
            ],
        }
    ]
    c.JupyterHub.load_roles = [
        {
            "name": "idle-culler",
            "services": ["idle-culler"],
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        }
    ]
