"""JupyterHub on Docker Swarm: seed 001, with homes that last, quotas and closed networks."""

import json
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi

from components.aws.checks import check_data_protection
from components.aws.swarm_bundle import HUB_DATA, swarm_bundle
from components.aws.swarm_plan import (
    DEFAULT_ZONES,
    SwarmOnEc2,
    check_capacity,
    check_swarm_on_ec2,
    deployment,
    instance_types,
    quota_needs,
)
from components.docker import hub_services
from components.docker.hub_on_engine import HubOnEngine
from components.docker.hub_secrets import HubSecrets, hub_secrets
from components.docker.hub_services import HubAccess
from components.docker.overlay import AWS_DEFAULT_VPC, parse_pool, plan_addresses
from components.docker.service import Mount, PlatformService
from components.docker.stack_document import IDLE_NETWORK, ConfigFile, Overlay, stack_document
from components.docker.tls_proxy import TLS_PORT, caddyfile
from components.egress import PROFILES_WITHOUT_LISTS, EgressProfile, check_known_profile
from components.login import Login, LoginProvider, check_login, login_document
from components.quotas import (
    FLEET_QUOTA_DEFAULTS,
    FleetQuota,
    UserQuota,
    check_fleet_quota,
    check_user_quota,
    user_quota_document,
)
from components.users import HubUser, repeated_names, users_document
from runtime.open_network import bridge_name, open_network_name

DEFAULT_POOL = "10.213.0.0/16"
DEFAULT_ENGINE = "unix:///var/run/docker.sock"
DEFAULT_DOMAIN = "localhost"
DEFAULT_PORT = 8443
EC2_START_SECONDS = 600
"""How long a server may take to start on EC2: longer than a worker that failed takes to be replaced."""

SHORTEST_USER_PASSWORD = 8
HIGHEST_PORT = 65535


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
    login: NotRequired[Login]
    """How they log in. Default: a password that users share."""
    password: NotRequired[pulumi.Input[str]]
    """Password that users share, at least 8 characters. Default: generated."""
    userQuota: NotRequired[UserQuota]
    """What one server may use."""
    fleetQuota: NotRequired[FleetQuota]
    """What all servers may use."""
    egressProfile: NotRequired[EgressProfile]
    """What servers may reach: `closed` or `open`. Default `closed`."""
    ec2: NotRequired[SwarmOnEc2]
    """Hosts on EC2, which the stack makes; `engine`, `advertiseAddress` and `port` mean nothing then."""
    hubImage: NotRequired[str]
    """Image of the hub by digest, for hosts on EC2. Default: built from `images/hub` on the engine."""
    notebookImage: NotRequired[str]
    """Image of the single-user server by digest (`name@sha256:…`). Default: built from `images/notebook`."""
    buildFromRegistry: NotRequired[bool]
    """Whether images start from a registry's Python image instead of Debian's packages. Default False."""
    dataProtection: NotRequired[bool]
    """Whether homes and the hub's database outlive `destroy`. Default True."""
    confirmDataLoss: NotRequired[str]
    """The domain again, on EC2 where `dataProtection` is False. Default: none."""


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
    """What holds the homes: a Docker volume, or on EC2 the file system by its id."""

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
        self._local = pulumi.ResourceOptions(parent=self)
        secrets = hub_secrets(
            name,
            domain=args.get("domain", DEFAULT_DOMAIN),
            password=args.get("password"),
            client_secret=args.get("login", {}).get("clientSecret"),
            opts=self._local,
        )
        if "ec2" in args:
            self.url, self.homesVolume = self._on_ec2(args["ec2"], secrets)
        else:
            self.url, self.homesVolume = self._on_engine(secrets)
        self.password = secrets.user_password
        self.adminPassword = secrets.admin_password
        self.register_outputs(
            {
                "url": self.url,
                "password": self.password,
                "adminPassword": self.adminPassword,
                "homesVolume": self.homesVolume,
            }
        )

    def _on_engine(self, secrets: HubSecrets) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        args = self._args
        hub = HubOnEngine(
            self._name,
            {
                "engine": args.get("engine", DEFAULT_ENGINE),
                "advertiseAddress": args.get("advertiseAddress", "127.0.0.1"),
                "port": args.get("port", DEFAULT_PORT),
                "addressPool": args.get("addressPool", DEFAULT_POOL),
                "reservedRanges": args.get("reservedRanges", [AWS_DEFAULT_VPC]),
                "profile": EgressProfile(args.get("egressProfile", EgressProfile.CLOSED)),
                "notebookImage": args.get("notebookImage"),
                "buildFromRegistry": args.get("buildFromRegistry", False),
                "homeBytes": home_bytes(args),
                "keep": args.get("dataProtection", True),
            },
            self,
        ).declare(secrets, engine_settings(self._name, args), hub_access(args))
        address = f"https://{args.get('domain', DEFAULT_DOMAIN)}:{args.get('port', DEFAULT_PORT)}"
        return hub.ready.apply(lambda _: address), hub.homes

    def _on_ec2(self, ec2: SwarmOnEc2, secrets: HubSecrets) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        # Stacks that deploy to no cloud need not wait for its SDK.
        from components.aws.account import read_account  # noqa: PLC0415
        from components.aws.swarm import Workload, swarm_hosts  # noqa: PLC0415

        args = self._args
        account = read_account(
            hosted_zone_name=ec2["zone"],
            zones=ec2.get("zones", DEFAULT_ZONES),
            image=ec2.get("image"),
            instance_types=instance_types(ec2),
            needs=lambda sizes: quota_needs(ec2, sizes),
            opts=pulumi.InvokeOptions(parent=self),
        )
        server_bytes = int(user_quota_document(args.get("userQuota", {}))["memory_bytes"])
        errors = account.errors + check_capacity(ec2, account.sizes["workerType"], servers(args), server_bytes)
        if errors:
            raise pulumi.InputPropertiesError(f"{self._name} cannot be deployed to account {account.id}", errors)
        hosts = swarm_hosts(
            self._name,
            ec2,
            account,
            Workload(ec2_bundle(self._name, args), ec2_images(args), secrets.values),
            domain=args.get("domain", DEFAULT_DOMAIN),
            profile=EgressProfile(args.get("egressProfile", EgressProfile.CLOSED)),
            keep=args.get("dataProtection", True),
            opts=self._local,
        )
        return pulumi.Output.from_input(f"https://{args.get('domain', DEFAULT_DOMAIN)}"), hosts.file_system


