"""What a platform of notebooks is told, and which of it is wrong."""

import ipaddress
import re
from typing import Any, NotRequired, TypedDict

import pulumi

from components.egress import EgressProfile, check_egress
from components.kubernetes.custom_resources import PlatformNotebook, check_notebooks
from components.kubernetes.images import image_mistake
from components.kubernetes.isolation import EgressRules
from components.kubernetes.notebook_routes import NotebookRoute, RouteKind, check_route, route_kind
from components.kubernetes.tenancy import check_hard
from components.quotas import FleetQuota, UserQuota, check_fleet_quota, check_user_quota

DEFAULT_GROUP = "notebook-users"
DEFAULT_NODES = 100
DEFAULT_NOTEBOOKS = 3
MOST_NOTEBOOKS = 50

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,55}[a-z0-9])?")
"""A platform's: its namespaces have up to six characters more."""

_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

_GROUP = re.compile(r"[^\s\x00-\x1f\x7f]{1,253}")


class NotebookPlatformArgs(TypedDict):
    """Arguments of `NotebookPlatform`. All are plain values: they decide what the platform consists of."""

    operatorImage: str
    """Image built from `images/operator`, by digest or a tag that is never `latest`."""
    notebookImage: str
    """Image of notebooks that name none; the egress probe runs in it, so it needs `python3`. By digest or tag."""
    domain: NotRequired[str]
    """Host name that notebooks are reached by. Needed with a route."""
    route: NotRequired[NotebookRoute]
    """What notebooks are attached to."""
    userGroup: NotRequired[str]
    """Group whose members may make NotebookRequests. Default `notebook-users`; `system:authenticated` is everybody."""
    userQuota: NotRequired[UserQuota]
    """What one notebook may use; `processes` is the kubelets' `podPidsLimit`, which no object can set."""
    fleetQuota: NotRequired[FleetQuota]
    """Most notebooks that run at once."""
    notebooksPerUser: NotRequired[int]
    """Most notebooks of one user, stopped ones included, 1 to 50; it sizes each namespace's quota. Default 3."""
    namespaceQuota: NotRequired[dict[str, str]]
    """Limits of each user's namespace that take the place of computed ones, as a ResourceQuota writes them.

    A notebook may name other resources than processors, memory and disk, such as GPUs, if a limit here does: its
    `requests.nvidia.com/gpu`, which is what all of a user's notebooks have together. Default: none."""
    egressProfile: NotRequired[EgressProfile]
    """What notebooks may reach. Default `domains`; as no domain is built in, nothing is open by default."""
    egressDomains: NotRequired[list[str]]
    """Domains that the profile `domains` opens, exact or with a leading dot for a domain and all below."""
    egressPorts: NotRequired[list[int]]
    """TCP ports that the profile `ports` opens."""
    egressExcluded: NotRequired[list[str]]
    """Public ranges that stay shut, such as the nodes' own. Default: none."""
    egressProxyImage: NotRequired[str]
    """Image built from `images/egress-proxy`. Needed where `egressDomains` has any."""
    nodes: NotRequired[int]
    """Most nodes of the cluster, at least 1; each runs a pre-puller, which the quota has room for. Default 100."""
    pauseImage: NotRequired[str]
    """Image of the pre-puller's pod, which does nothing. Default: Kubernetes' own `pause`."""
    imagePullSecrets: NotRequired[list[str]]
    """Secrets of the operator's namespace, which is called as the stack, with credentials of the images' registries.

    They are there before the stack is (`kubectl create namespace`, `kubectl create secret docker-registry`, and
    `kubernetes:upsertExistingObjects`). The operator copies them into users' namespaces, where users can read them: give
    them tokens that only pull. Default: none."""
    nodeSelector: NotRequired[dict[str, str]]
    """Labels of the nodes that notebooks run on unless they say otherwise. Default: any node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Taints of these nodes that notebooks tolerate unless they say otherwise, as Kubernetes writes them. Default: none."""
    storageClass: NotRequired[str]
    """Storage class of homes. Default: the cluster's."""
    apiServers: NotRequired[list[str]]
    """Ranges that the API servers are in, which the operator reaches. Default: every address but metadata services."""
    dataProtection: NotRequired[bool]
    """Whether definitions, profiles and with them all notebooks and homes outlive `destroy`. Default True.

    Deleting a definition deletes every object of its kind, whoever made it."""
    notebooks: NotRequired[list[PlatformNotebook]]
    """Notebooks that the stack makes. Default: none; users make their own."""


