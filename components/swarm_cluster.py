"""JupyterHub on Docker Swarm: seed 001, with homes that last, quotas and closed networks."""

import base64
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
import pulumi_docker as docker
import pulumi_random as random

from components.docker import hub_services
from components.docker.home_volumes import HomeVolumeDriver
from components.docker.images import REGISTRY_IMAGE, build_image
from components.docker.labels import Role, labels, stack_label
from components.docker.open_network import OpenNetwork, bridge_name, open_network_name
from components.docker.overlay import AWS_DEFAULT_VPC, AddressPlan, parse_pool, plan_addresses
from components.docker.probe import EgressProbe, EgressProbeInputs, destinations
from components.docker.service import HOST_NETWORK, EngineParts, Mount, PlatformService, platform_service
from components.docker.spawned_servers import SpawnedServers
from components.docker.swarm_mode import SwarmMode
from components.docker.tls_proxy import caddyfile, self_signed_certificate
from components.egress import EgressProfile
from components.quotas import (
    FLEET_QUOTA_DEFAULTS,
    FleetQuota,
    UserQuota,
    check_fleet_quota,
    check_user_quota,
    user_quota_document,
)
from components.users import HubUser, repeated_names, users_document

IMAGE_DISK_BYTES = 6 * 2**30
"""Disk that the images take while they are built: about 2 GB of layers, their contexts and the volume driver."""

DEFAULT_POOL = "10.213.0.0/16"
SHORTEST_USER_PASSWORD = 8
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Images:
    """Images of a stack, by id."""

    base: pulumi.Output[str]
    hub: pulumi.Output[str]
    notebook: pulumi.Output[str]


@dataclass(frozen=True)
class Passwords:
    """What users and administrators log in with."""

    user: pulumi.Output[str]
    admin: pulumi.Output[str]


class SwarmClusterArgs(TypedDict):
    """Arguments of `SwarmCluster`. All are plain values: they decide what the stack consists of."""

    engine: NotRequired[str]
    """Address of the Docker engine. Default `unix:///var/run/docker.sock`."""
    advertiseAddress: NotRequired[str]
    """Address at which other nodes reach the manager. Default `127.0.0.1`: a machine alone."""
    domain: NotRequired[str]
    """Name that users type. Default `localhost`."""
    port: NotRequired[int]
    """TCP port of the hub, HTTPS only, 1 to 65535. Default 8443."""
    addressPool: NotRequired[str]
    """Private IPv4 range, /20 or larger, that all networks are cut from. Default `10.213.0.0/16`."""
    reservedRanges: NotRequired[list[str]]
    """Ranges in use elsewhere, such as VPCs. Default: AWS's default VPC, 172.31.0.0/16."""
    users: list[HubUser]
    """Who may log in; at least one."""
    password: NotRequired[pulumi.Input[str]]
    """Password that users share, at least 8 characters. Default: generated."""
    userQuota: NotRequired[UserQuota]
    """What one server may use."""
    fleetQuota: NotRequired[FleetQuota]
    """What all servers may use."""
    egressProfile: NotRequired[EgressProfile]
    """What servers may reach: `closed` or `open`. Default `closed`."""
    notebookImage: NotRequired[str]
    """Image of the single-user server by digest (`name@sha256:…`). Default: built from `images/notebook`."""
    buildFromRegistry: NotRequired[bool]
    """Whether images start from a registry's Python image instead of Debian's packages. Default False."""
    dataProtection: NotRequired[bool]
    """Whether homes and the hub's database outlive `destroy`. Default True."""


