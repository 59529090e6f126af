"""What a platform tells its operator: the settings, and what users' namespaces have in common."""

from typing import Any

from components.egress import EgressProfile
from components.kubernetes.egress_proxy import PROXY_PODS, proxy_address, proxy_environment
from components.kubernetes.egress_proxy import room as proxy_room
from components.kubernetes.isolation import PodTarget
from components.kubernetes.labels import labels
from components.kubernetes.notebook_routes import (
    BASE_PATH,
    REQUEST_TIMEOUT_SECONDS,
    route_kind,
    route_parents,
    route_sources,
)
from components.kubernetes.operator_deployment import OPERATOR
from components.kubernetes.operator_deployment import room as operator_room
from components.kubernetes.platform_arguments import (
    DEFAULT_NODES,
    DEFAULT_NOTEBOOKS,
    NotebookPlatformArgs,
    egress_rules,
    needs_proxy,
)
from components.kubernetes.prepull import prepull_room
from components.kubernetes.profile_manifests import ProfilePlan, profile_labels, profile_manifests
from components.kubernetes.tenancy import Room, user_resources
from components.quotas import FLEET_QUOTA_DEFAULTS, FleetQuota, user_quota_document


def profile_plan(name: str, args: NotebookPlatformArgs) -> ProfilePlan:
    """What all users' namespaces have in common."""
    operator: PodTarget = {"namespace": name, "labels": labels(name, OPERATOR)}
    return {
        "stack": name,
        "userQuota": args.get("userQuota", {}),
        "notebooks": int(args.get("notebooksPerUser", DEFAULT_NOTEBOOKS)),
        "hard": args.get("namespaceQuota", {}),
        "pullSecrets": len(args.get("imagePullSecrets", [])),
        "egress": egress_rules(args),
        "proxy": {**PROXY_PODS, "namespace": name} if needs_proxy(args) else None,
        "sources": [*route_sources(args.get("route", {})), operator],
    }


def operator_settings(name: str, args: NotebookPlatformArgs) -> dict[str, Any]:
    """The operator's settings; `runtime/notebook_operator/settings.py` says what each means."""
    route = args.get("route", {})
    document = user_quota_document(args.get("userQuota", {}))
    fleet: FleetQuota = {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})}
    return {
        "stack": name,
        "domain": args.get("domain", "localhost"),
        "basePath": BASE_PATH,
        "route": {"kind": route_kind(args.get("route", {})).value, "parents": route_parents(route)},
        "requestTimeoutSeconds": REQUEST_TIMEOUT_SECONDS,
        "notebook": {
            "image": args["notebookImage"],
            "idleSeconds": document["idle_seconds"],
            "maxAgeSeconds": document["max_age_seconds"],
            "homeBytes": document["home_bytes"],
            "storageClass": args.get("storageClass"),
            "resources": user_shares(args),
            "resolvesNames": egress_rules(args)["profile"] is not EgressProfile.CLOSED,
            "environment": proxy_environment(proxy_address(name), name) if needs_proxy(args) else {},
            "nodeSelector": args.get("nodeSelector", {}),
            "tolerations": args.get("tolerations", []),
        },
        "profile": {
            "namespaceLabels": profile_labels(name),
            "manifests": profile_manifests(profile_plan(name, args)),
            "keepNamespaces": args.get("dataProtection", True),
            "imagePullSecrets": args.get("imagePullSecrets", []),
        },
        "fleet": {"notebooks": int(fleet.get("servers", 0))},
    }


def user_shares(args: NotebookPlatformArgs) -> dict[str, dict[str, str]]:
    """Requests and limits of a notebook that names none."""
    return user_resources(args.get("userQuota", {}), persistent_home=True)


def system_rooms(args: NotebookPlatformArgs) -> dict[str, Room]:
    """What runs in the operator's namespace, for its quota."""
    rooms: dict[str, Room] = {
        OPERATOR: operator_room(),
        "pre-puller": prepull_room(int(args.get("nodes", DEFAULT_NODES))),
    }
    if needs_proxy(args):
        rooms["egress-proxy"] = proxy_room()
    return rooms
