"""What an `EphemeralHub` is told, and every mistake in it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict
from urllib.parse import urlparse

import pulumi

from components.content_links import ContentLink, check_content_links
from components.egress import EgressProfile, check_egress
from components.kubernetes.egress_proxy import proxy_address, proxy_environment
from components.kubernetes.egress_proxy import room as egress_proxy_room
from components.kubernetes.hub_chart import CHART_IMAGES, Access, HubChart, system_rooms
from components.kubernetes.hub_front import Front, FrontKind
from components.kubernetes.images import image_mistake
from components.kubernetes.isolation import EgressRules
from components.kubernetes.probe import PROBE_ROOM
from components.kubernetes.tenancy import Room, TenancyArgs, check_tenancy
from components.kubernetes.user_values import check_user_values
from components.quotas import FleetQuota, UserQuota, parse_size

DEFAULT_CHART = "jupyterhub"

DEFAULT_CHART_VERSION = "4.4.0"

DEFAULT_REPOSITORY = "https://hub.jupyter.org/helm-chart/"

OLDEST_CHART = (4, 3, 0)
"""Volumes by name came with it; the shared password needs JupyterHub 5.3, which is older."""

SHORTEST_PASSWORD = 8
"""JupyterHub's own limit."""

LONGEST_RELEASE_NAME = 53
"""Helm's own limit."""

DEFAULT_NODES = 10

DEFAULT_TIMEOUT_SECONDS = 1200

DEFAULT_DATABASE = "1G"

DEFAULT_API_PORT = 6443

RESERVED_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?")

_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")

_HIGHEST_PORT = 65535


class SharedDirectory(TypedDict):
    """Another hub's file system, of which users may read the folder `_shared`."""

    server: str
    """Name or address of the NFS server, as the other hub has it."""
    share: str
    """Path on the server that holds `_shared`, such as `/homes/hub`."""
    mountOptions: NotRequired[list[str]]
    """The other hub's mount options; `ro` is added. Default: soft, noatime, vers=4.2."""


class EphemeralHubArgs(TypedDict):
    """Arguments of `EphemeralHub`."""

    image: str
    """Image of users' servers with a tag or digest; it has `jupyterhub-singleuser`, `python3` and, for links, nbgitpuller."""
    domain: NotRequired[str]
    """Name that users type; needed with anything in front."""
    front: NotRequired[Front]
    """What stands before the hub, and where TLS ends. Default: a Service inside the cluster without TLS."""
    namespace: NotRequired[str]
    """Namespace of the hub, which holds nothing else. Default: the component's name."""
    createNamespace: NotRequired[bool]
    """Whether the stack makes the namespace; False for one that is there, also one that an earlier `destroy` kept.
    It must have the label of the Pod Security Standard `restricted` and belong to no other stack. Default True."""
    chart: NotRequired[str]
    """Chart: a name in `chartRepository`, an `oci://…` address, or an archive or folder on this machine (a path with a
    slash; the policy pack takes a folder for one where the path begins with `/`, `./` or `../`). Default `jupyterhub`."""
    chartVersion: NotRequired[str]
    """Version of the chart, 4.3.0 or newer. Default 4.4.0."""
    chartRepository: NotRequired[str]
    """Address of the chart's repository or a mirror. Default `https://hub.jupyter.org/helm-chart/`."""
    chartImages: NotRequired[dict[str, str]]
    """Images in place of the chart's own, by what they are: awaiter, hub, pause, proxy, scheduler, secretSync, traefik.
    Default: those of the chart."""
    imagePullSecrets: NotRequired[list[str]]
    """Secrets of the namespace with credentials of the images' registries. Default: none."""
    access: NotRequired[Access]
    """Who gets in: whoever knows the password, as a fresh user each time (`password`) or under a name of their choice
    (`shared-password`), or everybody (`open`). Default `password`."""
    openToTheWorld: NotRequired[bool]
    """Needed for the access `open`, which lets everybody run programs here. Default False."""
    password: NotRequired[pulumi.Input[str]]
    """The password, at least 8 ASCII characters. Default: one of 20 characters is generated."""
    userQuota: NotRequired[UserQuota]
    """What one user may use; `home` and `tmp` are parts of the node's disk that go with the server."""
    fleetQuota: NotRequired[FleetQuota]
    """What all users may use."""
    nodes: NotRequired[int]
    """Most nodes that pull users' images, 1 to 1000: the quota has room for as many. Default 10."""
    egressProfile: NotRequired[EgressProfile]
    """What servers may reach beside the hub. Default `domains`."""
    egressDomains: NotRequired[list[str]]
    """Domains that the profile `domains` opens, exact or with a leading dot. Default: none."""
    egressPorts: NotRequired[list[int]]
    """TCP ports that the profile `ports` opens at public addresses. Default: none."""
    egressExcluded: NotRequired[list[str]]
    """Ranges that stay shut beside private ones: public addresses of the cluster's own, such as its nodes'. Default: none."""
    egressProxyImage: NotRequired[str]
    """Image built from `images/egress-proxy`; needed with `egressDomains`."""
    apiServerPorts: NotRequired[list[int]]
    """Ports beside 443 of the machines behind the Kubernetes API, which the hub must reach. Default: 6443."""
    shared: NotRequired[SharedDirectory]
    """Another hub's shared folder, read-only at `/home/jovyan/shared-readonly`. Default: none."""
    extraImages: NotRequired[list[str]]
    """Further images that are pulled to every node ahead, with a tag or digest. Default: none."""
    cullUsers: NotRequired[bool]
    """Whether users that are idle are deleted along with their servers. The hub's table of users stays small, and counts
    of active users become wrong. Default False."""
    contentLinks: NotRequired[list[ContentLink]]
    """Repositories for which the stack gives links that open them. Default: none."""
    nodeSelector: NotRequired[dict[str, str]]
    """Labels of the nodes that servers run on. Default: any node."""
    userScheduler: NotRequired[bool]
    """Whether a scheduler of the hub's own fills node after node, so that an autoscaler can remove empty ones. It needs
    rights in the whole cluster. Default False."""
    databaseSize: NotRequired[str]
    """Size of the hub's database; a million visits take about 500M. Default `1G`."""
    timeout: NotRequired[int]
    """Seconds that the chart may take, the pull of all images to all nodes included, 60 to 7200. Default 1200."""
    values: NotRequired[dict[str, Any]]
    """Further values of the chart, laid over the stack's own; what an argument decides is refused here. Default: none."""
    dataProtection: NotRequired[bool]
    """Whether the hub's database outlives `destroy`. A release cannot be protected in part: its namespace and the claim
    stay, the rest goes. The next `up` takes both up again: with `kubernetes:upsertExistingObjects`, without which the provider
    refuses a namespace that is there, or with `createNamespace` False. Default True.
    A policy that lets nothing in or out stays with a namespace that the stack made: servers may end half a minute after their
    hub."""


