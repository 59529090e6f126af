"""What a Notebook asks for, read from its object."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.notebook_operator import names
from runtime.notebook_operator.settings import Settings

DEFAULT_HOME = "/home/jovyan"
DEFAULT_PORT = 8888
DEFAULT_ID = "-1"
LONGEST_NAME = 52
"""A StatefulSet's pods carry its name and a hash in a label of at most 63 characters."""


class InvalidNotebookError(ValueError):
    """A Notebook asks for what cannot be; nothing changes that but its user."""


@dataclass(frozen=True)
class Notebook:
    """One notebook."""

    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    template: Mapping[str, Any]
    """The pod as its user describes it."""
    base_path: str

    @property
    def prefix(self) -> str:
        """Path that the notebook has to itself, without a slash at its end."""
        return f"{self.base_path}/{self.namespace}/{self.name}"

    @property
    def pod(self) -> str:
        """Name of its pod."""
        return f"{self.name}-0"

    @property
    def secret(self) -> str:
        """Name of the Secret that holds its token."""
        return f"{self.name}-token"

    @property
    def container(self) -> Mapping[str, Any]:
        """The container that serves the notebook."""
        return self.template["containers"][0]

    @property
    def port(self) -> int:
        """Port that its server listens on: the first that the container names."""
        ports = self.container.get("ports") or [{}]
        return ports[0].get("containerPort", DEFAULT_PORT)

    @property
    def stopped(self) -> bool:
        """Whether it is to stand still."""
        return names.STOPPED in self.annotations

    @property
    def culled(self) -> str | None:
        """Why the operator stopped it; None if it runs or was stopped by hand."""
        moment, _, reason = self.annotations.get(names.CULLED, "").partition(" ")
        return reason if reason and moment == self.annotations.get(names.STOPPED) else None

    @property
    def user_id(self) -> int | None:
        """Uid that the annotation asks for."""
        return self._id(names.USER_ID)

    @property
    def group_id(self) -> int | None:
        """Group that the annotation asks for."""
        return self._id(names.GROUP_ID)

    @property
    def time_to_live(self) -> int | None:
        """Seconds without activity after which it is stopped, if it says so itself."""
        text = self.annotations.get(names.TIME_TO_LIVE)
        if text is None:
            return self.template.get("ttlSecondsAfterFinished")
        if not text.isdecimal() or int(text) == 0:
            raise InvalidNotebookError(f"annotation {names.TIME_TO_LIVE} must be a number of seconds, not {text!r}")
        return int(text)

    @property
    def home_path(self) -> str | None:
        """Where the home is mounted; None for none."""
        path = self.annotations.get(names.HOME_PATH, DEFAULT_HOME).rstrip("/")
        if not path:
            return None
        if not path.startswith("/") or ":" in path:
            raise InvalidNotebookError(f"annotation {names.HOME_PATH} must be an absolute path, not {path!r}")
        return path

    @property
    def rewrite_path(self) -> str | None:
        """Path that the server gets instead of the notebook's own."""
        path = self.annotations.get(names.REWRITE_PATH)
        if path is not None and not path.startswith("/"):
            raise InvalidNotebookError(f"annotation {names.REWRITE_PATH} must be an absolute path, not {path!r}")
        return path

    @property
    def request_headers(self) -> Mapping[str, str]:
        """Headers that every request to the server carries."""
        text = self.annotations.get(names.REQUEST_HEADERS) or "{}"
        try:
            headers: Any = json.loads(text)
        except ValueError:
            headers = None
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):  # pyright: ignore[reportUnknownVariableType]
            raise InvalidNotebookError(f"annotation {names.REQUEST_HEADERS} must be a JSON object of texts")
        return headers  # pyright: ignore[reportUnknownVariableType]

    def starts_jupyter(self, settings: Settings) -> bool:
        """Whether JupyterLab is started in its image, which says nothing of the base URL by itself.

        The platform's own image is; any other starts what it starts, unless the annotation says otherwise. A command or
        arguments of the user's go before all.
        """
        if "command" in self.container or "args" in self.container:
            return False
        default = "jupyter" if self.container["image"] == settings.notebook.image else "image"
        start = self.annotations.get(names.START, default)
        if start not in {"jupyter", "image"}:
            raise InvalidNotebookError(f"annotation {names.START} must be jupyter or image, not {start!r}")
        return start == "jupyter"

    def url(self, settings: Settings) -> str:
        """Where a browser finds it."""
        return f"https://{settings.domain}{self.prefix}/"

    def idle_seconds(self, settings: Settings) -> int:
        """How long it may be without activity: what it says itself, at most what the platform allows."""
        return min(self.time_to_live or settings.notebook.idleSeconds, settings.notebook.idleSeconds)

    def _id(self, annotation: str) -> int | None:
        text = self.annotations.get(annotation, DEFAULT_ID)
        if text == DEFAULT_ID:
            return None
        if not text.isdecimal():
            raise InvalidNotebookError(f"annotation {annotation} must be a number or {DEFAULT_ID}, not {text!r}")
        return int(text)


def parse_notebook(body: Mapping[str, Any], settings: Settings) -> Notebook:
    """Read a Notebook.

    Raises:
        InvalidNotebookError: it can never be made as it is; the message says why.
    """
    metadata = body["metadata"]
    notebook = Notebook(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        template=body["spec"]["template"]["spec"],
        base_path=settings.basePath,
    )
    # A cluster with Kubeflow's own definition lets pass what the project's refuses.
    if len(notebook.name) > LONGEST_NAME or not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", notebook.name):
        raise InvalidNotebookError(
            f"the name must be at most {LONGEST_NAME} lower case letters, digits and hyphens, and begin with a letter"
        )
    if not notebook.template.get("containers"):
        raise InvalidNotebookError("spec.template.spec.containers is empty")
    if "image" not in notebook.container:
        raise InvalidNotebookError("spec.template.spec.containers[0].image is missing")
    # Every annotation is read once, so that a mistake is told before anything is made.
    _ = (notebook.user_id, notebook.group_id, notebook.time_to_live, notebook.home_path)
    _ = (notebook.rewrite_path, notebook.request_headers, notebook.starts_jupyter(settings))
    return notebook
