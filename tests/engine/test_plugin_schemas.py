"""What the plugins serve against what the Python SDKs send, for every resource that the project uses."""

import ast
import importlib
import inspect
import json
import os
import subprocess
from typing import Any

import pytest

from tests.stacks import ROOT, needs_pulumi
from toolchain.installer import plugin_path

pytestmark = pytest.mark.engine

VERSIONS = {"docker": "5.2.0", "random": "4.21.4", "tls": "5.6.2"}


def used_names(package: str) -> set[str]:
    """Classes of the SDK that the components construct."""
    names: set[str] = set()
    for file in (ROOT / "components").rglob("*.py"):
        tree = ast.parse(file.read_text())
        aliases = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.name == f"pulumi_{package}"
        }
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
        }
    return names


def sdk_properties(cls: type) -> set[str]:
    """The names on the wire of an SDK class's properties."""
    return {
        getattr(member.fget, "_pulumi_name", name)
        for name, member in inspect.getmembers(cls, lambda value: isinstance(value, property))
    }


@pytest.fixture(scope="module", params=sorted(VERSIONS))
def served(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    needs_pulumi()
    plugin = plugin_path(request.param, VERSIONS[request.param])
    told = subprocess.run(
        ["pulumi", "package", "get-schema", str(plugin)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    return request.param, json.loads(told.stdout)


def test_every_property_that_the_sdk_can_send_is_served(served: tuple[str, dict[str, Any]]):
    package, schema = served
    sdk = importlib.import_module(f"pulumi_{package}")
    differences: list[str] = []
    resources = {token.rsplit(":", 1)[1]: resource for token, resource in schema["resources"].items()}
    types = {token.rsplit(":", 1)[1]: described for token, described in schema.get("types", {}).items()}
    compared = 0
    for name in sorted(used_names(package)):
        if name == "Provider":
            continue
        target = resources.get(name) or types.get(name.removesuffix("Args"))
        if target is None:
            differences.append(f"{name} is not served")
            continue
        properties = target.get("inputProperties") or target["properties"]
        cls = getattr(sdk, name)
        sent = sdk_properties(cls) if name.endswith("Args") else input_names(cls)
        differences += [f"{name}.{missing} is not served" for missing in sorted(sent - set(properties))]
        compared += 1

    assert compared
    assert differences == []


def input_names(cls: type) -> set[str]:
    """The names on the wire of a resource's inputs, from the arguments class that its constructor takes."""
    module = importlib.import_module(cls.__module__)
    return sdk_properties(getattr(module, f"{cls.__name__}Args"))
