"""What the program says about the provider itself: which cluster, and how to treat it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SERVED = (
    "cluster",
    "clusterIdentifier",
    "context",
    "enableConfigMapMutable",
    "enablePatchForce",
    "enableSecretMutable",
    "enableServerSideApply",
    "kubeconfig",
    "namespace",
    "suppressDeprecationWarnings",
    "suppressHelmHookWarnings",
    "upsertExistingObjects",
    "version",
)
"""Keys of the official provider's configuration that mean something here, or need not."""

VARIABLES = {
    "enableConfigMapMutable": "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE",
    "enableSecretMutable": "PULUMI_K8S_ENABLE_SECRET_MUTABLE",
    "enablePatchForce": "PULUMI_K8S_ENABLE_PATCH_FORCE",
}


@dataclass(frozen=True)
class Configuration:
    """The provider's configuration.

    Attributes:
        kubeconfig: Contents or path of a kubeconfig; none for the environment's.
        context: The context in it; none for its current one.
        namespace: Where objects go that name no namespace; none for the context's.
        mutable: Of `ConfigMap` and `Secret` those whose data changes in place.
        force: Take fields over that other programs set.
        upsert: Take objects over that are there already.
    """

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    mutable: frozenset[str]
    force: bool
    upsert: bool


def problems(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys that this provider cannot honour, and why."""
    found = [
        (key, f"the provider of this project's tests does not serve {key}")
        for key, value in sorted(given.items())
        if key not in SERVED and value not in (None, False, "false")
    ]
    if _is_true(given.get("enableServerSideApply", True)):
        return found
    return [*found, ("enableServerSideApply", "the provider of this project's tests knows server-side apply only")]


def read(given: Mapping[str, Any], environment: Mapping[str, str]) -> Configuration:
    """The configuration from the program's words and the environment's."""

    def switched(key: str) -> bool:
        return _is_true(given.get(key, environment.get(VARIABLES.get(key, ""), False)))

    switches = {"ConfigMap": "enableConfigMapMutable", "Secret": "enableSecretMutable"}
    return Configuration(
        kubeconfig=given.get("kubeconfig") or None,
        context=given.get("context") or None,
        namespace=given.get("namespace") or None,
        mutable=frozenset(kind for kind, key in switches.items() if switched(key)),
        force=switched("enablePatchForce"),
        upsert=switched("upsertExistingObjects"),
    )


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in {"true", "1"})
