"""The project's kinds: their definitions, and the objects that a program makes of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pulumi
import yaml

from components.kubernetes.images import image_mistake
from components.kubernetes.labels import labels
from components.kubernetes.operator_access import RBAC_GROUP
from runtime.notebook_operator import status
from runtime.notebook_operator.names import DELETE_NAMESPACE

DEFINITIONS = Path(__file__).parents[2] / "runtime" / "notebook_operator" / "crds"
"""The CustomResourceDefinitions, which the operator ships."""

READY = {"pulumi.com/waitFor": f"condition={status.READY}"}
"""Annotation by which an update waits until the operator has done its work."""

SETTLED = {"pulumi.com/waitFor": f"condition={status.SETTLED}"}
"""Annotation by which an update waits until a notebook answers or stands still: one that is stopped never gets ready."""

LONGEST_NOTEBOOK_NAME = 52
"""Characters; a StatefulSet's pods carry the name with a hash of 11 in a label, which holds 63."""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_USER = re.compile(r"[^\s\x00-\x1f\x7f]{1,253}")

Manifest = dict[str, Any]


class PlatformNotebook(TypedDict):
    """A notebook that the stack makes for somebody."""

    user: str
    """Name of the user as Kubernetes knows it, such as `ada@example.org`."""
    name: str
    """Name of the notebook: at most 52 characters of a-z, 0-9 and `-`, the first a letter."""
    image: NotRequired[str]
    """Its image. Default: the platform's `notebookImage`."""


class NotebookPod(TypedDict):
    """What a program says of a notebook."""

    name: str
    """Its name, and that of its container, which Kubeflow's status wants."""
    image: str
    """Image of the server."""
    resources: dict[str, dict[str, str]]
    """Requests and limits."""


def definitions(stack: str) -> dict[str, Manifest]:
    """The CustomResourceDefinitions by name, with the stack's label."""
    found: dict[str, Manifest] = {}
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        document: Manifest = yaml.safe_load(path.read_text())
        metadata: Manifest = document["metadata"]
        given: dict[str, str] = metadata.get("labels", {})
        document["metadata"] = {**metadata, "labels": {**given, **labels(stack, "definition")}}
        found[str(metadata["name"])] = document
    return found


def profile(stack: str, namespace: str, owner: str, *, keep: bool) -> Manifest:
    """The Profile whose namespace is `namespace`, for the user `owner`; without `keep`, both go together.

    It says of the owner what the operator would say, so that a user's Profile from an earlier request is taken over.
    """
    annotations = READY if keep else {**READY, DELETE_NAMESPACE: "true"}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": namespace, "labels": labels(stack, "profile"), "annotations": annotations},
        "spec": {"owner": {"apiGroup": RBAC_GROUP, "kind": "User", "name": owner}},
    }


def notebook(stack: str, namespace: str, pod: NotebookPod, *, wait: bool) -> Manifest:
    """A Notebook in a profile's namespace; with `wait`, an update ends when its page answers, or it is stopped."""
    container = {"name": pod["name"], "image": pod["image"], "resources": pod["resources"]}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {
            "name": pod["name"],
            "namespace": namespace,
            "labels": labels(stack, "notebook"),
            "annotations": SETTLED if wait else {"pulumi.com/skipAwait": "true"},
        },
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def check_notebooks(notebooks: Sequence[PlatformNotebook], most: int) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the argument `notebooks`, of which a user may have `most`."""
    errors: list[pulumi.InputPropertyErrorDetails] = []
    seen: dict[str, list[str]] = {}
    for number, one in enumerate(notebooks):
        errors += check_notebook(one, f"notebooks[{number}]")
        mine = seen.setdefault(one["user"], [])
        if one["name"] in mine:
            reason = f"{one['user']} has two notebooks {one['name']}; each needs a name of its own"
            errors.append({"property_path": f"notebooks[{number}].name", "reason": reason})
        mine.append(one["name"])
    for user, names in sorted(seen.items()):
        if len(names) > most:
            reason = f"{user} has {len(names)}, and notebooksPerUser is {most}"
            errors.append({"property_path": "notebooks", "reason": reason})
    return errors


def check_notebook(one: PlatformNotebook, path: str) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in a single notebook of a program."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(field: str, reason: str) -> None:
        errors.append({"property_path": f"{path}.{field}", "reason": reason})

    user, name = one["user"], one["name"]
    if not _USER.fullmatch(user):
        wrong("user", f"{user[:60]!r} is no user name; 1 to 253 characters without blanks, such as ada@example.org")
    elif user.startswith("system:"):
        wrong("user", f"{user!r} is a part of Kubernetes; notebooks belong to people")
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NOTEBOOK_NAME:
        limits = f"at most {LONGEST_NOTEBOOK_NAME} characters of a-z, 0-9 and '-', the first a letter, the last no '-'"
        wrong("name", f"{name[:70]!r} is no notebook's name: {limits}")
    mistake = image_mistake(one["image"]) if "image" in one else None
    if mistake:
        wrong("image", mistake)
    return errors
