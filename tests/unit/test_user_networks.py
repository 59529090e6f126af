"""Users' networks, on a swarm that says which range a network has only after a while."""

from typing import Any, cast

import docker

from runtime.hub.user_networks import UserNetworks


class SlowSwarm:
    """It lists networks at once and their ranges never."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}

    def create_network(self, name: str, *, labels: dict[str, str], ipam: Any, **_options: Any) -> None:
        self.made[name] = {
            "Name": name,
            "Labels": labels,
            "IPAM": {"Config": None},
            "asked": ipam["Config"][0]["Subnet"],
        }

    def networks(self, **_filters: Any) -> list[dict[str, Any]]:
        return list(self.made.values())

    def inspect_network(self, name: str) -> dict[str, Any]:
        return self.made[name]


def test_the_proxys_address_is_known_as_soon_as_the_network_is_made():
    networks = UserNetworks(cast("docker.APIClient", SlowSwarm()), "lab", "10.0.0.0/24", "proxy", "hub")
    networks.ensure("ada")

    assert networks.proxy_address("ada") == "10.0.0.14"


def test_two_networks_made_at_the_same_time_have_ranges_of_their_own():
    swarm = SlowSwarm()
    networks = UserNetworks(cast("docker.APIClient", swarm), "lab", "10.0.0.0/24", "proxy", "hub")
    for server in ("ada", "bob"):
        networks.ensure(server)

    assert [made["asked"] for made in swarm.made.values()] == ["10.0.0.0/28", "10.0.0.16/28"]
