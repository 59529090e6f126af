"""The components' public contract, reviewed as text: `python -m tests.golden.test_component_schema` writes it anew."""

import json
from pathlib import Path
from typing import Any

from pulumi.provider.experimental.analyzer import Analyzer

from components import Ec2HubCluster, EphemeralHub, NotebookPlatform, SwarmCluster, TmpnbNodePool

COMPONENTS = [Ec2HubCluster, EphemeralHub, NotebookPlatform, SwarmCluster, TmpnbNodePool]

GOLDEN = Path(__file__).with_name("components.json")


def described(properties: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Type, whether it may be left out, and description of each property."""
    return {
        name: {
            "type": found.type.value if found.type else found.ref,
            "optional": found.optional,
            "description": found.description,
        }
        for name, found in sorted(properties.items())
    }


def contract() -> dict[str, Any]:
    """Inputs and outputs of every component, as the packager for other languages reads them."""
    analyzed = Analyzer("hubstack").analyze(components=COMPONENTS)
    return {
        name: {
            "inputs": described(component.inputs),
            "outputs": described(component.outputs),
        }
        for name, component in sorted(analyzed["component_definitions"].items())
    }


def test_the_public_contract_is_the_reviewed_one():
    assert contract() == json.loads(GOLDEN.read_text())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(contract(), indent=2) + "\n")
