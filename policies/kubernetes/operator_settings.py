"""The notebook operator's settings: a ConfigMap whose file says what every profile's namespace is furnished with."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from policies import resource_types as types
from policies.findings import Finding, Judge, undecided
from policies.iam_documents import as_list
from policies.parts import Part
from policies.reader import UNKNOWN, Value, as_mapping, read

NAME = "notebook-operator"
FILE = "settings.json"
CARRIER = "settings"

Settings = Mapping[str, Value]
SettingsJudge = Callable[[Settings, Mapping[str, Any]], Iterator[Finding]]
"""A check's function on the operator's settings: the settings, empty if they cannot be read, and the configuration."""


def operator_settings(properties: Value) -> Value:
    """The settings in a ConfigMap: empty where they cannot be read, `UNKNOWN` before they are known, None in any other."""
    is_operators = read(properties, "metadata", "name") == NAME
    text = read(properties, "data", FILE)
    if text is UNKNOWN:
        return UNKNOWN if is_operators or read(properties, "data") is not UNKNOWN else None
    if not isinstance(text, str):
        return {} if is_operators else None
    try:
        settings: Settings = as_mapping(json.loads(text))
    except ValueError:
        settings = {}
    return settings if is_operators or "profile" in settings else None


def on_operator_settings(judge: SettingsJudge) -> Judge:
    """Make a check's function on the operator's settings one on the ConfigMaps that may hold them."""

    @functools.wraps(judge)
    def on_resource(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
        settings = operator_settings(properties)
        if settings is UNKNOWN:
            yield undecided(f"data.{FILE}")
        elif settings is not None:
            yield from judge(settings, config)

    return on_resource


def manifests(settings: Value) -> list[Value]:
    """What every profile's namespace is furnished with."""
    return as_list(as_mapping(as_mapping(settings).get("profile")).get("manifests"))


def parts(properties: Value) -> Iterator[Part]:
    """What the operator makes of its settings: profiles' namespaces with all in them, notebooks and their routes."""
    settings = operator_settings(properties)
    if settings is UNKNOWN or not settings:
        return
    profile, notebook = as_mapping(settings.get("profile")), as_mapping(settings.get("notebook"))
    yield Part(
        types.NAMESPACE, "the profiles' namespace", {"metadata": {"labels": profile.get("namespaceLabels")}}, CARRIER
    )
    for manifest in manifests(settings):
        kind, name = read(manifest, "kind"), read(manifest, "metadata", "name")
        yield Part("", f"{kind} {name}", manifest, CARRIER)
    server = {"name": "notebook", "image": notebook.get("image"), "resources": notebook.get("resources")}
    environment = [{"name": key, "value": value} for key, value in as_mapping(notebook.get("environment")).items()]
    pod = {"spec": {"template": {"spec": {"containers": [{**server, "env": environment}]}}}}
    yield Part(types.NOTEBOOK, "a notebook", pod, CARRIER)
    route = as_mapping(settings.get("route"))
    if route.get("kind") == "HTTPRoute":
        yield Part(types.HTTP_ROUTE, "a notebook's route", {"spec": {"parentRefs": route.get("parents")}}, CARRIER)
