"""Credentials of the images' registries: copies of the platform's Secrets in each profile's namespace."""

import logging
from typing import Any

from runtime.notebook_operator import names
from runtime.notebook_operator.cluster import Cluster, Object
from runtime.notebook_operator.settings import Settings

log = logging.getLogger(__name__)


def pull_secret(source: Object, namespace: str, settings: Settings) -> dict[str, Any]:
    """The copy of a Secret for a profile's namespace."""
    labels = {names.STACK: settings.stack, names.ROLE: names.PROFILE_ROLE, names.MANAGED_BY: names.OPERATOR}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": source["metadata"]["name"], "namespace": namespace, "labels": labels},
        "type": source["type"],
        "data": dict(source.get("data") or {}),
    }


async def copy_pull_secrets(cluster: Cluster, namespace: str, settings: Settings) -> None:
    """Bring the copies in a profile's namespace to what the originals are.

    One that is missing keeps nobody from starting: a node may have the images already.

    Raises:
        ApiError: the API server could not do it this time.
    """
    for name in settings.profile.imagePullSecrets:
        source = await cluster.get("Secret", settings.stack, name)
        if source is None:
            log.warning("there is no Secret %s in namespace %s to copy into %s", name, settings.stack, namespace)
            continue
        wanted = pull_secret(source, namespace, settings)
        held = await cluster.get("Secret", namespace, name)
        if held is None or not cluster.in_sync(wanted, held):
            await cluster.apply(wanted)
