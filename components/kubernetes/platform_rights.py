"""What a deployer must be allowed to do for a `NotebookPlatform`."""

from components.kubernetes.operator_access import notebook_roles, operator_roles, requester_rules
from components.kubernetes.platform_arguments import NotebookPlatformArgs, is_forwarded
from components.kubernetes.rights import Right, granted_rights, needed_rights

DEPLOYED = (
    "admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
    "admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding",
    "apiextensions.k8s.io/v1:CustomResourceDefinition",
    "apps/v1:DaemonSet",
    "apps/v1:Deployment",
    "batch/v1:Job",
    "core/v1:ConfigMap",
    "core/v1:LimitRange",
    "core/v1:Namespace",
    "core/v1:ResourceQuota",
    "core/v1:Service",
    "core/v1:ServiceAccount",
    "kubeflow.org/v1:Notebook",
    "kubeflow.org/v1:Profile",
    "networking.k8s.io/v1:NetworkPolicy",
    "rbac.authorization.k8s.io/v1:ClusterRole",
    "rbac.authorization.k8s.io/v1:ClusterRoleBinding",
)
"""Types that the component makes, without `kubernetes:` before them."""

PULLING = ("rbac.authorization.k8s.io/v1:Role", "rbac.authorization.k8s.io/v1:RoleBinding")
"""Types that it makes beside with `imagePullSecrets`."""


def platform_rights(args: NotebookPlatformArgs) -> tuple[list[Right], list[Right]]:
    """What the deployer must be allowed, and what the roles hand on; see `components.kubernetes.rights`."""
    handed = [
        *(rule for rules in operator_roles().values() for rule in rules),
        *(rule for role in notebook_roles(forwarded=is_forwarded(args)).values() for rule in role["rules"]),
        *requester_rules(),
    ]
    types = (*DEPLOYED, *(PULLING if args.get("imagePullSecrets") else ()))
    return needed_rights(types), granted_rights(handed)
