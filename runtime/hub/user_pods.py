"""Users' pods that end with their hub: they belong to its Service, and Kubernetes deletes what belongs to nothing.

The chart leaves them behind when the hub is uninstalled. A chart's hub runs this file as it stands here, among its
`extraConfig`: nothing beside what its image has may be imported.
"""

from typing import Any

SERVICE = "hub"


async def belong_to_the_hub(spawner: Any, pod: Any) -> Any:
    """The pod, as it is created, with the hub's Service as its owner."""
    service = await spawner.api.read_namespaced_service(SERVICE, spawner.namespace)
    owner = {"apiVersion": "v1", "kind": "Service", "name": SERVICE, "uid": service.metadata.uid}
    pod.metadata.owner_references = [owner]
    return pod
