"""The engine in swarm mode, and every check that must pass before a stack changes anything on it."""

from typing import Any, TypedDict

import pulumi
from docker.errors import APIError
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from components.docker.inspection import (
    EngineUnreachableError,
    engine_client,
    free_disk_bytes,
    is_local,
    networks_in_use,
    port_user,
    routes_in_use,
    section,
)
from components.docker.overlay import RangeInUse, collisions
from components.docker.removal import wait_until_gone
from runtime.open_network import bridge_name


class SwarmModeInputs(TypedDict):
    """What a stack needs of its engine."""

    engine: pulumi.Input[str]
    """Address of the engine, such as `unix:///var/run/docker.sock`."""
    stack: pulumi.Input[str]
    """The stack's label, by which its own networks and ports are told from others'."""
    advertise_address: pulumi.Input[str]
    """Address that other nodes reach this manager at; `127.0.0.1` for a machine alone."""
    address_pool: pulumi.Input[str]
    """Range that all of the stack's networks are cut from."""
    swarm_pool: pulumi.Input[str]
    """Part of it for Swarm's own networks, where the swarm is made here."""
    reserved_ranges: pulumi.Input[list[str]]
    """Ranges in use elsewhere, such as VPCs, that the pool must not overlap."""
    port: pulumi.Input[int]
    """Port that the stack publishes."""
    disk_bytes: pulumi.Input[int]
    """Free disk that the images need."""


class _SwarmModeProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Everything that stands in a deployment's way, at every preview and update."""
        return CheckResult(news, _failures(news, first_time=not _olds))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another engine or address is another swarm; other inputs only change what is checked."""
        replaces = [key for key in ("engine", "advertise_address") if _olds.get(key) != _news.get(key)]
        changed = any(_olds.get(key) != value for key, value in _news.items() if key != "made_here")
        return DiffResult(changes=changed, replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Initialise a swarm if the engine is in none, and remember whether that was done here."""
        with engine_client(props["engine"]) as client:
            swarm = client.info()["Swarm"]
            made = swarm["LocalNodeState"] == "inactive"
            if made:
                client.init_swarm(
                    advertise_addr=props["advertise_address"],
                    listen_addr=f"{props['advertise_address']}:2377",
                    default_addr_pool=[props["swarm_pool"]],
                    subnet_size=24,
                    swarm_spec=client.create_swarm_spec(labels={"hubstack.made-by": props["stack"]}),
                )
            cluster = client.info()["Swarm"]["Cluster"]["ID"]
        return CreateResult(cluster, {**props, "made_here": made})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone, if the engine left the swarm or is in another by now."""
        with engine_client(props["engine"]) as client:
            swarm = client.info()["Swarm"]
        present = section(swarm, "Cluster").get("ID") == id_
        return ReadResult(id_ if present else "", props if present else {})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """The new inputs; who initialised the swarm stays as it was."""
        return UpdateResult({**_news, "made_here": _olds.get("made_here", False)})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Leave the swarm if it was initialised here and is used by nobody else."""
        with engine_client(_props["engine"]) as client:
            # The last of the stack: what the engine is still ending is gone when the command returns.
            wait_until_gone(client, _props["stack"])
            if not _props.get("made_here"):
                return
            swarm = client.info()["Swarm"]
            if section(swarm, "Cluster").get("ID") != _id:
                return
            # Somebody else's services run on the swarm by now, or other nodes joined it: it is no longer ours alone.
            if client.services() or swarm.get("Nodes", 1) > 1:
                return
            client.leave_swarm(force=True)


def _failures(news: dict[str, Any], *, first_time: bool) -> list[CheckFailure]:
    engine, pool, stack = news["engine"], news["address_pool"], news["stack"]
    in_use = [RangeInUse(subnet, "the reserved ranges (hubstack:reservedRanges)") for subnet in news["reserved_ranges"]]
    failures: list[CheckFailure] = []
    try:
        with engine_client(engine) as client:
            swarm = client.info()["Swarm"]
            in_use += networks_in_use(client, stack)
            manager = bool(swarm.get("ControlAvailable"))
            if swarm["LocalNodeState"] == "active" and not manager:
                failures.append(
                    CheckFailure(
                        "engine", f"{engine} is a worker of a swarm; set hubstack:engine to one of its managers"
                    )
                )
            user = port_user(client, engine, int(news["port"]), stack)
            if user:
                failures.append(
                    CheckFailure("port", f"port {int(news['port'])} is in use by {user}; stop it or set hubstack:port")
                )
            free = free_disk_bytes(client, engine)
            if first_time and free is not None and free < news["disk_bytes"]:
                failures.append(
                    CheckFailure(
                        "disk_bytes",
                        f"the images need {news['disk_bytes'] // 2**30} GiB where the engine keeps them, "
                        f"{free / 2**30:.1f} GiB are free; remove what you do not need (docker system df)",
                    )
                )
    except EngineUnreachableError as error:
        failures.append(CheckFailure("engine", str(error)))
    except APIError as error:
        failures.append(CheckFailure("engine", f"the engine at {engine} refused: {error.explanation}"))
    if is_local(engine):
        in_use += routes_in_use((bridge_name(stack),))
    advice = "set hubstack:addressPool to a range that nothing uses"
    failures += [CheckFailure("address_pool", f"{sentence}; {advice}") for sentence in collisions(pool, in_use)]
    return failures


class SwarmMode(Resource, module="docker", name="SwarmMode"):
    """An engine in swarm mode: initialised if it was in no swarm, and left again only in that case."""

    made_here: pulumi.Output[bool]
    """Whether this resource initialised the swarm."""

    def __init__(self, name: str, inputs: SwarmModeInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Check the engine at every preview and update, and put it in swarm mode.

        Args:
            name: the resource's name.
            inputs: what the stack needs of the engine.
            opts: resource options.
        """
        super().__init__(_SwarmModeProvider(), name, {**inputs, "made_here": None}, opts)
