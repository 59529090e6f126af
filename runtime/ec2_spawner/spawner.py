"""`Ec2Spawner`: a user's server is an EC2 instance, stopped when idle and ended at the greatest age."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from jupyterhub.spawner import Spawner
from traitlets import Float, Unicode

from runtime.boot_script import boot_script, volume_devices
from runtime.ec2_spawner.fleet import ENDED, Fleet, FleetError, Home, Host
from runtime.ec2_spawner.pack import ARCHIVE, packed_digest
from runtime.ec2_spawner.settings import Ec2HubSettings
from runtime.hub.culling import activity_interval_seconds

PORT = 8888
"""Port of the single-user server on its host; the manager alone gets to it."""

HUB_PORT = 8081
"""Port of the hub's API on the manager."""

BUNDLE_PORT = 8888
"""Port of the files for workers on the manager."""

WORKER_SCRIPT = Path(__file__).parent / "worker.sh"
MOUNT_SCRIPT = Path(__file__).parents[1] / "mount_disk.sh"

UNSEEN_SECONDS = 60.0
"""How long an instance may be missing from descriptions before it counts as gone."""

COMES_UP_SECONDS = 600.0
"""How long AWS may take to start or stop an instance."""

PACKED_SECONDS = 600.0
"""How long a user waits for the manager to pack what workers run, which it does once after its own start."""

FREE_SECONDS = 300.0
"""How long a home may stay attached to an instance that goes away, and how long it may take to be attached."""

HANGS_SECONDS = 60.0
"""After this a home that is attached to an ended instance is detached by force."""

ANSWERS_SECONDS = 5.0
"""How long a server has to take a connection when it is asked whether it works."""

T = TypeVar("T")


