"""JupyterHub on Docker Swarm: seed 001, with homes that last, quotas and closed networks."""

import base64
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
import pulumi_docker as docker
import pulumi_random as random

from components.docker.home_volumes import HomeVolumeDriver
from components.docker.images import REGISTRY_IMAGE, build_image
from components.docker.labels import Role, labels
from components.docker.overlay import AWS_DEFAULT_VPC, AddressPlan, parse_pool, plan_addresses
from components.docker.prepull import pre_puller
from components.docker.probe import EgressProbe, destinations
from components.docker.service import platform_service
from components.docker.spawned_servers import SpawnedServers
from components.docker.swarm_mode import SwarmMode
from components.docker.tls_proxy import TLS_PORT, caddyfile, self_signed_certificate
from components.egress import EgressProfile
from components.quotas import (
    FLEET_QUOTA_DEFAULTS,
    FleetQuota,
    UserQuota,
    check_fleet_quota,
    check_user_quota,
    user_quota_document,
)

IMAGE_DISK_BYTES = 6 * 2**30
"""Disk that the images take while they are built: about 2 GB of layers, their contexts and the volume driver."""

SHORTEST_USER_PASSWORD = 8
SETTINGS_PATH = "/run/hub-settings.json"
CADDYFILE_PATH = "/run/Caddyfile"
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Images:
    """Images of a stack, by id."""

    base: pulumi.Output[str]
    hub: pulumi.Output[str]
    notebook: pulumi.Output[str]


class HubUser(TypedDict):
    """Somebody who may log in."""

    name: str
    """Login name."""
    admin: NotRequired[bool]
    """Whether the user administers the hub. Default False."""


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
    """What servers may reach. Default `closed`."""
    notebookImage: NotRequired[str]
    """Image of the single-user server by digest (`name@sha256:…`). Default: built from `images/notebook`."""
    buildFromRegistry: NotRequired[bool]
    """Whether images start from a registry's Python image instead of Debian's packages. Default False."""
    dataProtection: NotRequired[bool]
    """Whether homes and the hub's database outlive `destroy`. Default True."""


