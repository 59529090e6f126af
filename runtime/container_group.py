"""A group of containers on one Docker engine that belong together, as data.

An engine that is in no swarm has neither services nor secrets. The group's description says what runs, on which networks
and with which limits; `runtime/group_deployment.py` makes what is missing, replaces what differs and leaves alone what is
right, so that it can be repeated at any time. Secrets and texts of configuration lie in a volume of each container's own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

STACK_LABEL = "hubstack.stack"
GROUP_LABEL = "hubstack.node"
"""Label of everything that belongs to one group of a stack: a node, or the redirector."""
ROLE_LABEL = "hubstack.role"
SPEC_LABEL = "hubstack.spec"
"""Hash of what a container or network was made from, without secrets."""

FILES_FOLDER = "/run/hubstack"
"""Where a container finds its texts and secrets, each a file of its name."""

LOOPBACK = "127.0.0.1"

Json = dict[str, Any]


class NetworkSpec(TypedDict):
    """A bridge on the engine's host."""

    subnet: str
    """IPv4 range."""
    internal: bool
    """Whether nothing on it reaches the outside."""
    bridge: NotRequired[str]
    """Name of its interface. Default: the engine's choice."""
    apart: NotRequired[bool]
    """Whether containers on it are kept from each other and get no way out by translation. Default False."""


class PortSpec(TypedDict):
    """A published port."""

    published: int
    target: int
    address: str
    """Address of the host that it is published on; `0.0.0.0` for all."""


class ContainerSpec(TypedDict):
    """One container; networks, images and files by their short names."""

    role: str
    image: str
    """Short name of its image."""
    command: Sequence[str]
    cpu: float
    """Processors."""
    memory_bytes: int
    """Memory; no swap is granted beyond it."""
    processes: int
    networks: NotRequired[Mapping[str, "JoinSpec"]]
    """Networks that it joins."""
    host_network: NotRequired[bool]
    """Whether it shares the network of the host; then it joins no other. Default False."""
    environment: NotRequired[Mapping[str, str]]
    image_variables: NotRequired[Mapping[str, str]]
    """Variables whose value is the id or digest of an image, by the image's short name."""
    texts: NotRequired[Sequence[str]]
    """Texts of configuration that it gets as files."""
    secrets: NotRequired[Sequence[str]]
    """Secrets that it gets as files."""
    reloads: NotRequired[bool]
    """Whether it reads its texts again by itself, so that new ones need no restart. Default False."""
    volumes: NotRequired[Mapping[str, str]]
    """Volumes that are kept, by short name, with the path of each in the container."""
    engine_socket: NotRequired[bool]
    """Whether it may talk to the engine, and is root on the host for it. Default False."""
    cap_add: NotRequired[Sequence[str]]
    user: NotRequired[str]
    """User and group as `1000:100`. Default: the image's."""
    ports: NotRequired[Sequence[PortSpec]]
    health: NotRequired[Sequence[str]]
    """Command that fails while it does not work."""
    restarts: NotRequired[bool]
    """Whether the engine starts it again when it or the host has ended. Default True."""


class JoinSpec(TypedDict):
    """How a container is on a network."""

    aliases: NotRequired[Sequence[str]]
    address: NotRequired[str]
    """A fixed address. Default: the engine's choice."""


class FarewellSpec(TypedDict):
    """What is asked of a container before the group is removed."""

    container: str
    """Its short name."""
    command: Sequence[str]
    """What is run in it; the group is removed when it has ended, however it went."""
    undo: NotRequired[Sequence[str]]
    """What takes it back, where the group stays after all; it changes nothing where there was no farewell. Default: nothing."""


class ProbeSpec(TypedDict):
    """A proof, in the place of a user's server, of what code there reaches."""

    image: str
    """Short name of its image; it needs `python3`."""
    network: str
    """Network of the servers, by its short name."""
    address: str
    """Its own address there, where no server is: its own ports would answer it."""
    forbidden: Sequence[Mapping[str, Any]]
    """Destinations that must not answer; see `runtime/egress_probe`."""
    required: NotRequired[Sequence[Mapping[str, Any]]]
    """Destinations that must answer. Default: none."""


class GroupSpec(TypedDict):
    """The whole group."""

    stack: str
    group: str
    """Its name in the stack; the prefix of everything is `<stack>-<group>`."""
    networks: Mapping[str, NetworkSpec]
    containers: Mapping[str, ContainerSpec]
    """Containers by short name."""
    order: Sequence[str]
    """Their short names as they start; a mapping's order is lost on the way through the engine."""
    texts: Mapping[str, str]
    """Texts of configuration by file name."""
    farewell: NotRequired[FarewellSpec]
    """Default: it is removed at once."""
    probe: NotRequired[ProbeSpec]
    """What must not answer, and what must, once the group works. Default: nothing is tried."""


