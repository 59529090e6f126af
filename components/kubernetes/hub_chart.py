"""What decides the values of a hub's chart, and the room in its namespace's quota that its own pods take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import pulumi

from components.kubernetes.hub_front import LOAD_BALANCERS, Front, FrontKind, front_kind
from components.kubernetes.tenancy import Room
from components.quotas import FleetQuota, UserQuota

APP = "jupyterhub"
"""Label `app` of everything that the chart and its hub make."""

HUB_PORT = 8081

CHART_IMAGES = {
    "hub": "hub.image",
    "proxy": "proxy.chp.image",
    "traefik": "proxy.traefik.image",
    "secretSync": "proxy.secretSync.image",
    "awaiter": "prePuller.hook.image",
    "pause": "prePuller.pause.image",
    "scheduler": "scheduling.userScheduler.image",
}
"""Images that the chart itself runs, and where its values have them."""

HUB_ROOM: Room = {"cpu": 1, "memory": "1G", "scratch": "256M", "services": 1, "volumes": 1}
PROXY_ROOM: Room = {"cpu": 0.5, "memory": "256M", "scratch": "64M", "services": 2}
TRAEFIK_ROOM: Room = {"cpu": 0.25, "memory": "192M", "scratch": "64M"}
SECRET_SYNC_ROOM: Room = {"cpu": 0.25, "memory": "128M", "scratch": "64M"}
PULLER_ROOM: Room = {"cpu": 0.1, "memory": "64M", "scratch": "32M"}
AWAITER_ROOM: Room = {"cpu": 0.1, "memory": "64M", "scratch": "32M"}
SCHEDULER_ROOM: Room = {"cpu": 0.25, "memory": "128M", "scratch": "64M"}


class Access(str, Enum):
    """Who gets in."""

    PASSWORD = "password"  # noqa: S105  (the name of a way to log in)
    """Whoever knows the password, as a fresh user each time."""
    SHARED_PASSWORD = "shared-password"  # noqa: S105
    """Whoever knows the password, under a name of their choice: the same name is the same server for everybody."""
    OPEN = "open"
    """Everybody, as a fresh user each time."""


@dataclass(frozen=True)
class HubChart:
    """What decides the values, and is known before an update."""

    stack: str
    """Value of the label `hubstack.stack`."""
    chart_version: str
    """Version of the chart."""
    domain: str
    """Name that users type."""
    image: str
    """Image of users' servers, with a tag or digest."""
    access: Access
    """Who gets in."""
    front: Front
    """What stands before the hub."""
    by_address: bool
    """Whether servers know the hub by its address, because they resolve no names."""
    user: UserQuota = field(default_factory=UserQuota)
    fleet: FleetQuota = field(default_factory=FleetQuota)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment of users' servers."""
    shared: bool = False
    """Whether servers see another hub's shared folder."""
    cull_users: bool = False
    """Whether users that are idle are forgotten, too."""
    keep_database: bool = True
    """Whether the hub's database outlives the release."""
    database: str = "1G"
    """Size of the hub's database."""
    extra_images: Sequence[str] = ()
    """Further images that are pulled ahead."""
    chart_images: Mapping[str, str] = field(default_factory=dict[str, str])
    """Images in place of the chart's own, by the keys of `CHART_IMAGES`."""
    pull_secrets: Sequence[str] = ()
    """Secrets with credentials of registries."""
    node_selector: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels of the nodes that servers run on."""
    user_scheduler: bool = False
    """Whether a scheduler of the hub's own fills node after node."""
    api_ports: Sequence[int] = (6443,)
    """Ports of the Kubernetes API's servers beside 443."""


@dataclass(frozen=True)
class HubSecrets:
    """What is random or told by the stack, and kept in its state."""

    proxy_token: pulumi.Input[str]
    cookie_secret: pulumi.Input[str]
    crypt_key: pulumi.Input[str]
    fingerprint: pulumi.Input[str] | None
    """Changes with the password; None without one."""


def system_rooms(chart: HubChart, nodes: int) -> dict[str, Room]:
    """Room in the namespace's quota for the chart's own pods, on `nodes` nodes."""
    kind = front_kind(chart.front)
    proxy: Room = {**PROXY_ROOM}
    if kind in LOAD_BALANCERS:
        ports = 1 if kind is FrontKind.OFFLOAD else 2
        proxy |= {"loadBalancers": 1, "nodePorts": ports}
    rooms: dict[str, Room] = {
        "hub": {**HUB_ROOM, "volume": chart.database},
        "proxy": proxy,
        # One on each node for the hook and one that stays.
        "pullers": {**PULLER_ROOM, "pods": 2 * nodes},
        "awaiter": AWAITER_ROOM,
    }
    if kind is FrontKind.LETSENCRYPT:
        # One pod of two containers; an update starts the next before the last has gone.
        rooms["tls"] = {"pods": 2, "cpu": 0.5, "memory": "320M", "scratch": "128M", "services": 1}
    if chart.user_scheduler:
        rooms["scheduler"] = {**SCHEDULER_ROOM, "pods": 3}
    if chart.shared:
        rooms["shared"] = {"pods": 0, "volumes": 1, "volume": "1M"}
    return rooms
