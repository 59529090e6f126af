"""Checks and the few policy objects that run them: the SDK decodes every resource once for each object."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)


@dataclass(frozen=True)
class Finding:
    """What a check found wrong, or could not decide."""

    message: str
    undecided: bool = False


def violation(message: str) -> Finding:
    """Something is wrong: a whole sentence with the value and what to do."""
    return Finding(message)


def undecided(what: str) -> Finding:
    """The property `what` is not known yet, so the check cannot say."""
    return Finding(f"{what} is not known before the update", undecided=True)


Judge = Callable[[str, Any, Mapping[str, Any]], Iterator[Finding]]
"""A check's function: the resource's name, its properties and the family's configuration."""


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


@dataclass
class Registry:
    """The pack's checks, in the order in which they are declared."""

    checks: list[Check] = field(default_factory=list[Check])

    def check(
        self, identifier: str, *, family: str, severity: str, types: tuple[str, ...], remediation: str
    ) -> Callable[[Judge], Judge]:
        """Register the decorated function as a check; its docstring is the description."""

        def register(judge: Judge) -> Judge:
            description = (judge.__doc__ or "").strip()
            self.checks.append(Check(identifier, family, severity, types, remediation, judge, description))
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
        """What the family's checks (all with None) find on a resource."""
        disabled: list[str] = config.get("disabled") or []
        for check in self.checks:
            if (family is None or check.family == family) and type_ in check.types and check.id not in disabled:
                for finding in check.judge(name, properties, config):
                    yield check, finding


REGISTRY = Registry()

FAMILY_CONFIG: dict[str, dict[str, Any]] = {
    "disabled": {"type": "array", "items": {"type": "string"}, "default": []},
    "maxCpu": {"type": "number", "default": 8},
    "maxInstanceCpu": {"type": "number", "default": 16},
    "maxMemoryBytes": {"type": "number", "default": 32 * 2**30},
    "maxServers": {"type": "number", "default": 1000},
    "maxAgeSeconds": {"type": "number", "default": 7 * 24 * 3600},
    "allowOpen": {"type": "boolean", "default": False},
    "usersInContainers": {"type": "boolean", "default": False},
}
"""Configuration that every family takes: checks switched off by id, the most that a stack may grant, and whether users'
code runs in containers on its hosts, which the metadata service's hop limit keeps from a host's role."""


def message(check: Check, type_: str, name: str, finding: Finding) -> str:
    """The report's text: the check, the resource, what was found and what to do."""
    return f"[{check.id}] {name} ({type_}): {finding.message}. {check.remediation}"


def family_policy(family: str, description: str) -> ResourceValidationPolicy:
    """A policy that reports the violations of one family of checks."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
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
