"""What making an engine have a group asks of the engine, in which order."""

import json
import threading
from typing import Any, cast
from unittest import mock

import pytest
from docker.errors import APIError

from runtime import group_deployment
from runtime.container_group import GroupSpec, ProbeSpec
from runtime.group_deployment import close, deploy, lets_in, remove
from runtime.group_proof import ReachError, prove
from runtime.group_readiness import DeploymentError
from tests.unit.group_engine import START, GroupEngine
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
    """An engine with these containers, and networks with the containers on each; servers are called so."""
    client = mock.MagicMock()

    def listed(*, filters: dict[str, list[str]], **_options: object) -> list[dict[str, Any]]:
        if "network" not in filters:
            return list(containers)
        [network] = filters["network"]
        members = (networks or {})[network]
        return [there(name, "user-server" if name.endswith("-server") else "service") for name in members]

    client.containers.side_effect = listed
    client.networks.return_value = [{"Id": name, "Name": f"pool-tmp01-{name}"} for name in networks or {}]
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

    first, *servers, last = removed(client)
    assert (first, set(servers), last) == ("service", {"a-server", "b-server"}, "control")
    assert [call.args[0] for call in client.stop.mock_calls] == ["service"]
    assert client.create_network.call_args.args == ("pool-tmp01-control",)


@pytest.mark.parametrize("required", [[], [{"kind": "proxy", "host": "10.1.1.8", "port": 3128, "status": 403}]])
def test_the_probe_asks_for_what_must_answer_as_well(required: list[dict[str, Any]]):
    client = engine()
    client.wait.return_value = {"StatusCode": 1}
    client.logs.return_value = b"proxy 10.1.1.8 port 3128 did not answer and must"
    probe = cast("ProbeSpec", {**PROBE, **({"required": required} if required else {})})

    with pytest.raises(DeploymentError, match="did not answer and must"):
        prove(client, GROUP, probe, IMAGES)

    document = json.loads(client.create_container.call_args.kwargs["command"][-1])
    assert (document["forbidden"], document["required"]) == (PROBE["forbidden"], required)


# A whole node, with a TLS proxy that visitors reach and servers that are proved.

NODE = cast(
    "GroupSpec",
    {
        **GROUP,
        "containers": {
            **GROUP["containers"],
            "tls-proxy": {
                **GROUP["containers"]["service"],
                "role": "tls-proxy",
                "ports": [{"published": 443, "target": 8443, "address": "0.0.0.0"}],
            },
        },
        "order": ["guard", "service", "tls-proxy"],
        "probe": PROBE,
        "farewell": {"container": "service", "command": ["drain"], "undo": ["stay"]},
    },
)
SECRETS = {"token": "a"}


def changed(name: str, **values: Any) -> GroupSpec:
    """The node with a container changed."""
    containers = {**NODE["containers"], name: {**NODE["containers"][name], **values}}
    return cast("GroupSpec", {**NODE, "containers": containers})


def deployed(engine: GroupEngine, spec: GroupSpec = NODE, *, proved: bool = False) -> list[str]:
    """Have the engine have the node; what was done to containers."""
    engine.done.clear()
    try:
        deploy(cast("Any", engine), spec, IMAGES, SECRETS, proved=proved)
    finally:
        asked = list(engine.done)
    return asked


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> GroupEngine:
    """An engine without anything; time passes without waiting."""
    monkeypatch.setattr("runtime.group_readiness.time.sleep", lambda _: None)
    monkeypatch.setattr("runtime.group_deployment.time.sleep", lambda _: None)
    return GroupEngine()


def test_nobody_is_let_in_before_it_is_proved_what_servers_reach(node: GroupEngine):
    done = deployed(node)

    assert done == [
        "start guard",
        "start service",
        "start egress-probe",
        "remove egress-probe",
        "run stay in service",
        "start tls-proxy",
    ]
    assert lets_in(cast("Any", node), NODE)


def test_nobody_is_ever_let_in_to_a_new_node_whose_servers_reach_too_much(node: GroupEngine):
    node.answered = True
    with pytest.raises(ReachError, match="visitors are not let in"):
        deployed(node)

    assert f"{START}tls-proxy" not in node.there
    assert not lets_in(cast("Any", node), NODE)


def test_visitors_go_on_while_a_change_is_proved_and_are_let_in_no_more_where_the_proof_fails(node: GroupEngine):
    deployed(node)
    done = deployed(node, changed("service", cpu=2.0))
    assert not any("tls-proxy" in each for each in done)

    node.answered = True
    with pytest.raises(ReachError, match="visitors are not let in"):
        deployed(node, changed("service", cpu=3.0))
    assert node.running() == {"guard", "service"}
    with pytest.raises(ReachError):
        deployed(node)
    assert node.running() == {"guard", "service"}, "it stays so"
    node.answered = False
    deployed(node)
    assert "tls-proxy" in node.running()


def test_what_visitors_reach_is_replaced_after_the_proof(node: GroupEngine):
    deployed(node)
    done = deployed(node, changed("tls-proxy", cpu=2.0))

    assert done.index("remove egress-probe") < done.index("stop tls-proxy") < done.index("start tls-proxy")


