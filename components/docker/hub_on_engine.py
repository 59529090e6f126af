"""A hub on a Docker engine that Pulumi reaches: this machine's, or one over SSH."""

import base64
import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import pulumi
import pulumi_docker as docker

from components.docker import hub_services
from components.docker.build_context import REGISTRY_IMAGE
from components.docker.home_volumes import HomeVolumeDriver
from components.docker.hub_readiness import HubReadiness
from components.docker.hub_secrets import HubSecrets
from components.docker.hub_services import HubAccess
from components.docker.images import build_image
from components.docker.labels import Role, labels, stack_label
from components.docker.open_network import OpenNetwork
from components.docker.overlay import AddressPlan, plan_addresses
from components.docker.probe import EgressProbe, EgressProbeInputs, destinations
from components.docker.service import HOST_NETWORK, EngineParts, Mount, PlatformService, platform_service
from components.docker.spawned_servers import SpawnedServers
from components.docker.swarm_mode import SwarmMode
from components.docker.tls_proxy import caddyfile
from components.egress import EgressProfile
from runtime.open_network import bridge_name, open_network_name

IMAGE_DISK_BYTES = 6 * 2**30
"""Disk that the images take while they are built: about 2 GB of layers, their contexts and the volume driver."""


@dataclass(frozen=True)
class Images:
    """Images of a stack, by id."""

    base: pulumi.Output[str]
    hub: pulumi.Output[str]
    notebook: pulumi.Output[str]


@dataclass(frozen=True)
class EngineHub:
    """What a component tells of a hub on an engine."""

    ready: pulumi.Output[str]
    """Known once the hub answers."""
    homes: pulumi.Output[str]
    """Docker volume that holds the homes."""


class EngineArgs(TypedDict):
    """The engine and how the hub is reached."""

    engine: str
    """Address of the Docker engine."""
    advertiseAddress: str
    """Address at which other nodes reach the manager."""
    port: int
    """Published TCP port."""
    addressPool: str
    """Range that all networks are cut from."""
    reservedRanges: Sequence[str]
    """Ranges in use elsewhere."""
    profile: EgressProfile
    """What servers may reach."""
    notebookImage: str | None
    """Image of the single-user server by digest; None to build it."""
    buildFromRegistry: bool
    """Whether images start from a registry's Python image."""
    homeBytes: int
    """Size of a home."""
    keep: bool
    """Whether homes and the hub's database outlive `destroy`."""


