"""What the plugins serve against what the Python SDKs send."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stacks import ROOT, needs_pulumi
from toolchain.installer import plugin_path

pytestmark = pytest.mark.engine

VERSIONS: dict[str, str] = tomllib.loads((ROOT / "toolchain/versions.toml").read_text())["plugins"]
BUILT = sorted(set(VERSIONS) - {"kubernetes"})
"""The plugins that the toolchain can build; Kubernetes' own is downloaded by whoever deploys to a cluster, and
tests/engine/kubernetes_provider, which stands in for it, has no schema."""

NEWER_IN_THE_SDK = {
    "autoscaling/group:Group.instanceLifecyclePolicy",
    "cloudwatch/metricAlarm:MetricAlarm.evaluationWindow",
    "cloudwatch/metricAlarm:MetricAlarm.warmUpConfiguration",
    "ec2/LaunchTemplateNetworkInterface:LaunchTemplateNetworkInterface.enaQueueCount",
    "ec2/flowLog:FlowLog.tagFieldSpecifications",
    "ec2/networkInterface:NetworkInterface.connectionTrackingSpecification",
    "dlm/LifecyclePolicyPolicyDetailsParameters:LifecyclePolicyPolicyDetailsParameters.excludeDataVolumeTags",
    "lb/ListenerRuleConditionSourceIp:ListenerRuleConditionSourceIp.ipAddressType",
    "secretsmanager/secret:Secret.type",
    "sns/topic:Topic.maximumMessageSize",
}
"""Properties of pulumi_aws 7.51.1 that the upstream commit does not have; the project must not use them."""

Schema = dict[str, Any]


def used_attributes(package: str) -> set[str]:
    """Dotted names below the SDK that the components name: `Service`, or `ec2.Vpc`."""
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
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                head, _, rest = ast.unparse(node).partition(".")
                if head in aliases:
                    names.add(rest)
    return names


def served_schema(package: str) -> Schema:
    needs_pulumi()
    plugin = plugin_path(package, VERSIONS[package])
    told = subprocess.run(
        ["pulumi", "package", "get-schema", str(plugin)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    return json.loads(told.stdout)


def sdk_class(package: str, token: str, suffix: str = "") -> type | None:
    """The SDK's class for `package:module/file:Name`; what lies in the module `index` is at the top."""
    _, module, name = token.split(":")
    module = module.split("/")[0]
    place = importlib.import_module(f"pulumi_{package}" + ("" if module == "index" else f".{module}"))
    return getattr(place, name + suffix, None)


def arguments_class(resource: type) -> type:
    """The class of a resource's arguments; one that has a nested type's name has another."""
    module = importlib.import_module(resource.__module__)
    name = resource.__name__
    return getattr(module, f"{name}InitArgs", None) or getattr(module, f"{name}Args")


def sdk_properties(cls: type) -> dict[str, set[str]]:
    """Names on the wire of an SDK class's properties, each with the kinds of value that it takes."""
    return {
        getattr(member.fget, "_pulumi_name", name): kinds_of(str(member.fget.__annotations__["return"]))
        for name, member in inspect.getmembers(cls, lambda value: isinstance(value, property))
    }


def kinds_of(annotation: str) -> set[str]:
    if "Sequence" in annotation:
        return {"array"}
    # Policy documents are text or objects.
    names = {"bool": "boolean", "int": "integer", "float": "number", "str": "string"}
    kinds = {kind for name, kind in names.items() if re.search(rf"(^|Union\[|, |'){name}\b", annotation)}
    if "Mapping" in annotation and "Args" not in annotation:
        return {"object"}
    return kinds | ({"object"} if "Args" in annotation or "Asset" in annotation else set())


def served_kind(property_: Schema) -> str:
    return "object" if "$ref" in property_ else property_["type"]


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref" and inner.startswith("#/types/"):
                yield inner.removeprefix("#/types/").replace("%2F", "/")
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def differences(token: str, served: Schema, cls: type) -> Iterator[str]:
    name = token.split(":", 1)[1]
    for property_, kinds in sdk_properties(cls).items():
        if property_ not in served:
            yield f"{name}.{property_}"
        elif served_kind(served[property_]) not in kinds:
            yield f"{name}.{property_} is served as {served_kind(served[property_])}, sent as {sorted(kinds)}"


@pytest.mark.parametrize("package", BUILT)
def test_every_property_that_the_sdk_can_send_is_served(package: str):
    schema = served_schema(package)
    used = {name.rsplit(".", 1)[-1] for name in used_attributes(package)}
    # All that the AWS plugin serves was chosen for this project; the others serve all that there is.
    resources = {t: r for t, r in schema["resources"].items() if package == "aws" or t.rsplit(":", 1)[1] in used}
    found: list[str] = []
    for token, resource in resources.items():
        cls = sdk_class(package, token)
        assert cls, token
        found += differences(token, resource.get("inputProperties", {}), arguments_class(cls))
    unseen, seen = set(references([r.get("inputProperties") for r in resources.values()])), set[str]()
    while unseen:
        token = unseen.pop()
        seen.add(token)
        described = schema["types"][token]
        cls = sdk_class(package, token, "Args")
        assert cls, token
        found += differences(token, described.get("properties", {}), cls)
        unseen |= set(references(described)) - seen

    assert resources
    assert sorted(set(found) - NEWER_IN_THE_SDK) == []


@pytest.mark.parametrize("package", BUILT)
def test_every_resource_and_function_that_the_components_name_is_served(package: str):
    schema = served_schema(package)
    served = {
        (token.split(":")[1].split("/")[0], token.split(":")[2])
        for token in (*schema["resources"], *schema["functions"])
    }
    missing: list[str] = []
    for name in used_attributes(package):
        place, _, member = name.rpartition(".")
        function = re.fullmatch(r"get_(\w+?)(_output)?", member)
        if function:
            member = "get" + "".join(part.title() for part in function.group(1).split("_"))
        elif not member[:1].isupper() or member.endswith("Args") or member == "Provider":
            continue
        if not any(member == n and (not place or place == m) for m, n in served):
            missing.append(name)

    assert missing == []


def test_nothing_that_is_newer_in_the_sdk_is_used():
    newer = {re.sub(r"(?<!^)(?=[A-Z])", "_", name.rsplit(".", 1)[1]).lower() for name in NEWER_IN_THE_SDK} - {"type"}
    for file in (ROOT / "components").rglob("*.py"):
        keywords = {node.arg for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.keyword)}
        assert not keywords & newer, file
