"""What must hold before a platform is declared: rights in the cluster, and no other platform in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
from lightkube import Client, SingleConfig
from lightkube.core.exceptions import ApiError
from lightkube.resources.admissionregistration_v1 import ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding

from components.kubernetes.access_check import (
    SECONDS_TO_ANSWER,
    cluster_mistakes,
    require_no_mistakes,
    stack_configuration,
)
from components.kubernetes.labels import STACK_LABEL
from components.kubernetes.platform_arguments import NotebookPlatformArgs
from components.kubernetes.platform_objects import fixed_names
from components.kubernetes.platform_rights import platform_rights

NOT_FOUND = 404

DEFINITION = "CustomResourceDefinition"

_TYPES: Mapping[str, Any] = {
    "ClusterRoleBinding": ClusterRoleBinding,
    "ClusterRole": ClusterRole,
    "ValidatingAdmissionPolicy": ValidatingAdmissionPolicy,
    "ValidatingAdmissionPolicyBinding": ValidatingAdmissionPolicyBinding,
    DEFINITION: CustomResourceDefinition,
}

Found = Mapping[tuple[str, str], Mapping[str, str]]
"""Labels of objects by kind and name."""


def takeover_mistakes(found: Found, stack: str) -> list[str]:
    """What a stack would take from somebody else: a second platform has the same names in the cluster as the first.

    Kinds that another stack left behind are free once all else of it is gone: `destroy` keeps them.

    Args:
        found: what is in the cluster of a platform's objects outside namespaces.
        stack: the stack, whose own objects are no mistake.
    """
    foreign = {key: labels.get(STACK_LABEL) for key, labels in found.items() if labels.get(STACK_LABEL) != stack}
    alive = {owner for (kind, _), owner in foreign.items() if kind != DEFINITION}
    return [
        _mistake(kind, name, owner, stack)
        for (kind, name), owner in sorted(foreign.items(), key=lambda one: one[0])
        if kind != DEFINITION or owner is None or owner in alive
    ]


def _mistake(kind: str, name: str, owner: str | None, stack: str) -> str:
    if owner is not None:
        return f"the {kind} {name} belongs to the platform of the stack {owner}; a cluster has one platform"
    advice = f"kubectl label {kind} {name} {STACK_LABEL}={stack}"
    return f"the {kind} {name} is there already, of no stack; if this one is to take it over, run: {advice}"


def ask_takeover(configuration: SingleConfig, names: Mapping[str, Sequence[str]]) -> Found:
    """Labels of the objects of these names by kind, as far as they are there.

    Raises:
        ApiError: the cluster refuses to say.
    """
    client = Client(config=configuration, timeout=httpx2.Timeout(SECONDS_TO_ANSWER))
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for kind, listed in names.items():
        for name in listed:
            try:
                metadata: Any = client.get(_TYPES[kind], name).metadata
            except ApiError as error:
                if error.status.code != NOT_FOUND:
                    raise
            else:
                found[kind, name] = metadata.labels or {}
    return found


def platform_mistakes(configuration: SingleConfig, name: str, args: NotebookPlatformArgs) -> list[str]:
    """All that stands in the platform's way: rights that are missing, and what another stack has."""
    rights = [one["reason"] for one in cluster_mistakes(configuration, *platform_rights(args))]
    try:
        found = ask_takeover(configuration, fixed_names(name, args))
    except (ApiError, httpx2.HTTPError, OSError) as error:
        # Who may not look has been told so, and so has who reaches no cluster.
        return rights or [f"what is in the cluster cannot be looked at: {error}"]
    return rights + takeover_mistakes(found, name)


def require_free_cluster(name: str, args: NotebookPlatformArgs) -> None:
    """Ask the cluster whether the platform can go there, before anything is made.

    Not for programs whose cluster comes out of the same update: there is none to ask yet.

    Raises:
        pulumi.RunError: it cannot; the message lists all that is missing or in the way.
    """
    require_no_mistakes("platform", platform_mistakes(stack_configuration(), name, args))