def hub_access(args: SwarmClusterArgs) -> HubAccess:
    """A hub that asks a provider who somebody is has the provider's secret and a way out to it; no other hub has."""
    if LoginProvider(args.get("login", {}).get("provider", LoginProvider.PASSWORD)) is LoginProvider.PASSWORD:
        return {"more_secrets": (), "more_networks": ()}
    return {"more_secrets": ("client-secret",), "more_networks": ("front",)}


def servers(args: SwarmClusterArgs) -> int:
    """Most servers at once."""
    quota: FleetQuota = {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})}
    return int(quota.get("servers", 0))


class ServiceNames(TypedDict):
    """What the engine calls the services that the hub works with."""

    proxy_service: str
    hub_service: str


def hub_settings(name: str, args: SwarmClusterArgs, services: ServiceNames, nodes: Mapping[str, object]) -> str:
    """The hub's settings as JSON, keys in a fixed order; `runtime/hub/settings.py` reads them.

    Everything in it is known at preview, so that the policy pack can judge quotas and egress before an update.
    """
    profile = EgressProfile(args.get("egressProfile", EgressProfile.CLOSED))
    document: dict[str, object] = {
        "stack": name,
        "users": users_document(args["users"]),
        "quota": user_quota_document(args.get("userQuota", {})),
        "fleet": {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})},
        "egress": {
            "profile": profile.value,
            "network": open_network_name(name) if profile is EgressProfile.OPEN else None,
        },
        "user_subnets": plan_addresses(args.get("addressPool", DEFAULT_POOL)).users,
        "login": login_document(args.get("login", {}), args.get("domain", DEFAULT_DOMAIN)),
        "nodes": nodes,
        **services,
    }
    return json.dumps(document, sort_keys=True)


def engine_settings(name: str, args: SwarmClusterArgs) -> str:
    """The hub's settings on one engine: servers run beside the hub."""
    return hub_settings(
        name, args, {"proxy_service": f"{name}-proxy", "hub_service": f"{name}-hub"}, {"constraints": []}
    )


def ec2_settings(name: str, args: SwarmClusterArgs) -> str:
    """The hub's settings on EC2: servers run on workers, each with its whole memory, on encrypted networks."""
    return hub_settings(
        name,
        args,
        # As `docker stack deploy` names the services of a stack.
        {"proxy_service": f"{name}_proxy", "hub_service": f"{name}_hub"},
        {
            "constraints": ["node.role==worker"],
            "reserve_memory": True,
            "encrypted": encrypted(args),
            "start_seconds": EC2_START_SECONDS,
        },
    )


