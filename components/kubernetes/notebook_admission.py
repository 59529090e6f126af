"""What the API server refuses before an object exists: ValidatingAdmissionPolicies for notebooks and for requests.

Pod Security and quotas refuse a pod, which nobody sees but the operator; these refuse the Notebook, to whoever applies
it, in a sentence. They also guard the operator itself, which would make for a user what the user may not make. What a
kind's own definition says, such as what a name may be and that a request is never changed, is not said again here.
"""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from components.kubernetes.labels import ROLE_LABEL, STACK_LABEL
from components.kubernetes.tenancy import MOST_RESOURCES
from runtime.notebook_operator.pod import MOST_SECONDS_TO_END

SERVICE_ACCOUNTS = ("default-editor", "default-viewer")
"""What the operator makes in every profile's namespace."""

VOLUME_KINDS = (
    "configMap",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
"""Kinds of volumes that the Pod Security Standard `restricted` knows, without `csi`: nothing of the node, nothing over the network.

An inline `csi` volume is what the pod itself names, a server's export as well, and the node mounts it past all
NetworkPolicies. What a claim may be is for the cluster's storage classes to say.
"""


class Validation(TypedDict):
    """One rule, as Kubernetes writes it."""

    expression: str
    """CEL; true where the object is let in."""
    message: str
    """What whoever applies it reads otherwise."""
    messageExpression: NotRequired[str]
    """CEL of a message that names values; `message` stands in where it fails."""
    reason: NotRequired[str]
    """What the API server's answer is called. Default `Invalid`."""


Spec = dict[str, Any]


def notebook_policy(
    stack: str, service_accounts: Sequence[str] = SERVICE_ACCOUNTS, resources: Sequence[str] = MOST_RESOURCES
) -> Spec:
    """The `spec` of the policy for Notebooks in whatever namespace, and whoever makes them.

    A change of something else is let through, so that the operator can stop a notebook that is older than a rule.

    Args:
        stack: value of the label `hubstack.stack`.
        service_accounts: those that a notebook may have.
        resources: those that its containers may name, which are the ones that the namespace's quota limits.
    """
    changed = (
        "request.operation == 'CREATE' || object.spec != oldObject.spec || "
        "object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({})"
    )
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _match("kubeflow.org", "v1", "notebooks"),
        "matchConditions": [{"name": "changed", "expression": changed}],
        "variables": _variables("object.spec.template.spec"),
        "validations": [*_label_rules(), _stack_rule(stack), *_pod_rules(service_accounts, resources)],
    }


def request_policy(
    stack: str, service_accounts: Sequence[str] = SERVICE_ACCOUNTS, resources: Sequence[str] = MOST_RESOURCES
) -> Spec:
    """The `spec` of the policy for NotebookRequests: in one's own name, and fit to become a Notebook (see `notebook_policy`)."""
    own: Validation = {
        "expression": "request.operation != 'CREATE' || object.spec.user == request.userInfo.username",
        "message": "a NotebookRequest is made in one's own name alone",
        "messageExpression": (
            "'a NotebookRequest is made in one\\'s own name alone: spec.user is \"' + object.spec.user + "
            "'\", and you are \"' + request.userInfo.username + '\"'"
        ),
    }
    person: Validation = {
        "expression": "!object.spec.user.startsWith('system:')",
        "message": "spec.user is a part of Kubernetes (system:…); notebooks belong to people",
    }
    template = "has(object.spec.template) && has(object.spec.template.spec) ? object.spec.template.spec : dyn({})"
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _match("hubstack.io", "v1alpha1", "notebookrequests"),
        "variables": _variables(template),
        "validations": [own, person, _stack_rule(stack), *_pod_rules(service_accounts, resources)],
    }


def policy_binding(policy: str) -> Spec:
    """The `spec` of the binding that puts `policy` in force everywhere: what it finds is refused."""
    return {"policyName": policy, "validationActions": ["Deny"]}


def _match(group: str, version: str, resource: str) -> Spec:
    rule = {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
        "scope": "*",
    }
    # Equivalent: who writes an older version is judged by what it becomes.
    return {"matchPolicy": "Equivalent", "resourceRules": [rule], "namespaceSelector": {}, "objectSelector": {}}


def _variables(pod: str) -> list[dict[str, str]]:
    containers = " + ".join(f"variables.pod.?{kind}.orValue([])" for kind in ("containers", "initContainers"))
    contexts = (
        "[variables.pod.?securityContext.orValue({})] + variables.containers.map(c, c.?securityContext.orValue({}))"
    )
    amounts = "([variables.pod] + variables.containers).map(c, c.?resources.orValue({}))"
    # Lists of terms: pods to be near and pods to keep away from, those that must be and those that had better be.
    kinds = ", ".join(f"variables.pod.?affinity.?{kind}.orValue({{}})" for kind in ("podAffinity", "podAntiAffinity"))
    terms = (
        f"[{kinds}].map(kind, kind.?requiredDuringSchedulingIgnoredDuringExecution.orValue([]) + "
        "kind.?preferredDuringSchedulingIgnoredDuringExecution.orValue([]).map(p, p.?podAffinityTerm.orValue({})))"
    )
    account = "variables.pod.?serviceAccountName.orValue(variables.pod.?serviceAccount.orValue(''))"
    return [
        {"name": "pod", "expression": pod},
        {"name": "containers", "expression": containers},
        {"name": "contexts", "expression": contexts},
        {"name": "amounts", "expression": amounts},
        {"name": "terms", "expression": terms},
        {"name": "account", "expression": account},
    ]


