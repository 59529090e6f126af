"""Values of the chart `jupyterhub` (zero-to-jupyterhub-k8s) for a hub that keeps nothing of its users.

Everything here is a pure translation. What is secret goes in as it comes, as an `Output` of the stack, and is nowhere
but in the leaf that it belongs to, so that all the rest can be judged before an update.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import pulumi

from components.kubernetes.images import split_image
from components.kubernetes.isolation import api_server_rule
from components.kubernetes.labels import labels
from components.kubernetes.quantities import cpu_quantity, parse_quantity, size_quantity
from components.kubernetes.tenancy import Room, user_resources
from components.quotas import FLEET_QUOTA_DEFAULTS, FleetQuota, UserQuota, parse_size, user_quota_document
from runtime.hub.culling import activity_interval_seconds
from runtime.notebook_operator.pod import NO_NAMES

Values = dict[str, Any]
"""A part of the chart's values."""

APP = "jupyterhub"
"""Label `app` of everything that the chart and its hub make."""

USER_PODS = {"app": APP, "component": "singleuser-server"}
"""Labels of every user's pod, by which NetworkPolicies select it."""

HUB_ACCESS = {"hub.jupyter.org/network-access-hub": "true"}
"""The chart's label of pods that may reach the hub."""

USER_ROLE = "user-server"
"""Role of a user's pod in the label `hubstack.role`."""

HOME = "/home/jovyan"
SHARED_FOLDER = f"{HOME}/shared-readonly"
SHARED_SUB_PATH = "_shared"
"""Folder of a hub's file system that its administrators share with everybody, by a convention of 2i2c's hubs."""

SHARED_CLAIM = "shared"
"""Name of the claim on another hub's file system."""

ACCESS_SECRET = "hub-access"  # noqa: S105  (a Secret's name)
"""Secret with the password, which the hub reads beside the chart's own."""

HUB_PORT = 8081

LONGEST_BURST = 64
"""Most servers that start at the same time, the chart's own figure: every start asks the Kubernetes API."""

COOKIE_MARGIN_SECONDS = 3600
"""How much longer than a server's greatest age a visitor is known: nobody loses a running server to the cookie."""

DEADLINE_MARGIN_SECONDS = 600
"""How much longer than its greatest age a server's pod may live: the hub ends servers in its own order."""

SHARED_MEMORY_PART = 4
"""`/dev/shm` is this part of a server's memory, which it counts towards; the default of 64M is too small for PyTorch."""

RUNTIME_HUB = Path(__file__).parents[2] / "runtime" / "hub"

HOMEPAGE: Values = {
    "org": {"name": "", "url": "", "logo_url": ""},
    "designed_by": {"name": "", "url": ""},
    "operated_by": {"name": "", "url": ""},
    "funded_by": {"name": "", "url": ""},
}
"""Texts of a home page that no visitor sees; templates that want them find them empty."""

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

RESTRICTED_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""What the Pod Security Standard `restricted` asks of users' pods; the chart's own have it by default."""


class Access(str, Enum):
    """Who gets in."""

    PASSWORD = "password"  # noqa: S105  (the name of a way to log in)
    """Whoever knows the password, as a fresh user each time."""
    SHARED_PASSWORD = "shared-password"  # noqa: S105
    """Whoever knows the password, under a name of their choice: the same name is the same server for everybody."""
    OPEN = "open"
    """Everybody, as a fresh user each time."""


class FrontKind(str, Enum):
    """What stands before the hub, and where TLS ends."""

    NONE = "none"
    """Nothing: a Service inside the cluster, without TLS."""
    INGRESS = "ingress"
    """An Ingress."""
    GATEWAY = "gateway"
    """An HTTPRoute of a Gateway, whose listener has the certificate."""
    LETSENCRYPT = "letsencrypt"
    """A load balancer; the hub gets its certificate from Let's Encrypt."""
    SECRET = "secret"  # noqa: S105
    """A load balancer; the certificate is in a Secret of the namespace."""
    OFFLOAD = "offload"
    """A load balancer at which TLS ends."""


