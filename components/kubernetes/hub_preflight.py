"""What must hold before a hub for visitors is declared: rights in the cluster, and a namespace that is free."""

import httpx2
from lightkube import SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError

from components.kubernetes.access_check import cluster_mistakes, require_no_mistakes, stack_configuration
from components.kubernetes.hub_arguments import EphemeralHubArgs, hub_namespace
from components.kubernetes.hub_rights import ephemeral_needs
from components.kubernetes.occupancy import ask_occupancy, occupancy_mistakes


def place_mistakes(configuration: SingleConfig, name: str, args: EphemeralHubArgs) -> list[str]:
    """All that stands in the hub's way: rights that are missing, and what occupies its namespace."""
    rights = [one["reason"] for one in cluster_mistakes(configuration, *ephemeral_needs(name, args))]
    namespace = hub_namespace(name, args)
    try:
        labels, release = ask_occupancy(configuration, namespace)
    except (ApiError, ConfigError, httpx2.HTTPError, OSError) as error:
        # Who may not look has been told so, and so has who reaches no cluster.
        return rights or [f"the namespace {namespace} cannot be looked at: {error}"]
    create = args.get("createNamespace", True)
    return rights + occupancy_mistakes(namespace, labels, release, stack=name, create=create)


def require_place(name: str, args: EphemeralHubArgs) -> None:
    """Ask the cluster whether the hub can go there, before anything is made.

    Not for programs whose cluster comes out of the same update: there is none to ask yet.

    Raises:
        pulumi.RunError: it cannot; the message lists all that is missing or in the way.
    """
    require_no_mistakes("hub", place_mistakes(stack_configuration(), name, args))
