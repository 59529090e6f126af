"""What the EC2 spawner takes beside AWS itself, and what it asks of AWS when many users start within a minute.

`toolchain/with python benchmarks/spawner.py`, two minutes. AWS is a client of this process whose calls take a fixed time
and are limited by the token buckets of "Request throttling for the Amazon EC2 API"
(https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html, 2026).
"""

import asyncio
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from traitlets.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime.ec2_spawner import fleet as fleet_module
from runtime.ec2_spawner import spawner as spawner_module
from runtime.ec2_spawner.fleet import Fleet, FleetError, Host
from runtime.ec2_spawner.settings import Ec2HubSettings
from runtime.ec2_spawner.spawner import Ec2Spawner
from runtime.hub.settings import Quota, User

ZONE = "us-east-1a"
LAUNCHES = 20
USERS = 200
MINUTE = 60.0
BOOT_SECONDS = 20.0

BUCKETS = {
    "describe_instances": (100, 20),
    "describe_volumes": (100, 20),
    "create_volume": (100, 5),
    "attach_volume": (50, 5),
    "run_instances": (5, 2),
    "start_instances": (5, 2),
}
"""Requests that AWS takes at once, and those that it takes a second after that, by operation."""

SECONDS = {
    "describe_instances": 0.2,
    "describe_volumes": 0.15,
    "create_volume": 0.3,
    "attach_volume": 0.4,
    "run_instances": 1.2,
    "start_instances": 0.5,
}
"""How long the simulated AWS takes to answer."""


class Api:
    """An EC2 client with limits; an instance runs `boot` seconds after it was launched."""

    def __init__(self, boot: float, buckets: dict[str, tuple[float, float]]) -> None:
        """Start with full buckets."""
        self.boot, self.buckets = boot, buckets
        self.tokens = {operation: (float(most), time.monotonic()) for operation, (most, _) in buckets.items()}
        self.requests: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.spent = 0.0
        self.instances: list[dict[str, Any]] = []
        self.volumes: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def take(self, operation: str) -> None:
        """Count a request, and take its time.

        Raises:
            ClientError: there were too many.
        """
        with self.lock:
            self.requests[operation] += 1
            self.spent += SECONDS[operation]
            if operation in self.buckets:
                most, refill = self.buckets[operation]
                tokens, then = self.tokens[operation]
                now = time.monotonic()
                tokens = min(most, tokens + (now - then) * refill)
                self.tokens[operation] = (tokens - 1 if tokens >= 1 else tokens, now)
                if tokens < 1:
                    self.throttled[operation] += 1
                    told = {"Error": {"Code": "RequestLimitExceeded", "Message": "Request limit exceeded."}}
                    raise ClientError(told, operation)
        time.sleep(SECONDS[operation])

    def get_paginator(self, operation: str) -> SimpleNamespace:
        """All on one page."""

        def paginate(**_: object) -> Iterator[dict[str, Any]]:
            self.take(operation)
            with self.lock:
                instances = [self.seen(instance) for instance in self.instances]
                yield {"Reservations": [{"Instances": instances}], "Volumes": list(self.volumes)}

        return SimpleNamespace(paginate=paginate)

    def seen(self, instance: dict[str, Any]) -> dict[str, Any]:
        """The instance as it is now."""
        runs = time.monotonic() >= instance["up"]
        return {**instance, "State": {"Name": "running" if runs else "pending"}}

    def create_volume(self, TagSpecifications: list[dict[str, Any]], **_: object) -> dict[str, Any]:  # noqa: N803
        """Make one."""
        self.take("create_volume")
        with self.lock:
            made = {
                "VolumeId": f"vol-{len(self.volumes):08x}",
                "AvailabilityZone": ZONE,
                "State": "available",
                "Attachments": [],
                "Tags": TagSpecifications[0]["Tags"],
            }
            self.volumes.append(made)
        return made

    def run_instances(self, TagSpecifications: list[dict[str, Any]], ClientToken: str, **_: object) -> dict[str, Any]:  # noqa: N803
        """Launch one."""
        self.take("run_instances")
        with self.lock:
            number = len(self.instances)
            made = {
                "InstanceId": f"i-{number:08x}",
                "ClientToken": ClientToken,
                "Placement": {"AvailabilityZone": ZONE},
                "PrivateIpAddress": f"10.10.{128 + number // 250}.{4 + number % 250}",
                "LaunchTime": datetime.now(UTC),
                "Tags": TagSpecifications[0]["Tags"],
                "up": time.monotonic() + self.boot,
            }
            self.instances.append(made)
        return {"Instances": [self.seen(made)]}

    def attach_volume(self, VolumeId: str, InstanceId: str, **_: object) -> dict[str, Any]:  # noqa: N803
        """Attach it at once."""
        self.take("attach_volume")
        with self.lock:
            [volume] = [v for v in self.volumes if v["VolumeId"] == VolumeId]
            volume.update(State="in-use", Attachments=[{"InstanceId": InstanceId, "State": "attached"}])
        return {}


