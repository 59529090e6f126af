"""What the operator may do: plain rules, from which the stack makes its roles. It holds nothing else.

`CLUSTER_RULES` are for the whole cluster: reading what it watches, and making namespaces. All that it changes inside a
namespace, and every Secret, it reaches by `TENANT_RULES` alone, which it binds to itself in the namespaces of profiles. That it
binds itself nowhere else, no rule can say: the stack's admission policies do (`components/kubernetes/operator_admission.py`).
"""

TENANT_ROLE = "hubstack-notebook-operator-tenant"
"""ClusterRole of `TENANT_RULES`; the stack makes it, the operator binds it in each profile's namespace."""

ADMIN_ROLE = "hubstack-notebook-admin"
"""ClusterRole of a profile's owner in the profile's namespace; the stack makes it."""

EDIT_ROLE = "hubstack-notebook-edit"
"""ClusterRole that the stack's manifests may bind, such as to the ServiceAccount `default-editor`."""

VIEW_ROLE = "hubstack-notebook-view"
"""ClusterRole that the stack's manifests may bind, such as to the ServiceAccount `default-viewer`."""

CLUSTER_RULES: list[dict[str, list[str]]] = [
    # The framework looks which of the watched kinds the cluster knows.
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["list", "watch"]},
    {"apiGroups": ["kubeflow.org"], "resources": ["notebooks"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["kubeflow.org"], "resources": ["profiles"], "verbs": ["get", "list", "watch", "create"]},
    {"apiGroups": ["kubeflow.org"], "resources": ["notebooks/status", "profiles/status"], "verbs": ["patch"]},
    {"apiGroups": ["hubstack.io"], "resources": ["notebookrequests"], "verbs": ["get", "list", "watch", "delete"]},
    {"apiGroups": ["hubstack.io"], "resources": ["notebookrequests/status"], "verbs": ["patch"]},
    # The children of notebooks, to see what is changed or deleted by hand.
    {
        "apiGroups": [""],
        "resources": ["pods", "services", "persistentvolumeclaims"],
        "verbs": ["get", "list", "watch"],
    },
    {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["getambassador.io"], "resources": ["mappings"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch", "create", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    # Its own binding in a profile's namespace, to the one role named here.
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"], "verbs": ["get", "create", "patch"]},
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
        "verbs": ["bind"],
        "resourceNames": [TENANT_ROLE],
    },
]
"""Rules of the operator's ClusterRole. Every service account may review itself, which Kubernetes grants to all."""

TENANT_RULES: list[dict[str, list[str]]] = [
    {"apiGroups": ["kubeflow.org"], "resources": ["notebooks"], "verbs": ["create", "patch"]},
    # Clusters that enforce permissions on owner references ask for it.
    {"apiGroups": ["kubeflow.org"], "resources": ["notebooks/finalizers"], "verbs": ["update"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch"]},
    # No claim is ever deleted: a home goes with its notebook by its owner reference, if it says so.
    {"apiGroups": [""], "resources": ["services", "persistentvolumeclaims"], "verbs": ["create", "patch"]},
    # Pods are made by dry run alone, to hear what the API server says; let through when their home is made; deleted when
    # their template has changed.
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "patch", "delete"]},
    {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["create", "patch"]},
    {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"], "verbs": ["create", "patch"]},
    {"apiGroups": ["getambassador.io"], "resources": ["mappings"], "verbs": ["create", "patch"]},
    # What a profile's namespace is furnished with.
    {
        "apiGroups": [""],
        "resources": ["configmaps", "limitranges", "resourcequotas", "serviceaccounts"],
        "verbs": ["list", "create", "patch", "delete"],
    },
    {
        "apiGroups": ["networking.k8s.io"],
        "resources": ["networkpolicies"],
        "verbs": ["list", "create", "patch", "delete"],
    },
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["rolebindings"],
        "verbs": ["list", "create", "patch", "delete"],
    },
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
        "verbs": ["bind"],
        "resourceNames": [ADMIN_ROLE, EDIT_ROLE, VIEW_ROLE],
    },
]
"""Rules of `TENANT_ROLE`."""
