"""Chart releases through the `helm` program."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.engine.kubernetes_provider.values import ASSET, SIGNATURE, UNKNOWN, Object, known_part

TOKEN = "kubernetes:helm.sh/v3:Release"
DEFAULT_TIMEOUT_SECONDS = 300
REPLACING = ("name", "namespace")
OUTPUTS = ("status", "resourceNames")

UNSUPPORTED = ("disableCRDHooks", "keyring", "lint", "manifest", "verify")
"""Arguments that are refused, so that no test passes because one was overlooked."""

SWITCHES = {
    "dependencyUpdate": "--dependency-update",
    "devel": "--devel",
    "disableWebhooks": "--no-hooks",
    "disableOpenapiValidation": "--disable-openapi-validation",
    "renderSubchartNotes": "--render-subchart-notes",
    "skipCrds": "--skip-crds",
    "takeOwnership": "--take-ownership",
}
INSTALL_SWITCHES = {**SWITCHES, "createNamespace": "--create-namespace", "replace": "--replace"}
UPGRADE_SWITCHES = {
    **SWITCHES,
    "cleanupOnFail": "--cleanup-on-fail",
    "forceUpdate": "--force",
    "resetValues": "--reset-values",
    "reuseValues": "--reuse-values",
}
TEMPLATE_SWITCHES = {name: SWITCHES[name] for name in ("dependencyUpdate", "devel", "disableWebhooks", "skipCrds")}


class HelmError(Exception):
    """Helm refused or failed, in its own words."""


@dataclass(frozen=True)
class Connection:
    """How Helm reaches the cluster."""

    kubeconfig: Path
    context: str


def program(environment: Mapping[str, str]) -> str:
    """The `helm` to run: `$HUBSTACK_HELM`, else the one on the path.

    Raises:
        HelmError: there is none.
    """
    found = environment.get("HUBSTACK_HELM") or shutil.which("helm", path=environment.get("PATH"))
    if not found:
        raise HelmError("no helm is on the path, and HUBSTACK_HELM names none")
    return found


def chart_arguments(inputs: Mapping[str, Any]) -> list[str]:
    """Which chart: a folder, an archive, one of a repository, or one in a registry (`oci://`)."""
    repository: Mapping[str, Any] = inputs.get("repositoryOpts") or {}
    options = {
        "repo": "--repo",
        "username": "--username",
        "password": "--password",
        "caFile": "--ca-file",
        "certFile": "--cert-file",
        "keyFile": "--key-file",
    }
    found = [inputs["chart"]]
    for name, option in options.items():
        if repository.get(name):
            found += [option, repository[name]]
    return found + (["--version", inputs["version"]] if inputs.get("version") else [])


def install_arguments(inputs: Mapping[str, Any], values: Iterable[Path]) -> list[str]:
    """Helm's arguments that make the release."""
    return ["install", inputs["name"], *chart_arguments(inputs), *_run(inputs, values, INSTALL_SWITCHES)]


def upgrade_arguments(inputs: Mapping[str, Any], values: Iterable[Path]) -> list[str]:
    """Helm's arguments that change the release."""
    history = ["--history-max", str(inputs["maxHistory"])] if inputs.get("maxHistory") is not None else []
    return ["upgrade", inputs["name"], *chart_arguments(inputs), *_run(inputs, values, UPGRADE_SWITCHES), *history]


def uninstall_arguments(inputs: Mapping[str, Any]) -> list[str]:
    """Helm's arguments that delete the release; one that is gone is no error."""
    hooks = ["--no-hooks"] if inputs.get("disableWebhooks") else []
    waits = [] if inputs.get("skipAwait") else ["--wait"]
    return ["uninstall", inputs["name"], "--ignore-not-found", *_namespace(inputs), *waits, *_timeout(inputs), *hooks]


def template_arguments(inputs: Mapping[str, Any], values: Iterable[Path]) -> list[str]:
    """Helm's arguments that render the release without the cluster, and check its values against the chart's schema."""
    switches = _switches(inputs, TEMPLATE_SWITCHES)
    files = [argument for file in values for argument in ("--values", str(file))]
    return ["template", inputs["name"], *chart_arguments(inputs), *_namespace(inputs), *files, *switches]


def resource_names(manifest: str) -> dict[str, list[str]]:
    """Names of a manifest's objects by `Kind.group/apiVersion`, as the official provider gives them."""
    found: dict[str, set[str]] = {}
    for each in yaml.safe_load_all(manifest):
        if isinstance(each, dict) and each.get("kind"):
            group = each["apiVersion"].rpartition("/")[0]
            key = f"{each['kind']}{'.' if group else ''}{group}/{each['apiVersion']}"
            namespace, name = each["metadata"].get("namespace"), each["metadata"]["name"]
            found.setdefault(key, set()).add(f"{namespace}/{name}" if namespace else name)
    return {key: sorted(names) for key, names in sorted(found.items())}


def status_of(listed: Mapping[str, Any], chart: Mapping[str, Any]) -> Object:
    """The output `status`, from `helm status` and the chart's description in it or beside it."""
    return {
        "name": listed["name"],
        "namespace": listed["namespace"],
        "revision": listed["version"],
        "status": listed["info"]["status"],
        "chart": chart.get("name", ""),
        "version": chart.get("version", ""),
        "appVersion": chart.get("appVersion", ""),
    }


def refused_options(inputs: Mapping[str, Any]) -> list[str]:
    """Arguments of the program that this provider does not serve."""
    return [name for name in UNSUPPORTED if inputs.get(name)]


