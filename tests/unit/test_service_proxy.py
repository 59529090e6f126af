"""The hub's connection to the proxy: what it removes while servers come and go."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from runtime.hub.proxy import ServiceProxy
from runtime.hub.user_networks import CHANGES, UserNetworks


class Networks:
    """The networks of some servers; `listed` is what happens just after they were listed."""

    def __init__(self, servers: list[str], listed: Any = lambda: None) -> None:
        self.there, self.listed = servers, listed

    def servers(self) -> list[str]:
        found = list(self.there)
        self.listed()
        return found

    def remove(self, server: str) -> bool:
        self.there.remove(server)
        return True


def hub(networks: Networks, active: set[str]) -> ServiceProxy:
    made = ServiceProxy.__new__(ServiceProxy)
    made.user_networks = cast("UserNetworks", networks)

    def users() -> list[Any]:
        found = {name: SimpleNamespace(object_name=name, active=True) for name in active}
        return [SimpleNamespace(spawners=found)]

    made.app = SimpleNamespace(users=SimpleNamespace(values=users))
    return made


def test_the_network_of_a_server_that_is_gone_is_removed_and_others_stay():
    networks = Networks(["lab-user-ada", "lab-user-bob"])

    asyncio.run(hub(networks, {"lab-user-bob"}).remove_unused_networks())

    assert networks.there == ["lab-user-bob"]


def test_a_server_that_starts_while_networks_are_looked_at_keeps_its_own():
    active = set[str]()
    networks = Networks(["lab-user-ada"], listed=lambda: active.add("lab-user-ada"))

    asyncio.run(hub(networks, active).remove_unused_networks())

    assert networks.there == ["lab-user-ada"]


def test_no_network_is_removed_while_a_spawner_makes_one():
    networks, active = Networks(["lab-user-ada"]), set[str]()

    async def spawn_meanwhile() -> None:
        async with CHANGES:
            looking = asyncio.create_task(hub(networks, active).remove_unused_networks())
            await asyncio.sleep(0.05)
            active.add("lab-user-ada")
        await looking

    asyncio.run(spawn_meanwhile())

    assert networks.there == ["lab-user-ada"]
