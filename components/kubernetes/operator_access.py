"""What people may do with notebooks: ClusterRoles that are granted within a profile's namespace, and one for requests.

There is no star in any of them, no `pods/exec` (a terminal in the notebook is the same), no way to change roles, quotas
or network policies, and nothing that reaches another namespace.
"""

from typing import Any

from components.kubernetes.tenancy import PolicyRule
from runtime.notebook_operator.access import ADMIN_ROLE, CLUSTER_RULES, EDIT_ROLE, TENANT_ROLE, TENANT_RULES, VIEW_ROLE

RBAC_GROUP = "rbac.authorization.k8s.io"
OPERATOR_ROLE = "hubstack-notebook-operator"
REQUESTER_ROLE = "hubstack-notebook-requester"

READ = ("get", "list", "watch")
KUBEFLOW_AGGREGATION = "rbac.authorization.kubeflow.org/aggregate-to-kubeflow-"
"""Label by which Kubeflow's own role `kubeflow-<admin|edit|view>`, where there is one, takes over a role's rules."""


def notebook_roles(*, forwarded: bool) -> dict[str, dict[str, Any]]:
    """Labels and rules of the roles by name, least first.

    Args:
        forwarded: whether people reach their notebooks by `kubectl port-forward`, for want of a route.
    """
    view = [
        _rule("kubeflow.org", ["notebooks", "notebooks/status"], READ),
        _rule("", ["events", "limitranges", "persistentvolumeclaims", "pods", "resourcequotas"], READ),
    ]
    edit = [
        *view,
        _rule("kubeflow.org", ["notebooks"], ("create", "delete", "patch", "update")),
        # A token opens its notebook. `get` alone: who may list secrets may read them all.
        _rule("", ["secrets"], ("get",)),
        _rule("", ["pods/log"], ("get",)),
        _rule("", ["persistentvolumeclaims"], ("create",)),
        *([_rule("", ["pods/portforward"], ("create",))] if forwarded else []),
    ]
    # Homes outlive their notebooks and count towards the quota, so their owner can delete them.
    admin = [*edit, _rule("", ["persistentvolumeclaims"], ("delete",))]
    return {
        name: {"labels": {f"{KUBEFLOW_AGGREGATION}{level}": "true"}, "rules": rules}
        for name, level, rules in ((VIEW_ROLE, "view", view), (EDIT_ROLE, "edit", edit), (ADMIN_ROLE, "admin", admin))
    }


def requester_rules() -> list[PolicyRule]:
    """Rules of `REQUESTER_ROLE`, for making NotebookRequests: `create` alone, for a request may hold what is somebody's own.

    What came of a request is read in one's own namespace.
    """
    return [_rule("hubstack.io", ["notebookrequests"], ("create",))]


def operator_roles() -> dict[str, list[PolicyRule]]:
    """Rules of the operator's two ClusterRoles by name: for the whole cluster, and for profiles' namespaces."""
    given: dict[str, Any] = {OPERATOR_ROLE: CLUSTER_RULES, TENANT_ROLE: TENANT_RULES}
    return given


def _rule(group: str, resources: list[str], verbs: tuple[str, ...]) -> PolicyRule:
    return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