def surely_wrong(message: str) -> bool:
    """Whether a failed rendering stays wrong whatever the values are that are not known yet."""
    return "additional propert" in message.lower()


def _run(inputs: Mapping[str, Any], values: Iterable[Path], switches: Mapping[str, str]) -> list[str]:
    files = [argument for file in values for argument in ("--values", str(file))]
    waits: list[str] = []
    if inputs.get("atomic"):
        waits.append("--atomic")
    elif not inputs.get("skipAwait"):
        waits.append("--wait")
    if waits and inputs.get("waitForJobs"):
        waits.append("--wait-for-jobs")
    described = ["--description", inputs["description"]] if inputs.get("description") else []
    renderer = ["--post-renderer", inputs["postrender"]] if inputs.get("postrender") else []
    return [
        *_namespace(inputs),
        *files,
        *waits,
        *_timeout(inputs),
        *_switches(inputs, switches),
        *described,
        *renderer,
    ]


def _switches(inputs: Mapping[str, Any], switches: Mapping[str, str]) -> list[str]:
    return [switch for name, switch in switches.items() if inputs.get(name)]


def _namespace(inputs: Mapping[str, Any]) -> list[str]:
    return ["--namespace", inputs["namespace"]] if inputs.get("namespace") else []


def _timeout(inputs: Mapping[str, Any]) -> list[str]:
    return ["--timeout", f"{inputs.get('timeout') or DEFAULT_TIMEOUT_SECONDS}s"]


class Releases:
    """The releases of one cluster."""

    def __init__(self, helm: str, connection: Connection) -> None:
        self._helm = helm
        self._connection = connection
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Stop every running Helm the way Ctrl-C does."""
        with self._lock:
            for process in self._running:
                process.send_signal(signal.SIGINT)

    def chart(self, inputs: Mapping[str, Any]) -> Object:
        """The chart's own description (`Chart.yaml`).

        Raises:
            HelmError: there is no such chart.
        """
        return yaml.safe_load(self._output("show", "chart", *chart_arguments(inputs), cluster=False))

    def install(self, inputs: Mapping[str, Any]) -> None:
        """Make the release and, unless told otherwise, wait until it works.

        Raises:
            HelmError: it failed; the release may be there nevertheless.
        """
        with _values_files(inputs) as files:
            self._output(*install_arguments(inputs, files))

    def upgrade(self, inputs: Mapping[str, Any]) -> None:
        """Change the release and, unless told otherwise, wait until it works.

        Raises:
            HelmError: it failed.
        """
        with _values_files(inputs) as files:
            self._output(*upgrade_arguments(inputs, files))

    def uninstall(self, inputs: Mapping[str, Any]) -> None:
        """Delete the release; nothing happens if it is gone.

        Raises:
            HelmError: it failed.
        """
        self._output(*uninstall_arguments(inputs))

    def try_out(self, inputs: Mapping[str, Any]) -> None:
        """Render the release, so that wrong values show before anything changes.

        Raises:
            HelmError: it cannot be rendered, or its values do not fit the chart's schema.
        """
        known: Object = known_part(dict(inputs))
        if inputs.get("chart") is UNKNOWN or inputs.get("repositoryOpts") is UNKNOWN:
            return
        known.setdefault("name", "unknown")
        with _values_files(known) as files:
            try:
                self._output(*template_arguments(known, files), cluster=False)
            except HelmError as error:
                if known == dict(inputs) or surely_wrong(str(error)):
                    raise

    def read(self, name: str, namespace: str | None) -> Object | None:
        """The release as it is: `status`, `values` and `resourceNames`; none if it is gone."""
        where = ["--namespace", namespace] if namespace else []
        try:
            listed = json.loads(self._output("status", name, *where, "--output", "json"))
        except HelmError as error:
            if "not found" in str(error):
                return None
            raise
        chart = yaml.safe_load(self._output("get", "metadata", name, *where, "--output", "yaml"))
        values = json.loads(self._output("get", "values", name, *where, "--output", "json"))
        named = {"name": chart["chart"], "version": chart["version"], "appVersion": chart.get("appVersion", "")}
        return {
            "status": status_of(listed, named),
            "values": values or {},
            "resourceNames": resource_names(listed.get("manifest", "")),
        }

    def _output(self, *arguments: str, cluster: bool = True) -> str:
        where = [f"--kubeconfig={self._connection.kubeconfig}", f"--kube-context={self._connection.context}"]
        process = subprocess.Popen(
            [self._helm, *arguments, *(where if cluster else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        with self._lock:
            self._running.add(process)
        try:
            output, errors = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            raise HelmError(_words(errors) or f"helm ended with exit code {process.returncode}")
        return output


def _words(errors: str) -> str:
    lines = [line for line in errors.splitlines() if not line.startswith(("WARNING:", "coalesce.go:", "level="))]
    return "\n".join(lines).strip().removeprefix("Error: ")


@contextmanager
def _values_files(inputs: Mapping[str, Any]) -> Iterator[list[Path]]:
    """The release's values as files that only this user can read, and only while Helm runs."""
    with tempfile.TemporaryDirectory(prefix="hubstack-values-") as folder:
        texts = [_asset_text(asset) for asset in inputs.get("valueYamlFiles") or []]
        texts.append(json.dumps(inputs.get("values") or {}))
        files = [Path(folder, f"{index}.yaml") for index in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        yield files


def _asset_text(asset: Mapping[str, Any]) -> str:
    if asset.get(SIGNATURE) != ASSET:
        raise HelmError("valueYamlFiles takes file and text assets only")
    return asset["text"] if asset.get("text") else Path(asset["path"]).read_text()
