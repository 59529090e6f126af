"""What a stack may add to the chart's values: nothing that an argument decides, and amounts in the hub's units."""

import ast
import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pulumi

from components.kubernetes.chart_notation import hub_size
from components.kubernetes.egress_proxy import proxy_environment
from components.kubernetes.hub_chart import CHART_IMAGES
from components.kubernetes.images import image_mistake
from components.kubernetes.quantities import parse_quantity
from components.kubernetes.tenancy import user_resources
from components.quotas import USER_QUOTA_DEFAULTS, UserQuota, check_user_quota, parse_size

SECTIONS = (
    *("cull", "custom", "debug", "enabled", "fullnameOverride", "global", "httpRoute", "hub", "imagePullSecret"),
    *("imagePullSecrets", "ingress", "nameOverride", "prePuller", "proxy", "rbac", "scheduling", "singleuser"),
)
"""What the chart's schema has at the top; it refuses anything else."""

_LABELS = "NetworkPolicies select pods by labels that are made of it"
_SAFETY = "the safety of users' pods rests on it"
_CULLER = (
    "it replaces what the chart registers, the culler among it; use hub.services and hub.loadRoles, which add to it"
)
_ADMINISTRATOR = "nobody is an administrator"
_GENERATED = "the stack generates it"
_NO_TOKEN = "users' pods have no token"  # noqa: S105
_ONE_SERVER = "userQuota is what a user may use, in one server"
_PULLED = "images are on the nodes before the hub is updated; set nodes and extraImages"
_ROOM = "the namespace's quota has room for what the stack gives it"
_ROOM_OF_USERS = "its pods would take the room of users' servers; set fleetQuota.servers"

DECIDED: Mapping[str, str] = {
    "cull": "set userQuota.idle, userQuota.maxAge and cullUsers",
    "fullnameOverride": _LABELS,
    "httpRoute": "set front",
    "hub.activeServerLimit": "set fleetQuota.servers",
    "hub.allowNamedServers": _ONE_SERVER,
    "hub.annotations.hubstack.io/password": "set password",
    "hub.concurrentSpawnLimit": "set fleetQuota.servers",
    "hub.config.Authenticator": "set access",
    "hub.config.ConfigurableHTTPProxy.auth_token": _GENERATED,
    "hub.config.CryptKeeper": _GENERATED,
    "hub.config.JupyterHub.active_server_limit": "set fleetQuota.servers",
    "hub.config.JupyterHub.activity_resolution": "set userQuota.idle",
    "hub.config.JupyterHub.admin_access": _ADMINISTRATOR,
    "hub.config.JupyterHub.admin_users": _ADMINISTRATOR,
    "hub.config.JupyterHub.allow_named_servers": _ONE_SERVER,
    "hub.config.JupyterHub.authenticator_class": "set access",
    "hub.config.JupyterHub.concurrent_spawn_limit": "set fleetQuota.servers",
    "hub.config.JupyterHub.cookie_max_age_days": "set userQuota.maxAge",
    "hub.config.JupyterHub.cookie_secret": _GENERATED,
    "hub.config.JupyterHub.db_url": "set databaseSize and dataProtection",
    "hub.config.JupyterHub.last_activity_interval": "set userQuota.idle",
    "hub.config.JupyterHub.load_roles": _CULLER,
    "hub.config.JupyterHub.named_server_limit_per_user": _ONE_SERVER,
    "hub.config.JupyterHub.services": _CULLER,
    "hub.config.JupyterHub.spawner_class": _SAFETY,
    "hub.config.KubeSpawner": _SAFETY,
    "hub.config.SharedPasswordAuthenticator": "set password",
    "hub.config.TmpAuthenticator": "set access",
    "hub.config.VisitorAuthenticator": "set access and password",
    "hub.cookieSecret": _GENERATED,
    "hub.db": "set databaseSize and dataProtection",
    "hub.existingSecret": "set password",
    "hub.extraConfig.10-visitors": "set access",
    "hub.extraConfig.20-hub-address": "set egressProfile",
    "hub.extraConfig.30-user-pods": _SAFETY,
    "hub.namedServerLimitPerUser": _ONE_SERVER,
    "hub.networkPolicy": "set apiServerPorts",
    "hub.resources": _ROOM,
    "imagePullSecrets": "set imagePullSecrets of the hub",
    "ingress": "set front",
    "nameOverride": _LABELS,
    "prePuller.continuous.enabled": _PULLED,
    "prePuller.extraImages": "set extraImages",
    "prePuller.hook.enabled": _PULLED,
    "prePuller.hook.resources": _ROOM,
    "prePuller.resources": _ROOM,
    "proxy.chp.networkPolicy": _SAFETY,
    "proxy.chp.resources": _ROOM,
    "proxy.https": "set front",
    "proxy.secretSync.resources": _ROOM,
    "proxy.secretToken": _GENERATED,
    "proxy.service": "set front",
    "proxy.traefik.networkPolicy": _SAFETY,
    "proxy.traefik.resources": _ROOM,
    "scheduling.userPlaceholder": _ROOM_OF_USERS,
    "scheduling.userScheduler.enabled": "set userScheduler",
    "scheduling.userScheduler.replicas": _ROOM,
    "scheduling.userScheduler.resources": _ROOM,
    "singleuser.allowPrivilegeEscalation": _SAFETY,
    "singleuser.cloudMetadata": "set egressProfile",
    "singleuser.cpu": "set userQuota.cpu",
    "singleuser.extraEnv.JUPYTERHUB_ACTIVITY_INTERVAL": "set userQuota.idle",
    "singleuser.extraPodConfig.activeDeadlineSeconds": "set userQuota.maxAge",
    "singleuser.extraPodConfig.automountServiceAccountToken": _NO_TOKEN,
    "singleuser.extraPodConfig.containers": _SAFETY,
    "singleuser.extraPodConfig.dnsConfig": "set egressProfile",
    "singleuser.extraPodConfig.dnsPolicy": "set egressProfile",
    "singleuser.extraPodConfig.imagePullSecrets": "set imagePullSecrets of the hub",
    "singleuser.extraPodConfig.nodeSelector": "set nodeSelector",
    "singleuser.extraPodConfig.resources": "set userQuota.cpu and userQuota.memory",
    "singleuser.extraPodConfig.securityContext": _SAFETY,
    "singleuser.extraPodConfig.serviceAccount": _NO_TOKEN,
    "singleuser.extraPodConfig.serviceAccountName": _NO_TOKEN,
    "singleuser.extraPodConfig.volumes": "set userQuota.home, userQuota.tmp and shared",
    "singleuser.extraResource": "set userQuota.home",
    "singleuser.image": "set image",
    "singleuser.memory": "set userQuota.memory",
    "singleuser.networkPolicy": "set egressProfile",
    "singleuser.nodeSelector": "set nodeSelector",
    "singleuser.serviceAccountName": _NO_TOKEN,
    "singleuser.storage": "set userQuota.home and shared",
    "singleuser.uid": _SAFETY,
    **{f"singleuser.extraEnv.{name}": "set egressDomains" for name in proxy_environment("", "")},
    **{f"{path}.{part}": f"set chartImages.{key}" for key, path in CHART_IMAGES.items() for part in ("name", "tag")},
}
"""Values that arguments decide or that must stay as they are, and what to do instead. A key stands for all below it."""