def hub_namespace(name: str, args: EphemeralHubArgs) -> str:
    """The hub's namespace."""
    return args.get("namespace", name)


def egress_profile(args: EphemeralHubArgs) -> EgressProfile:
    """The egress profile."""
    return EgressProfile(args.get("egressProfile", EgressProfile.DOMAINS))


def egress_rules(args: EphemeralHubArgs) -> EgressRules:
    """What servers may reach."""
    return {
        "profile": egress_profile(args),
        "domains": args.get("egressDomains", []),
        "ports": [int(port) for port in args.get("egressPorts", [])],
        "excluded": args.get("egressExcluded", []),
    }


def hub_chart(name: str, args: EphemeralHubArgs) -> HubChart:
    """What decides the chart's values."""
    namespace = hub_namespace(name, args)
    proxy = proxy_environment(proxy_address(namespace), namespace) if args.get("egressDomains") else {}
    return HubChart(
        stack=name,
        chart_version=args.get("chartVersion", DEFAULT_CHART_VERSION),
        domain=args.get("domain", ""),
        image=args["image"],
        access=Access(args.get("access", Access.PASSWORD)),
        front=args.get("front", {}),
        by_address=egress_profile(args) is EgressProfile.CLOSED,
        user=args.get("userQuota", {}),
        fleet=args.get("fleetQuota", {}),
        environment=proxy,
        shared="shared" in args,
        cull_users=args.get("cullUsers", False),
        keep_database=args.get("dataProtection", True),
        database=args.get("databaseSize", DEFAULT_DATABASE),
        extra_images=args.get("extraImages", []),
        chart_images=args.get("chartImages", {}),
        pull_secrets=args.get("imagePullSecrets", []),
        node_selector=args.get("nodeSelector", {}),
        user_scheduler=args.get("userScheduler", False),
        api_ports=[int(port) for port in args.get("apiServerPorts", [DEFAULT_API_PORT])],
    )


def tenancy_args(name: str, args: EphemeralHubArgs, chart: HubChart) -> TenancyArgs:
    """The namespace, with room for the servers and the system's own pods."""
    rooms: dict[str, Room] = {**system_rooms(chart, int(args.get("nodes", DEFAULT_NODES))), "probe": PROBE_ROOM}
    if args.get("egressDomains"):
        rooms["egress-proxy"] = egress_proxy_room()
    return {
        "stack": name,
        "namespace": hub_namespace(name, args),
        "createNamespace": args.get("createNamespace", True),
        "userQuota": args.get("userQuota", {}),
        "fleetQuota": args.get("fleetQuota", {}),
        "system": rooms,
        "keep": args.get("dataProtection", True),
    }


