"""The users' instances and home volumes of one cluster, found by their tags and by nothing else."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from runtime.ec2_spawner.pace import Pace
from runtime.ec2_spawner.settings import Ec2HubSettings

CLUSTER_TAG = "hubstack:cluster"
USER_TAG = "hubstack:user"
HOME_DEVICE = "/dev/sdf"

ALIVE = ("pending", "running", "stopping", "stopped")
"""States of an instance that its user can come back to."""

ENDED = ("shutting-down", "terminated")
"""States of an instance that nobody comes back to; AWS shows it for about an hour."""

THROTTLED = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException")
"""What AWS says when it has been asked too often, after the client's own tries."""

FRESH_SECONDS = 2.0
"""How old a description may be that several spawns share: one request serves all who ask within it."""

LAUNCH_BURST = 4
LAUNCHES_A_SECOND = 2.0
"""AWS takes 5 launches at once and 2 a second after that (Request throttling for the Amazon EC2 API); so for starts."""


def launch_paces() -> dict[str, Pace]:
    """For each operation that AWS limits more narrowly than users come, how often it may be asked."""
    return {name: Pace(LAUNCH_BURST, LAUNCHES_A_SECOND) for name in ("run_instances", "start_instances")}


@dataclass(frozen=True)
class Host:
    """A user's instance."""

    id: str
    user: str
    state: str
    zone: str
    address: str
    """Private address; empty until it has one."""
    launched: datetime
    token: str
    """The token that it was launched with, one for each launch; not a secret."""

    def age_seconds(self, now: datetime | None = None) -> float:
        """Seconds since its last start: AWS counts from there."""
        return ((now or datetime.now(UTC)) - self.launched).total_seconds()


@dataclass(frozen=True)
class Home:
    """A user's volume."""

    id: str
    user: str
    zone: str
    attached_to: str
    """Id of the instance that it is attached to, or nothing."""


class FleetError(Exception):
    """AWS refused; the message is for the user and says what it said."""

    def __init__(self, message: str, code: str = "") -> None:
        """Keep AWS's own code beside the message."""
        super().__init__(message)
        self.code = code

    @property
    def throttled(self) -> bool:
        """Whether AWS was only asked too often, so that asking later helps."""
        return self.code in THROTTLED


T = TypeVar("T")


class Shared(Generic[T]):
    """A description that all who ask at the same time share."""

    def __init__(self, describe: Callable[[], Awaitable[list[T]]]) -> None:
        """Nothing is described before somebody asks."""
        self._describe = describe
        self._found: list[T] = []
        self._described = -1e9
        self._describing = asyncio.Lock()

    async def ask(self, *, fresh: bool) -> list[T]:
        """What is described: begun after the question if it is to be fresh, else at most `FRESH_SECONDS` before."""
        asked = time.monotonic()
        async with self._describing:
            if self._described < (asked if fresh else asked - FRESH_SECONDS):
                described = time.monotonic()
                self._found = await self._describe()
                self._described = described
            return list(self._found)