NODE_PURPOSES = ("ignore", "prefer", "require")

_HUB_SIZE = re.compile(r"\d+(\.\d+)?[KMGT]?")

Path = tuple[str, ...]


def check_user_values(
    values: Mapping[str, Any], user: UserQuota, path: str = "values"
) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the values, each with what to do."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(steps: Sequence[str], reason: str) -> None:
        errors.append({"property_path": ".".join((path, *steps)), "reason": reason})

    for section in sorted(set(values) - set(SECTIONS)):
        close = difflib.get_close_matches(section, SECTIONS, n=1)
        advice = f"did you mean {close[0]}?" if close else f"one of {', '.join(SECTIONS)}"
        wrong([section], f"the chart has no such section; {advice}")
    for steps in sorted(set(_leaves(values))):
        # Keys such as those of annotations have dots of their own.
        given = f"{'.'.join(_kubernetes_fields(steps))}."
        for decided, advice in DECIDED.items():
            if given.startswith(f"{decided}.") or f"{decided}.".startswith(given):
                wrong(steps, f"it cannot be set here: {advice}")
                break
    for steps, reason in (*_replaced_lists(values), *_place_mistakes(values)):
        if not any(error["property_path"] == ".".join((path, *steps)) for error in errors):
            wrong(steps, reason)
    for steps, reason in _profile_mistakes(values, user):
        wrong(steps, reason)
    return errors


def _kubernetes_fields(steps: Path) -> Path:
    """The steps with the field of a pod as Kubernetes writes it: KubeSpawner takes `active_deadline_seconds` as well."""
    pod = ("singleuser", "extraPodConfig")
    if steps[:2] != pod:
        return steps
    return (*pod, *(re.sub("_([a-z])", lambda found: found[1].upper(), step) for step in steps[2:3]), *steps[3:])


