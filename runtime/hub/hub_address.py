"""Servers that are told the hub's address instead of its name, because their network profile resolves no names.

A chart's hub runs this file as it stands here, among its `extraConfig`: nothing beside JupyterHub may be imported.
"""

from collections.abc import Mapping


def hub_address(environment: Mapping[str, str]) -> str:
    """Address of the Service `hub`, which Kubernetes puts into every pod's environment."""
    host = environment["HUB_SERVICE_HOST"]
    return f"http://{f'[{host}]' if ':' in host else host}:{environment['HUB_SERVICE_PORT']}"