def encrypted(args: SwarmClusterArgs) -> bool:
    """Whether what goes from host to host is encrypted."""
    return args["ec2"].get("encrypted", True) if "ec2" in args else False


def home_bytes(args: SwarmClusterArgs) -> int:
    """Size of a user's home."""
    return int(user_quota_document(args.get("userQuota", {}))["home_bytes"])


def ec2_images(args: SwarmClusterArgs) -> list[str]:
    """Images that hosts on EC2 pull."""
    return [args.get("hubImage", ""), args.get("notebookImage", "")]


def ec2_bundle(name: str, args: SwarmClusterArgs) -> bytes:
    """What hosts on EC2 run: the stack file, the files that it names, and what the hosts prepare."""
    plan = plan_addresses(args.get("addressPool", DEFAULT_POOL))
    hub_image, notebook_image = ec2_images(args)
    opened = EgressProfile(args.get("egressProfile", EgressProfile.CLOSED)) is EgressProfile.OPEN
    driver = f"hubstack/{name}-homes:1"
    data: Mount = {"type": "bind", "source": str(HUB_DATA), "target": hub_services.HUB_DATA_PATH}
    hub = hub_services.hub(data, **hub_access(args))
    services: dict[str, tuple[PlatformService, str]] = {
        "proxy": (hub_services.proxy(plan.control), hub_image),
        "hub": ({**hub, "environment": {"NOTEBOOK_IMAGE": notebook_image, "HOME_DRIVER": driver}}, hub_image),
        "tls-proxy": (hub_services.tls_proxy(TLS_PORT), hub_image),
        "pre-puller": (hub_services.pre_puller(), notebook_image),
    }
    if opened:
        services["egress-guard"] = (hub_services.egress_guard(bridge_name(name), plan.open), hub_image)
    configs: dict[str, ConfigFile] = {
        "hub-settings": {"file": "hub-settings.json", "text": ec2_settings(name, args)},
        "caddyfile": {"file": "Caddyfile", "text": caddyfile("proxy:8000")},
    }
    networks: dict[str, Overlay] = {
        "control": {"subnet": plan.control, "internal": True, "encrypted": encrypted(args)},
        "edge": {"subnet": plan.edge, "internal": True, "encrypted": encrypted(args)},
        "front": {"subnet": plan.front, "internal": False},
        IDLE_NETWORK: {"subnet": plan.idle, "internal": True},
    }
    return swarm_bundle(
        stack_document(name, services, networks=networks, configs=configs, hub_node=name),
        deployment(
            hub_image=hub_image,
            notebook_image=notebook_image,
            driver=driver,
            home_bytes=home_bytes(args),
            swarm_pool=plan.swarm,
            open_subnet=plan.open if opened else "",
        ),
        {config["file"]: config["text"] for config in configs.values()},
    )


def check_swarm_cluster(args: SwarmClusterArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    port = args.get("port", DEFAULT_PORT)
    if not 1 <= port <= HIGHEST_PORT:
        wrong("port", f"{port} is not a TCP port; 1 to {HIGHEST_PORT}")
    try:
        parse_pool(args.get("addressPool", DEFAULT_POOL))
    except ValueError as error:
        wrong("addressPool", str(error))
    names = [user["name"] for user in args["users"]]
    for repeated in repeated_names(names):
        wrong("users", f"{repeated} is listed more than once")
    password = args.get("password")
    if isinstance(password, str) and len(password) < SHORTEST_USER_PASSWORD:
        wrong("password", f"it has {len(password)} characters; at least {SHORTEST_USER_PASSWORD}")
    for key in ("hubImage", "notebookImage"):
        image = str(args.get(key, ""))
        if image and "@sha256:" not in image:
            wrong(key, f"{image} is not pinned; name it by digest (name@sha256:…)")
        if not image and "ec2" in args:
            wrong(key, "hosts on EC2 pull it by digest from a registry; `make push` builds and pushes both images")
    if "ec2" in args:
        domain = args.get("domain", DEFAULT_DOMAIN)
        errors += check_swarm_on_ec2(domain, args["ec2"], args.get("addressPool", DEFAULT_POOL))
        errors += check_data_protection(
            domain, keep=args.get("dataProtection", True), confirmed=args.get("confirmDataLoss", "")
        )
    errors += check_known_profile(args.get("egressProfile", EgressProfile.CLOSED), PROFILES_WITHOUT_LISTS)
    errors += check_login(args.get("login", {}), names)
    errors += check_user_quota(args.get("userQuota", {}))
    errors += check_fleet_quota(args.get("fleetQuota", {}))
    return errors