def _label_rules() -> list[Validation]:
    labels = "object.metadata.?labels.orValue({})"
    return [
        {
            "expression": f"{labels}.all(k, k != '{ROLE_LABEL}' || {labels}[k] == 'notebook')",
            "message": f"the label {ROLE_LABEL} says what NetworkPolicies open; a Notebook has none or 'notebook'",
        },
        {
            "expression": f"{labels}.all(k, k != 'notebook-name' || {labels}[k] == object.metadata.name)",
            "message": "the label notebook-name says which notebook a pod is; leave it out",
        },
    ]


def _stack_rule(stack: str) -> Validation:
    labels = "object.metadata.?labels.orValue({})"
    return {
        "expression": f"{labels}.all(k, k != '{STACK_LABEL}' || {labels}[k] == '{stack}')",
        "message": f"the label {STACK_LABEL} says which platform's it is; leave it out, or write '{stack}'",
    }


def _pod_rules(service_accounts: Sequence[str], resources: Sequence[str]) -> list[Validation]:
    accounts = ", ".join(f"'{name}'" for name in ("", *service_accounts))
    kinds = ", ".join(f"'{kind}'" for kind in ("name", *VOLUME_KINDS))
    limited = ", ".join(f"'{resource}'" for resource in resources)
    return [
        {
            "expression": (
                "!variables.pod.?hostNetwork.orValue(false) && !variables.pod.?hostPID.orValue(false) && "
                "!variables.pod.?hostIPC.orValue(false)"
            ),
            "message": "a notebook shares nothing with its node: leave out hostNetwork, hostPID and hostIPC",
        },
        {
            "expression": "variables.containers.all(c, c.?ports.orValue([]).all(p, p.?hostPort.orValue(0) == 0))",
            "message": "a notebook shares nothing with its node: leave out hostPort",
        },
        {
            "expression": f"variables.pod.?volumes.orValue([]).all(v, v.all(kind, kind in [{kinds}]))",
            "message": f"a notebook's volumes are one of {', '.join(VOLUME_KINDS)}; hostPath, csi and network volumes are not",
        },
        {
            "expression": " && ".join(
                f"variables.amounts.all(r, r.?{part}.orValue({{}}).all(name, name in [{limited}]))"
                for part in ("requests", "limits")
            ),
            "message": (
                f"a notebook's resources are {', '.join(resources)}; others need a limit in the platform's "
                "namespaceQuota, as requests.<name>"
            ),
        },
        {
            "expression": (
                "variables.contexts.all(s, !s.?privileged.orValue(false) && "
                "!s.?allowPrivilegeEscalation.orValue(false) && s.?capabilities.?add.orValue([]) == [])"
            ),
            "message": "a notebook has no rights of root: leave out privileged, allowPrivilegeEscalation and added capabilities",
        },
        {
            "expression": (
                "variables.contexts.all(s, s.?runAsUser.orValue(1000) != 0 && s.?runAsNonRoot.orValue(true))"
            ),
            "message": "a notebook does not run as root: runAsUser is another than 0, runAsNonRoot is not false",
        },
        {
            "expression": f"variables.account in [{accounts}]",
            "message": f"a notebook's serviceAccountName is one of {', '.join(service_accounts)}",
            "messageExpression": (
                f"'serviceAccountName is ' + string(variables.account) + '; a notebook has one of "
                f"{', '.join(service_accounts)}'"
            ),
        },
        {
            "expression": "variables.pod.?nodeName.orValue('') == '' && variables.pod.?priorityClassName.orValue('') == ''",
            "message": "where a notebook runs and whom it displaces is the scheduler's: leave out nodeName and priorityClassName",
        },
        {
            # The scheduler heeds it in both directions: it would keep another user's pods from this one's nodes.
            "expression": (
                "variables.terms.all(kind, kind.all(t, t.?namespaces.orValue([]) == [] && !has(t.namespaceSelector)))"
            ),
            "message": (
                "a notebook is placed by pods of its own namespace alone: leave out namespaces and namespaceSelector in "
                "podAffinity and podAntiAffinity"
            ),
        },
        {
            "expression": (
                f"variables.pod.?terminationGracePeriodSeconds.orValue({MOST_SECONDS_TO_END}) <= {MOST_SECONDS_TO_END}"
            ),
            "message": (
                f"a notebook that is stopped ends soon: terminationGracePeriodSeconds is at most {MOST_SECONDS_TO_END}"
            ),
        },
    ]