class HubOnEngine:
    """The resources of a hub on one engine; an object of it declares them once."""

    def __init__(self, name: str, args: EngineArgs, parent: pulumi.Resource) -> None:
        """Keep what all of them share.

        Args:
            name: prefix of everything on the engine, and the value of the label `hubstack.stack`.
            args: the engine and how the hub is reached.
            parent: the component.
        """
        self._name, self._args = name, args
        self._engine, self._profile = args["engine"], args["profile"]
        self._plan = plan_addresses(args["addressPool"])
        self._parent = parent
        self._local = pulumi.ResourceOptions(parent=parent)
        self._provider = docker.Provider(f"{name}-engine", host=self._engine, opts=self._local)
        self._swarm = self._swarm_mode()
        self._child = pulumi.ResourceOptions(parent=parent, provider=self._provider, depends_on=[self._swarm])

    def declare(self, secrets: HubSecrets, settings: str, access: HubAccess) -> EngineHub:
        """Declare everything.

        Args:
            secrets: the hub's secrets.
            settings: the hub's settings as JSON.
            access: what the hub needs beside its own secrets and networks.
        """
        name, keep = self._name, self._args["keep"]
        images = self._images()
        networks = {
            "control": self._network("control", Role.CONTROL_NETWORK, self._plan.control, internal=True),
            "edge": self._network("edge", Role.EDGE_NETWORK, self._plan.edge, internal=True),
            "front": self._network("front", Role.FRONT_NETWORK, self._plan.front, internal=False),
        }
        hub_data = self._volume("hub-data", Role.HUB_DATA, keep=keep)
        homes = self._volume("homes", Role.HOMES, keep=keep)
        driver = self._home_driver(images.base, homes)
        way_out = self._way_out(images.hub)
        servers = self._spawned_servers(driver, way_out)
        parts = EngineParts(
            networks={label: network.id for label, network in networks.items()},
            secrets={label: self._secret(label, value) for label, value in secrets.values.items()},
            configs={
                "hub-settings": self._config("hub-settings", settings),
                "caddyfile": self._config("caddyfile", caddyfile("proxy:8000")),
            },
        )
        self._service("pre-puller", hub_services.pre_puller(), images.notebook, parts)
        data: Mount = {"type": "volume", "source": f"{name}-hub-data", "target": hub_services.HUB_DATA_PATH}
        specs = {
            "proxy": hub_services.proxy(self._plan.control),
            "hub": hub_services.hub(data, **access),
            "tls-proxy": hub_services.tls_proxy(self._args["port"]),
        }
        environment = {"NOTEBOOK_IMAGE": images.notebook, "HOME_DRIVER": driver.plugin}
        proxy = self._service("proxy", specs["proxy"], images.hub, parts)
        hub = self._service(
            "hub",
            specs["hub"],
            images.hub,
            parts,
            # Deleted before the servers that it made, or it would make them again.
            depends_on=[servers, hub_data],
            environment=environment,
        )
        tls_proxy = self._service("tls-proxy", specs["tls-proxy"], images.hub, parts)
        self._probe(images.notebook, proxy, depends_on=[hub, proxy, tls_proxy, *way_out])
        readiness = HubReadiness(
            f"{name}-hub-readiness",
            {
                "engine": self._engine,
                "hub_service": hub.name,
                "tls_service": tls_proxy.name,
                "made_of": _digest([specs, images.hub, environment, parts.ids]),
            },
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=[hub, proxy, tls_proxy]),
        )
        return EngineHub(readiness.id, homes.name)

    def _spawned_servers(self, driver: HomeVolumeDriver, way_out: Sequence[pulumi.Resource]) -> SpawnedServers:
        return SpawnedServers(
            f"{self._name}-servers",
            {"engine": self._engine, "stack": self._name, "home_driver": driver.plugin},
            # Their way out is guarded until the last of them is gone.
            opts=pulumi.ResourceOptions(parent=self._parent, depends_on=[self._swarm, *way_out]),
        )

    def _swarm_mode(self) -> SwarmMode:
        return SwarmMode(
            f"{self._name}-swarm",
            {
                "engine": self._engine,
                "stack": self._name,
                "advertise_address": self._args["advertiseAddress"],
                "address_pool": self._args["addressPool"],
                "swarm_pool": self._plan.swarm,
                "reserved_ranges": sorted(self._args["reservedRanges"]),
                "port": self._args["port"],
                "disk_bytes": IMAGE_DISK_BYTES,
            },
            opts=self._local,
        )

    def _home_driver(self, image: pulumi.Input[str], homes: docker.Volume) -> HomeVolumeDriver:
        plugin = f"hubstack/{self._name}-homes:1"
        return HomeVolumeDriver(
            f"{self._name}-home-driver",
            {
                "engine": self._engine,
                "plugin": plugin,
                "image": image,
                "pool": homes.mountpoint,
                "home_bytes": self._args["homeBytes"],
            },
            opts=self._local,
        )

    def _way_out(self, image: pulumi.Input[str]) -> list[pulumi.Resource]:
        """The network and the guard of servers that reach the outside; nothing for a closed profile."""
        if self._profile is EgressProfile.CLOSED:
            return []
        network = OpenNetwork(
            f"{self._name}-open-network",
            {"engine": self._engine, "stack": self._name, "subnet": self._plan.open},
            opts=pulumi.ResourceOptions.merge(self._local, pulumi.ResourceOptions(depends_on=self._child.depends_on)),
        )
        guard = self._service(
            "egress-guard",
            hub_services.egress_guard(bridge_name(self._name), self._plan.open),
            image,
            EngineParts(networks={HOST_NETWORK: network.host}, secrets={}, configs={}),
            depends_on=[network],
        )
        return [network, guard]

    def _probe(
        self, image: pulumi.Input[str], proxy: docker.Service, *, depends_on: Sequence[pulumi.Resource]
    ) -> EgressProbe:
        inputs: EgressProbeInputs = {
            "engine": self._engine,
            "stack": self._name,
            "image": image,
            "subnet": probe_subnet(self._plan),
            "profile": self._profile.value,
            "proxy_service": proxy.name,
            "forbidden": destinations(self._plan, self._profile.value),
        }
        if self._profile is EgressProfile.OPEN:
            inputs["open_network"] = open_network_name(self._name)
        opts = pulumi.ResourceOptions(parent=self._parent, depends_on=depends_on)
        return EgressProbe(f"{self._name}-egress-probe", inputs, opts=opts)

    def _images(self) -> Images:
        rootfs = not self._args["buildFromRegistry"]
        of_source: dict[str, pulumi.Input[str]] = {"SOURCE": "scratch" if rootfs else REGISTRY_IMAGE}
        base, digest = build_image(
            f"{self._name}-base", "base", rootfs=rootfs, build_args=of_source, base_digest="", opts=self._child
        )
        hub, _ = build_image(
            f"{self._name}-hub-image", "hub", rootfs=rootfs, build_args=of_source, base_digest="", opts=self._child
        )
        given = self._args["notebookImage"]
        if given:
            return Images(base.image_id, hub.image_id, pulumi.Output.from_input(given))
        # By its tag, which is a hash of its inputs: BuildKit looks an id up in a registry.
        notebook, _ = build_image(
            f"{self._name}-notebook-image",
            "notebook",
            rootfs=rootfs,
            build_args={"BASE": base.name},
            base_digest=digest,
            opts=self._child,
        )
        return Images(base.image_id, hub.image_id, notebook.image_id)

    def _network(self, name: str, role: Role, subnet: str, *, internal: bool) -> docker.Network:
        return docker.Network(
            f"{self._name}-{name}",
            name=f"{self._name}-{name}",
            driver="overlay",
            internal=internal,
            attachable=False,
            # The engine picks this gateway by itself; unsaid, every refresh would show it as a change.
            ipam_configs=[docker.NetworkIpamConfigArgs(subnet=subnet, gateway=str(ipaddress.ip_network(subnet)[1]))],
            labels=[docker.NetworkLabelArgs(**label) for label in labels(self._name, role)],
            opts=self._child,
        )

    def _volume(self, name: str, role: Role, *, keep: bool) -> docker.Volume:
        return docker.Volume(
            f"{self._name}-{name}",
            name=f"{self._name}-{name}",
            labels=[docker.VolumeLabelArgs(**label) for label in labels(self._name, role, data=True)],
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(retain_on_delete=keep)),
        )

    def _secret(self, name: str, value: pulumi.Input[str]) -> docker.Secret:
        # A secret in use can be neither changed nor removed: a new one takes its place under another name.
        return docker.Secret(
            f"{self._name}-{name}-secret",
            data=pulumi.Output.secret(value).apply(encoded),
            labels=[docker.SecretLabelArgs(**stack_label(self._name))],
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(additional_secret_outputs=["data"])),
        )

    def _config(self, name: str, text: str) -> docker.ServiceConfig:
        return docker.ServiceConfig(f"{self._name}-{name}", data=encoded(text), opts=self._child)

    def _service(
        self,
        label: str,
        spec: PlatformService,
        image: pulumi.Input[str],
        parts: EngineParts,
        *,
        depends_on: Sequence[pulumi.Resource] = (),
        environment: Mapping[str, pulumi.Input[str]] | None = None,
    ) -> docker.Service:
        opts = pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=list(depends_on)))
        return platform_service(f"{self._name}-{label}", self._name, spec, image, parts, opts, environment=environment)


def encoded(text: str) -> str:
    """Base64, as Docker's secrets and configurations take their data."""
    return base64.b64encode(text.encode()).decode()


def _digest(parts: Sequence[object]) -> pulumi.Output[str]:
    """SHA-256 of what services are made of. What the engine tells of them is not in it: a refresh changes that."""
    return pulumi.Output.json_dumps(parts).apply(lambda text: hashlib.sha256(text.encode()).hexdigest())


def probe_subnet(plan: AddressPlan) -> str:
    """The last /28 of the users' range, which the probe's network takes while it runs."""
    users = ipaddress.IPv4Network(plan.users)
    return str(ipaddress.IPv4Network((int(users.broadcast_address) - 15, 28)))