def is_forwarded(args: NotebookPlatformArgs) -> bool:
    """Whether users reach notebooks by `kubectl port-forward`."""
    return route_kind(args.get("route", {})) is RouteKind.NONE


def needs_proxy(args: NotebookPlatformArgs) -> bool:
    """Whether there is any domain to pass on."""
    return egress_rules(args)["profile"] is EgressProfile.DOMAINS and bool(args.get("egressDomains"))


def egress_rules(args: NotebookPlatformArgs) -> EgressRules:
    """What notebooks may reach, defaults filled in."""
    return {
        "profile": EgressProfile(args.get("egressProfile", EgressProfile.DOMAINS)),
        "domains": args.get("egressDomains", []),
        "ports": args.get("egressPorts", []),
        "excluded": args.get("egressExcluded", []),
    }


def _check_name(name: str) -> list[pulumi.InputPropertyErrorDetails]:
    if _NAME.fullmatch(name):
        return []
    reason = f"{name!r} names a namespace: small letters, digits and dashes, the first a letter, at most 57"
    return [{"property_path": "name", "reason": reason}]


def check_notebook_platform(name: str, args: NotebookPlatformArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the name and the arguments, each with the property and what is allowed."""
    errors = _check_name(name) + _check_images(args) + check_route(args.get("route", {}), args.get("domain", ""))
    errors += check_egress(
        args.get("egressProfile", EgressProfile.DOMAINS),
        args.get("egressDomains", []),
        args.get("egressPorts", []),
        args.get("egressExcluded", []),
    )
    errors += _check_amounts(args)
    for number, text in enumerate(args.get("apiServers", [])):
        try:
            ipaddress.IPv4Network(text)
        except ValueError as error:
            reason = f"{error}; write an address range such as 203.0.113.4/32"
            errors.append({"property_path": f"apiServers[{number}]", "reason": reason})
    for number, secret in enumerate(args.get("imagePullSecrets", [])):
        if not _SECRET.fullmatch(secret):
            reason = f"{secret!r} is no name of a Secret; small letters, digits, dashes and dots"
            errors.append({"property_path": f"imagePullSecrets[{number}]", "reason": reason})
        elif secret.endswith("-token"):
            reason = f"{secret!r} could be the Secret of a notebook, whose name ends with -token; choose another"
            errors.append({"property_path": f"imagePullSecrets[{number}]", "reason": reason})
    group = args.get("userGroup", DEFAULT_GROUP)
    if not _GROUP.fullmatch(group) or group == "system:unauthenticated":
        errors.append({"property_path": "userGroup", "reason": f"{group!r} is no group of people who log in"})
    most = max(int(args.get("notebooksPerUser", DEFAULT_NOTEBOOKS)), 1)
    return errors + check_notebooks(args.get("notebooks", []), most)


def _check_images(args: NotebookPlatformArgs) -> list[pulumi.InputPropertyErrorDetails]:
    images = {"operatorImage": args["operatorImage"], "notebookImage": args["notebookImage"]}
    profile_given = args.get("egressProfile", EgressProfile.DOMAINS)
    if "egressProxyImage" in args or (args.get("egressDomains") and profile_given == EgressProfile.DOMAINS):
        images["egressProxyImage"] = args.get("egressProxyImage", "")
    if "pauseImage" in args:
        images["pauseImage"] = args["pauseImage"]
    mistakes = {path: image_mistake(reference) for path, reference in images.items()}
    return [{"property_path": path, "reason": reason} for path, reason in mistakes.items() if reason]


def _check_amounts(args: NotebookPlatformArgs) -> list[pulumi.InputPropertyErrorDetails]:
    errors: list[pulumi.InputPropertyErrorDetails] = []
    nodes, most = args.get("nodes", DEFAULT_NODES), args.get("notebooksPerUser", DEFAULT_NOTEBOOKS)
    if nodes < 1:
        errors.append({"property_path": "nodes", "reason": f"{nodes} is below 1"})
    if not 1 <= most <= MOST_NOTEBOOKS:
        reason = f"{most} is not between 1 and {MOST_NOTEBOOKS}"
        errors.append({"property_path": "notebooksPerUser", "reason": reason})
    errors += check_fleet_quota(args.get("fleetQuota", {}))
    of_one = check_user_quota(args.get("userQuota", {}))
    return errors + (
        # What one notebook takes is known only where its own quota is one.
        of_one
        or check_hard(
            args.get("namespaceQuota", {}), args.get("userQuota", {}), persistent_home=True, path="namespaceQuota"
        )
    )
