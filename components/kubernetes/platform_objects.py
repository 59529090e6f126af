"""What a platform puts into a cluster outside all namespaces, under names that are the same for every stack."""

from typing import Any

from components.kubernetes.custom_resources import definitions
from components.kubernetes.notebook_admission import notebook_policy, request_policy
from components.kubernetes.operator_access import (
    OPERATOR_ROLE,
    REQUESTER_ROLE,
    notebook_roles,
    operator_roles,
    requester_rules,
)
from components.kubernetes.operator_admission import operator_policies
from components.kubernetes.platform_arguments import NotebookPlatformArgs, is_forwarded
from components.kubernetes.tenancy import limited_resources

Spec = dict[str, Any]


def policy_name(kind: str) -> str:
    """Name of an admission policy and of its binding."""
    return f"hubstack-{kind}"


def admission_policies(stack: str, args: NotebookPlatformArgs) -> dict[str, Spec]:
    """Specs of the ValidatingAdmissionPolicies by what they judge."""
    resources = limited_resources(args.get("namespaceQuota", {}))
    return {
        "notebooks": notebook_policy(stack, resources=resources),
        "requests": request_policy(stack, resources=resources),
        **operator_policies(stack),
    }


def cluster_roles(args: NotebookPlatformArgs) -> dict[str, Spec]:
    """Labels and rules of the ClusterRoles by name."""
    return {
        **{name: {"labels": {}, "rules": rules} for name, rules in operator_roles().items()},
        **notebook_roles(forwarded=is_forwarded(args)),
        REQUESTER_ROLE: {"labels": {}, "rules": requester_rules()},
    }


def fixed_names(stack: str, args: NotebookPlatformArgs) -> dict[str, list[str]]:
    """Names of all of it by kind."""
    policies = [policy_name(kind) for kind in admission_policies(stack, args)]
    return {
        "ClusterRoleBinding": [OPERATOR_ROLE, REQUESTER_ROLE],
        "ClusterRole": list(cluster_roles(args)),
        "ValidatingAdmissionPolicy": policies,
        "ValidatingAdmissionPolicyBinding": policies,
        "CustomResourceDefinition": list(definitions(stack)),
    }