def _replaced_lists(values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Code that assigns a list of JupyterHub's to which the chart adds its culler."""
    steps = ("hub", "extraConfig")
    _, code = _reached(values, steps)
    for key, text in cast("Mapping[str, Any]", code).items() if isinstance(code, Mapping) else ():
        try:
            program = ast.parse(str(text))
        except (SyntaxError, ValueError):
            # The hub tells where it is wrong.
            continue
        assigned = [target for node in ast.walk(program) if isinstance(node, ast.Assign) for target in node.targets]
        if any(ast.unparse(target) in ("c.JupyterHub.services", "c.JupyterHub.load_roles") for target in assigned):
            yield (*steps, key), _CULLER


def _place_mistakes(values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What keeps the egress probe from the nodes of users' pods, which these values decide."""
    same = "the egress probe goes where users' pods go"
    for steps in (("scheduling", "userPods", "tolerations"), ("singleuser", "extraTolerations")):
        found, part = _reached(values, steps)
        if found and not (isinstance(part, list) and all(isinstance(one, Mapping) for one in cast("list[Any]", part))):
            yield found, f"write tolerations as Kubernetes has them, or an empty list: {same}"
    found, part = _reached(values, ("scheduling", "userPods", "nodeAffinity", "matchNodePurpose"))
    if found and part not in NODE_PURPOSES:
        yield found, f"{part!r} is not known; one of {', '.join(NODE_PURPOSES)}"


def _reached(values: Any, steps: Path) -> tuple[Path, Any]:
    """What stands at the end of the steps or in their way, and where; nowhere if nothing does."""
    for number, step in enumerate(steps):
        if not isinstance(values, Mapping):
            return steps[:number], values
        if step not in values:
            return (), None
        values = cast("Mapping[str, Any]", values)[step]
    return steps, values


def _leaves(values: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Paths of everything that is no object with something in it."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(cast("Mapping[str, Any]", value), (*above, key))
        else:
            yield (*above, key)


def _profile_mistakes(values: Mapping[str, Any], user: UserQuota) -> Iterator[tuple[Path, str]]:
    for steps, override, whole in _profile_overrides(values):
        for key, reason in _override_mistakes(override, user):
            yield (*steps, key), reason
        # Amounts that are wrong by themselves are told where they stand.
        if not check_user_quota(user) and not [*_override_mistakes(whole, user)]:
            for key, reason in _guarantee_mistakes(override, whole, user):
                yield (*steps, key), reason


def _profile_overrides(values: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]:
    """What each profile that users can choose, and each choice in it, changes of their pod; then with the profile's own."""
    singleuser = values.get("singleuser")
    if isinstance(singleuser, Mapping):
        given: Any = cast("Mapping[str, Any]", singleuser).get("profileList") or []
        for number, profile in enumerate(cast("Sequence[Any]", given)):
            _, own = _reached(profile, ("kubespawner_override",))
            base: Mapping[str, Any] = cast("Mapping[str, Any]", own) if isinstance(own, Mapping) else {}
            for steps, override in _overrides(profile, ("singleuser", f"profileList[{number}]")):
                yield steps, override, {**base, **override}


def _overrides(part: Any, above: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if not isinstance(part, Mapping):
        return
    for key, value in cast("Mapping[str, Any]", part).items():
        if key == "kubespawner_override" and isinstance(value, Mapping):
            yield (*above, key), cast("Mapping[str, Any]", value)
        else:
            yield from _overrides(value, (*above, key))


def _guarantee_mistakes(
    override: Mapping[str, Any], whole: Mapping[str, Any], user: UserQuota
) -> Iterator[tuple[str, str]]:
    """Limits below what is kept for the pod, which Kubernetes does not take.

    Args:
        override: what the profile or the choice changes.
        whole: the same with the profile's own.
        user: the quota.
    """
    kept = user_resources(user)["requests"]
    amounts: Mapping[str, tuple[str, Callable[[str], float]]] = {
        "mem": (hub_size(kept["memory"]), _bytes),
        "cpu": (kept["cpu"], parse_quantity),
    }
    for resource, (given, amount) in amounts.items():
        limit, guarantee = f"{resource}_limit", f"{resource}_guarantee"
        least = str(whole.get(guarantee, given))
        changed = [key for key in (limit, guarantee) if key in override]
        if changed and limit in whole and amount(str(whole[limit])) < amount(least):
            yield (
                changed[0],
                f"{limit} is below what is kept for the pod, {least}: it could not start; set {guarantee} too",
            )


def _override_mistakes(override: Mapping[str, Any], user: UserQuota) -> Iterator[tuple[str, str]]:
    filled: UserQuota = {**USER_QUOTA_DEFAULTS, **user}
    checks: Mapping[str, Callable[[Any], str | None]] = {
        **dict.fromkeys(("mem_guarantee", "mem_limit"), lambda given: _memory_mistake(given, filled)),
        **dict.fromkeys(("cpu_guarantee", "cpu_limit"), lambda given: _cpu_mistake(given, filled)),
        "image": lambda given: image_mistake(str(given)),
        **dict.fromkeys(("default_url", "environment"), lambda _: None),
    }
    for key, given in sorted(override.items()):
        check = checks.get(key)
        if check is None:
            yield key, f"a profile may change {', '.join(checks)}; the rest is a matter of safety or quota"
        elif mistake := check(given):
            yield key, mistake


def _memory_mistake(given: object, user: UserQuota) -> str | None:
    text, most = str(given), user.get("memory", "")
    if not _HUB_SIZE.fullmatch(text):
        return f"{text!r} is no amount that the hub knows: a number and K, M, G or T, all powers of 1024"
    # A mistake in the quota itself is told there.
    return f"{text} is above the quota of {most}; raise userQuota.memory" if _bytes(text) > _bytes(most) else None


def _cpu_mistake(given: object, user: UserQuota) -> str | None:
    most = user.get("cpu", 0)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return f"{given!r} is no number of processors, like 0.5"
    return f"{given} is above the quota of {most}; raise userQuota.cpu" if given > most else None


def _bytes(text: str) -> float:
    try:
        return parse_size(text)
    except ValueError:
        return math.inf