class Front(TypedDict):
    """What stands before the hub."""

    kind: NotRequired[FrontKind]
    """What it is. Default `none`."""
    email: NotRequired[str]
    """Whom Let's Encrypt writes to; needed for `letsencrypt`."""
    tlsSecret: NotRequired[str]
    """Secret of the namespace with key and certificate; needed for `secret`. For `ingress`, default: the controller's own."""
    ingressClass: NotRequired[str]
    """Class of the Ingress. Default: the cluster's."""
    gateway: NotRequired[str]
    """Name of the Gateway; needed for `gateway`."""
    gatewayNamespace: NotRequired[str]
    """Its namespace. Default: the hub's."""
    gatewaySection: NotRequired[str]
    """Its listener. Default: every one that takes the domain."""
    annotations: NotRequired[dict[str, str]]
    """Annotations of the Ingress, HTTPRoute or load balancer's Service. Default: none."""


LOAD_BALANCERS = (FrontKind.LETSENCRYPT, FrontKind.SECRET, FrontKind.OFFLOAD)


def front_kind(front: Front) -> FrontKind:
    """What stands before the hub."""
    return FrontKind(front.get("kind", FrontKind.NONE))


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


def chart_values(chart: HubChart, secrets: HubSecrets) -> Values:
    """All of the values that differ from the chart's own, and those on which the hub's safety rests."""
    return merged(
        {"fullnameOverride": "", "nameOverride": APP, "imagePullSecrets": list(chart.pull_secrets)},
        {"custom": {"homepage": {"templateVars": HOMEPAGE}}},
        hub_values(chart, secrets),
        access_values(chart, secrets),
        limit_values(chart),
        hub_network_values(chart),
        singleuser_values(chart),
        storage_values(chart),
        network_values(),
        proxy_values(chart),
        front_values(chart.front, chart.domain, chart.chart_version),
        culling_values(chart),
        puller_values(chart),
        scheduling_values(chart),
        image_values(chart.chart_images),
    )


def hub_values(chart: HubChart, secrets: HubSecrets) -> Values:
    """The hub's pod, its database and the secrets that it must keep over an update."""
    keep = {"helm.sh/resource-policy": "keep"} if chart.keep_database else {}
    return {
        "hub": {
            "config": {
                "JupyterHub": {"admin_access": False},
                "ConfigurableHTTPProxy": {"auth_token": secrets.proxy_token},
                "CryptKeeper": {"keys": [secrets.crypt_key]},
            },
            "cookieSecret": secrets.cookie_secret,
            # In memory, the database would forget the servers that run when the hub restarts: they would stay for ever.
            "db": {
                "type": "sqlite-pvc",
                "pvc": {"storage": size_quantity(parse_size(chart.database)), "annotations": keep},
            },
            "allowNamedServers": False,
            "redirectToServer": True,
            "shutdownOnLogout": True,
            "labels": labels(chart.stack, "hub"),
            "resources": resources(HUB_ROOM, cpu="100m", memory="256Mi"),
        }
    }


def access_values(chart: HubChart, secrets: HubSecrets) -> Values:
    """Who gets in; nobody is an administrator. A visitor is known for about as long as a server may live."""
    classes = {Access.OPEN: "tmp"}
    config: Values = {
        "JupyterHub": {
            "authenticator_class": classes.get(chart.access, "shared-password"),
            "cookie_max_age_days": round(
                (user_quota_document(chart.user)["max_age_seconds"] + COOKIE_MARGIN_SECONDS) / 86400, 4
            ),
        },
        "Authenticator": {"allow_all": True, "enable_auth_state": False, "admin_users": []},
    }
    hub: Values = {"config": config, "extraConfig": {}}
    if chart.access is not Access.OPEN:
        hub |= {"existingSecret": ACCESS_SECRET, "annotations": {"hubstack.io/password": secrets.fingerprint}}
    if chart.access is Access.PASSWORD:
        chosen = "c.JupyterHub.authenticator_class = VisitorAuthenticator"
        hub["extraConfig"]["10-visitors"] = f"{hub_source('visitors.py')}\n\n{chosen}\n"
    belonging = "c.KubeSpawner.modify_pod_hook = belong_to_the_hub"
    hub["extraConfig"]["30-user-pods"] = f"{hub_source('user_pods.py')}\n\n{belonging}\n"
    if chart.by_address:
        told = "import os\n\nc.JupyterHub.hub_connect_url = hub_address(os.environ)"
        hub["extraConfig"]["20-hub-address"] = f"{hub_source('hub_address.py')}\n\n{told}\n"
    return {"hub": hub}


