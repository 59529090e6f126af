"""What must hold before a platform is declared: rights, no other platform in the cluster, namespaces free for its notebooks."""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import httpx2
from lightkube import Client, SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.resources.admissionregistration_v1 import ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import Namespace
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
from runtime.notebook_operator.names import namespace_names
from runtime.notebook_operator.profiles import is_own

NOT_FOUND = 404

DEFINITION = "CustomResourceDefinition"
NAMESPACE = "Namespace"

_TYPES: Mapping[str, Any] = {
    "ClusterRoleBinding": ClusterRoleBinding,
    "ClusterRole": ClusterRole,
    "ValidatingAdmissionPolicy": ValidatingAdmissionPolicy,
    "ValidatingAdmissionPolicyBinding": ValidatingAdmissionPolicyBinding,
    DEFINITION: CustomResourceDefinition,
    NAMESPACE: Namespace,
}

Found = Mapping[tuple[str, str], Mapping[str, str]]
"""Labels of objects by kind and name."""


class Metadata(TypedDict):
    """What an object says of itself."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]


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


def user_namespace_mistakes(found: Mapping[str, Metadata], users: Iterable[str], stack: str) -> list[str]:
    """Whose notebooks cannot be made, because the namespace that they would be in is not theirs to have.

    The operator leaves such a namespace alone, and the update would wait for it until its time is over.

    Args:
        found: labels and annotations of the namespaces that are there, by name.
        users: those for whom the stack makes notebooks.
        stack: the stack, whose own namespaces are no mistake.
    """
    mistakes: list[str] = []
    for user in sorted(set(users)):
        namespace = namespace_names(user)[0]
        metadata = found.get(namespace)
        if metadata is None:
            continue
        owner = metadata["labels"].get(STACK_LABEL, stack)
        if owner != stack:
            reason = f"belongs to the stack {owner}"
        elif not is_own({"metadata": metadata}, {"spec": {"owner": {"name": user}}}):
            reason = f"is there already and not {user}'s"
        else:
            continue
        advice = f"take {user} out of notebooks: a NotebookRequest of theirs takes another name"
        mistakes.append(f"the namespace {namespace} {reason}; {advice}")
    return mistakes


def ask_metadata(configuration: SingleConfig, names: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], Metadata]:
    """Labels and annotations of the objects of these names by kind, as far as they are there.

    Raises:
        ApiError: the cluster refuses to say.
        ConfigError: the kubeconfig's way to log in fails.
    """
    client = Client(config=configuration, timeout=httpx2.Timeout(SECONDS_TO_ANSWER))
    found: dict[tuple[str, str], Metadata] = {}
    for kind, listed in names.items():
        for name in listed:
            try:
                metadata: Any = client.get(_TYPES[kind], name).metadata
            except ApiError as error:
                if error.status.code != NOT_FOUND:
                    raise
            else:
                found[kind, name] = {"labels": metadata.labels or {}, "annotations": metadata.annotations or {}}
    return found


def platform_mistakes(configuration: SingleConfig, name: str, args: NotebookPlatformArgs) -> list[str]:
    """All that stands in the platform's way: rights that are missing, and what another stack or somebody else has."""
    rights = [one["reason"] for one in cluster_mistakes(configuration, *platform_rights(args))]
    users = {one["user"] for one in args.get("notebooks", [])}
    try:
        found = ask_metadata(configuration, fixed_names(name, args))
        namespaces = ask_metadata(configuration, {NAMESPACE: {namespace_names(user)[0] for user in users}})
    except (ApiError, ConfigError, httpx2.HTTPError, OSError) as error:
        # Who may not look has been told so, and so has who reaches no cluster.
        return rights or [f"what is in the cluster cannot be looked at: {error}"]
    labels = {key: metadata["labels"] for key, metadata in found.items()}
    taken = user_namespace_mistakes({title: metadata for (_, title), metadata in namespaces.items()}, users, name)
    return rights + takeover_mistakes(labels, name) + taken


def require_free_cluster(name: str, args: NotebookPlatformArgs) -> None:
    """Ask the cluster whether the platform can go there, before anything is made.

    Not for programs whose cluster comes out of the same update: there is none to ask yet.

    Raises:
        pulumi.RunError: it cannot; the message lists all that is missing or in the way.
    """
    require_no_mistakes("platform", platform_mistakes(stack_configuration(), name, args))
