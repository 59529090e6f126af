"""What a platform hands to the cluster and to its operator, reviewed as text.

`python -m tests.golden.test_platform_manifests` writes it anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from components import NotebookPlatformArgs
from components.kubernetes.notebook_admission import notebook_policy, policy_binding, request_policy
from components.kubernetes.operator_access import notebook_roles, requester_rules
from components.kubernetes.operator_admission import operator_policies
from components.kubernetes.platform_settings import operator_settings

HERE = Path(__file__).parent

ARGS: NotebookPlatformArgs = {
    "operatorImage": "registry.example.org/hubstack/operator:1.0",
    "notebookImage": "registry.example.org/hubstack/notebook:1.0",
    "egressProxyImage": "registry.example.org/hubstack/egress-proxy:1.0",
    "domain": "nb.example.org",
    "route": {"gateway": "notebooks", "gatewayNamespace": "gateway-system", "listener": "https"},
    "egressDomains": ["pypi.org"],
}

DOCUMENTS: dict[str, Any] = {
    "operator-settings.json": operator_settings("lab", ARGS),
    "notebook-roles.json": {**notebook_roles(forwarded=False), "hubstack-notebook-requester": requester_rules()},
    "notebook-admission.json": {
        "notebooks": notebook_policy("lab"),
        "requests": request_policy("lab"),
        **operator_policies("lab"),
        "binding": policy_binding("hubstack-notebooks"),
    },
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_is_the_reviewed_one(name: str):
    assert DOCUMENTS[name] == json.loads((HERE / name).read_text())


if __name__ == "__main__":
    for name, document in DOCUMENTS.items():
        (HERE / name).write_text(json.dumps(document, indent=2) + "\n")
