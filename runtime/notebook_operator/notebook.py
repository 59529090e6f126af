"""What a Notebook asks for, read from its object."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.notebook_operator import names
from runtime.notebook_operator.settings import Settings, route_prefix

DEFAULT_HOME = "/home/jovyan"
DEFAULT_PORT = 8888
DEFAULT_ID = "-1"
MOST_DIGITS = 10
LONGEST_NAME = 52
"""A StatefulSet's pods carry its name and a hash in a label of at most 63 characters."""

_URL_PATH = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,;=:@%-]*")
"""A path of a URL (RFC 3986, 3.3); Envoy takes no route with a control character in one."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""A token of HTTP (RFC 9110, 5.6.2)."""
_HEADER_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff%]*")
"""No control character and no half of a character; Envoy reads `%` as the mark of a variable."""


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
        return route_prefix(self.base_path, self.namespace, self.name)

    @property
    def pod(self) -> str:
        """Name of its pod."""
        return f"{self.name}-0"

    @property
    def secret(self) -> str:
        """Name of the Secret that holds its token."""
        return secret_name(self.name)

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
    def user_id(self) -> int | None:
        """Uid that the annotation asks for."""
        return self._id(names.USER_ID)

    @property
    def group_id(self) -> int | None:
        """Group that the annotation asks for."""
        return self._id(names.GROUP_ID)

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
        if path is not None and not _URL_PATH.fullmatch(path):
            raise InvalidNotebookError(f"annotation {names.REWRITE_PATH} must be an absolute path, not {path[:80]!r}")
        return path

    @property
    def request_headers(self) -> Mapping[str, str]:
        """Headers that every request to the server carries."""
        text = self.annotations.get(names.REQUEST_HEADERS) or "{}"
        try:
            headers: Any = json.loads(text)
        except (ValueError, RecursionError):
            headers = None
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):  # pyright: ignore[reportUnknownVariableType]
            raise InvalidNotebookError(f"annotation {names.REQUEST_HEADERS} must be a JSON object of texts")
        given: Mapping[str, str] = headers
        for name, value in given.items():
            mistake = header_mistake(name, value)
            if mistake:
                raise InvalidNotebookError(f"annotation {names.REQUEST_HEADERS}: {mistake}")
        return given

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
        return settings.url(self.namespace, self.name)

    def _id(self, annotation: str) -> int | None:
        text = self.annotations.get(annotation, DEFAULT_ID)
        if text == DEFAULT_ID:
            return None
        if not _is_number(text):
            raise InvalidNotebookError(f"annotation {annotation} must be a number or {DEFAULT_ID}, not {text[:40]!r}")
        return int(text)


def header_mistake(name: str, value: str) -> str | None:
    """Why a gateway could not set a header; None if it can.

    One gateway serves all users, and Envoy takes no further change of any route while its configuration holds one such header.
    """
    if not _HEADER_NAME.fullmatch(name):
        return f"{name[:40]!r} is no name of a header"
    if name.lower() == "host":
        return f"{name} is not for a route to set"
    if not _HEADER_TEXT.fullmatch(value):
        return f"the value of {name[:40]} must have no control character and no '%'"
    return None


def secret_name(name: str) -> str:
    """Name of the Secret that holds the token of the notebook that is called `name`."""
    return f"{name}-token"


def time_to_live(annotations: Mapping[str, str], template: Mapping[str, Any]) -> int | None:
    """Seconds without activity after which a notebook is stopped, if it says so itself.

    Raises:
        InvalidNotebookError: what it says is no such number.
    """
    text = annotations.get(names.TIME_TO_LIVE)
    if text is None:
        seconds = template.get("ttlSecondsAfterFinished")
        if seconds is not None and (not isinstance(seconds, int) or seconds <= 0):
            raise InvalidNotebookError(f"ttlSecondsAfterFinished must be a number of seconds, not {seconds!r}")
        return seconds
    if not _is_number(text) or int(text) == 0:
        raise InvalidNotebookError(f"annotation {names.TIME_TO_LIVE} must be a number of seconds, not {text[:40]!r}")
    return int(text)


def idle_seconds(body: Mapping[str, Any], settings: Settings) -> int:
    """How long a Notebook may be without activity: what it says itself, at most what the platform allows.

    One that says what makes no sense says nothing.
    """
    most = settings.notebook.idleSeconds
    try:
        own = time_to_live(body["metadata"].get("annotations") or {}, body["spec"]["template"]["spec"])
    except (AttributeError, KeyError, TypeError, ValueError):
        own = None
    return min(own or most, most)


def _is_number(text: str) -> bool:
    """Whether a text is one of digits that a number of the API can have."""
    return text.isdecimal() and len(text) <= MOST_DIGITS


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
    _ = (notebook.user_id, notebook.group_id, notebook.home_path)
    _ = time_to_live(notebook.annotations, notebook.template)
    _ = (notebook.rewrite_path, notebook.request_headers, notebook.starts_jupyter(settings))
    return notebook
