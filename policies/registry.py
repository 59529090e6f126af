"""Checks and the few policy objects that run them: the SDK decodes every resource once for each object."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from policies import container_group, pool_bundle, stack_file
from policies.findings import Finding, Judge
from policies.kubernetes import objects
from policies.reader import Value, read
from policies.resource_types import CONTAINER_GROUP


@dataclass(frozen=True)
class Check:
    """One rule."""

    id: str
    family: str
    severity: str
    """`low`, `medium`, `high` or `critical`."""
    types: tuple[str, ...]
    """Pulumi type tokens that it looks at."""
    remediation: str
    judge: Judge
    description: str


@dataclass(frozen=True)
class StackResource:
    """A resource among all others of its stack."""

    type: str
    name: str
    urn: str
    id: Value
    """Its provider's id; `UNKNOWN` before it is made."""
    inputs: Value
    """Its properties as the program gave them; what the provider answered where `given` is False."""
    given: bool = True
    dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """URNs of the resources that each property comes from: known before the values are."""


CARRIED = (stack_file.carried, pool_bundle.carried, container_group.carried, objects.carried)
"""What tells the things that a resource carries."""

StackJudge = Callable[[Sequence[StackResource], Mapping[str, Any]], Iterator[tuple[StackResource, Finding]]]
"""A stack check's function: all resources and the configuration; each finding stands at the resource that it is about."""


@dataclass(frozen=True)
class StackCheck:
    """One rule on resources that count together."""

    id: str
    severity: str
    """`low`, `medium`, `high` or `critical`."""
    remediation: str
    judge: StackJudge
    description: str


@dataclass
class Registry:
    """The pack's checks, in the order in which they are declared."""

    checks: list[Check] = field(default_factory=list[Check])
    stack_checks: list[StackCheck] = field(default_factory=list[StackCheck])

    def check(
        self, identifier: str, *, family: str, severity: str, types: tuple[str, ...], remediation: str
    ) -> Callable[[Judge], Judge]:
        """Register the decorated function as a check; its docstring is the description."""

        def register(judge: Judge) -> Judge:
            description = (judge.__doc__ or "").strip()
            self.checks.append(Check(identifier, family, severity, types, remediation, judge, description))
            return judge

        return register

    def stack_check(self, identifier: str, *, severity: str, remediation: str) -> Callable[[StackJudge], StackJudge]:
        """Register the decorated function as a check of a whole stack; its docstring is the description."""

        def register(judge: StackJudge) -> StackJudge:
            description = (judge.__doc__ or "").strip()
            self.stack_checks.append(StackCheck(identifier, severity, remediation, judge, description))
            return judge

        return register

    def findings(
        self,
        family: str | None,
        type_: str,
        name: str,
        properties: Any,
        config: Mapping[str, Any],
    ) -> Iterator[tuple[Check, Finding]]:
        """What the family's checks (all with None) find on a resource and on what it carries."""
        disabled: list[str] = config.get("disabled") or []
        if type_ == CONTAINER_GROUP:
            properties = container_group.described(properties)
        for check in self.checks:
            if (family is None or check.family == family) and type_ in check.types and check.id not in disabled:
                for finding in check.judge(name, properties, config):
                    yield check, finding
        for part in (part for carried in CARRIED for part in carried(type_, properties)):
            for check, finding in self.findings(family, part.type, part.name, part.properties, config):
                yield check, replace(finding, message=f"{part.prefix}{finding.message}")

    def stack_findings(
        self, resources: Sequence[StackResource], config: Mapping[str, Any]
    ) -> Iterator[tuple[StackCheck, StackResource, Finding]]:
        """What the stack checks find among all resources."""
        disabled: list[str] = config.get("disabled") or []
        for check in self.stack_checks:
            if check.id not in disabled:
                for resource, finding in check.judge(resources, config):
                    yield check, resource, finding


REGISTRY = Registry()

INPUTS: dict[str, Value] = {}
"""Inputs of each resource by its URN, kept from its own validation.

A stack's validation is handed outputs alone: before an update most are unknown, and a security group's hold, after a
refresh, the rules of other resources. The engine validates every resource before the stack, in the same process.
"""

