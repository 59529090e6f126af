"""The stack file that a swarm deploys: services, networks, secrets and configurations."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.docker.labels import Role
from components.docker.service import Placement, PlatformService
from components.docker.stack_document import IDLE_NETWORK, ConfigFile, Overlay, stack_document
from tests.unit.swarm_on_ec2 import HUB_IMAGE

SPEC: PlatformService = {
    "role": Role.PROXY,
    "command": ["run"],
    "cpu": 0.5,
    "memory": "64M",
    "placement": Placement.MANAGERS,
}
NETWORKS: dict[str, Overlay] = {IDLE_NETWORK: {"subnet": "10.0.0.0/24", "internal": True}}


def documented(spec: Mapping[str, Any], text: str = "text") -> dict[str, Any]:
    configs: dict[str, ConfigFile] = {"file": {"file": "File", "text": text}}
    services: Any = {"one": ({**SPEC, **spec}, HUB_IMAGE)}
    return stack_document("lab", services, networks=NETWORKS, configs=configs, hub_node="lab")


@pytest.mark.parametrize(
    ("placement", "mode", "constraints"),
    [
        (Placement.HUB_NODE, "replicated", ["node.labels.hubstack.hub==lab"]),
        (Placement.MANAGERS, "global", ["node.role==manager"]),
        (Placement.SERVER_NODES, "global", ["node.role==worker"]),
        (Placement.EVERY_NODE, "global", []),
    ],
)
def test_a_placement_is_a_mode_and_constraints(placement: Placement, mode: str, constraints: list[str]):
    deploy = documented({"placement": placement})["services"]["one"]["deploy"]

    assert deploy["mode"] == mode
    assert deploy["placement"]["constraints"] == constraints
    assert deploy.get("replicas") == (1 if mode == "replicated" else None)


def test_a_service_without_networks_is_on_the_idle_one_and_not_on_the_clients_default():
    document = documented({})

    assert list(document["services"]["one"]["networks"]) == [IDLE_NETWORK]
    assert document["networks"][IDLE_NETWORK]["internal"] is True
    assert "default" not in document["networks"]


def test_secrets_are_external_and_named_after_their_version():
    document = documented({"secrets": ["token", "key"]})

    assert document["secrets"] == {
        name: {"external": True, "name": f"lab-{name}-${{SECRETS_VERSION}}"} for name in ("key", "token")
    }
    assert [secret["mode"] for secret in document["services"]["one"]["secrets"]] == [0o400, 0o400]


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_configurations_name_changes_with_its_text_and_only_then(one: str, other: str):
    names = [documented({}, text)["configs"]["file"]["name"] for text in (one, other)]

    assert (names[0] == names[1]) == (one == other)
    assert all(re.fullmatch(r"lab-file-[0-9a-f]{12}", name) for name in names)


def test_only_a_service_on_the_hosts_network_brings_it_into_the_file():
    assert "host" not in documented({})["networks"]
    assert documented({"networks": {"host": []}})["networks"]["host"] == {"external": True, "name": "host"}


def test_limits_are_what_the_client_reads():
    limits = documented({"cpu": 0.05, "memory": "1.5G"})["services"]["one"]["deploy"]["resources"]["limits"]

    assert limits == {"cpus": "0.05", "memory": str(3 * 2**29)}
