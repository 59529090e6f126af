"""Proof that a server reaches nothing it must not: an update fails when something forbidden answers."""

import contextlib
import ipaddress
import json
import time
from collections.abc import Callable, Generator
from typing import Any, NotRequired, TypedDict

import docker
import pulumi
from docker.errors import NotFound
from docker.types import (
    ContainerSpec,
    DNSConfig,
    EndpointSpec,
    IPAMConfig,
    IPAMPool,
    Resources,
    RestartPolicy,
    TaskTemplate,
)
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from components.docker.inspection import engine_client, section, service_containers
from components.docker.labels import ROLE_LABEL, STACK_LABEL, Role
from components.docker.overlay import AddressPlan
from components.docker.removal import remove_network
from components.probe_destinations import (
    METADATA_SERVICES,
    OUTSIDE,
    PRIVATE_NEIGHBOURS,
    PROBE_SOURCE,
    Destination,
    destination,
)

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

PROBE_TIMEOUT_SECONDS = 90
GUARD_WAIT_SECONDS = 60
NO_RESOLVER = DNSConfig(nameservers=["127.0.0.1"], options=["timeout:1", "attempts:1"])
"""Name servers of a closed server: none; see `runtime/hub/spawner.py`."""
PROXY_WAIT_SECONDS = 60


def always_forbidden(plan: AddressPlan) -> list[Destination]:
    """What no profile lets a server reach: metadata services, private ranges, the platform's own networks."""
    found = [
        *METADATA_SERVICES,
        *PRIVATE_NEIGHBOURS,
        destination("tcp", "proxy", 8001, "the proxy's API", refusal=True),
    ]
    for bridge in ("172.17.0.1", "172.18.0.1"):
        found.append(destination("tcp", bridge, 22, "the host, at Docker's bridge"))
        found.append(destination("tcp", bridge, 2377, "Swarm's management port, at Docker's bridge"))
    for number in range(2, 7):
        control = str(ipaddress.ip_network(plan.control)[number])
        edge = str(ipaddress.ip_network(plan.edge)[number])
        found.append(destination("tcp", control, 8001, "the proxy's API on the control network"))
        found.append(destination("tcp", control, 8081, "the hub on the control network"))
        found.append(destination("tcp", edge, 8000, "the proxy on the edge network"))
    return found


def destinations(plan: AddressPlan, profile: str) -> list[Destination]:
    """Everything that must not answer under `profile`."""
    return always_forbidden(plan) + (list(OUTSIDE) if profile == "closed" else [])


class EgressProbeInputs(TypedDict):
    """What is tried, and from where."""

    engine: pulumi.Input[str]
    """Address of the engine."""
    stack: pulumi.Input[str]
    """The stack's label."""
    image: pulumi.Input[str]
    """Image of the single-user server; it needs `python3`."""
    subnet: pulumi.Input[str]
    """Subnet of the probe's network, part of the users' range."""
    profile: pulumi.Input[str]
    """The egress profile that is proved."""
    open_network: NotRequired[pulumi.Input[str]]
    """Network that servers of an `open` profile leave by."""
    proxy_service: pulumi.Input[str]
    """Service of the proxy, which joins the probe's network as it joins a user's."""
    forbidden: pulumi.Input[list[Destination]]
    """Destinations that must not answer."""


class _EgressProbeProvider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A changed engine, image, network or profile is proved anew."""
        keys = ("engine", "image", "subnet", "profile", "forbidden")
        replaces = [key for key in keys if _plain(_olds.get(key)) != _plain(_news.get(key))]
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Run the probe; what answers and must not, or does not and must, is an error."""
        with engine_client(props["engine"]) as client:
            report = run_probe(client, props)
        if report["answered"] or report["missing"]:
            raise RuntimeError(explain(props["profile"], report))
        return CreateResult(f"{props['stack']}-{props['profile']}", {**props, "tried": report["tried"]})