class SwarmCluster(pulumi.ComponentResource):
    """A JupyterHub on a Docker Swarm: TLS proxy, proxy and hub as services, a service for each user's server.

    Each server has a home of a fixed size that is kept, hard limits, and an internal network that only the proxy
    shares. A restart of the hub cuts nobody off.
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

        engine = args.get("engine", "unix:///var/run/docker.sock")
        self._name = name
        self._plan = plan_addresses(args.get("addressPool", "10.213.0.0/16"))
        self._profile = EgressProfile(args.get("egressProfile", EgressProfile.CLOSED))
        provider = docker.Provider(f"{name}-engine", host=engine, opts=pulumi.ResourceOptions(parent=self))
        swarm = SwarmMode(
            f"{name}-swarm",
            {
                "engine": engine,
                "stack": name,
                "advertise_address": args.get("advertiseAddress", "127.0.0.1"),
                "address_pool": args.get("addressPool", "10.213.0.0/16"),
                "swarm_pool": self._plan.swarm,
                "reserved_ranges": sorted(args.get("reservedRanges", [AWS_DEFAULT_VPC])),
                "port": args.get("port", 8443),
                "disk_bytes": IMAGE_DISK_BYTES,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._child = pulumi.ResourceOptions(parent=self, provider=provider, depends_on=[swarm])
        local = pulumi.ResourceOptions(parent=self)

        images = self._images(args)
        networks = {
            "control": self._network("control", Role.CONTROL_NETWORK, self._plan.control, internal=True),
            "edge": self._network("edge", Role.EDGE_NETWORK, self._plan.edge, internal=True),
            "front": self._network("front", Role.FRONT_NETWORK, self._plan.front, internal=False),
        }
        hub_data = self._volume("hub-data", Role.HUB_DATA, keep=args.get("dataProtection", True))
        homes = self._volume("homes", Role.HOMES, keep=args.get("dataProtection", True))
        driver = HomeVolumeDriver(
            f"{name}-home-driver",
            {"engine": engine, "plugin": f"hubstack/{name}-homes:1", "image": images.base, "pool": homes.mountpoint},
            opts=local,
        )

        servers = SpawnedServers(
            f"{name}-servers",
            {"engine": engine, "stack": name, "home_driver": driver.plugin},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[swarm]),
        )

        generated = random.RandomPassword(f"{name}-user-password", length=20, special=False, opts=local)
        admin = random.RandomPassword(f"{name}-admin-password", length=40, special=False, opts=local)
        password = pulumi.Output.secret(args.get("password") or generated.result)
        certificate = self_signed_certificate(f"{name}-tls", args.get("domain", "localhost"), local)
        secrets = {
            "proxy-token": self._secret("proxy-token", self._token("proxy-token").hex),
            "cookie-secret": self._secret("cookie-secret", self._token("cookie-secret").hex),
            "user-password": self._secret("user-password", password),
            "admin-password": self._secret("admin-password", admin.result),
            "tls-cert": self._secret("tls-cert", certificate.chain),
            "tls-key": self._secret("tls-key", certificate.key),
        }

        settings = self._config("hub-settings", hub_settings(name, args, self._plan))
        self._pre_pull(images.notebook)
        proxy = self._proxy(images.hub, networks, secrets)
        environment = {"NOTEBOOK_IMAGE": images.notebook, "HOME_DRIVER": driver.plugin}
        hub = self._hub(images.hub, networks, secrets, settings, hub_data, environment, servers)
        tls_proxy = self._tls_proxy(images.hub, networks, secrets, port=args.get("port", 8443))
        EgressProbe(
            f"{name}-egress-probe",
            {
                "engine": engine,
                "stack": name,
                "image": images.notebook,
                "subnet": probe_subnet(self._plan),
                "profile": self._profile.value,
                "proxy_service": proxy.name,
                "forbidden": destinations(self._plan, self._profile.value),
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[hub, proxy, tls_proxy]),
        )

        self.url = hub.id.apply(lambda _: f"https://{args.get('domain', 'localhost')}:{args.get('port', 8443)}")
        self.password = password
        self.adminPassword = pulumi.Output.secret(admin.result)
        self.homesVolume = homes.name
        self.register_outputs(
            {
                "url": self.url,
                "password": self.password,
                "adminPassword": self.adminPassword,
                "homesVolume": self.homesVolume,
            }
        )

    def _images(self, args: SwarmClusterArgs) -> Images:
        rootfs = not args.get("buildFromRegistry", False)
        of_source: dict[str, pulumi.Input[str]] = {"SOURCE": "scratch" if rootfs else REGISTRY_IMAGE}
        base, digest = build_image(
            f"{self._name}-base", "base", rootfs=rootfs, build_args=of_source, base_digest="", opts=self._child
        )
        hub, _ = build_image(
            f"{self._name}-hub-image", "hub", rootfs=rootfs, build_args=of_source, base_digest="", opts=self._child
        )
        given = args.get("notebookImage")
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
        return random.RandomId(f"{self._name}-{name}", byte_length=32, opts=pulumi.ResourceOptions(parent=self))

    def _secret(self, name: str, value: pulumi.Input[str]) -> docker.Secret:
        # A secret in use can be neither changed nor removed: a new one takes its place under another name.
        return docker.Secret(
            f"{self._name}-{name}-secret",
            data=pulumi.Output.secret(value).apply(encoded),
            labels=[docker.SecretLabelArgs(label="hubstack.stack", value=self._name)],
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(additional_secret_outputs=["data"])),
        )

    def _config(self, name: str, text: str) -> docker.ServiceConfig:
        return docker.ServiceConfig(f"{self._name}-{name}", data=encoded(text), opts=self._child)

    def _pre_pull(self, image: pulumi.Input[str]) -> docker.Service:
        return pre_puller(f"{self._name}-pre-puller", stack=self._name, image=image, opts=self._child)

    def _proxy(
        self, image: pulumi.Input[str], networks: dict[str, docker.Network], secrets: dict[str, docker.Secret]
    ) -> docker.Service:
        return platform_service(
            f"{self._name}-proxy",
            self._name,
            {
                "role": Role.PROXY,
                "image": image,
                "command": ["python", "-m", "runtime.hub.start_proxy"],
                "cpu": 1.0,
                "memory": "256M",
                "environment": {"CONTROL_SUBNET": self._plan.control},
                "networks": [(networks["control"], ["proxy"]), (networks["edge"], ["proxy"])],
                "secrets": {"proxy-token": secrets["proxy-token"]},
            },
            self._child,
        )

    def _hub(
        self,
        image: pulumi.Input[str],
        networks: dict[str, docker.Network],
        secrets: dict[str, docker.Secret],
        settings: docker.ServiceConfig,
        data: docker.Volume,
        environment: Mapping[str, pulumi.Input[str]],
        servers: SpawnedServers,
    ) -> docker.Service:
        mounts = [
            docker.ServiceTaskSpecContainerSpecMountArgs(target="/srv/hub", source=data.name, type="volume"),
            # The hub makes services, networks and volumes; it is the one service that may.
            docker.ServiceTaskSpecContainerSpecMountArgs(
                target="/var/run/docker.sock", source="/var/run/docker.sock", type="bind"
            ),
        ]
        names = ("proxy-token", "cookie-secret", "user-password", "admin-password")
        return platform_service(
            f"{self._name}-hub",
            self._name,
            {
                "role": Role.HUB,
                "image": image,
                "command": ["jupyterhub", "--config", "/opt/hubstack/runtime/hub/jupyterhub_config.py"],
                "cpu": 1.0,
                "memory": "1G",
                "environment": environment,
                "networks": [(networks["control"], ["hub"])],
                "secrets": {name: secrets[name] for name in names},
                "configs": {SETTINGS_PATH: settings},
                "mounts": mounts,
            },
            # Deleted before the servers that it made, or it would make them again.
            pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=[servers])),
        )

    def _tls_proxy(
        self,
        image: pulumi.Input[str],
        networks: dict[str, docker.Network],
        secrets: dict[str, docker.Secret],
        *,
        port: int,
    ) -> docker.Service:
        return platform_service(
            f"{self._name}-tls-proxy",
            self._name,
            {
                "role": Role.TLS_PROXY,
                "image": image,
                "command": ["caddy", "run", "--config", CADDYFILE_PATH, "--adapter", "caddyfile"],
                "cpu": 1.0,
                "memory": "256M",
                "environment": dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"), "/tmp"),  # noqa: S108
                "networks": [(networks["edge"], []), (networks["front"], [])],
                "secrets": {name: secrets[name] for name in ("tls-cert", "tls-key")},
                "configs": {CADDYFILE_PATH: self._config("caddyfile", caddyfile("proxy:8000"))},
                "published_port": port,
                "target_port": TLS_PORT,
            },
            self._child,
        )


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
    users = sorted(({"name": user["name"], "admin": user.get("admin", False)} for user in args["users"]), key=str)
    document = {
        "stack": name,
        "users": users,
        "quota": user_quota_document(args.get("userQuota", {})),
        "fleet": {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})},
        "egress": {"profile": profile.value},
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
        parse_pool(args.get("addressPool", "10.213.0.0/16"))
    except ValueError as error:
        wrong("addressPool", str(error))
    names = [user["name"] for user in args["users"]]
    if not names:
        wrong("users", "nobody could log in; name at least one user")
    for repeated in sorted({name for name in names if names.count(name) > 1}):
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