def test_a_node_whose_door_the_engine_does_not_close_is_told_of_with_what_answered(node: GroupEngine):
    deployed(node)
    node.answered, node.refuses["stop tls-proxy"] = True, "device or resource busy"

    with pytest.raises(ReachError, match=r"(?s)last words of .*egress-probe.*may still be let in.*resource busy"):
        deployed(node, changed("service", cpu=2.0))


def test_all_doors_are_closed_even_if_one_is_gone_and_one_does_not_close(node: GroupEngine):
    deployed(node)
    doors = dict.fromkeys(("gone", "stuck", "tls-proxy"), NODE["containers"]["tls-proxy"])
    spec = cast("GroupSpec", {**NODE, "containers": doors, "order": list(doors)})
    node.refuses["stop stuck"] = "busy"

    with pytest.raises(APIError):
        close(cast("Any", node), spec)
    assert "tls-proxy" not in node.running()


def test_what_was_proved_is_not_proved_again(node: GroupEngine):
    deployed(node)
    node.stop(f"{START}tls-proxy")

    assert deployed(node, proved=True) == ["start tls-proxy"]


def test_a_removal_that_did_not_come_to_its_end_must_be_taken_back(node: GroupEngine):
    node.exit_codes["stay"] = 1

    with pytest.raises(DeploymentError, match=r"(?s)may still be leaving.*what the command said"):
        deployed(node)


def test_a_group_goes_with_a_farewell_or_without(node: GroupEngine):
    deployed(node)
    remove(cast("Any", node), NODE, farewell=False)
    assert (node.there, node.networks_there, node.volumes_there) == ({}, {}, set())
    assert "run drain in service" not in node.done

    deployed(node)
    remove(cast("Any", node), NODE)
    assert "run drain in service" in node.done
    assert node.there == {}


def test_a_farewell_that_broke_off_since_its_service_began_anew_is_said_again(node: GroupEngine):
    deployed(node)
    node.breaks_off["drain"] = 2

    remove(cast("Any", node), NODE)

    assert node.done.count("run drain in service") == 3
    assert node.there == {}


def test_a_service_that_nobody_starts_again_is_not_waited_for(node: GroupEngine):
    deployed(node)
    node.refuses["run drain in service"] = "the container is not running"
    node.there["pool-tmp01-service"]["State"]["Running"] = False

    remove(cast("Any", node), NODE)

    assert node.there == {}


def test_a_server_that_was_being_made_while_its_node_was_removed_goes_along(node: GroupEngine):
    deployed(node)
    node.latecomers = ["tmp.pool-tmp01.late"]

    remove(cast("Any", node), NODE)

    assert (node.there, node.networks_there) == ({}, {})


def test_servers_of_a_node_that_goes_are_ended_a_few_at_a_time_and_not_waited_for(node: GroupEngine):
    deployed(node)
    node.serve([f"{START}{number}" for number in range(20)])
    # Each waits for another one that is removed at the same time.
    node.pairs = threading.Barrier(2, timeout=5)

    node.done.clear()
    remove(cast("Any", node), NODE, farewell=False)

    own = ["stop tls-proxy", "remove tls-proxy", "stop service", "remove service"]
    servers = {f"remove {number}" for number in range(20)}
    assert node.done[:4] == own
    assert set(node.done[4:-2]) == servers, "none is stopped first"
    assert node.done[-2:] == ["stop guard", "remove guard"]
    assert (node.there, node.networks_there) == ({}, {})


# Waiting.


def test_a_container_that_was_restarted_in_its_long_life_keeps_no_update_from_being_proved(node: GroupEngine):
    deployed(node)
    for name in ("guard", "service", "tls-proxy"):
        node.there[f"{START}{name}"]["RestartCount"] = 40
    node.health["service"] = ["starting", "starting", "healthy"]

    assert "start egress-probe" in deployed(node)


def test_a_container_that_starts_again_and_again_is_not_waited_for_to_the_end(
    node: GroupEngine, monkeypatch: pytest.MonkeyPatch
):
    deployed(node)
    service = node.there[f"{START}service"]
    service["RestartCount"] = 40
    node.health["service"] = ["starting"]
    waits = iter(range(41, 100))
    monkeypatch.setattr("runtime.group_readiness.time.sleep", lambda _: service.update(RestartCount=next(waits)))

    with pytest.raises(DeploymentError, match="service does not work"):
        deployed(node)
    assert service["RestartCount"] == 44


def test_a_container_that_has_ended_and_that_nobody_starts_again_is_not_waited_for(
    node: GroupEngine, monkeypatch: pytest.MonkeyPatch
):
    node.ends.add("tls-proxy")
    monkeypatch.setattr("runtime.group_readiness.time.sleep", lambda seconds: seconds and pytest.fail("waited"))

    with pytest.raises(DeploymentError, match="tls-proxy does not work"):
        deployed(node, changed("tls-proxy", restarts=False))
