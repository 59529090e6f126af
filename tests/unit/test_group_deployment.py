"""What making an engine have a group asks of the engine, in which order."""

import json
from typing import Any, cast
from unittest import mock

import pytest

from runtime import group_deployment
from runtime.container_group import ProbeSpec
from runtime.group_deployment import DeploymentError
from tests.unit.test_container_group import GROUP, IMAGES

PROBE = {"image": "notebook", "network": "control", "address": "10.1.1.9", "forbidden": [{"host": "1.1.1.1"}]}


def there(name: str, role: str, network: str = "pool-tmp01-control") -> dict[str, Any]:
    """A container as the engine lists it."""
    return {
        "Id": name,
        "Names": [f"/pool-tmp01-{name}"],
        "Labels": {"hubstack.role": role},
        "HostConfig": {"NetworkMode": network},
    }


def engine(*containers: dict[str, Any], networks: dict[str, list[str]] | None = None) -> mock.MagicMock:
    """An engine with these containers, and networks with the containers on each."""
    client = mock.MagicMock()
    client.containers.return_value = list(containers)
    client.networks.return_value = [{"Id": name, "Name": f"pool-tmp01-{name}"} for name in networks or {}]
    client.inspect_network.side_effect = lambda network: {
        "Containers": {name: {"Name": f"pool-tmp01-{name}"} for name in (networks or {})[network]}
    }
    return client


def removed(client: mock.MagicMock) -> list[str]:
    """Containers and networks in the order in which they went."""
    calls = [call for call in client.mock_calls if call[0] in {"remove_container", "remove_network"}]
    return [call.args[0] for call in calls]


def test_what_a_group_has_no_more_goes_with_its_networks_and_its_guard_last():
    client = engine(
        there("egress-proxy-guard", "egress-proxy-guard", "host"),
        there("egress-proxy", "egress-proxy"),
        there("service", "node-service"),
        there("a-server", "user-server"),
        networks={"front": ["service"], "egress": []},
    )

    group_deployment._remove_others(client, GROUP)

    assert removed(client) == ["egress-proxy", "egress-proxy-guard", "egress"]


def test_what_makes_servers_goes_before_them_when_their_network_is_made_anew():
    client = engine(networks={"control": ["a-server", "b-server", "service"]})

    group_deployment._ensure_network(client, GROUP, "control")

    assert removed(client) == ["service", "a-server", "b-server", "control"]
    assert client.create_network.call_args.args == ("pool-tmp01-control",)


@pytest.mark.parametrize("required", [[], [{"kind": "proxy", "host": "10.1.1.8", "port": 3128, "status": 403}]])
def test_the_probe_asks_for_what_must_answer_as_well(required: list[dict[str, Any]]):
    client = engine()
    client.wait.return_value = {"StatusCode": 1}
    client.logs.return_value = b"proxy 10.1.1.8 port 3128 did not answer and must"
    probe = cast("ProbeSpec", {**PROBE, **({"required": required} if required else {})})

    with pytest.raises(DeploymentError, match="did not answer and must"):
        group_deployment._prove(client, GROUP, probe, IMAGES)

    document = json.loads(client.create_container.call_args.kwargs["command"][-1])
    assert (document["forbidden"], document["required"]) == (PROBE["forbidden"], required)
