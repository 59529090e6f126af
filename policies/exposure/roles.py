"""IAM documents: no star where a name would do."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.iam_documents import as_list, statements
from policies.reader import UNKNOWN, Value, as_mapping, read
from policies.registry import REGISTRY
from policies.resource_types import IAM_POLICY, ROLE, ROLE_ATTACHMENT, ROLE_POLICY

READING = ("Describe", "List", "Get")
ADMINISTRATORS = (
    "AdministratorAccess",
    "PowerUserAccess",
    "IAMFullAccess",
    "AmazonEC2FullAccess",
    "AmazonS3FullAccess",
)


def _allowing(text: Value) -> Iterator[Mapping[str, Value]]:
    yield from (statement for statement in statements(text) if statement.get("Effect") == "Allow")


@REGISTRY.check(
    "role-actions",
    family="exposure",
    severity="critical",
    types=(ROLE_POLICY, IAM_POLICY),
    remediation="Name each action.",
)
def role_actions(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No role is allowed all actions of a service, or all but some."""
    text = read(properties, "policy")
    if text is UNKNOWN:
        # It names resources that are made in the same update, which judges it.
        return
    for statement in _allowing(text):
        if "NotAction" in statement:
            yield violation("allows everything but some actions (NotAction)")
        for action in as_list(statement.get("Action")):
            if str(action).endswith("*") and not str(action).split(":")[-1].startswith(READING):
                yield violation(f"allows {action}")


@REGISTRY.check(
    "role-resources",
    family="exposure",
    severity="high",
    types=(ROLE_POLICY, IAM_POLICY),
    remediation="Name the resources, or set a condition such as the cluster's tag.",
)
def role_resources(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What changes something is allowed on named resources or under a condition."""
    text = read(properties, "policy")
    if text is UNKNOWN:
        return
    for statement in _allowing(text):
        changing = [a for a in as_list(statement.get("Action")) if not str(a).split(":")[-1].startswith(READING)]
        # An operator without a key limits nothing.
        limited = any(as_mapping(keys) for keys in as_mapping(statement.get("Condition")).values())
        if changing and "*" in as_list(statement.get("Resource")) and not limited:
            yield violation(f"allows {', '.join(map(str, changing))} on everything")


@REGISTRY.check(
    "role-trust",
    family="exposure",
    severity="critical",
    types=(ROLE,),
    remediation="Name the service or account that takes the role on.",
)
def role_trust(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A role is taken on by a named service or account."""
    text = read(properties, "assumeRolePolicy")
    if text is UNKNOWN:
        yield undecided("assumeRolePolicy")
        return
    for statement in _allowing(text):
        principal = statement.get("Principal")
        named = as_mapping(principal)
        if principal == "*" or any("*" in as_list(value) for value in named.values()):
            yield violation("lets anybody take it on")


@REGISTRY.check(
    "role-attachment",
    family="exposure",
    severity="critical",
    types=(ROLE_ATTACHMENT,),
    remediation="Write a policy that names actions and resources.",
)
def role_attachment(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No role gets an administrator's rights."""
    arn = read(properties, "policyArn")
    if arn is UNKNOWN:
        yield undecided("policyArn")
    elif str(arn).rsplit("/", 1)[-1] in ADMINISTRATORS:
        yield violation(f"attaches {arn}")