def spawners(api: Api, count: int, poll_seconds: float) -> list[Ec2Spawner]:
    """A spawner for each of so many users, as a hub has them."""
    names = [f"user{number}" for number in range(count)]

    class Launching(Ec2Spawner):
        settings = Ec2HubSettings(
            cluster="course",
            users=tuple(User(name, admin=False) for name in names),
            quota=Quota(1, 2**30, 256, 5 * 2**30, 2**28, 600, 28800),
            servers=count,
            login={"provider": "password"},
            egress_profile="closed",
            launch_template="lt-1",
            subnets={ZONE: "subnet-1"},
        )
        fleet = Fleet(api, "course", "lt-1", {ZONE: "subnet-1"}, 5)
        token_key = b"benchmark"

        async def answers(self, host: Host) -> bool:  # noqa: ARG002
            """Servers answer as soon as their instance runs."""
            return True

    def spawner(name: str) -> Ec2Spawner:
        user = SimpleNamespace(name=name, escaped_name=name, url=f"/user/{name}/", id=1)
        made = Launching(config=Config(), poll_seconds=poll_seconds, manager_address="10.10.0.4", user=user)
        made.hub = SimpleNamespace(public_host="", api_url="http://10.10.0.4:8081/hub/api", base_url="/hub/")
        made.api_token = "0" * 32
        return made

    return [spawner(name) for name in names]


@contextmanager
def changed(place: Any, name: str, value: object) -> Iterator[None]:
    """A module's value, other for a while."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


async def overheads() -> list[float]:
    """Seconds of each launch that are neither AWS's nor spent waiting until the next look at an instance."""
    api = Api(boot=0.0, buckets={})
    waited = 0.0
    sleep: Callable[..., Any] = asyncio.sleep

    async def noted(seconds: float) -> None:
        nonlocal waited
        start = time.monotonic()
        await sleep(seconds)
        waited += time.monotonic() - start

    found: list[float] = []
    with changed(fleet_module, "FRESH_SECONDS", 0.0), changed(asyncio, "sleep", noted):
        for spawner in spawners(api, LAUNCHES, poll_seconds=0.01):
            waited, spent, start = 0.0, api.spent, time.monotonic()
            await spawner.start()
            found.append(time.monotonic() - start - (api.spent - spent) - waited)
    return found


async def rush(api: Api) -> list[float]:
    """Seconds that each of the users waits when all of them come within a minute."""

    async def come(spawner: Ec2Spawner, after: float) -> float:
        await asyncio.sleep(after)
        start = time.monotonic()
        try:
            await spawner.start()
        except FleetError as error:
            print(f"  {spawner.user.name} cannot start: {error}")
            return float("inf")
        return time.monotonic() - start

    users = spawners(api, USERS, poll_seconds=3.0)
    return await asyncio.gather(*(come(s, MINUTE * number / USERS) for number, s in enumerate(users)))


def main() -> None:
    """Print the figures."""
    with changed(spawner_module, "packed_digest", lambda: "0" * 64):
        before = time.process_time()
        own = sorted(1000 * seconds for seconds in asyncio.run(overheads()))
        busy = 1000 * (time.process_time() - before) / LAUNCHES
        print(
            f"overhead of a launch: median {statistics.median(own):.1f} ms (target 50), {busy:.1f} ms of it processor time"
        )
        print(f"{USERS} users within {MINUTE:.0f} s, instances that run {BOOT_SECONDS:.0f} s after their launch:")
        api = Api(BOOT_SECONDS, BUCKETS)
        waits = sorted(asyncio.run(rush(api)))
    for operation, count in sorted(api.requests.items()):
        print(f"  {operation:20} {count / USERS:5.2f} a user, {api.throttled[operation]} throttled")
    print(f"  {'all':20} {sum(api.requests.values()) / USERS:5.2f} a user (target 6)")
    print(f"  a user waits {statistics.median(waits):.0f} s (median), {waits[-1]:.0f} s at most")


if __name__ == "__main__":
    main()
