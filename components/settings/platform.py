"""The section `hubstack:platform`, with its list of notebooks."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from components.settings.lines import parse_lines
from components.settings.strict import Strict


class PlatformNotebookSettings(Strict):
    """One line of `hubstack:platform.notebooks`."""

    user: str
    name: str
    image: str | None = None


def parse_notebook_lines(lines: object) -> object:
    """Read `user name` or `user name image` lines; blank lines and `#` comments are skipped.

    Raises:
        ValueError: lines are wrong; each is named by its number.
    """
    return parse_lines(lines, _notebook)


def _notebook(words: Sequence[str]) -> Mapping[str, object]:
    if not 2 <= len(words) <= 3:  # noqa: PLR2004  (user, name and perhaps an image)
        raise ValueError(f"{' '.join(words)!r} is not a user, a name and perhaps an image")
    return dict(zip(("user", "name", "image"), words, strict=False))


class PlatformSettings(Strict):
    """`hubstack:platform`: what a platform on Kubernetes needs beside the common keys; the component checks values."""

    operatorImage: str = ""
    egressProxyImage: str | None = None
    egressExcluded: list[str] | None = None
    route: str = "HTTPRoute"
    gateway: str | None = None
    gatewayNamespace: str | None = None
    listener: str | None = None
    sources: list[str] | None = None
    userGroup: str | None = None
    notebooksPerUser: int | None = None
    namespaceQuota: dict[str, str] | None = None
    nodes: int | None = None
    pauseImage: str | None = None
    imagePullSecrets: list[str] | None = None
    nodeSelector: dict[str, str] | None = None
    tolerations: list[dict[str, Any]] | None = None
    storageClass: str | None = None
    apiServers: list[str] | None = None
    notebooks: Annotated[list[PlatformNotebookSettings], BeforeValidator(parse_notebook_lines)] = Field(
        default_factory=list[PlatformNotebookSettings]
    )


OF_A_ROUTE = ("gateway", "gatewayNamespace", "listener", "sources")
"""Keys of `hubstack:platform` that the component has within `route`; its `route.kind` is the key `route`."""


def platform_key(path: str) -> str:
    """The key of the stack's configuration that an argument of `NotebookPlatform` comes from."""
    path = "route" if path == "route.kind" else path.removeprefix("route.")
    own = re.split(r"[.\[]", path)[0] in PlatformSettings.model_fields
    return f"platform.{path}" if own else path
