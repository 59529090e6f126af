"""Users' networks, on a swarm that says which range a network has only after a while, and forgets networks too early."""

from typing import Any, cast

import docker
import pytest
from docker.errors import APIError, NotFound
from requests import Response

from runtime.hub.user_networks import UserNetworks

HUB, PROXY = "lab-hub", "lab-proxy"


class SlowSwarm:
    """It lists networks at once and their ranges never, and removes a network however many are on it, as the real one does."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.tasks_of: set[str] = set()
        self.running: set[str] = set()
        self.lost: set[str] = set()
        """Networks that a node has and the swarm has not: removed while somebody was on them."""

    def create_network(self, name: str, *, labels: dict[str, str], ipam: Any, **_options: Any) -> None:
        self.made[name] = {
            "Name": name,
            "Labels": labels,
            "IPAM": {"Config": None},
            "Containers": {f"lb-{name}": {"Name": f"{name}-endpoint"}},
            "asked": ipam["Config"][0]["Subnet"],
        }

    def networks(self, **_filters: Any) -> list[dict[str, Any]]:
        return list(self.made.values())

    def inspect_network(self, name: str) -> dict[str, Any]:
        if name not in self.made:
            raise NotFound(name)
        return self.made[name]

    def remove_network(self, name: str) -> None:
        members = self.inspect_network(name)["Containers"]
        if name in self.lost or any(not member.startswith("lb-") for member in members):
            self.lost.add(name)
            raise NotFound(name)
        del self.made[name]

    def services(self, **_filters: Any) -> list[dict[str, Any]]:
        return [{"Spec": {"Name": name}} for name in sorted(self.running)]

    def remove_service(self, name: str) -> None:
        if name not in self.running:
            raise NotFound(name)
        self.running.remove(name)
        assert not {HUB, PROXY} & set(self.made[f"{name}-net"]["Containers"]), "the node would keep its part for ever"

    def tasks(self, filters: dict[str, str]) -> list[dict[str, str]]:
        return [{"ID": task} for task in self.tasks_of if task.startswith(filters["name"])]

    def containers(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        service = filters["label"].rpartition("=")[2]
        return [{"Id": service, "Created": 1}]

    def inspect_container(self, identity: str) -> dict[str, Any]:
        on = {name: {} for name, network in self.made.items() if identity in network["Containers"]}
        return {"Id": identity, "NetworkSettings": {"Networks": on}}

    def connect_container_to_network(self, container: str, network: str, **_options: Any) -> None:
        self.inspect_network(network)["Containers"][container] = {"Name": container}

    def disconnect_container_from_network(self, container: str, network: str, **_options: Any) -> None:
        members = self.inspect_network(network)["Containers"]
        found = [member for member, endpoint in members.items() if container in (member, endpoint["Name"])]
        for member in found:
            del members[member]

    def remove_container(self, name: str, **_options: Any) -> None:
        raise NotFound(name)


def lab(swarm: SlowSwarm) -> UserNetworks:
    return UserNetworks(cast("docker.APIClient", swarm), "lab", "10.0.0.0/24", PROXY, HUB)


def test_the_proxys_address_is_known_as_soon_as_the_network_is_made():
    networks = lab(SlowSwarm())
    networks.ensure("ada")

    assert networks.proxy_address("ada") == "10.0.0.14"


def test_two_networks_made_at_the_same_time_have_ranges_of_their_own():
    swarm = SlowSwarm()
    networks = lab(swarm)
    for server in ("ada", "bob"):
        networks.ensure(server)

    assert [made["asked"] for made in swarm.made.values()] == ["10.0.0.0/28", "10.0.0.16/28"]


def test_a_network_goes_when_its_server_has_ended_and_takes_nobody_else_along():
    swarm = SlowSwarm()
    networks = lab(swarm)
    for server in ("ada", "adam"):
        networks.ensure(server)
        networks.join(server)
    swarm.tasks_of = {"adam.1.x"}

    assert networks.remove("ada")
    assert set(swarm.made) == {"adam-net"}
    assert {HUB, PROXY} < set(swarm.made["adam-net"]["Containers"])


def test_a_server_that_is_ending_on_whatever_node_keeps_its_network_and_its_neighbours():
    swarm = SlowSwarm()
    networks = lab(swarm)
    networks.ensure("ada")
    networks.join("ada")
    swarm.tasks_of = {"ada.1.x"}

    assert not networks.remove("ada")
    assert {HUB, PROXY} < set(swarm.made["ada-net"]["Containers"])

    swarm.tasks_of = set()
    assert networks.remove("ada")
    assert swarm.made == {}


def test_the_swarm_is_not_asked_to_remove_a_network_that_a_container_is_on():
    swarm = SlowSwarm()
    networks = lab(swarm)
    networks.ensure("ada")
    swarm.made["ada-net"]["Containers"]["an-old-proxy"] = {"Name": "an-old-proxy"}

    assert not networks.remove("ada")
    assert swarm.lost == set()


def test_what_a_killed_container_left_on_a_network_does_not_hold_it_for_ever():
    swarm = SlowSwarm()
    networks = lab(swarm)
    networks.ensure("ada")
    swarm.made["ada-net"]["Containers"]["ep-1"] = {"Name": "lab-user-ada.1"}

    assert [networks.remove("ada"), networks.remove("ada")] == [False, True]


def test_a_network_that_the_node_still_lists_is_not_gone():
    swarm = SlowSwarm()
    networks = lab(swarm)
    networks.ensure("ada")
    swarm.lost.add("ada-net")

    assert not networks.remove("ada")


def test_an_engine_that_fails_otherwise_says_so(monkeypatch: pytest.MonkeyPatch):
    swarm = SlowSwarm()
    networks = lab(swarm)
    networks.ensure("ada")
    broken = Response()
    broken.status_code = 401

    def refuse(name: str) -> None:
        raise APIError(name, response=broken)

    monkeypatch.setattr(swarm, "remove_network", refuse)
    with pytest.raises(APIError):
        networks.remove("ada")


def test_only_networks_of_these_servers_are_joined():
    swarm = SlowSwarm()
    networks = lab(swarm)
    for server in ("ada", "bob"):
        networks.ensure(server)

    assert networks.join_all(["bob", "eve"]) == ["bob-net"]
    assert HUB not in swarm.made["ada-net"]["Containers"]


def test_proxy_and_hub_leave_the_network_before_the_service_of_a_server_is_removed():
    swarm = SlowSwarm()
    networks = lab(swarm)
    for server in ("ada", "bob"):
        networks.ensure(server)
        networks.join(server)
        swarm.running.add(server)

    networks.end("ada")

    assert networks.started() == {"bob"}
    assert {HUB, PROXY} < set(swarm.made["bob-net"]["Containers"])
    networks.end("ada")
