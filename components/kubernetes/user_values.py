"""What a stack may add to the chart's values: nothing that an argument decides, and amounts in the hub's units."""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pulumi

from components.kubernetes.images import image_mistake
from components.quotas import USER_QUOTA_DEFAULTS, UserQuota, parse_size

SECTIONS = (
    *("cull", "custom", "debug", "enabled", "fullnameOverride", "global", "httpRoute", "hub", "imagePullSecret"),
    *("imagePullSecrets", "ingress", "nameOverride", "prePuller", "proxy", "rbac", "scheduling", "singleuser"),
)
"""What the chart's schema has at the top; it refuses anything else."""

_LABELS = "NetworkPolicies select pods by labels that are made of it"
_SAFETY = "the safety of users' pods rests on it"

DECIDED: Mapping[str, str] = {
    "cull": "set userQuota.idle, userQuota.maxAge and cullUsers",
    "fullnameOverride": _LABELS,
    "httpRoute": "set front",
    "hub.activeServerLimit": "set fleetQuota.servers",
    "hub.config.Authenticator": "set access",
    "hub.config.ConfigurableHTTPProxy.auth_token": "the stack generates it",
    "hub.config.CryptKeeper": "the stack generates it",
    "hub.config.JupyterHub.admin_access": "nobody is an administrator",
    "hub.config.JupyterHub.authenticator_class": "set access",
    "hub.config.JupyterHub.cookie_secret": "the stack generates it",
    "hub.config.KubeSpawner": _SAFETY,
    "hub.config.SharedPasswordAuthenticator": "set password",
    "hub.cookieSecret": "the stack generates it",
    "hub.db": "set databaseSize and dataProtection",
    "hub.existingSecret": "set password",
    "hub.extraConfig.10-visitors": "set access",
    "hub.extraConfig.20-hub-address": "set egressProfile",
    "hub.extraConfig.30-user-pods": _SAFETY,
    "hub.networkPolicy": "set apiServerPorts",
    "imagePullSecrets": "set imagePullSecrets of the hub",
    "ingress": "set front",
    "nameOverride": _LABELS,
    "prePuller.extraImages": "set extraImages",
    "proxy.chp.networkPolicy": _SAFETY,
    "proxy.https": "set front",
    "proxy.secretToken": "the stack generates it",
    "proxy.service": "set front",
    "proxy.traefik.networkPolicy": _SAFETY,
    "singleuser.allowPrivilegeEscalation": _SAFETY,
    "singleuser.cloudMetadata": "set egressProfile",
    "singleuser.cpu": "set userQuota.cpu",
    "singleuser.extraPodConfig.activeDeadlineSeconds": "set userQuota.maxAge",
    "singleuser.extraResource": "set userQuota.home",
    "singleuser.image": "set image",
    "singleuser.memory": "set userQuota.memory",
    "singleuser.networkPolicy": "set egressProfile",
    "singleuser.nodeSelector": "set nodeSelector",
    "singleuser.serviceAccountName": "users' pods have no token",
    "singleuser.storage": "set userQuota.home and shared",
    "singleuser.uid": _SAFETY,
}
"""Values that arguments decide or that must stay as they are, and what to do instead."""

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
        for decided, advice in DECIDED.items():
            fixed = tuple(decided.split("."))
            if steps[: len(fixed)] == fixed or fixed[: len(steps)] == steps:
                wrong(steps, f"it cannot be set here: {advice}")
                break
    for steps, override in _profile_overrides(values):
        for key, reason in _override_mistakes(override, user):
            wrong((*steps, key), reason)
    return errors


def _leaves(values: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Paths of everything that is no object with something in it."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(cast("Mapping[str, Any]", value), (*above, key))
        else:
            yield (*above, key)


def _profile_overrides(values: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """What each profile that users can choose changes of their pod."""
    singleuser = values.get("singleuser")
    if isinstance(singleuser, Mapping):
        given: Any = cast("Mapping[str, Any]", singleuser).get("profileList") or []
        for number, profile in enumerate(cast("Sequence[Any]", given)):
            yield from _overrides(profile, ("singleuser", f"profileList[{number}]"))


def _overrides(part: Any, above: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if not isinstance(part, Mapping):
        return
    for key, value in cast("Mapping[str, Any]", part).items():
        if key == "kubespawner_override" and isinstance(value, Mapping):
            yield (*above, key), cast("Mapping[str, Any]", value)
        else:
            yield from _overrides(value, (*above, key))


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
