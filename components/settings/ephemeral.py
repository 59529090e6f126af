"""The section `hubstack:ephemeral`."""

import re
from typing import Any

from components.settings.strict import Strict


class FrontSettings(Strict):
    """`hubstack:ephemeral.front`."""

    kind: str = "none"
    email: str | None = None
    tlsSecret: str | None = None
    ingressClass: str | None = None
    gateway: str | None = None
    gatewayNamespace: str | None = None
    gatewaySection: str | None = None
    annotations: dict[str, str] | None = None


class SharedSettings(Strict):
    """`hubstack:ephemeral.shared`."""

    server: str
    share: str
    mountOptions: list[str] | None = None


class ContentLinkSettings(Strict):
    """One of `hubstack:ephemeral.contentLinks`."""

    name: str
    repository: str
    branch: str | None = None
    path: str | None = None
    app: str | None = None


class EphemeralSettings(Strict):
    """`hubstack:ephemeral`: what a hub for visitors needs beside the common keys; ranges are checked by the component."""

    namespace: str | None = None
    createNamespace: bool | None = None
    chart: str | None = None
    chartVersion: str | None = None
    chartRepository: str | None = None
    chartImages: dict[str, str] | None = None
    imagePullSecrets: list[str] | None = None
    access: str | None = None
    openToTheWorld: bool | None = None
    front: FrontSettings | None = None
    nodes: int | None = None
    egressExcluded: list[str] | None = None
    egressProxyImage: str | None = None
    apiServerPorts: list[int] | None = None
    shared: SharedSettings | None = None
    extraImages: list[str] | None = None
    cullUsers: bool | None = None
    contentLinks: list[ContentLinkSettings] | None = None
    nodeSelector: dict[str, str] | None = None
    userScheduler: bool | None = None
    databaseSize: str | None = None
    timeout: int | None = None
    values: dict[str, Any] | None = None


def ephemeral_key(path: str) -> str:
    """The key of the stack's configuration that an argument of `EphemeralHub` comes from."""
    first = re.split(r"[.\[]", path)[0]
    if first == "image":
        return "notebookImage"
    return f"ephemeral.{path}" if first in EphemeralSettings.model_fields else path
