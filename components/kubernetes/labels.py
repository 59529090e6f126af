"""Labels by which the policy pack and the tests find what belongs to a stack."""

STACK_LABEL = "hubstack.stack"
ROLE_LABEL = "hubstack.role"

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label that Kubernetes puts on every namespace: its name, which nobody can change."""


def labels(stack: str, role: str) -> dict[str, str]:
    """The labels of an object with `role` in `stack`."""
    return {STACK_LABEL: stack, ROLE_LABEL: role}
