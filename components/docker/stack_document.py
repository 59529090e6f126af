"""The platform's services as a stack file, which a Swarm's own managers deploy (`docker stack deploy`)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from components.docker.labels import HUB_NODE_LABEL, labels
from components.docker.service import (
    HEALTH_INTERVAL,
    HEALTH_TIMEOUT,
    HOST_NETWORK,
    STOP_GRACE_PERIOD,
    TMP_SIZE,
    Placement,
    PlatformService,
)
from components.quotas import parse_size

FORMAT_VERSION = "3.8"
"""Of stack files, which Debian 12's engine reads."""

SECRETS_VERSION = "${SECRETS_VERSION}"
"""Stands for the version of the secrets, which only the managers know; the command line's client fills it in."""

IDLE_NETWORK = "idle"
"""Network of services that need none: the client would join them to one with a way out."""

Json = dict[str, object]


class Overlay(TypedDict):
    """A network of all nodes."""

    subnet: str
    internal: bool
    encrypted: NotRequired[bool]
    """Whether what goes from node to node is encrypted (IPsec). Default False."""


class ConfigFile(TypedDict):
    """A configuration file of services."""

    file: str
    """Its name beside the stack file."""
    text: str


def stack_document(
    stack: str,
    services: Mapping[str, tuple[PlatformService, str]],
    *,
    networks: Mapping[str, Overlay],
    configs: Mapping[str, ConfigFile],
    hub_node: str,
) -> Json:
    """The stack file; the keys are as `docker stack deploy` reads them.

    Args:
        stack: name of the stack, in front of everything's name.
        services: each service by its short name, with its image by digest.
        networks: the overlays that the services join, `IDLE_NETWORK` among them.
        configs: configuration files by short name.
        hub_node: value of the label of the one manager that hub and proxy run on.
    """
    secrets = sorted({secret for spec, _ in services.values() for secret in spec.get("secrets", ())})
    document: Json = {
        "version": FORMAT_VERSION,
        "services": {
            name: _service(stack, spec, image, hub_node=hub_node) for name, (spec, image) in sorted(services.items())
        },
        "networks": {name: _network(network) for name, network in sorted(networks.items())},
        "secrets": {name: {"external": True, "name": f"{stack}-{name}-{SECRETS_VERSION}"} for name in secrets},
        "configs": {
            # A configuration in use cannot be changed: another text is another configuration.
            name: {"name": f"{stack}-{name}-{_digest(config['text'])}", "file": f"./{config['file']}"}
            for name, config in sorted(configs.items())
        },
    }
    if any(HOST_NETWORK in spec.get("networks", {}) for spec, _ in services.values()):
        document["networks"] = {
            **{name: _network(network) for name, network in sorted(networks.items())},
            HOST_NETWORK: {"external": True, "name": HOST_NETWORK},
        }
    return document


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _network(network: Overlay) -> Json:
    return {
        "driver": "overlay",
        "internal": network["internal"],
        "driver_opts": {"encrypted": "true"} if network.get("encrypted") else {},
        "ipam": {"config": [{"subnet": network["subnet"]}]},
    }


def _service(stack: str, spec: PlatformService, image: str, *, hub_node: str) -> Json:
    marks = {mark["label"]: mark["value"] for mark in labels(stack, spec["role"])}
    service: Json = {
        "image": image,
        "entrypoint": ["tini", "--"],
        "command": list(spec["command"]),
        "environment": dict(spec.get("environment", {})),
        "read_only": True,
        "cap_drop": ["ALL"],
        "cap_add": list(spec.get("cap_add", ())),
        "labels": marks,
        "networks": {
            name: {"aliases": list(aliases)} for name, aliases in (spec.get("networks") or {IDLE_NETWORK: ()}).items()
        },
        "secrets": [{"source": name, "target": name, "mode": 0o400} for name in sorted(spec.get("secrets", ()))],
        "configs": [
            {"source": name, "target": path, "mode": 0o444} for path, name in sorted(spec.get("configs", {}).items())
        ],
        "volumes": [
            {"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": parse_size(TMP_SIZE)}},  # noqa: S108
            *(dict(mount) for mount in spec.get("mounts", ())),
        ],
        "deploy": {
            "labels": marks,
            "endpoint_mode": "dnsrr",
            "resources": {
                "limits": {"cpus": f"{spec['cpu']:g}", "memory": str(parse_size(spec["memory"]))},
            },
            "restart_policy": {"condition": "any", "delay": "1s", "window": "5s"},
            "update_config": {"parallelism": 1, "order": "stop-first", "failure_action": "rollback"},
            **_placement(spec["placement"], hub_node),
        },
    }
    if spec.get("keeps_data"):
        service["stop_grace_period"] = STOP_GRACE_PERIOD
    if user := spec.get("user"):
        service["user"] = user
    if check := spec.get("health_check"):
        service["healthcheck"] = {
            "test": ["CMD", *check],
            "interval": HEALTH_INTERVAL,
            "timeout": HEALTH_TIMEOUT,
        }
    if port := spec.get("published_port"):
        service["ports"] = [{"target": spec.get("target_port", port), "published": port, "mode": "host"}]
    return service


def _placement(placement: Placement, hub_node: str) -> Json:
    constraints: Mapping[Placement, Sequence[str]] = {
        Placement.HUB_NODE: [f"node.labels.{HUB_NODE_LABEL}=={hub_node}"],
        Placement.MANAGERS: ["node.role==manager"],
        Placement.SERVER_NODES: ["node.role==worker"],
        Placement.EVERY_NODE: [],
    }
    mode: Json = {"mode": "replicated", "replicas": 1} if placement is Placement.HUB_NODE else {"mode": "global"}
    return {**mode, "placement": {"constraints": list(constraints[placement])}}
