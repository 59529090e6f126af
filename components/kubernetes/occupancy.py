"""Whether a namespace is there, free and guarded as a hub needs it, asked before anything is made."""

from collections.abc import Mapping
from typing import cast

import httpx2
from lightkube import Client, SingleConfig
from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import Namespace, Service

from components.kubernetes.access_check import SECONDS_TO_ANSWER
from components.kubernetes.labels import STACK_LABEL
from components.kubernetes.tenancy import namespace_mistakes

NOT_FOUND = 404

RELEASE_ANNOTATION = "meta.helm.sh/release-name"
"""Annotation of Helm's: the release that an object belongs to."""

HUB_SERVICE = "hub"
"""Service of every hub of the chart."""


def occupancy_mistakes(
    namespace: str,
    labels: Mapping[str, str] | None,
    release: str | None,
    *,
    stack: str,
    create: bool,
) -> list[str]:
    """What keeps the stack's hub out of a namespace.

    Args:
        namespace: its name.
        labels: its labels; None where there is no such namespace.
        release: the release whose hub is in it; None without one.
        stack: the stack, whose release has the same name.
        create: whether the stack is to make the namespace.
    """
    if labels is None:
        return [] if create else [f"there is no namespace {namespace}; make it, or let the stack by createNamespace"]
    mistakes: list[str] = []
    if not create:
        mistakes += [f"the namespace {namespace}: {one}" for one in namespace_mistakes(namespace, labels, stack=stack)]
    elif labels.get(STACK_LABEL) != stack:
        owner = f"belongs to the stack {labels[STACK_LABEL]}" if STACK_LABEL in labels else "is there already"
        mistakes.append(f"the namespace {namespace} {owner}; choose another, or set createNamespace to false")
    if release is not None and release != stack:
        mistakes.append(f"the namespace {namespace} has a hub already, of the release {release}; each needs its own")
    return mistakes


def ask_occupancy(configuration: SingleConfig, namespace: str) -> tuple[Mapping[str, str] | None, str | None]:
    """Labels of the namespace, and the release whose hub is in it; None for what is not there.

    Raises:
        ApiError: the cluster refuses to say.
    """
    client = Client(config=configuration, timeout=httpx2.Timeout(SECONDS_TO_ANSWER))
    try:
        found = client.get(Namespace, namespace).metadata
        labels = cast("Mapping[str, str]", (found.labels if found else None) or {})  # pyright: ignore[reportUnknownMemberType]
    except ApiError as error:
        if error.status.code != NOT_FOUND:
            raise
        return None, None
    try:
        service = client.get(Service, HUB_SERVICE, namespace=namespace).metadata
    except ApiError as error:
        if error.status.code != NOT_FOUND:
            raise
        return labels, None
    annotations = cast("Mapping[str, str]", (service.annotations if service else None) or {})  # pyright: ignore[reportUnknownMemberType]
    return labels, annotations.get(RELEASE_ANNOTATION, "unknown")