FAMILY_CONFIG: dict[str, dict[str, Any]] = {
    "disabled": {"type": "array", "items": {"type": "string"}, "default": []},
    "maxCpu": {"type": "number", "default": 8},
    "maxInstanceCpu": {"type": "number", "default": 16},
    "maxMemoryBytes": {"type": "number", "default": 32 * 2**30},
    "maxServers": {"type": "number", "default": 1000},
    "maxNodeMemoryBytes": {"type": "number", "default": 2**40},
    "maxAgeSeconds": {"type": "number", "default": 7 * 24 * 3600},
    "maxRecordSeconds": {"type": "number", "default": 60},
    "allowOpen": {"type": "boolean", "default": False},
    "usersInContainers": {"type": "boolean", "default": False},
    "allowOpenHub": {"type": "boolean", "default": False},
    "reviewedCode": {"type": "array", "items": {"type": "string"}, "default": []},
    "knownCharts": {"type": "array", "items": {"type": "string"}, "default": []},
}
"""Configuration that every family takes.

`disabled`: ids of checks that are switched off. `maxCpu`, `maxMemoryBytes`, `maxServers`, `maxAgeSeconds`,
`maxInstanceCpu`: the most that a stack may grant. `maxNodeMemoryBytes`: the most memory that the servers of a pool's
nodes on one engine may use together. `maxRecordSeconds`: how long others may remember an address. `allowOpen`: users'
code may reach every public address. `usersInContainers`: it runs in containers on a stack's hosts, which the metadata
service's hop limit keeps from a host's role. `allowOpenHub`: a hub may let everybody in without a password.
`reviewedCode`: SHA-256, in hexadecimal, of code in a hub's `extraConfig`, or of a value that runs other programs, that
somebody has read; no check can tell what other code does. `knownCharts`: names of charts beside `jupyterhub` that somebody has looked at; what a Helm release
makes of another one no check can see.
"""


def message(check: Check | StackCheck, type_: str, name: str, finding: Finding) -> str:
    """The report's text: the check, the resource, what was found and what to do."""
    return f"[{check.id}] {name} ({type_}): {finding.message}. {check.remediation}"


def family_policy(family: str, description: str) -> ResourceValidationPolicy:
    """A policy that reports the violations of one family of checks."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        INPUTS[args.urn] = args.props
        config = args.get_config()
        for check, finding in REGISTRY.findings(family, args.resource_type, args.name, args.props, config):
            if not finding.undecided:
                report(message(check, args.resource_type, args.name, finding), args.urn)

    return ResourceValidationPolicy(
        name=f"hubstack-{family}",
        description=description,
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        config_schema=PolicyConfigSchema(properties=FAMILY_CONFIG),
    )


def undecided_policy() -> ResourceValidationPolicy:
    """A policy that reports what no check could decide, so that its level can be set apart."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        INPUTS[args.urn] = args.props
        config = args.get_config()
        for check, finding in REGISTRY.findings(None, args.resource_type, args.name, args.props, config):
            if finding.undecided:
                report(f"undecided: {message(check, args.resource_type, args.name, finding)}", args.urn)

    return ResourceValidationPolicy(
        name="hubstack-undecided",
        description="Every check could be decided: nothing that it reads is unknown before the update.",
        validate=validate,
        enforcement_level=EnforcementLevel.ADVISORY,
        config_schema=PolicyConfigSchema(properties=FAMILY_CONFIG),
    )


def stack_resource(resource: PolicyResource) -> StackResource:
    """A resource as the checks see it, from the engine's account of it."""
    return StackResource(
        type=resource.resource_type,
        name=resource.name,
        urn=resource.urn,
        id=read(resource.props, "id"),
        inputs=INPUTS.get(resource.urn, resource.props),
        given=resource.urn in INPUTS,
        dependencies={key: [found.urn for found in given] for key, given in resource.property_dependencies.items()},
    )


def stack_policy(name: str, description: str, level: EnforcementLevel, *, undecided: bool) -> StackValidationPolicy:
    """A policy that reports what the stack checks find wrong, or with `undecided` what they could not decide."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        resources = [stack_resource(resource) for resource in args.resources]
        for check, resource, finding in REGISTRY.stack_findings(resources, args.get_config()):
            if finding.undecided == undecided:
                text = message(check, resource.type, resource.name, finding)
                report(f"undecided: {text}" if undecided else text, resource.urn)

    return StackValidationPolicy(
        name=name,
        description=description,
        validate=validate,
        enforcement_level=level,
        config_schema=PolicyConfigSchema(properties=FAMILY_CONFIG),
    )
