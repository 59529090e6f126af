"""A whole stack under the pack, as the policies' configuration of one stack sets it, before and in an update."""

import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from pulumi.runtime import mocks
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.proxy import unknown_checking_proxy

import policies.pack  # noqa: F401  (registers the checks)
from policies.findings import Finding
from policies.registry import FAMILY_CONFIG, REGISTRY
from tests.policies.test_joined_rules import after
from tests.stacks import ROOT
from tests.unit import recording
from tests.unit.recording import Registration, record

DEFAULTS = {name: schema["default"] for name, schema in FAMILY_CONFIG.items()}
FAMILIES = ("quotas", "egress", "exposure", "data")

Properties = dict[str, Any]
Change = Callable[[Properties], object]
Told = tuple[str, str, Finding]
"""A check's id, a resource's name and what the check found on it."""


def levels(stack: str) -> dict[str, dict[str, Any]]:
    """The policies' configuration of a stack."""
    return json.loads((ROOT / "policies" / "config" / f"{stack}.json").read_text())


def told(registrations: Sequence[Registration], config: dict[str, dict[str, Any]], **changes: Any) -> list[Told]:
    """What each policy reports, with its own part of the configuration.

    What a family could not decide is the report of another policy, which has a configuration of its own.
    """
    found: list[Told] = []
    for r in registrations:
        properties = unknown_checking_proxy(deserialize_properties(r.properties))
        for family in FAMILIES:
            settings = {**DEFAULTS, **config[f"hubstack-{family}"], **changes}
            reports = REGISTRY.findings(family, r.type, r.name, properties, settings)
            found += [(check.id, r.name, finding) for check, finding in reports if not finding.undecided]
        settings = {**DEFAULTS, **config["hubstack-undecided"], **changes}
        reports = REGISTRY.findings(None, r.type, r.name, properties, settings)
        found += [(check.id, r.name, finding) for check, finding in reports if finding.undecided]
    for policy, undecided in (("hubstack-joined", False), ("hubstack-joined-undecided", True)):
        settings = {**DEFAULTS, **config[policy], **changes}
        joined = REGISTRY.stack_findings(after(registrations), settings)
        found += [
            (check.id, resource.name, finding) for check, resource, finding in joined if finding.undecided == undecided
        ]
    return found


def previewed(program: Callable[[], object]) -> list[Registration]:
    """What a program registers at its first preview, when nothing that a provider makes is known."""

    def unmade(_self: object, args: mocks.MockResourceArgs) -> tuple[str, Properties]:
        return "", args.inputs

    preview = functools.partial(mocks.set_mocks, preview=True)
    with (
        mock.patch.object(recording._Mocks, "new_resource", unmade),
        mock.patch.object(recording.mocks, "set_mocks", preview),
    ):
        return record(program).registrations


def changed(registrations: Sequence[Registration], where: tuple[str, str], change: Change) -> list[Registration]:
    """The stack with one resource, by its name and its type, changed."""
    [target] = [r for r in registrations if (r.name, r.type) == where]
    properties = copy.deepcopy(target.properties)
    change(properties)
    return [dataclasses.replace(r, properties=properties) if r is target else r for r in registrations]
