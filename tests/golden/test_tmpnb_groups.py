"""The containers of a tmpnb node and of the redirector, reviewed as text.

`python -m tests.golden.test_tmpnb_groups` writes them anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from components import EgressProfile, TmpnbNodePoolArgs
from components.docker.redirector import redirector_group
from components.docker.tmpnb_node import node_group
from components.pool_plan import node_settings, redirector_settings

HERE = Path(__file__).parent

ARGS: TmpnbNodePoolArgs = {"nodes": [{"name": "tmp01", "capacity": 8}]}

[NODE] = node_settings("lab", ARGS)
[WITH_PROXY] = node_settings("lab", {**ARGS, "egressProfile": EgressProfile.DOMAINS, "egressDomains": ["pypi.org"]})

DOCUMENTS: dict[str, Any] = {
    "tmpnb-node.json": node_group(NODE),
    "tmpnb-node-domains.json": node_group(WITH_PROXY),
    "tmpnb-redirector.json": redirector_group(redirector_settings("lab", ARGS, [NODE])),
}


def as_text(document: Any) -> str:
    """The document, with the texts of JSON files in it as JSON."""
    texts = {name: json.loads(text) if name.endswith(".json") else text for name, text in document["texts"].items()}
    return json.dumps({**document, "texts": texts}, indent=2) + "\n"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_group_is_the_reviewed_one(name: str):
    assert as_text(DOCUMENTS[name]) == (HERE / name).read_text()


if __name__ == "__main__":
    for name, document in DOCUMENTS.items():
        (HERE / name).write_text(as_text(document))
