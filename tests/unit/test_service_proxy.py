"""The hub's connection to the proxy: what it removes while servers come and go."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from runtime.hub.proxy import ServiceProxy
from runtime.hub.user_networks import CHANGES, UserNetworks


class Networks:
    """Services and networks of some servers; `listed` is what happens just after they were listed."""

    def __init__(self, servers: list[str], listed: Any = lambda: None, services: set[str] | None = None) -> None:
        self.there, self.listed, self.services = servers, listed, services or set()
        self.joined: list[str] = []

    def started(self) -> set[str]:
        found = set(self.services)
        self.listed()
        return found

    def servers(self) -> list[str]:
        found = list(self.there)
        self.listed()
        return found

    def end(self, server: str) -> None:
        self.services.remove(server)

    def remove(self, server: str) -> bool:
        self.there.remove(server)
        return True

    def join_all(self, servers: list[str]) -> list[str]:
        self.joined = servers
        return []

    def proxy_container(self) -> None:
        """No proxy runs."""


def hub(networks: Networks, active: set[str], ending: str = "", *, started: bool = True) -> ServiceProxy:
    made = ServiceProxy.__new__(ServiceProxy)
    made.user_networks = cast("UserNetworks", networks)

    def users() -> list[Any]:
        found = {name: SimpleNamespace(object_name=name, active=True, lets_go=name == ending) for name in active}
        return [SimpleNamespace(spawners=found)]

    made._container = None
    start = SimpleNamespace(done=lambda: started)
    made.app = SimpleNamespace(users=SimpleNamespace(values=users), _start_future=start)
    return made


def test_the_network_of_a_server_that_is_gone_is_removed_and_others_stay():
    networks = Networks(["lab-user-ada", "lab-user-bob"])

    asyncio.run(hub(networks, {"lab-user-bob"}).remove_what_nobody_uses())

    assert networks.there == ["lab-user-bob"]


def test_the_service_of_a_server_that_ended_by_itself_is_removed_and_others_stay():
    networks = Networks([], services={"lab-user-ada", "lab-user-bob"})

    asyncio.run(hub(networks, {"lab-user-bob"}).watch())

    assert networks.services == {"lab-user-bob"}


def test_a_hub_that_starts_and_knows_nobody_removes_nothing():
    networks = Networks(["lab-user-ada"], services={"lab-user-ada"})

    asyncio.run(hub(networks, set(), started=False).watch())

    assert (networks.there, networks.services) == (["lab-user-ada"], {"lab-user-ada"})


def test_a_server_that_starts_while_networks_are_looked_at_keeps_its_own():
    active = set[str]()
    networks = Networks(["lab-user-ada"], listed=lambda: active.add("lab-user-ada"), services={"lab-user-ada"})

    asyncio.run(hub(networks, active).remove_what_nobody_uses())

    assert (networks.there, networks.services) == (["lab-user-ada"], {"lab-user-ada"})


def test_no_network_is_removed_while_a_spawner_makes_one():
    networks, active = Networks(["lab-user-ada"]), set[str]()

    async def spawn_meanwhile() -> None:
        async with CHANGES:
            looking = asyncio.create_task(hub(networks, active).remove_what_nobody_uses())
            await asyncio.sleep(0.05)
            active.add("lab-user-ada")
        await looking

    asyncio.run(spawn_meanwhile())

    assert networks.there == ["lab-user-ada"]


def test_a_server_that_ends_is_not_joined_again_and_its_network_is_its_spawners_to_remove():
    networks = Networks(["lab-user-ada", "lab-user-bob"])

    asyncio.run(hub(networks, {"lab-user-ada", "lab-user-bob"}, ending="lab-user-ada").watch())

    assert networks.joined == ["lab-user-bob"]
    assert networks.there == ["lab-user-ada", "lab-user-bob"]