class SwarmCluster(pulumi.ComponentResource):
    """A JupyterHub on a Docker Swarm: TLS proxy, proxy and hub as services, a service for each user's server.

    Each server has a home of a fixed size that is kept, hard limits, and an internal network that only the proxy
    shares; under the egress profile `open` also a bridge to public addresses. A restart of the hub cuts nobody off.
    """

    url: pulumi.Output[str]
    """Address of the hub."""
    password: pulumi.Output[str]
    """Password of users, a secret."""
    adminPassword: pulumi.Output[str]
    """Password of administrators, a secret."""
    homesVolume: pulumi.Output[str]
    """Docker volume that holds the homes."""

    def __init__(self, name: str, args: SwarmClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the cluster.

        Args:
            name: prefix of everything on the engine, and the value of the label `hubstack.stack`.
            args: see `SwarmClusterArgs`.
            opts: resource options.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong; every mistake is listed.
        """
        super().__init__("hubstack:index:SwarmCluster", name, {}, opts)
        errors = check_swarm_cluster(args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)

        self._name, self._args = name, args
        self._engine = args.get("engine", "unix:///var/run/docker.sock")
        self._plan = plan_addresses(args.get("addressPool", DEFAULT_POOL))
        self._profile = EgressProfile(args.get("egressProfile", EgressProfile.CLOSED))
        self._local = pulumi.ResourceOptions(parent=self)
        provider = docker.Provider(f"{name}-engine", host=self._engine, opts=self._local)
        swarm = self._swarm()
        self._child = pulumi.ResourceOptions(parent=self, provider=provider, depends_on=[swarm])

        images = self._images()
        networks = {
            "control": self._network("control", Role.CONTROL_NETWORK, self._plan.control, internal=True),
            "edge": self._network("edge", Role.EDGE_NETWORK, self._plan.edge, internal=True),
            "front": self._network("front", Role.FRONT_NETWORK, self._plan.front, internal=False),
        }
        keep = args.get("dataProtection", True)
        hub_data = self._volume("hub-data", Role.HUB_DATA, keep=keep)
        homes = self._volume("homes", Role.HOMES, keep=keep)
        driver = self._home_driver(images.base, homes)
        way_out = self._way_out(images.hub)
        servers = SpawnedServers(
            f"{name}-servers",
            {"engine": self._engine, "stack": name, "home_driver": driver.plugin},
            # Their way out is guarded until the last of them is gone.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[swarm, *way_out]),
        )

        passwords = self._passwords()
        port = args.get("port", 8443)
        parts = EngineParts(
            networks={label: network.id for label, network in networks.items()},
            secrets=self._secrets(passwords),
            configs={
                "hub-settings": self._config("hub-settings", hub_settings(name, args, self._plan)),
                "caddyfile": self._config("caddyfile", caddyfile("proxy:8000")),
            },
        )
        self._service("pre-puller", hub_services.pre_puller(), images.notebook, parts)
        proxy = self._service("proxy", hub_services.proxy(self._plan.control), images.hub, parts)
        data: Mount = {"type": "volume", "source": f"{name}-hub-data", "target": hub_services.HUB_DATA_PATH}
        hub = self._service(
            "hub",
            hub_services.hub(data),
            images.hub,
            parts,
            # Deleted before the servers that it made, or it would make them again.
            depends_on=[servers, hub_data],
            environment={"NOTEBOOK_IMAGE": images.notebook, "HOME_DRIVER": driver.plugin},
        )
        tls_proxy = self._service("tls-proxy", hub_services.tls_proxy(port), images.hub, parts)
        self._probe(images.notebook, proxy, depends_on=[hub, proxy, tls_proxy, *way_out])

        self.url = hub.id.apply(lambda _: f"https://{args.get('domain', 'localhost')}:{port}")
        self.password = passwords.user
        self.adminPassword = passwords.admin
        self.homesVolume = homes.name
        self.register_outputs(
            {
                "url": self.url,
                "password": self.password,
                "adminPassword": self.adminPassword,
                "homesVolume": self.homesVolume,
            }
        )

    def _swarm(self) -> SwarmMode:
        args = self._args
        return SwarmMode(
            f"{self._name}-swarm",
            {
                "engine": self._engine,
                "stack": self._name,
                "advertise_address": args.get("advertiseAddress", "127.0.0.1"),
                "address_pool": args.get("addressPool", DEFAULT_POOL),
                "swarm_pool": self._plan.swarm,
                "reserved_ranges": sorted(args.get("reservedRanges", [AWS_DEFAULT_VPC])),
                "port": args.get("port", 8443),
                "disk_bytes": IMAGE_DISK_BYTES,
            },
            opts=self._local,
        )

    def _home_driver(self, image: pulumi.Input[str], homes: docker.Volume) -> HomeVolumeDriver:
        plugin = f"hubstack/{self._name}-homes:1"
        return HomeVolumeDriver(
            f"{self._name}-home-driver",
            {"engine": self._engine, "plugin": plugin, "image": image, "pool": homes.mountpoint},
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
        opts = pulumi.ResourceOptions(parent=self, depends_on=depends_on)
        return EgressProbe(f"{self._name}-egress-probe", inputs, opts=opts)

    def _passwords(self) -> Passwords:
        generated = random.RandomPassword(f"{self._name}-user-password", length=20, special=False, opts=self._local)
        admin = random.RandomPassword(f"{self._name}-admin-password", length=40, special=False, opts=self._local)
        return Passwords(
            user=pulumi.Output.secret(self._args.get("password") or generated.result),
            admin=pulumi.Output.secret(admin.result),
        )

    def _secrets(self, passwords: Passwords) -> dict[str, docker.Secret]:
        certificate = self_signed_certificate(f"{self._name}-tls", self._args.get("domain", "localhost"), self._local)
        values: dict[str, pulumi.Input[str]] = {
            "proxy-token": self._token("proxy-token").hex,
            "cookie-secret": self._token("cookie-secret").hex,
            "user-password": passwords.user,
            "admin-password": passwords.admin,
            "tls-cert": certificate.chain,
            "tls-key": certificate.key,
        }
        return {name: self._secret(name, value) for name, value in values.items()}

    def _images(self) -> Images:
        rootfs = not self._args.get("buildFromRegistry", False)
        of_source: dict[str, pulumi.Input[str]] = {"SOURCE": "scratch" if rootfs else REGISTRY_IMAGE}
        base, digest = build_image(
            f"{self._name}-base", "base", rootfs=rootfs, build_args=of_source, base_digest="", opts=self._child
        )
        hub, _ = build_image(
            f"{self._name}-hub-image", "hub", rootfs=rootfs, build_args=of_source, base_digest="", opts=self._child
        )
        given = self._args.get("notebookImage")
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

    def _token(self, name: str) -> random.RandomId:
        return random.RandomId(f"{self._name}-{name}", byte_length=32, opts=self._local)

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


def probe_subnet(plan: AddressPlan) -> str:
    """The last /28 of the users' range, which the probe's network takes while it runs."""
    users = ipaddress.IPv4Network(plan.users)
    return str(ipaddress.IPv4Network((int(users.broadcast_address) - 15, 28)))


def hub_settings(name: str, args: SwarmClusterArgs, plan: AddressPlan) -> str:
    """The hub's settings as JSON, keys in a fixed order; `runtime/hub/settings.py` reads them.

    Everything in it is known at preview, so that the policy pack can judge quotas and egress before an update.
    """
    profile = EgressProfile(args.get("egressProfile", EgressProfile.CLOSED))
    document = {
        "stack": name,
        "users": users_document(args["users"]),
        "quota": user_quota_document(args.get("userQuota", {})),
        "fleet": {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})},
        "egress": {
            "profile": profile.value,
            "network": open_network_name(name) if profile is EgressProfile.OPEN else None,
        },
        "user_subnets": plan.users,
        "proxy_service": f"{name}-proxy",
        "hub_service": f"{name}-hub",
    }
    return json.dumps(document, sort_keys=True)


def check_swarm_cluster(args: SwarmClusterArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    port = args.get("port", 8443)
    if not 1 <= port <= HIGHEST_PORT:
        wrong("port", f"{port} is not a TCP port; 1 to {HIGHEST_PORT}")
    try:
        parse_pool(args.get("addressPool", DEFAULT_POOL))
    except ValueError as error:
        wrong("addressPool", str(error))
    names = [user["name"] for user in args["users"]]
    if not names:
        wrong("users", "nobody could log in; name at least one user")
    for repeated in repeated_names(names):
        wrong("users", f"{repeated} is listed more than once")
    password = args.get("password")
    if isinstance(password, str) and len(password) < SHORTEST_USER_PASSWORD:
        wrong("password", f"it has {len(password)} characters; at least {SHORTEST_USER_PASSWORD}")
    image = args.get("notebookImage")
    if image and "@sha256:" not in image:
        wrong("notebookImage", f"{image} is not pinned; name it by digest (name@sha256:…)")
    errors += check_user_quota(args.get("userQuota", {}))
    errors += check_fleet_quota(args.get("fleetQuota", {}))
    return errors
