"""What a hub that a chart makes runs, by its values."""

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.hub_values import Values, digest, is_harmless, on_hub_values
from policies.reader import UNKNOWN, Value, as_mapping, holds_unknown, items, plain, read
from policies.registry import REGISTRY
from policies.resource_types import CHART, RELEASE

CONFIG_FOLDER = "jupyterhub_config.d"

CODE_FOLDERS = ("/usr/local/etc/jupyterhub", "/usr/local/bin", "/usr/local/lib", "/srv/jupyterhub", "/home/jovyan")
"""Where the chart's hub has its programs and its configuration, and looks for more: what is mounted there can be code."""

SPAWNERS = ("kubespawner.KubeSpawner", "kubespawner.spawner.KubeSpawner")
"""Names of the spawner that the checks of users' pods read."""


@REGISTRY.check(
    "hub-code",
    family="exposure",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Read it, and name its SHA-256 in reviewedCode of the policy pack's configuration.",
)
@on_hub_values
def hub_code(values: Values, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Code that the hub runs was read by somebody: it can undo every limit, and no check can tell.

    Plain assignments such as `c.KubeSpawner.mem_limit = "1G"` are judged as values.
    """
    reviewed: list[str] = config.get("reviewedCode") or []
    files = values.get("hub.extraFiles")
    written = [
        (f"hub.extraFiles.{name}", read(file, "stringData") or read(file, "binaryData"))
        for name, file in as_mapping(files).items()
        if _may_be_code(read(file, "mountPath"))
    ]
    for where, text in (*values.code(), *written, *([("hub.extraFiles", UNKNOWN)] if files is UNKNOWN else [])):
        if not isinstance(text, str):
            yield undecided(f"the code of {where}")
        elif digest(text) not in reviewed and not is_harmless(text):
            yield undecided(f"what the code of {where} does (SHA-256 {digest(text)})")
    for where, given in _replacing(values):
        text = json.dumps(plain(given), sort_keys=True, default=repr)
        if holds_unknown(given) or digest(text) not in reviewed:
            yield undecided(f"what is run by {where} (SHA-256 {digest(text)})")
    spawner = values.config("JupyterHub", "spawner_class")
    if spawner is UNKNOWN:
        yield undecided("hub.config.JupyterHub.spawner_class")
    elif spawner is not None and spawner not in SPAWNERS:
        yield violation(f"makes users' servers by another spawner than the checks read (spawner_class is {spawner!r})")


def _replacing(values: Values) -> Iterator[tuple[str, Value]]:
    """Values that put other programs beside the chart's or in their place."""
    for path in ("hub.command", "hub.args", "hub.extraContainers", "hub.initContainers"):
        given = values.get(path)
        if given is UNKNOWN or given:
            yield path, given
    for number, mount in enumerate(items(values.get("hub.extraVolumeMounts"))):
        if _may_be_code(read(mount, "mountPath")):
            yield f"hub.extraVolumeMounts[{number}]", mount


def _may_be_code(place: Value) -> bool:
    """Whether the hub may run what is mounted at a place: it is among its code, or above it."""
    if not isinstance(place, str):
        return True
    path = f"{posixpath.normpath(place)}/".replace("//", "/")
    return CONFIG_FOLDER in path or any(path.startswith(f"{at}/") or f"{at}/".startswith(path) for at in CODE_FOLDERS)