def prefix(spec: GroupSpec) -> str:
    """Start of the name of everything in the group."""
    return f"{spec['stack']}-{spec['group']}"


def faces(spec: GroupSpec) -> list[str]:
    """Containers that visitors reach, in the order of their start: those with a port that is not on the host's loopback."""
    return [
        name
        for name in spec["order"]
        if any(port["address"] != LOOPBACK for port in spec["containers"][name].get("ports", ()))
    ]


def digest(*parts: object) -> str:
    """A short hash of JSON values, the same for equal ones."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def group_labels(spec: GroupSpec, role: str, made_from: str) -> dict[str, str]:
    """The labels of something in the group."""
    return {STACK_LABEL: spec["stack"], GROUP_LABEL: spec["group"], ROLE_LABEL: role, SPEC_LABEL: made_from}


def container_digest(spec: GroupSpec, name: str, images: Mapping[str, str]) -> str:
    """What a container is made from; texts that it reads again by itself do not count."""
    container = spec["containers"][name]
    used = {image: images[image] for image in (container["image"], *container.get("image_variables", {}).values())}
    texts = {} if container.get("reloads") else {text: spec["texts"][text] for text in container.get("texts", ())}
    networks = {network: spec["networks"][network] for network in container.get("networks", {})}
    return digest(dict(container), used, texts, networks)


def files_of(spec: GroupSpec, name: str, secrets: Mapping[str, str]) -> dict[str, tuple[bytes, int]]:
    """The files of a container with their modes."""
    container = spec["containers"][name]
    texts = {text: (spec["texts"][text].encode(), 0o444) for text in container.get("texts", ())}
    return {**texts, **{secret: (secrets[secret].encode(), 0o400) for secret in container.get("secrets", ())}}


def host_config(spec: GroupSpec, name: str) -> Json:
    """docker-py's arguments for what the host grants a container: limits, and nothing that is not named."""
    container, start = spec["containers"][name], prefix(spec)
    binds = [f"{files_volume(spec, name)}:{FILES_FOLDER}:ro"] if has_files(container) else []
    binds += [f"{start}-{volume}:{path}" for volume, path in container.get("volumes", {}).items()]
    if container.get("engine_socket"):
        binds.append("/var/run/docker.sock:/var/run/docker.sock")
    networks = sorted(container.get("networks", {}))
    return {
        "binds": binds,
        "cap_add": list(container.get("cap_add", ())) or None,
        "cap_drop": ["ALL"],
        "log_config": {"type": "json-file", "config": {"max-size": "5m", "max-file": "2"}},
        "mem_limit": container["memory_bytes"],
        "memswap_limit": container["memory_bytes"],
        "nano_cpus": int(container["cpu"] * 1e9),
        "network_mode": "host" if container.get("host_network") else f"{start}-{networks[0]}",
        "pids_limit": container["processes"],
        "port_bindings": {port["target"]: (port["address"], port["published"]) for port in container.get("ports", ())},
        "read_only": True,
        "restart_policy": {"Name": "unless-stopped" if container.get("restarts", True) else "no"},
        "security_opt": ["no-new-privileges"],
        "tmpfs": {"/tmp": "rw,nosuid,nodev,size=64m,mode=1777"},  # noqa: S108  (the container's own)
    }


def joined_networks(spec: GroupSpec, name: str) -> set[str]:
    """Names, as the engine has them, of the networks that a container is on."""
    container = spec["containers"][name]
    if container.get("host_network"):
        return {"host"}
    return {f"{prefix(spec)}-{network}" for network in container.get("networks", {})}


def has_files(container: ContainerSpec) -> bool:
    """Whether a container has texts or secrets."""
    return bool(container.get("texts") or container.get("secrets"))


def files_volume(spec: GroupSpec, name: str) -> str:
    """Volume of a container's texts and secrets."""
    return f"{prefix(spec)}-{name}-files"


def removal_order(spec: GroupSpec, containers: Sequence[Json]) -> list[Json]:
    """The containers as they go: in the reverse order of their start, users' servers just before what guards them.

    What makes servers is gone before them, or it would make them again; the first of the group guards them to the end.
    """
    ranks = {f"/{prefix(spec)}-{name}": float(number) for number, name in enumerate(spec["order"])}
    return sorted(containers, key=lambda found: -ranks.get(found["Names"][0], 0.5))
