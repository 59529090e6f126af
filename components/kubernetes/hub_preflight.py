"""What must hold before a hub for visitors is declared: rights in the cluster, and a namespace that is free."""

from components.kubernetes.access_check import require_cluster
from components.kubernetes.hub_arguments import EphemeralHubArgs, hub_namespace
from components.kubernetes.hub_rights import ephemeral_needs
from components.kubernetes.occupancy import require_namespace


def require_place(name: str, args: EphemeralHubArgs) -> None:
    """Ask the cluster whether the hub can go there.

    Raises:
        pulumi.RunError: it cannot; the message lists what is missing or in the way.
    """
    require_cluster(*ephemeral_needs(name, args))
    require_namespace(hub_namespace(name, args), stack=name, create=args.get("createNamespace", True))