def is_local(chart: str) -> bool:
    """Whether the chart is an archive or folder on this machine."""
    return "/" in chart and not chart.startswith("oci://")


def is_in_repository(chart: str) -> bool:
    """Whether the chart is looked up in a repository."""
    return "/" not in chart


def password_mistake(password: str) -> str | None:
    """What keeps the hub from taking the password, or None; the text does not repeat it."""
    if len(password) < SHORTEST_PASSWORD:
        return f"it has {len(password)} characters; at least {SHORTEST_PASSWORD}"
    if not password.isascii() or not password.isprintable():
        return "it has characters beyond printable ASCII, which the hub cannot compare"
    return None


def check_ephemeral_hub(name: str, args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors = [
        *_check_place(name, args),
        *_check_chart(args),
        *_check_images(args),
        *_check_access(args),
        *_check_front(args),
        *_check_numbers(args),
        *check_egress(
            args.get("egressProfile", EgressProfile.DOMAINS),
            args.get("egressDomains", []),
            args.get("egressPorts", []),
            args.get("egressExcluded", []),
        ),
        *_check_shared(args.get("shared")),
        *_check_links(args),
    ]
    # The tenancy and the chart's values are made of what has just been checked.
    wrong = {error["property_path"].split(".")[0].split("[")[0] for error in errors}
    if not wrong & {"databaseSize", "nodes", "front", "access", "egressProfile"}:
        errors += check_tenancy(tenancy_args(name, args, hub_chart(name, args)))
    if "values" in args:
        errors += check_user_values(args["values"], args.get("userQuota", {}))
    return errors


def _error(path: str, reason: str) -> pulumi.InputPropertyErrorDetails:
    return {"property_path": path, "reason": reason}


def _check_place(name: str, args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    errors: list[pulumi.InputPropertyErrorDetails] = []
    if len(name) > LONGEST_RELEASE_NAME:
        errors.append(_error("name", f"{name} is longer than {LONGEST_RELEASE_NAME} characters, Helm's limit"))
    if hub_namespace(name, args) in RESERVED_NAMESPACES:
        errors.append(_error("namespace", f"{args.get('namespace')} belongs to the cluster; the hub needs its own"))
    return errors


def _check_chart(args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    errors: list[pulumi.InputPropertyErrorDetails] = []
    chart, version = args.get("chart", DEFAULT_CHART), args.get("chartVersion", DEFAULT_CHART_VERSION)
    match = _VERSION.fullmatch(version)
    if match is None:
        errors.append(_error("chartVersion", f"{version!r} is no version; name one exactly, like 4.4.0"))
    elif tuple(int(match[number]) for number in (1, 2, 3)) < OLDEST_CHART:
        errors.append(_error("chartVersion", f"{version} is older than {'.'.join(map(str, OLDEST_CHART))}"))
    if is_local(chart) and not Path(chart).exists():
        errors.append(_error("chart", f"there is no archive or folder {chart}"))
    repository = args.get("chartRepository")
    if repository is not None and not is_in_repository(chart):
        errors.append(_error("chartRepository", f"{chart} is not looked up in a repository; leave it out"))
    elif repository is not None and urlparse(repository).scheme not in {"http", "https"}:
        errors.append(_error("chartRepository", f"{repository!r} is no address like {DEFAULT_REPOSITORY}"))
    return errors


def _check_images(args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    own = args.get("chartImages", {})
    named = {
        "image": args["image"],
        **{f"extraImages[{number}]": image for number, image in enumerate(args.get("extraImages", []))},
        **{f"chartImages.{key}": own[key] for key in sorted(own)},
    }
    if args.get("egressDomains"):
        named["egressProxyImage"] = args.get("egressProxyImage", "")
    errors = [_error(path, mistake) for path, image in named.items() if (mistake := image_mistake(image))]
    unknown = sorted(set(own) - set(CHART_IMAGES))
    reason = f"the chart has no such image; one of {', '.join(CHART_IMAGES)}"
    return errors + [_error(f"chartImages.{key}", reason) for key in unknown]


def _check_access(args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    access, password = args.get("access", Access.PASSWORD), args.get("password")
    known = [one.value for one in Access]
    if access not in known:
        return [_error("access", f"{access!r} is not known; one of {', '.join(known)}")]
    errors: list[pulumi.InputPropertyErrorDetails] = []
    is_open, confirmed = Access(access) is Access.OPEN, args.get("openToTheWorld", False)
    if is_open and not confirmed:
        reason = "everybody in the world could run programs here; set openToTheWorld if that is meant"
        errors.append(_error("access", reason))
    if confirmed and not is_open:
        errors.append(_error("openToTheWorld", f"the access is {Access(access).value}; leave it out"))
    if is_open and password is not None:
        errors.append(_error("password", "nobody is asked for it with the access open; leave it out"))
    if isinstance(password, str) and (mistake := password_mistake(password)):
        errors.append(_error("password", mistake))
    return errors


_FRONT_FIELDS: Mapping[FrontKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    FrontKind.NONE: ((), ()),
    FrontKind.INGRESS: ((), ("tlsSecret", "ingressClass", "annotations")),
    FrontKind.GATEWAY: (("gateway",), ("gatewayNamespace", "gatewaySection", "annotations")),
    FrontKind.LETSENCRYPT: (("email",), ("annotations",)),
    FrontKind.SECRET: (("tlsSecret",), ("annotations",)),
    FrontKind.OFFLOAD: ((), ("annotations",)),
}
"""Fields that each kind needs, and those that it may have beside."""


def _check_front(args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    front: Mapping[str, object] = args.get("front", {})
    given, known = front.get("kind", FrontKind.NONE), [one.value for one in FrontKind]
    if given not in known:
        return [_error("front.kind", f"{given!r} is not known; one of {', '.join(known)}")]
    kind = FrontKind(given)
    needed, allowed = _FRONT_FIELDS[kind]
    errors = [_error(f"front.{key}", f"{kind.value} needs it") for key in needed if not front.get(key)]
    useless = sorted(set(front) - {"kind", *needed, *allowed})
    errors += [_error(f"front.{key}", f"{kind.value} has no use for it; leave it out") for key in useless]
    email = front.get("email")
    if kind is FrontKind.LETSENCRYPT and email and "@" not in str(email):
        errors.append(_error("front.email", f"{email!r} is no e-mail address"))
    if kind is not FrontKind.NONE and not _DOMAIN.fullmatch(args.get("domain", "")):
        errors.append(
            _error("domain", f"{args.get('domain', '')!r} is no name that users could type, like hub.example.org")
        )
    return errors


def _check_numbers(args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    errors: list[pulumi.InputPropertyErrorDetails] = []
    for key, given, least, most in (
        ("nodes", args.get("nodes", DEFAULT_NODES), 1, 1000),
        ("timeout", args.get("timeout", DEFAULT_TIMEOUT_SECONDS), 60, 7200),
    ):
        if not least <= given <= most:
            errors.append(_error(key, f"{given} is not between {least} and {most}"))
    for number, port in enumerate(args.get("apiServerPorts", [])):
        if not 1 <= port <= _HIGHEST_PORT:
            errors.append(_error(f"apiServerPorts[{number}]", f"{port} is not a TCP port; 1 to {_HIGHEST_PORT}"))
    try:
        parse_size(args.get("databaseSize", DEFAULT_DATABASE))
    except ValueError as error:
        errors.append(_error("databaseSize", str(error)))
    return errors


def _check_shared(shared: Mapping[str, Any] | None) -> list[pulumi.InputPropertyErrorDetails]:
    if shared is None:
        return []
    errors: list[pulumi.InputPropertyErrorDetails] = []
    if not shared.get("server"):
        errors.append(_error("shared.server", "the shared folder needs the NFS server of the hub that it is of"))
    if not str(shared.get("share", "")).startswith("/"):
        errors.append(_error("shared.share", f"{shared.get('share', '')!r} is no path on the server, like /homes/hub"))
    if "rw" in shared.get("mountOptions", []):
        errors.append(_error("shared.mountOptions", "rw: users only read the folder; leave it out"))
    return errors


def _check_links(args: EphemeralHubArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in links, and repositories that servers could not reach."""
    links = args.get("contentLinks", [])
    errors = check_content_links(links)
    if errors:
        return errors
    for number, link in enumerate(links):
        host = urlparse(link["repository"]).hostname or ""
        if not _reaches(args, host):
            profile = args.get("egressProfile", EgressProfile.DOMAINS)
            reason = f"servers do not reach {host} under the egress profile {EgressProfile(profile).value}"
            errors.append(_error(f"contentLinks[{number}].repository", f"{reason}; add it to egressDomains"))
    return errors


def _reaches(args: EphemeralHubArgs, host: str) -> bool:
    """Whether the egress profile lets servers reach the host by HTTPS."""
    profile = args.get("egressProfile", EgressProfile.DOMAINS)
    if profile == EgressProfile.DOMAINS:
        listed = args.get("egressDomains", [])
        return any(host == one.removeprefix(".") or (one[:1] == "." and host.endswith(one)) for one in listed)
    return profile == EgressProfile.OPEN or (profile == EgressProfile.PORTS and 443 in args.get("egressPorts", []))  # noqa: PLR2004
