"""What the API server refuses the operator: to write where no profile is, and to weaken what protects a profile.

Roles cannot say it. The operator makes namespaces and binds itself a role in them, so by its ClusterRole it could bind
itself that role in `kube-system` as well. These ValidatingAdmissionPolicies judge what it writes by the namespace.

A namespace is the operator's if its labels say that it is a profile's of this stack, or of none: those are Kubeflow's, which
the operator takes over. Only who administers a cluster labels the others.
"""

from typing import Any

from components.kubernetes.notebook_admission import Validation
from components.kubernetes.operator_deployment import OPERATOR
from components.kubernetes.profile_manifests import profile_labels
from runtime.notebook_operator.access import ADMIN_ROLE, EDIT_ROLE, TENANT_ROLE, VIEW_ROLE
from runtime.notebook_operator.names import OWNER, PART_OF, PROFILE_PART, STACK

Spec = dict[str, Any]


def operator_user(stack: str) -> str:
    """Name by which the API server knows the operator of a stack."""
    return f"system:serviceaccount:{stack}:{OPERATOR}"


def operator_policies(stack: str) -> dict[str, Spec]:
    """Specs of the policies by what the operator writes; each is for the operator of `stack` alone."""
    return {
        "operator-namespaces": _policy(stack, "", "namespaces", "oldObject", _namespace_rules(stack)),
        "operator-bindings": _policy(
            stack, "rbac.authorization.k8s.io", "rolebindings", "namespaceObject", _binding_rules(stack)
        ),
    }


def _policy(stack: str, group: str, resource: str, place: str, rules: list[Validation]) -> Spec:
    rule = {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
        "scope": "*",
    }
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "resourceRules": [rule],
            "namespaceSelector": {},
            "objectSelector": {},
        },
        "matchConditions": [
            {"name": "operator", "expression": f"request.userInfo.username == '{operator_user(stack)}'"}
        ],
        "variables": [
            {"name": "labels", "expression": f"{place} == null ? {{}} : {place}.metadata.?labels.orValue({{}})"},
            {
                "name": "annotations",
                "expression": f"{place} == null ? {{}} : {place}.metadata.?annotations.orValue({{}})",
            },
            {
                "name": "own",
                "expression": (
                    f"variables.labels[?'{PART_OF}'].orValue('') == '{PROFILE_PART}' && "
                    f"'{OWNER}' in variables.annotations && "
                    f"variables.labels[?'{STACK}'].orValue('{stack}') == '{stack}'"
                ),
            },
        ],
        "validations": rules,
    }


def _namespace_rules(stack: str) -> list[Validation]:
    given = "object.metadata.?labels.orValue({})"
    kept = " && ".join(
        f"{given}[?'{key}'].orValue('') == '{value}'" for key, value in sorted(profile_labels(stack).items())
    )
    return [
        {
            "expression": "request.operation == 'CREATE' || variables.own",
            "message": f"the operator changes namespaces of profiles of the stack {stack} alone",
            "reason": "Forbidden",
        },
        {
            "expression": kept,
            "message": "a profile's namespace has its labels: whose it is, and the Pod Security Standard restricted",
            "reason": "Forbidden",
        },
    ]


def _binding_rules(stack: str) -> list[Validation]:
    roles = ", ".join(f"'{role}'" for role in (TENANT_ROLE, ADMIN_ROLE, EDIT_ROLE, VIEW_ROLE))
    return [
        {
            "expression": "variables.own",
            "message": f"the operator binds roles in namespaces of profiles of the stack {stack} alone",
            "reason": "Forbidden",
        },
        {
            "expression": f"object.roleRef.kind == 'ClusterRole' && object.roleRef.name in [{roles}]",
            "message": "the operator binds its own role and those of a notebook's people alone",
            "reason": "Forbidden",
        },
        {
            "expression": (
                f"object.roleRef.name != '{TENANT_ROLE}' || object.?subjects.orValue([]).all(s, "
                f"s.kind == 'User' && s.name == '{operator_user(stack)}')"
            ),
            "message": f"nobody but the operator has the role {TENANT_ROLE}",
            "reason": "Forbidden",
        },
    ]
