"""`Ec2Spawner`: a user's server is an EC2 instance, stopped when idle and ended at the greatest age."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar

from jupyterhub.spawner import Spawner
from traitlets import Float, Unicode

from runtime.boot_script import boot_script
from runtime.ec2_spawner.fleet import Fleet, FleetError, Home, Host
from runtime.ec2_spawner.settings import Ec2HubSettings
from runtime.hub.culling import activity_interval_seconds

PORT = 8888
"""Port of the single-user server on its host; the manager alone gets to it."""

HUB_PORT = 8081
"""Port of the hub's API on the manager."""

BUNDLE_PORT = 8888
"""Port of the files for workers on the manager."""

WORKER_SCRIPT = Path(__file__).parent / "worker.sh"
NOTEBOOK_LOCK = Path(__file__).parent / "notebook.lock"
HOME_DEVICE_ON_HOST = "/dev/nvme1n1"
"""Where Debian on a Nitro instance shows the first volume beside the root disk."""

UNSEEN_SECONDS = 60.0
"""How long an instance may be missing from descriptions before it counts as gone."""


class Ec2Spawner(Spawner):
    """Launches, stops, starts again and ends one user's instance.

    What is true is in AWS, not in the hub: an instance is found by the cluster's and the user's tag, so a hub that was
    killed at any moment finds what it launched, and never launches a second one.
    """

    settings: ClassVar[Ec2HubSettings]
    fleet: ClassVar[Fleet]

    poll_seconds = Float(3.0, help="Seconds between looks at an instance that is on its way.").tag(config=True)
    manager_address = Unicode(help="Address at which workers reach the manager.").tag(config=True)

    predecessor = ""
    """The user's last instance that was ended; a launch after it is another launch."""

    # A stopped instance starts with the environment that it was launched with, its token included.
    will_resume = True

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what the hub's database kept."""
        super().load_state(state)
        self.predecessor = state.get("predecessor", "")

    def get_state(self) -> dict[str, Any]:
        """What the hub's database keeps."""
        return {**super().get_state(), "predecessor": self.predecessor}

    def clear_state(self) -> None:
        """Forget the server, but not what came before the next one."""
        before = self.predecessor
        super().clear_state()
        self.predecessor = before

    async def start(self) -> tuple[str, int]:
        """Give the user an instance with their home attached, and return its address and port.

        Raises:
            FleetError: AWS refused; the user sees its reason.
        """
        name = self.user.name
        self._says = "Looking for your server"
        host = await self.fleet.host_of(name, fresh=True)
        if host is not None and self._is_too_old(host):
            await self._end(host)
            host = None
        home = await self.fleet.home_of(name)
        if host is None:
            zone = home.zone if home else self._zone_for(name)
            home = home or await self.fleet.make_home(name, zone)
            self._says = "Launching your server"
            host = await self.fleet.launch(name, zone, self.user_data(), self.predecessor)
        host = await self._until_running(host)
        if home is None:
            home = await self.fleet.make_home(name, host.zone)
        await self._attach(home, host)
        self._says = "Your server starts"
        return host.address, PORT

    async def poll(self) -> int | None:
        """None while the instance runs or is on its way there, else 0."""
        try:
            host = await self.fleet.host_of(self.user.name)
        except FleetError:
            # Not knowing is no reason to call a server stopped.
            self.log.exception("Cannot describe the instances of %s", self.settings.cluster)
            return None
        return None if host is not None and host.state in {"pending", "running"} else 0

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002  (JupyterHub's interface)
        """Stop the instance, or end it if it has reached the greatest age; the home is kept either way."""
        host = await self.fleet.host_of(self.user.name, fresh=True)
        if host is None:
            return
        if self._is_too_old(host):
            await self._end(host)
        elif host.state in {"pending", "running"}:
            await self.fleet.stop(host)
            if not now:
                await self._until(host.id, "stopped")

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """What is done, for the page that the user waits on."""
        said = ""
        steps = {"Looking": 5, "Launching": 15, "Starting": 30, "Waiting": 50, "Attaching": 70, "Your": 90}
        while True:
            if self._says != said:
                said = self._says
                yield {"progress": steps.get(said.split()[0], 50), "message": said}
            await asyncio.sleep(0.5)

    def user_data(self) -> str:
        """The host's boot script with the server's environment in it; only root on the host can read it."""
        quota = self.settings.quota
        environment = "\n".join(f"{key}={_unit_value(value)}" for key, value in sorted(self.get_env().items()))
        values = {
            "BUNDLES": f"http://{self.manager_address}:{BUNDLE_PORT}",
            "CPU_PERCENT": str(round(quota.cpu * 100)),
            "ENVIRONMENT": base64.b64encode(environment.encode()).decode(),
            "HOME_DEVICE": HOME_DEVICE_ON_HOST,
            "LOCK_SHA256": hashlib.sha256(NOTEBOOK_LOCK.read_bytes()).hexdigest(),
            "MEMORY": str(quota.memory_bytes),
            "PROCESSES": str(quota.processes),
            "TMP_BYTES": str(quota.tmp_bytes),
        }
        return boot_script(WORKER_SCRIPT.read_text(), values)

    def get_env(self) -> dict[str, str]:
        """The server's environment: it reaches the hub at the manager's private address."""
        environment = super().get_env()
        base = environment.get("JUPYTERHUB_BASE_URL", "/")
        environment["JUPYTERHUB_API_URL"] = f"http://{self.manager_address}:{HUB_PORT}{base}hub/api"
        environment["JUPYTERHUB_ACTIVITY_URL"] = (
            f"{environment['JUPYTERHUB_API_URL']}/users/{self.user.escaped_name}/activity"
        )
        environment["JUPYTERHUB_ACTIVITY_INTERVAL"] = str(activity_interval_seconds(self.settings.quota.idle_seconds))
        environment["JUPYTERHUB_SERVICE_URL"] = f"http://0.0.0.0:{PORT}{self.server.base_url if self.server else base}"
        environment["HOME"] = "/home/jovyan"
        environment["PATH"] = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
        return environment

    _says = ""

    def _is_too_old(self, host: Host) -> bool:
        return host.age_seconds() >= self.settings.quota.max_age_seconds

    def _zone_for(self, user: str) -> str:
        # The same user gets the same zone; many users spread evenly.
        zones = sorted(self.settings.subnets)
        return zones[int(hashlib.sha256(user.encode()).hexdigest(), 16) % len(zones)]

    async def _end(self, host: Host) -> None:
        self.predecessor = host.id
        await self.fleet.terminate([host])

    async def _until_running(self, host: Host) -> Host:
        if host.state == "stopping":
            self._says = "Waiting for your server to stop before it starts again"
            host = await self._until(host.id, "stopped")
        if host.state == "stopped":
            self._says = "Starting your server again"
            await self.fleet.start(host)
        self._says = "Waiting for AWS to start your server"
        return await self._until(host.id, "running")

    async def _until(self, instance: str, state: str) -> Host:
        unseen = 0
        while True:
            host = await self.fleet.host_of(self.user.name, fresh=False)
            if (
                host is not None
                and host.id == instance
                and host.state == state
                and (host.address or state != "running")
            ):
                return host
            # A description may be older than the launch; an instance that stays away was ended by somebody else.
            unseen = unseen + 1 if host is None else 0
            if unseen * self.poll_seconds > UNSEEN_SECONDS:
                self.predecessor = instance
                raise FleetError(f"your server {instance} is gone: AWS or an administrator ended it")
            await asyncio.sleep(self.poll_seconds)

    async def _attach(self, home: Home, host: Host) -> None:
        self._says = "Attaching your home"
        if home.zone != host.zone:
            raise FleetError(f"your home {home.id} is in {home.zone}, your server in {host.zone}")
        await self.fleet.attach_home(home, host)


def _unit_value(value: str) -> str:
    """A value as systemd's environment files take it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