def limit_values(chart: HubChart) -> Values:
    """How many servers there are at once, and how many start at once."""
    filled: FleetQuota = {**FLEET_QUOTA_DEFAULTS, **chart.fleet}
    servers = int(filled.get("servers", 0))
    return {
        "hub": {
            "activeServerLimit": servers,
            "concurrentSpawnLimit": min(servers, LONGEST_BURST),
            "consecutiveFailureLimit": 5,
        }
    }


def hub_network_values(chart: HubChart) -> Values:
    """What the chart's own pods may reach: name servers, each other and the Kubernetes API, never a metadata service."""
    api = [api_server_rule(sorted({443, *map(int, chart.api_ports)}))]
    return {
        "hub": {"networkPolicy": {"enabled": True, "egressAllowRules": egress_rules(dns=True), "egress": api}},
        "proxy": {
            "chp": {"networkPolicy": {"enabled": True, "egressAllowRules": egress_rules(dns=True), "egress": []}},
            # Let's Encrypt answers on 443, as the Kubernetes API does, in which the certificate is kept.
            "traefik": {"networkPolicy": {"enabled": True, "egressAllowRules": egress_rules(dns=True), "egress": api}},
        },
    }


def singleuser_values(chart: HubChart) -> Values:
    """A user's pod: image, limits, and no privileges."""
    name, tag = split_image(chart.image)
    amounts = user_resources(chart.user)
    requests, limits = amounts["requests"], amounts["limits"]
    memory = hub_size(limits["memory"])
    return {
        "hub": {
            "config": {
                "KubeSpawner": {
                    "pod_security_context": RESTRICTED_POD,
                    "container_security_context": RESTRICTED_CONTAINER,
                    "automount_service_account_token": False,
                }
            }
        },
        "singleuser": {
            "image": {"name": name, "tag": tag, "pullPolicy": "IfNotPresent"},
            "cmd": "jupyterhub-singleuser",
            "defaultUrl": "/lab",
            "startTimeout": 300,
            "initContainers": [],
            "uid": 1000,
            "fsGid": 100,
            "allowPrivilegeEscalation": False,
            "cpu": {"limit": parse_quantity(limits["cpu"]), "guarantee": parse_quantity(requests["cpu"])},
            "memory": {"limit": memory, "guarantee": hub_size(requests["memory"])},
            "extraResource": {
                "limits": {"ephemeral-storage": limits["ephemeral-storage"]},
                "guarantees": {"ephemeral-storage": requests["ephemeral-storage"]},
            },
            "extraEnv": dict(sorted(chart.environment.items())),
            "extraLabels": {**HUB_ACCESS, **labels(chart.stack, USER_ROLE)},
            "extraPodConfig": {
                # Addresses of the namespace's Services are nothing that a user's program needs to know.
                "enableServiceLinks": False,
                # The kubelet ends what a hub that is down or gone cannot.
                "activeDeadlineSeconds": int(user_quota_document(chart.user)["max_age_seconds"])
                + DEADLINE_MARGIN_SECONDS,
                **(NO_NAMES if chart.by_address else {}),
            },
            "nodeSelector": dict(sorted(chart.node_selector.items())),
        },
    }


