"""The API server: connection by kubeconfig, discovery, and the few requests that the provider makes."""

import json
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2 as httpx
import yaml
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from tests.engine.kubernetes_provider.addresses import Kind, Served, defined_kinds, served_kinds
from tests.engine.kubernetes_provider.values import Object

ANSWER_SECONDS = 30.0
CONNECT_SECONDS = 5.0
CONNECT_TRIES = 3

APPLY = "application/apply-patch+yaml"

MISSHAPEN = re.compile(r"unknown field|duplicate field|field not declared in schema|: expected (\w+|\w+ \(.*\)), got ")


class ApiError(Exception):
    """The API server refused a request, in its own words."""

    def __init__(self, code: int, message: str, reason: str = "", causes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.causes = causes

    @property
    def not_found(self) -> bool:
        """Whether the object, its kind or its namespace does not exist."""
        return self.code == 404

    @property
    def misshapen(self) -> bool:
        """Whether the object does not fit its kind's schema, whatever its values are."""
        return MISSHAPEN.search(str(self)) is not None

    @property
    def forbidden(self) -> bool:
        """Whether the user may not do it."""
        return self.code == 403


class UnreachableError(Exception):
    """No API server answers, or none is configured."""


class NoSuchKindError(Exception):
    """The API does not serve the kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(
            f"the API server does not serve {kind.name} in {kind.api_version}: "
            "check the apiVersion, and that the CustomResourceDefinition is made before"
        )


def read_kubeconfig(given: str | None, context: str | None, environment: Mapping[str, str]) -> SingleConfig:
    """The cluster to talk to.

    Args:
        given: A kubeconfig's contents or path; none for `$KUBECONFIG`, else `~/.kube/config`.
        context: The context in it; none for its current one.
        environment: Where KUBECONFIG is looked up.

    Raises:
        UnreachableError: there is no kubeconfig, or it names no such cluster.
    """
    where = given or environment.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config"
    try:
        if "\n" in where or where.lstrip().startswith("{"):
            config = KubeConfig.from_dict(yaml.safe_load(where))
        else:
            config = KubeConfig.from_file(where)
        found = config.get(context)
    except (ConfigError, KeyError, TypeError, yaml.YAMLError) as error:
        where = "the given kubeconfig" if "\n" in where else where
        raise UnreachableError(f"no Kubernetes cluster is configured: {where}: {error}") from error
    assert found is not None
    return found if found.user else found._replace(user=User())


class Cluster:
    """Requests to one API server."""

    def __init__(self, config: SingleConfig) -> None:
        self.config = config
        self.address = config.cluster.server
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._client = Client(config, ConnectionParams(timeout=timeout, trust_env=False))
        self._kinds: dict[tuple[str, str], dict[str, Served]] = {}
        self._announced: dict[Kind, Served] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def version(self) -> str:
        """The server's version.

        Raises:
            UnreachableError: it does not answer, or not to these credentials.
        """
        try:
            answer = self._send("GET", "/version")
        except ApiError as error:
            raise UnreachableError(
                f"configured Kubernetes cluster is unreachable: {self.address} answers {error.code}: {error}"
            ) from error
        return answer["gitVersion"]

    def announce(self, definition: Mapping[str, Any]) -> None:
        """Remember the kinds of a CustomResourceDefinition that this program makes."""
        for served in defined_kinds(definition):
            self._announced[served.kind] = served

    def will_serve(self, kind: Kind) -> Served | None:
        """How the API serves a kind, or will once the program has made its definition; none if nobody knows."""
        return self.serves(kind) or self._announced.get(kind)

    def serves(self, kind: Kind) -> Served | None:
        """How the API serves a kind now; none if it does not."""
        key = (kind.group, kind.version)
        with self._lock:
            if kind.name not in self._kinds.get(key, {}):
                try:
                    self._kinds[key] = served_kinds(*key, self._send("GET", kind.group_path))
                except ApiError as error:
                    if not error.not_found:
                        raise
                    self._kinds[key] = {}
            return self._kinds[key].get(kind.name)

    def forget(self) -> None:
        """Ask the API again what it serves: a definition changed."""
        with self._lock:
            self._kinds.clear()

    def get(self, path: str, **query: str) -> Object:
        """What is at `path`.

        Raises:
            ApiError: the server refuses, with 404 if nothing is there.
        """
        return self._send("GET", path, query)

    def find(self, path: str) -> Object | None:
        """What is at `path`, or none."""
        try:
            return self._send("GET", path)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Object]:
        """The objects of a collection."""
        return self._send("GET", path, query)["items"]

    def apply(self, path: str, body: Object, *, manager: str, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply; misspelt fields are refused.

        Raises:
            ApiError: the server refuses.
        """
        query = {"fieldManager": manager, "fieldValidation": "Strict", "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        return self._send("PATCH", path, query, body, APPLY)

    def delete(self, path: str, policy: str) -> None:
        """Ask for a deletion.

        Raises:
            ApiError: the server refuses.
        """
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
        self._send("DELETE", path, {}, body, "application/json")

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Content-Type": content_type}
        for left in reversed(range(CONNECT_TRIES)):
            try:
                response = self._client.request(method, path, params=query, content=content, headers=headers)
            except (httpx.TransportError, OSError) as error:
                if left == 0:
                    raise UnreachableError(
                        f"configured Kubernetes cluster is unreachable: {self.address}: {error}"
                    ) from error
            else:
                if response.status_code == 429 and left:
                    time.sleep(float(response.headers.get("Retry-After", "1")))
                    continue
                if response.is_success:
                    return response.json()
                raise _refusal(response)
            time.sleep(0.3)
        raise AssertionError


def kubeconfig_for_programs(config: SingleConfig, given: str | None, folder: Path) -> Path:
    """A file with the kubeconfig, for programs that want one: the file it was read from, else one in `folder`."""
    if config.fname is not None:
        return Path(config.fname)
    file = folder / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(given or "")
    return file


def _refusal(response: httpx.Response) -> ApiError:
    try:
        status = response.json()
    except ValueError:
        return ApiError(response.status_code, response.text.strip() or response.reason_phrase)
    details: Mapping[str, Any] = status.get("details") or {}
    causes = tuple(cause.get("message", "") for cause in details.get("causes") or [])
    return ApiError(response.status_code, status.get("message", response.text), status.get("reason", ""), causes)