class EgressProbe(Resource, module="docker", name="EgressProbe"):
    """A server's network, tried from inside; creating it fails when something forbidden answers."""

    tried: pulumi.Output[int]
    """Number of destinations tried."""

    def __init__(self, name: str, inputs: EgressProbeInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Describe the probe.

        Args:
            name: the resource's name.
            inputs: what is tried.
            opts: resource options.
        """
        super().__init__(_EgressProbeProvider(), name, {**inputs, "tried": None}, opts)


def explain(profile: str, report: dict[str, Any]) -> str:
    """The error of a probe that did not pass."""
    lines = [f"egress profile {profile} is not enforced on this engine:"]
    lines += [f"  {d['kind']} {d['host']} port {d['port']} answered ({d['why']})" for d in report["answered"]]
    lines += [f"  {d['kind']} {d['host']} port {d['port']} did not answer ({d['why']})" for d in report["missing"]]
    return "\n".join(lines)


def run_probe(client: docker.APIClient, props: dict[str, Any]) -> dict[str, Any]:
    """Run the probe in a service on a network like a user's and return its report."""
    name = f"{props['stack']}-egress-probe"
    document = {
        "forbidden": _plain(props["forbidden"]),
        "required": [destination("tcp", "proxy", 8000, "the proxy, which users and their servers need")],
    }
    way_out = props.get("open_network")
    if way_out:
        _wait_for_guard(client, props["stack"])
    with _probe_network(client, name, props) as (network, join):
        task = TaskTemplate(
            container_spec=ContainerSpec(
                image=props["image"],
                command=["python3", "-c", PROBE_SOURCE.read_text(), json.dumps(document)],
                user="1000:100",
                read_only=True,
                cap_drop=["ALL"],
                labels=_labels(props),
                # Docker's resolver does not know the aliases of a task that joined while it ran.
                hosts={"proxy": last_host(props["subnet"])},
                dns_config=None if way_out else NO_RESOLVER,
            ),
            resources=Resources(cpu_limit=10**9, mem_limit=256 * 2**20),
            restart_policy=RestartPolicy(condition="none"),
            networks=[{"Target": target} for target in (network, way_out) if target],
        )
        service = client.create_service(
            task, name=name, labels=_labels(props), endpoint_spec=EndpointSpec(mode="dnsrr")
        )["ID"]
        try:
            return _report(client, service, join)
        finally:
            client.remove_service(service)


def last_host(subnet: str) -> str:
    """The last address of the subnet that a host can have; tasks get theirs from the front."""
    return str(ipaddress.IPv4Network(subnet).broadcast_address - 1)


def _report(client: docker.APIClient, service: str, join: Callable[[], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + PROBE_TIMEOUT_SECONDS
    status: dict[str, Any] = {}
    joined = False
    while time.monotonic() < deadline:
        joined = joined or join()
        tasks = client.tasks(filters={"service": service})
        status = tasks[0]["Status"] if tasks else {}
        if status.get("State") in {"complete", "failed", "rejected"}:
            container = section(status, "ContainerStatus").get("ContainerID")
            output = client.logs(container, stdout=True, stderr=False).decode() if container else ""
            for line in reversed(output.splitlines()):
                with contextlib.suppress(ValueError):
                    return json.loads(line)
            raise RuntimeError(f"the egress probe did not run: {status.get('Err') or status.get('Message')}")
        time.sleep(0.3)
    raise RuntimeError(f"the egress probe did not end within {PROBE_TIMEOUT_SECONDS} s: {status.get('Message')}")


@contextlib.contextmanager
def _probe_network(
    client: docker.APIClient, name: str, props: dict[str, Any]
) -> Generator[tuple[str, Callable[[], bool]]]:
    _remove_leftovers(client, name)
    client.create_network(
        name,
        driver="overlay",
        internal=True,
        attachable=True,
        scope="swarm",
        labels=_labels(props),
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=props["subnet"])]),
    )
    proxy = _proxy_container(client, props["proxy_service"])

    def join() -> bool:
        # The network exists on a node from the moment that a task on it starts there.
        try:
            # An address of its own choice: the node does not know which ones Swarm's manager has given to tasks.
            client.connect_container_to_network(proxy, name, ipv4_address=last_host(props["subnet"]))
        except NotFound:
            return False
        return True

    try:
        yield name, join
    finally:
        remove_network(client, name)


def _remove_leftovers(client: docker.APIClient, name: str) -> None:
    """Clear away what a probe left that was killed."""
    for service in client.services(filters={"name": name}):
        client.remove_service(service["ID"])
    for network in client.networks(names=[name]):
        remove_network(client, network["Id"])


def _wait_for_guard(client: docker.APIClient, stack: str) -> None:
    """Wait until the guard says that its rules are in place: before, nothing answers whatever they are."""
    deadline = time.monotonic() + GUARD_WAIT_SECONDS
    mine = [f"{STACK_LABEL}={stack}", f"{ROLE_LABEL}={Role.EGRESS_GUARD.value}"]
    while not client.containers(filters={"label": mine, "health": "healthy"}):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the egress guard is not ready; see: docker service ps --no-trunc {stack}-egress-guard")
        time.sleep(0.3)


def _proxy_container(client: docker.APIClient, service: str) -> str:
    deadline = time.monotonic() + PROXY_WAIT_SECONDS
    while time.monotonic() < deadline:
        containers = service_containers(client, service)
        if containers:
            return containers[0]["Id"]
        time.sleep(0.3)
    raise RuntimeError(f"no container of service {service} runs; see: docker service ps --no-trunc {service}")


def _labels(props: dict[str, Any]) -> dict[str, str]:
    return {STACK_LABEL: props["stack"], ROLE_LABEL: Role.EGRESS_PROBE.value}


def _plain(value: Json) -> Json:
    """Numbers as the program gave them: the engine hands integers back as floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