def storage_values(chart: HubChart) -> Values:
    """Where a user may write: parts of the node's disk with a size, gone with the pod."""
    document = user_quota_document(chart.user)
    shared_memory = int(document["memory_bytes"]) // SHARED_MEMORY_PART
    volumes: Values = {
        "home": {"name": "home", "emptyDir": {"sizeLimit": size_quantity(int(document["home_bytes"]))}},
        "tmp": {"name": "tmp", "emptyDir": {"sizeLimit": size_quantity(int(document["tmp_bytes"]))}},
        "shm": {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size_quantity(shared_memory)}},
    }
    mounts: Values = {
        "home": {"name": "home", "mountPath": HOME},
        "tmp": {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (a mount of the pod's own)
        "shm": {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
    }
    if chart.shared:
        volumes["shared"] = {
            "name": "shared",
            "persistentVolumeClaim": {"claimName": SHARED_CLAIM, "readOnly": True},
        }
        mounts["shared"] = {
            "name": "shared",
            "mountPath": SHARED_FOLDER,
            "subPath": SHARED_SUB_PATH,
            "readOnly": True,
        }
    return {
        "singleuser": {
            "storage": {
                "type": "none",
                "homeMountPath": HOME,
                "extraVolumes": volumes,
                "extraVolumeMounts": mounts,
            }
        }
    }


def network_values() -> Values:
    """The chart's policy for users' pods: the hub may be reached, and every rule that opens more is off.

    What the egress profile opens is a policy of the stack's own: the chart's rules would open too much, such as
    100.64.0.0/10, and Kubernetes joins what policies open.
    """
    return {
        "singleuser": {
            # The container that would do it is privileged, and stops one address alone; the policies stop all of them.
            "cloudMetadata": {"blockWithIptables": False},
            "networkPolicy": {
                "enabled": True,
                "ingress": [],
                "egress": [],
                "allowedIngressPorts": [],
                "interNamespaceAccessLabels": "ignore",
                "egressAllowRules": egress_rules(dns=False),
            },
        }
    }


def proxy_values(chart: HubChart) -> Values:
    """The proxy's pods."""
    return {
        "proxy": {
            "labels": labels(chart.stack, "proxy"),
            "chp": {"resources": resources(PROXY_ROOM, cpu="50m", memory="64Mi")},
            "traefik": {
                "labels": labels(chart.stack, "tls"),
                "resources": resources(TRAEFIK_ROOM, cpu="50m", memory="64Mi"),
            },
            "secretSync": {"resources": resources(SECRET_SYNC_ROOM, cpu="10m", memory="64Mi")},
        }
    }


def front_values(front: Front, domain: str, chart_version: str) -> Values:
    """How the hub is reached from outside the cluster, and where TLS ends."""
    kind, annotations = front_kind(front), dict(sorted(front.get("annotations", {}).items()))
    if kind in LOAD_BALANCERS:
        service: Values = {"type": "LoadBalancer", "annotations": annotations}
        # Where TLS ends before the proxy, nothing of the chart's sends browsers from HTTP to HTTPS.
        service["disableHttpPort"] = kind is FrontKind.OFFLOAD
        return {"proxy": {"service": service, "https": _https(kind, front, domain)}}
    inside: Values = {"proxy": {"service": {"type": "ClusterIP"}, "https": {"enabled": False}}}
    if kind is FrontKind.INGRESS:
        secret = front.get("tlsSecret")
        tls = [{"hosts": [domain], "secretName": secret}] if secret else []
        ingress: Values = {"enabled": True, "hosts": [domain], "tls": tls, "annotations": annotations}
        if front.get("ingressClass"):
            ingress["ingressClassName"] = front.get("ingressClass")
        return {**inside, "ingress": ingress}
    if kind is FrontKind.GATEWAY:
        parent = {
            key: value
            for key, value in (
                ("name", front.get("gateway")),
                ("namespace", front.get("gatewayNamespace")),
                ("sectionName", front.get("gatewaySection")),
            )
            if value
        }
        route: Values = {"enabled": True, "hostnames": [domain], "annotations": annotations}
        # One Gateway until chart 4, any number of parents from 5 on; each refuses the other's key.
        route |= {"gateway": parent} if major(chart_version) < 5 else {"parentRefs": [{"kind": "Gateway", **parent}]}  # noqa: PLR2004
        return {**inside, "httpRoute": route}
    return inside


def _https(kind: FrontKind, front: Front, domain: str) -> Values:
    """Where TLS ends when a load balancer stands before the hub."""
    https: Values = {"enabled": True, "type": kind.value}
    if kind is FrontKind.LETSENCRYPT:
        https |= {"hosts": [domain], "letsencrypt": {"contactEmail": front.get("email")}}
    if kind is FrontKind.SECRET:
        https["secret"] = {"name": front.get("tlsSecret")}
    return https


def culling_values(chart: HubChart) -> Values:
    """When servers end, and what the hub must see in time for it."""
    document = user_quota_document(chart.user)
    interval = activity_interval_seconds(int(document["idle_seconds"]))
    return {
        "hub": {
            "config": {
                "JupyterHub": {"last_activity_interval": interval, "activity_resolution": min(30, interval)},
            }
        },
        "cull": {
            "enabled": True,
            "users": chart.cull_users,
            "timeout": int(document["idle_seconds"]),
            "maxAge": int(document["max_age_seconds"]),
            "every": interval,
            "concurrency": 10,
        },
    }


def puller_values(chart: HubChart) -> Values:
    """Images on every node before the hub is updated, and on nodes that come later."""
    extra = {
        f"extra-{number}": dict(zip(("name", "tag"), split_image(image), strict=True))
        for number, image in enumerate(chart.extra_images, 1)
    }
    return {
        "prePuller": {
            "hook": {
                "enabled": True,
                "pullOnlyOnChanges": True,
                "resources": resources(AWAITER_ROOM, cpu="10m", memory="32Mi"),
            },
            "continuous": {"enabled": True},
            "extraImages": extra,
            "labels": labels(chart.stack, "pre-puller"),
            "resources": resources(PULLER_ROOM, cpu="10m", memory="16Mi"),
        }
    }


def scheduling_values(chart: HubChart) -> Values:
    """Who chooses the node of a server. What needs rights in the whole cluster is off unless it is asked for."""
    return {
        "scheduling": {
            "userScheduler": {
                "enabled": chart.user_scheduler,
                "labels": labels(chart.stack, "scheduler"),
                "resources": resources(SCHEDULER_ROOM, cpu="50m", memory="64Mi"),
            },
            "podPriority": {"enabled": False},
            "userPlaceholder": {"enabled": False},
        }
    }


def image_values(images: Mapping[str, str]) -> Values:
    """Images in place of the chart's own."""
    parts: list[Values] = []
    for key, image in sorted(images.items()):
        name, tag = split_image(image)
        part: Values = {"name": name, "tag": tag}
        for step in reversed(CHART_IMAGES[key].split(".")):
            part = {step: part}
        parts.append(part)
    return merged(*parts)


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


def egress_rules(*, dns: bool) -> dict[str, bool]:
    """The chart's switches, every one named: those left out would be on."""
    return {
        "cloudMetadataServer": False,
        "dnsPortsCloudMetadataServer": False,
        "dnsPortsKubeSystemNamespace": dns,
        "dnsPortsPrivateIPs": False,
        "nonPrivateIPs": False,
        "privateIPs": False,
    }


def resources(room: Room, *, cpu: str, memory: str) -> Values:
    """Requests and limits of a container of the system that takes all of its pod's room."""
    scratch = size_quantity(parse_size(room.get("scratch", "")))
    limits = {
        "cpu": cpu_quantity(room.get("cpu", 0)),
        "memory": size_quantity(parse_size(room.get("memory", ""))),
        "ephemeral-storage": scratch,
    }
    return {"requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": scratch}, "limits": limits}


def hub_size(quantity: str) -> str:
    """Kubernetes' amount in the hub's notation: it knows K, M, G and T, all powers of 1024, and refuses Mi and Gi."""
    return f"{int(parse_quantity(quantity)) // 2**20}M"


def hub_source(name: str) -> str:
    """A file that the hub runs, as text."""
    return (RUNTIME_HUB / name).read_text()


def major(version: str) -> int:
    """First number of a version."""
    return int(version.split(".", maxsplit=1)[0])


def merged(*parts: Mapping[str, Any]) -> Values:
    """The parts laid over each other as Helm does it: objects are joined, of anything else the last counts."""
    whole: Values = {}
    for part in parts:
        for key, value in part.items():
            below: Any = whole.get(key)
            joined = isinstance(below, dict) and isinstance(value, Mapping)
            whole[key] = merged(cast("Values", below), cast("Values", value)) if joined else value
    return whole
