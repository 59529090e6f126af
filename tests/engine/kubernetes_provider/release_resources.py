"""Chart releases as the engine's resources."""

from collections.abc import Mapping
from typing import Any

from tests.engine.kubernetes_provider import diff, naming, release
from tests.engine.kubernetes_provider.addresses import identity, parse_identity
from tests.engine.kubernetes_provider.release import HelmError, Releases
from tests.engine.kubernetes_provider.resources import Asked, Difference, Failure, Found, PartialError
from tests.engine.kubernetes_provider.values import UNKNOWN, Object, without_nulls


class ReleaseResources:
    """Releases of one cluster."""

    def __init__(self, releases: Releases, namespace: str) -> None:
        self._releases = releases
        self._namespace = namespace

    def check(self, asked: Asked) -> tuple[Object, list[Failure]]:
        """The inputs with name, namespace and the chart's version; no such chart is a failure."""
        inputs = {key: value for key, value in asked.inputs.items() if key not in release.OUTPUTS}
        failures = [
            Failure(option, f"the provider of this project's tests does not serve {option}")
            for option in release.refused_options(inputs)
        ]
        inputs["name"] = inputs.get("name") or asked.old_inputs.get("name") or _chosen_name(asked)
        inputs["namespace"] = inputs.get("namespace") or self._namespace
        try:
            if not any(inputs.get(key) is UNKNOWN for key in ("chart", "repositoryOpts", "version")):
                inputs["version"] = self._releases.chart(inputs)["version"]
        except HelmError as error:
            failures.append(Failure("chart", f"{error}; check the chart's name and its repository"))
        return inputs, failures

    def diff(self, asked: Asked) -> Difference:
        """What differs in the inputs; another name or namespace replaces the release."""
        found = list(diff.changes(without_nulls(asked.old_inputs), without_nulls(asked.inputs)))
        return Difference(found, [change.text for change in found if diff.replaces(change, release.REPLACING)])

    def create(self, asked: Asked) -> tuple[str, Object]:
        """Install the chart; in a preview only render it."""
        if asked.preview:
            self._releases.try_out(asked.inputs)
            return "", asked.inputs
        where = identity(asked.inputs["namespace"], asked.inputs["name"])
        asked.log(f"installing {asked.inputs['chart']}", False)
        try:
            self._releases.install(asked.inputs)
        except HelmError as error:
            live = self._read(asked.inputs)
            if live is None:
                raise
            raise PartialError(Found(where, asked.inputs, {**asked.inputs, **live}), [str(error)]) from error
        return where, {**asked.inputs, **(self._read(asked.inputs) or {})}

    def update(self, asked: Asked) -> Object:
        """Upgrade the release; in a preview only render it."""
        if asked.preview:
            self._releases.try_out(asked.inputs)
            return {**asked.inputs, "status": UNKNOWN, "resourceNames": UNKNOWN}
        asked.log(f"upgrading {asked.inputs['name']}", False)
        try:
            self._releases.upgrade(asked.inputs)
        except HelmError as error:
            live = self._read(asked.inputs)
            if live is None:
                raise
            raise PartialError(Found(asked.id, asked.inputs, {**asked.inputs, **live}), [str(error)]) from error
        return {**asked.inputs, **(self._read(asked.inputs) or {})}

    def read(self, asked: Asked) -> Found | None:
        """The release as it is; values that something else changed are its inputs."""
        namespace, name = parse_identity(asked.id)
        live = self._releases.read(name, namespace)
        if live is None:
            return None
        inputs = asked.inputs or {"name": name, "namespace": namespace or self._namespace}
        version = live["status"]["version"]
        known = without_nulls(inputs.get("values") or {})
        if "valueYamlFiles" not in inputs and not inputs.get("reuseValues") and live["values"] != known:
            inputs = {**inputs, "values": live["values"]}
        if version != inputs.get("version"):
            inputs = {**inputs, "chart": inputs.get("chart") or live["status"]["chart"], "version": version}
        outputs = {**inputs, "status": live["status"], "resourceNames": live["resourceNames"]}
        return Found(asked.id, inputs, outputs)

    def delete(self, asked: Asked) -> None:
        """Uninstall the release."""
        namespace, name = parse_identity(asked.id)
        self._releases.uninstall({**(asked.inputs or asked.outputs), "name": name, "namespace": namespace})

    def _read(self, inputs: Mapping[str, Any]) -> Object | None:
        live = self._releases.read(inputs["name"], inputs["namespace"])
        return None if live is None else {key: live[key] for key in release.OUTPUTS}


def _chosen_name(asked: Asked) -> str:
    named = naming.named({}, {}, asked.name, asked.seed, asked.proposed)
    return naming.metadata(named)["name"]
