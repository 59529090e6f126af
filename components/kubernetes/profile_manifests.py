"""What the operator puts into each profile's namespace: who may do what there, how much, and what it may reach."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from components.kubernetes.isolation import (
    EgressRules,
    PodTarget,
    allow_ingress_policy,
    deny_all_policy,
    user_egress_policy,
)
from components.kubernetes.labels import labels
from components.kubernetes.operator_access import RBAC_GROUP
from components.kubernetes.quantities import count_quantity
from components.kubernetes.tenancy import limit_range_spec, pod_security_labels, resource_quota_spec, user_resources
from components.quotas import UserQuota
from runtime.notebook_operator.access import EDIT_ROLE, VIEW_ROLE

NOTEBOOK_PORT = 8888
"""Port of every notebook server."""

PROFILE_ROLE = "profile"
"""Value of the label `hubstack.role` of every profile's namespace."""

SPARE_SECRETS = 10
"""Secrets of a profile's namespace beside one for each notebook: what an administrator puts there."""

Manifest = dict[str, Any]


class ProfilePlan(TypedDict):
    """What all profiles' namespaces have in common."""

    stack: str
    """Value of the label `hubstack.stack`."""
    userQuota: UserQuota
    """What one notebook may use."""
    notebooks: int
    """Most notebooks of one user, stopped ones included."""
    hard: Mapping[str, str]
    """Limits of the namespace that take the place of computed ones."""
    pullSecrets: int
    """How many Secrets with credentials of registries are copied into the namespace."""
    egress: EgressRules
    """What notebooks may reach."""
    proxy: PodTarget | None
    """Pods of the egress proxy, where one runs."""
    sources: Sequence[PodTarget]
    """Who reaches notebooks: the gateway's pods and the operator."""


def profile_labels(stack: str) -> dict[str, str]:
    """Labels of a profile's namespace: those that policies select it by, Kubeflow's own, and Pod Security's."""
    return {
        **labels(stack, PROFILE_ROLE),
        "app.kubernetes.io/part-of": "kubeflow-profile",
        **pod_security_labels("restricted"),
    }


def profile_manifests(plan: ProfilePlan) -> list[Manifest]:
    """Complete objects without a namespace; the operator adds the service accounts and the owner's own binding."""

    def manifest(api: str, kind: str, name: str, **content: object) -> Manifest:
        metadata = {"name": name, "labels": labels(plan["stack"], PROFILE_ROLE)}
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}

    def policy(name: str, spec: Manifest) -> Manifest:
        return manifest("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)

    def binding(account: str, role: str) -> Manifest:
        # The operator puts the namespace's name in place of the text.
        subject = {"kind": "ServiceAccount", "name": account, "namespace": "$(namespace)"}
        role_ref = {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role}
        return manifest(f"{RBAC_GROUP}/v1", "RoleBinding", account, roleRef=role_ref, subjects=[subject])

    # Every pod of the namespace, so that no label leads out of a policy.
    everything: dict[str, str] = {}
    egress = user_egress_policy(plan["egress"], user_pods=everything, proxy=plan["proxy"])
    ingress = allow_ingress_policy(pods=everything, port=NOTEBOOK_PORT, sources=plan["sources"])
    return [
        manifest("v1", "ResourceQuota", "kf-resource-quota", spec=profile_quota(plan)),
        manifest("v1", "LimitRange", "hubstack", spec=profile_limits(plan["userQuota"])),
        policy("deny-all", deny_all_policy()),
        policy("notebook-egress", egress),
        policy("notebook-ingress", ingress),
        binding("default-editor", EDIT_ROLE),
        binding("default-viewer", VIEW_ROLE),
    ]


def profile_quota(plan: ProfilePlan) -> Manifest:
    """The namespace's limits: those of one notebook times the most that a user may have.

    Notebooks are counted by their Services and Secrets, which stopped ones have, too. A count of `notebooks.kubeflow.org` itself would
    refuse every notebook for the minutes that Kubernetes takes to learn of a new kind.
    """
    spec = resource_quota_spec(plan["userQuota"], {"servers": plan["notebooks"]}, persistent_home=True)
    secrets = {"secrets": count_quantity(plan["notebooks"] + plan["pullSecrets"] + SPARE_SECRETS)}
    return {"hard": {**spec["hard"], **secrets, **plan["hard"]}}


def profile_limits(user: UserQuota) -> Manifest:
    """Limits of every container, and what one gets that names none: all that a notebook may use.

    Manifests of Kubeflow's often name requests alone, which a lower default would contradict.
    """
    spec = limit_range_spec(user, persistent_home=True)
    whole = user_resources(user, persistent_home=True)
    unnamed = {"default": whole["limits"], "defaultRequest": whole["requests"]}
    return {"limits": [{**one, **unnamed} if one["type"] == "Container" else one for one in spec["limits"]]}
