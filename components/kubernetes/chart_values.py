"""Values of the chart `jupyterhub` (zero-to-jupyterhub-k8s) for a hub that keeps nothing of its users.

Everything here is a pure translation. What is secret goes in as it comes, as an `Output` of the stack, and is nowhere
but in the leaf that it belongs to, so that all the rest can be judged before an update.
"""

from collections.abc import Mapping

from components.kubernetes.chart_notation import Values, egress_rules, hub_source, merged, resources
from components.kubernetes.hub_chart import (
    APP,
    AWAITER_ROOM,
    CHART_IMAGES,
    HUB_ROOM,
    PROXY_ROOM,
    PULLER_ROOM,
    SCHEDULER_ROOM,
    SECRET_SYNC_ROOM,
    TRAEFIK_ROOM,
    Access,
    HubChart,
    HubSecrets,
)
from components.kubernetes.hub_front import front_values
from components.kubernetes.images import split_image
from components.kubernetes.isolation import api_server_rule
from components.kubernetes.labels import labels
from components.kubernetes.quantities import size_quantity
from components.kubernetes.user_pod_values import USER_TOLERATIONS, network_values, singleuser_values, storage_values
from components.quotas import FLEET_QUOTA_DEFAULTS, FleetQuota, parse_size, user_quota_document
from runtime.hub.culling import activity_interval_seconds

ACCESS_SECRET = "hub-access"  # noqa: S105  (a Secret's name)
"""Secret with the password, which the hub reads beside the chart's own."""

LONGEST_BURST = 64
"""Most servers that start at the same time, the chart's own figure: every start asks the Kubernetes API."""

COOKIE_MARGIN_SECONDS = 3600
"""How much longer than a server's greatest age a visitor is known: nobody loses a running server to the cookie."""

HOMEPAGE: Values = {
    "org": {"name": "", "url": "", "logo_url": ""},
    "designed_by": {"name": "", "url": ""},
    "operated_by": {"name": "", "url": ""},
    "funded_by": {"name": "", "url": ""},
}
"""Texts of a home page that no visitor sees; templates that want them find them empty."""


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
            "userPods": {"tolerations": USER_TOLERATIONS, "nodeAffinity": {"matchNodePurpose": "prefer"}},
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