class Ec2Spawner(Spawner):
    """Launches, stops, starts again and ends one user's instance.

    What is true is in AWS, not in the hub: an instance is found by the cluster's and the user's tag, so a hub that was
    killed at any moment finds what it launched, and never launches a second one.
    """

    settings: ClassVar[Ec2HubSettings]
    fleet: ClassVar[Fleet]

    poll_seconds = Float(3.0, help="Seconds between looks at an instance that is on its way.").tag(config=True)
    manager_address = Unicode(help="Address at which workers reach the manager.").tag(config=True)

    token_key: ClassVar[bytes]
    """Key from which a server's API token is made, with the token of its launch."""

    instance = ""
    """Id of the user's last instance; a launch after it has ended is another launch."""

    # A stopped instance starts with the environment that it was launched with, its token included.
    will_resume = True

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what the hub's database kept."""
        super().load_state(state)
        self.instance = state.get("instance", "")

    def get_state(self) -> dict[str, Any]:
        """What the hub's database keeps."""
        return {**super().get_state(), "instance": self.instance}

    def clear_state(self) -> None:
        """Forget the server, but not what came before the next one."""
        before = self.instance
        super().clear_state()
        self.instance = before

    async def start(self) -> tuple[str, int]:
        """Give the user an instance with their home attached, and return its address and port.

        Raises:
            FleetError: AWS refused or took too long; the user sees its reason.
        """
        name = self.user.name
        self._says = "Looking for your server"
        host = await self.fleet.host_of(name, fresh=True)
        if host is not None and (self._is_too_old(host) or not self.fleet.knows_manager(host)):
            await self._end(host)
            host = None
        home = await self.fleet.home_of(name)
        if host is None:
            zone = home.zone if home else self._zone_for(name)
            home = home or await self.fleet.make_home(name, zone)
            digest = await self._packed()
            self._says = "Launching your server"
            token = self.fleet.launch_token(name, self.instance)
            self.api_token = self._api_token(token)
            host = await self.fleet.launch(name, zone, self.user_data(home, digest), token)
        self.instance = host.id
        self.api_token = self._api_token(host.token)
        host = await self._until_running(host)
        if home is None:
            home = await self.fleet.make_home(name, host.zone)
        await self._attach(home, host)
        self._says = "Your server starts"
        return host.address, PORT

    async def poll(self) -> int | None:
        """None while the instance runs or is on its way there, and asks this manager who may use it; else 0."""
        try:
            host = await self.fleet.host_of(self.user.name)
        except FleetError:
            # Not knowing is no reason to call a server stopped.
            self.log.exception("Cannot describe the instances of %s", self.settings.cluster)
            return None
        running = host is not None and host.state in {"pending", "running"} and self.fleet.knows_manager(host)
        return None if running else 0

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002  (JupyterHub's interface)
        """Stop the instance, or end it if it has reached the greatest age or does not work; the home is kept.

        Its boot script runs once: an instance that failed at that, or whose server hangs, would fail again.
        """
        host = await self.fleet.host_of(self.user.name, fresh=True)
        if host is None:
            return
        if self._is_too_old(host):
            await self._end(host)
        elif host.state in {"pending", "running"}:
            if not await self.answers(host):
                self.log.warning("Ending %s of %s: its server does not answer", host.id, self.user.name)
                await self._end(host)
                return
            await self.fleet.stop(host)
            if not now:
                await self._until(host.id, "stopped")

    async def answers(self, host: Host) -> bool:
        """Whether the host's server takes connections."""
        if not host.address:
            return False
        try:
            async with asyncio.timeout(ANSWERS_SECONDS):
                _, writer = await asyncio.open_connection(host.address, PORT)
        except OSError:
            return False
        writer.close()
        return True

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """What is done, for the page that the user waits on."""
        said = ""
        steps = {
            "Looking": 5,
            "Preparing": 10,
            "Launching": 15,
            "Starting": 30,
            "Waiting": 50,
            "Attaching": 70,
            "Your": 90,
        }
        while True:
            if self._says != said:
                said = self._says
                yield {"progress": steps.get(said.split()[0], 50), "message": said}
            await asyncio.sleep(0.5)

    def user_data(self, home: Home, digest: str) -> str:
        """The host's boot script with the server's environment in it; only root on the host can read it.

        Args:
            home: the volume that will be attached.
            digest: SHA-256 of what the manager has packed; the network between the two is not to be trusted.
        """
        quota = self.settings.quota
        environment = "\n".join(f"{key}={_unit_value(value)}" for key, value in sorted(self.get_env().items()))
        values = {
            "BUNDLE": f"http://{self.manager_address}:{BUNDLE_PORT}/{ARCHIVE}",
            "BUNDLE_SHA256": digest,
            "CPU_PERCENT": str(round(quota.cpu * 100)),
            "EGRESS_PROFILE": self.settings.egress_profile,
            "ENVIRONMENT": base64.b64encode(environment.encode()).decode(),
            "MANAGER": self.manager_address,
            "HOME_DEVICES": volume_devices(home.id),
            "MEMORY": str(quota.memory_bytes),
            "MOUNT_DISK": MOUNT_SCRIPT.read_text(),
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

    def _api_token(self, launch: str) -> str:
        # Made again from the launch, not kept: a hub that was killed before it wrote anything down knows it too, and
        # a launch that is repeated has the same user data.
        return hmac.digest(self.token_key, f"server/{launch}".encode(), "sha256").hex()

    async def _end(self, host: Host) -> None:
        self.instance = host.id
        await self.fleet.terminate([host])

    async def _packed(self) -> str:
        async def look() -> str | None:
            digest = packed_digest()
            if digest is None:
                self._says = "Preparing what servers run; this happens once, after the hub was set up"
            return digest

        trouble = "the hub has not packed what servers run; `journalctl -u hubstack-pack` on the manager says why"
        return await self._patiently(look, PACKED_SECONDS, trouble)

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

        async def look() -> Host | None:
            nonlocal unseen
            host = await self.fleet.host_of(self.user.name)
            # A description may be older than the launch; an instance that stays away was ended by somebody else.
            unseen = unseen + 1 if host is None else 0
            if unseen * self.poll_seconds > UNSEEN_SECONDS:
                raise FleetError(f"your server {instance} is gone: AWS or an administrator ended it")
            arrived = host is not None and host.id == instance and host.state == state
            return host if arrived and host and (host.address or state != "running") else None

        return await self._patiently(look, COMES_UP_SECONDS, f"your server {instance} is not {state}; try again")

    async def _attach(self, home: Home, host: Host) -> None:
        if home.zone != host.zone:
            raise FleetError(f"your home {home.id} is in {home.zone}, your server in {host.zone}")
        self._says = "Attaching your home"
        looked = 0

        async def look() -> bool | None:
            nonlocal looked
            looked += 1
            # What was known before the launch is tried first: it is nearly always still so.
            now = home if looked == 1 else await self.fleet.home_of(self.user.name, fresh=True)
            if now is None:
                raise FleetError(f"your home {home.id} is gone")
            if now.attached_to == host.id:
                return True
            if now.attached_to:
                self._says = "Waiting for your last server to let go of your home"
                await self._free(now, hangs=looked * self.poll_seconds > HANGS_SECONDS)
                return None
            self._says = "Attaching your home"
            await self.fleet.attach_home(now, host)
            return True

        await self._patiently(look, FREE_SECONDS, f"your home {home.id} cannot be attached yet; try again")

    async def _free(self, home: Home, *, hangs: bool) -> None:
        state = await self.fleet.state_of(home.attached_to)
        if state == "stopped":
            await self.fleet.detach_home(home, force=False)
        elif state in ENDED and hangs:
            self.log.warning("Detaching %s by force from %s, which is %s", home.id, home.attached_to, state)
            await self.fleet.detach_home(home, force=True)
        elif state not in ENDED and hangs:
            raise FleetError(f"your home {home.id} is in use by {home.attached_to}, which is {state}")

    async def _patiently(self, look: Callable[[], Awaitable[T | None]], seconds: float, trouble: str) -> T:
        """What `look` finds within `seconds`; that AWS was asked too often, or is not that far, is no failure."""
        tries = max(1, round(seconds / self.poll_seconds))
        for _ in range(tries):
            try:
                found = await look()
            except FleetError as error:
                if not error.throttled and error.code not in {"IncorrectState", "VolumeInUse"}:
                    raise
                self.log.info("%s; trying again", error)
                found = None
            if found is not None:
                return found
            await asyncio.sleep(self.poll_seconds)
        raise FleetError(trouble)


def _unit_value(value: str) -> str:
    """A value as systemd's environment files take it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