@dataclass
class Fleet:
    """Calls to EC2, those that describe batched: all spawns of a moment share one request."""

    client: Any
    """boto3's EC2 client."""
    cluster: str
    launch_template: str
    subnets: Mapping[str, str]
    """Ids of the private subnets by availability zone."""
    home_gigabytes: int
    manager: str = ""
    """Address of the manager; hosts are told it once, when they are launched."""
    run: Callable[..., Awaitable[Any]] = asyncio.to_thread
    """Runs a blocking call; tests replace it."""
    paces: Mapping[str, Pace] = field(default_factory=launch_paces)

    def __post_init__(self) -> None:
        """Refuse to work without a tag to filter by: an empty filter means every instance of the region."""
        if not self.cluster:
            raise ValueError("a fleet without a cluster's name would be everybody's instances")
        self._hosts = Shared(lambda: self._asked("describe_instances", self._describe_hosts))
        self._homes = Shared(lambda: self._asked("describe_volumes", self._describe_homes))

    async def hosts(self, *, fresh: bool = False) -> list[Host]:
        """The cluster's instances that are not ended, described at most `FRESH_SECONDS` ago."""
        return await self._hosts.ask(fresh=fresh)

    async def host_of(self, user: str, *, fresh: bool = False) -> Host | None:
        """The user's instance, or None. Of several, which only a fault could have made, the oldest."""
        mine = [host for host in await self.hosts(fresh=fresh) if host.user == user]
        return min(mine, key=lambda host: (host.launched, host.id)) if mine else None

    async def home_of(self, user: str, *, fresh: bool = False) -> Home | None:
        """The user's volume, or None. One that is younger than the description is made "again", as the same one."""
        mine = [home for home in await self._homes.ask(fresh=fresh) if home.user == user]
        return min(mine, key=lambda home: home.id) if mine else None

    async def make_home(self, user: str, zone: str) -> Home:
        """Make the user's volume, encrypted; asked twice, AWS answers with the same one."""
        token = hashlib.sha256(f"{self.cluster}/{user}/home".encode()).hexdigest()[:64]
        made = await self._call(
            "create_volume",
            AvailabilityZone=zone,
            Size=self.home_gigabytes,
            VolumeType="gp3",
            Encrypted=True,
            ClientToken=token,
            TagSpecifications=[{"ResourceType": "volume", "Tags": self._tags(user, "home")}],
        )
        return Home(made["VolumeId"], user, zone, "")

    def launch_token(self, user: str, predecessor: str) -> str:
        """The token of the user's next launch: the same until there is another `predecessor` or another manager."""
        return f"{_short_hash(f'{self.cluster}/{user}/{predecessor}', 40)}-{_short_hash(self.manager, 20)}"

    def knows_manager(self, host: Host) -> bool:
        """Whether the host was launched by this manager; one of a manager that was replaced asks at the old address."""
        return host.token.endswith(f"-{_short_hash(self.manager, 20)}")

    async def launch(self, user: str, zone: str, user_data: str, token: str) -> Host:
        """Launch the user's instance from the template.

        A launch whose answer got lost, or that a killed hub repeats, comes with the same `token` and is answered with
        the instance that was launched already. AWS refuses a token that comes again with other user data.
        """
        launched = await self._call(
            "run_instances",
            LaunchTemplate={"LaunchTemplateId": self.launch_template, "Version": "$Default"},
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnets[zone],
            UserData=user_data,
            ClientToken=token,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": self._tags(user, "server")},
                # The root disk is not the user's: their tag on it would make it a home.
                {
                    "ResourceType": "volume",
                    "Tags": [
                        {"Key": CLUSTER_TAG, "Value": self.cluster},
                        {"Key": "Name", "Value": f"{self.cluster}-{user}-root"},
                    ],
                },
            ],
        )
        return _host(launched["Instances"][0])

    async def attach_home(self, home: Home, host: Host) -> None:
        """Attach the volume to the instance, which runs; AWS refuses while either is not ready for it."""
        await self._call("attach_volume", VolumeId=home.id, InstanceId=host.id, Device=HOME_DEVICE)

    async def detach_home(self, home: Home, *, force: bool) -> None:
        """Detach the volume from where it is; by force only from an instance that has ended."""
        await self._call("detach_volume", VolumeId=home.id, InstanceId=home.attached_to, Force=force)

    async def state_of(self, instance: str) -> str:
        """State of one instance of the cluster, those that ended included; `terminated` if AWS has forgotten it."""
        filters = [*self._ours(), {"Name": "instance-id", "Values": [instance]}]
        found = await self._call("describe_instances", Filters=filters)
        states = [i["State"]["Name"] for reservation in found["Reservations"] for i in reservation["Instances"]]
        return states[0] if states else "terminated"

    async def start(self, host: Host) -> None:
        """Start a stopped instance."""
        await self._call("start_instances", InstanceIds=[host.id])

    async def stop(self, host: Host) -> None:
        """Stop an instance; its disks stay."""
        await self._call("stop_instances", InstanceIds=[host.id])

    async def terminate(self, hosts: Sequence[Host]) -> None:
        """End instances; homes stay. Nothing is asked of AWS for an empty list."""
        if hosts:
            await self._call("terminate_instances", InstanceIds=[host.id for host in hosts])

    async def _call(self, operation: str, **arguments: object) -> dict[str, Any]:
        return await self._asked(operation, getattr(self.client, operation), **arguments)

    async def _asked(self, operation: str, call: Callable[..., Any], **arguments: object) -> Any:
        if operation in self.paces:
            await self.paces[operation].turn()
        try:
            return await self.run(call, **arguments)
        except ClientError as error:
            told = error.response.get("Error", {})
            code = told.get("Code", "")
            raise FleetError(f"AWS refused {operation}: {told.get('Message')} ({code})", code) from error

    def _describe_hosts(self) -> list[Host]:
        filters = [*self._ours(), {"Name": "instance-state-name", "Values": list(ALIVE)}]
        pages = self.client.get_paginator("describe_instances").paginate(Filters=filters)
        return [
            _host(instance)
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
            if _tag(instance, USER_TAG)
        ]

    def _describe_homes(self) -> list[Home]:
        pages = self.client.get_paginator("describe_volumes").paginate(
            Filters=[*self._ours(), {"Name": "tag-key", "Values": [USER_TAG]}]
        )
        return [
            Home(
                volume["VolumeId"],
                _tag(volume, USER_TAG),
                volume["AvailabilityZone"],
                next((a["InstanceId"] for a in volume.get("Attachments", []) if a.get("State") != "detached"), ""),
            )
            for page in pages
            for volume in page["Volumes"]
            # An operator's copy of a home may carry its user's tag too.
            if _tag(volume, "Name") == self._name(_tag(volume, USER_TAG), "home")
            and volume["State"] not in {"deleting", "deleted", "error"}
        ]

    def _name(self, user: str, what: str) -> str:
        return f"{self.cluster}-{user}-{what}"

    def _ours(self) -> list[dict[str, Any]]:
        return [{"Name": f"tag:{CLUSTER_TAG}", "Values": [self.cluster]}]

    def _tags(self, user: str, what: str) -> list[dict[str, str]]:
        return [
            {"Key": CLUSTER_TAG, "Value": self.cluster},
            {"Key": USER_TAG, "Value": user},
            {"Key": "Name", "Value": self._name(user, what)},
        ]


def account_fleet(settings: Ec2HubSettings, manager: str = "") -> Fleet:
    """The cluster's instances of the manager at that address, asked for with the manager's rights; the client slows down when AWS asks it to."""
    ec2 = boto3.client("ec2", config=Config(retries={"mode": "adaptive", "max_attempts": 10}))  # pyright: ignore[reportUnknownMemberType]
    return Fleet(ec2, settings.cluster, settings.launch_template, settings.subnets, settings.home_gigabytes, manager)


def _short_hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _tag(described: Mapping[str, Any], key: str) -> str:
    return next((tag["Value"] for tag in described.get("Tags", []) if tag["Key"] == key), "")


def _host(instance: Mapping[str, Any]) -> Host:
    return Host(
        id=instance["InstanceId"],
        user=_tag(instance, USER_TAG),
        state=instance["State"]["Name"],
        zone=instance["Placement"]["AvailabilityZone"],
        address=instance.get("PrivateIpAddress") or "",
        launched=instance["LaunchTime"],
        token=instance.get("ClientToken") or "",
    )
