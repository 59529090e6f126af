"""Stack configuration, read and checked as a whole: every mistake is reported at once.

`Pulumi.yaml` declares each key with its type, default and description; the CLI accepts a mistyped key in silence and
does not look inside objects, so both are checked here.
"""

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, get_args

import pulumi
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from components.egress import EgressProfile
from components.login import Login, LoginProvider
from components.quotas import FleetQuota, UserQuota
from components.swarm_cluster import SwarmClusterArgs, check_swarm_cluster
from components.users import HubUser

if TYPE_CHECKING:
    from components.docker.pool_arguments import TmpnbNodePoolArgs
    from components.ec2_hub_cluster import Ec2HubClusterArgs
    from components.ephemeral_hub import EphemeralHubArgs
    from components.kubernetes.custom_resources import PlatformNotebook
    from components.kubernetes.notebook_routes import NotebookRoute
    from components.notebook_platform import NotebookPlatformArgs

_USER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


_SECRETS = frozenset({"password", "clientSecret"})
"""Keys that the stack file must hold encrypted."""

_TEXT = _SECRETS | {
    *(
        "topology",
        "engine",
        "advertiseAddress",
        "domain",
        "addressPool",
        "confirmDataLoss",
        "egressProfile",
        "hubImage",
        "notebookImage",
    ),
}
"""Keys whose value is text; the engine hands the others over as JSON."""

_OPTIONAL = _SECRETS | {"hubImage", "notebookImage"}
"""Keys whose empty default in `Pulumi.yaml` means that they are not set."""


class Topology(str, Enum):
    """The deployments that a stack can choose."""

    SWARM = "swarm"
    """`SwarmCluster`: a hub on a Docker Swarm."""
    EC2HUB = "ec2hub"
    """`Ec2HubCluster`: a hub on an EC2 host that gives each user an EC2 instance."""
    EPHEMERAL = "ephemeral"
    """`EphemeralHub`: a hub on Kubernetes for visitors, of whom nothing is kept."""
    PLATFORM = "platform"
    """`NotebookPlatform`: notebooks as objects of a Kubernetes cluster."""
    TMPNB = "tmpnb"
    """`TmpnbNodePool`: temporary notebooks on any number of nodes."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=False)


class UserQuotaSettings(_Strict):
    """`hubstack:userQuota`; ranges are checked by the component."""

    cpu: float | None = None
    memory: str | None = None
    processes: int | None = None
    home: str | None = None
    tmp: str | None = None
    idle: int | None = None
    maxAge: int | None = None


class FleetQuotaSettings(_Strict):
    """`hubstack:fleetQuota`."""

    servers: int | None = None


class LoginSettings(_Strict):
    """`hubstack:login`; the secret of an OAuth application is `hubstack:clientSecret`."""

    provider: LoginProvider = LoginProvider.PASSWORD
    clientId: str | None = None
    issuer: str | None = None
    userNameClaim: str | None = None


class Ec2Settings(_Strict):
    """`hubstack:ec2`: what stacks on AWS need beside the common keys; ranges are checked by the component."""

    zone: str = ""
    cidr: str | None = None
    zones: int | None = None
    natPerZone: bool | None = None
    managerType: str | None = None
    workerType: str | None = None
    image: str | None = None
    managers: int | None = None
    workers: int | None = None
    encrypted: bool | None = None
    interfaceEndpoints: list[str] | None = None
    monthlyBudget: int | None = None
    budgetEmail: str | None = None


_SWARM_ALONE = ("encrypted", "managers", "workers")
"""Keys of `hubstack:ec2` that a hub whose users have an instance each has no use for."""

_NOT_FOR_POOLS = (*_SWARM_ALONE, "interfaceEndpoints", "natPerZone")
"""Keys of `hubstack:ec2` that a pool, whose hosts each have an address of their own, has no use for."""


class FrontSettings(_Strict):
    """`hubstack:ephemeral.front`."""

    kind: str = "none"
    email: str | None = None
    tlsSecret: str | None = None
    ingressClass: str | None = None
    gateway: str | None = None
    gatewayNamespace: str | None = None
    gatewaySection: str | None = None
    annotations: dict[str, str] | None = None


class SharedSettings(_Strict):
    """`hubstack:ephemeral.shared`."""

    server: str
    share: str
    mountOptions: list[str] | None = None


class ContentLinkSettings(_Strict):
    """One of `hubstack:ephemeral.contentLinks`."""

    name: str
    repository: str
    branch: str | None = None
    path: str | None = None
    app: str | None = None


class EphemeralSettings(_Strict):
    """`hubstack:ephemeral`: what a hub for visitors needs beside the common keys; ranges are checked by the component."""

    namespace: str | None = None
    createNamespace: bool | None = None
    chart: str | None = None
    chartVersion: str | None = None
    chartRepository: str | None = None
    chartImages: dict[str, str] | None = None
    imagePullSecrets: list[str] | None = None
    access: str | None = None
    openToTheWorld: bool | None = None
    front: FrontSettings | None = None
    nodes: int | None = None
    egressExcluded: list[str] | None = None
    egressProxyImage: str | None = None
    apiServerPorts: list[int] | None = None
    shared: SharedSettings | None = None
    extraImages: list[str] | None = None
    cullUsers: bool | None = None
    contentLinks: list[ContentLinkSettings] | None = None
    nodeSelector: dict[str, str] | None = None
    userScheduler: bool | None = None
    databaseSize: str | None = None
    timeout: int | None = None
    values: dict[str, Any] | None = None


class PlatformNotebookSettings(_Strict):
    """One line of `hubstack:platform.notebooks`."""

    user: str
    name: str
    image: str | None = None


def parse_notebook_lines(lines: object) -> object:
    """Read `user name` or `user name image` lines; blank lines and `#` comments are skipped.

    Raises:
        ValueError: lines are wrong; each is named by its number.
    """
    if isinstance(lines, str):
        lines = lines.splitlines()
    if not isinstance(lines, list):
        return lines
    notebooks: list[dict[str, str]] = []
    mistakes: list[str] = []
    for number, line in enumerate(lines, 1):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        words = str(line).split("#")[0].split()  # pyright: ignore[reportUnknownArgumentType]
        if words and not 2 <= len(words) <= 3:  # noqa: PLR2004  (user, name and perhaps an image)
            mistakes.append(f"line {number}: {' '.join(words)!r} is not a user, a name and perhaps an image")
        elif words:
            notebooks.append(dict(zip(("user", "name", "image"), words, strict=False)))
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return notebooks


class PlatformSettings(_Strict):
    """`hubstack:platform`: what a platform on Kubernetes needs beside the common keys; the component checks values."""

    operatorImage: str = ""
    egressProxyImage: str | None = None
    egressExcluded: list[str] | None = None
    route: str = "HTTPRoute"
    gateway: str | None = None
    gatewayNamespace: str | None = None
    listener: str | None = None
    sources: list[str] | None = None
    userGroup: str | None = None
    notebooksPerUser: int | None = None
    namespaceQuota: dict[str, str] | None = None
    nodes: int | None = None
    pauseImage: str | None = None
    storageClass: str | None = None
    apiServers: list[str] | None = None
    notebooks: Annotated[list[PlatformNotebookSettings], BeforeValidator(parse_notebook_lines)] = Field(
        default_factory=list[PlatformNotebookSettings]
    )


class TmpnbNodeSettings(_Strict):
    """One of `hubstack:tmpnb.nodes`."""

    name: str
    engine: str | None = None
    address: str | None = None
    instanceType: str | None = None
    capacity: int | None = None
    image: str | None = None
    userQuota: UserQuotaSettings | None = None
    port: int | None = None


class TmpnbSettings(_Strict):
    """`hubstack:tmpnb`: what a pool of temporary notebooks needs beside the common keys; the component checks values."""

    nodes: list[TmpnbNodeSettings] = Field(default_factory=list[TmpnbNodeSettings])
    port: int | None = None
    engine: str | None = None
    address: str | None = None
    capacity: int | None = None
    landing: str | None = None
    visitorBurst: int | None = None
    visitorsPerMinute: float | None = None
    drainSeconds: int | None = None
    nodeImage: str | None = None
    redirectorImage: str | None = None
    egressProxyImage: str | None = None
    email: str | None = None


_OF_A_ROUTE = ("gateway", "gatewayNamespace", "listener", "sources")
"""Keys of `hubstack:platform` that the component has within `route`; its `route.kind` is the key `route`."""


class UserSettings(_Strict):
    """One line of `hubstack:users`."""

    name: str
    admin: bool = False


def parse_user_lines(lines: object) -> object:
    """Read `name` or `name admin` lines, as the seed's user list has them; blank lines and `#` comments are skipped.

    Raises:
        ValueError: lines are wrong; each is named by its number.
    """
    if isinstance(lines, str):
        lines = lines.splitlines()
    if not isinstance(lines, list):
        return lines
    users: list[dict[str, object]] = []
    mistakes: list[str] = []
    for number, line in enumerate(lines, 1):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        words = str(line).split("#")[0].split()  # pyright: ignore[reportUnknownArgumentType]
        if not words:
            continue
        name, *rest = words
        if not _USER_NAME.fullmatch(name):
            mistakes.append(f"line {number}: {name!r} is no user name (a-z, 0-9, '.', '_', '-'; 32 characters)")
        elif rest not in ([], ["admin"]):
            mistakes.append(f"line {number}: {' '.join(rest)!r} after the name; only 'admin' may follow")
        else:
            users.append({"name": name, "admin": bool(rest)})
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return users


class StackSettings(_Strict):
    """Everything below `hubstack:` in a stack's configuration."""

    topology: Topology = Topology.SWARM
    engine: str = "unix:///var/run/docker.sock"
    advertiseAddress: str = "127.0.0.1"
    domain: str = "localhost"
    port: int = 8443
    addressPool: str = "10.213.0.0/16"
    reservedRanges: list[str] = Field(default_factory=lambda: ["172.31.0.0/16"])
    users: Annotated[list[UserSettings], BeforeValidator(parse_user_lines)] = Field(default_factory=list[UserSettings])
    password: SecretStr | None = None
    egressProfile: EgressProfile = EgressProfile.CLOSED
    egressDomains: list[str] = Field(default_factory=list[str])
    egressPorts: list[int] = Field(default_factory=list[int])
    platform: PlatformSettings = PlatformSettings()
    login: LoginSettings = LoginSettings()
    clientSecret: SecretStr | None = None
    ec2: Ec2Settings = Ec2Settings()
    ephemeral: EphemeralSettings = EphemeralSettings()
    tmpnb: TmpnbSettings = TmpnbSettings()
    userQuota: UserQuotaSettings = UserQuotaSettings()
    fleetQuota: FleetQuotaSettings = FleetQuotaSettings()
    hubImage: str | None = None
    notebookImage: str | None = None
    buildFromRegistry: bool = False
    dataProtection: bool = True
    confirmDataLoss: str = ""

    def swarm_cluster(self) -> SwarmClusterArgs:
        """The arguments of `SwarmCluster`."""
        args: SwarmClusterArgs = {
            "engine": self.engine,
            "advertiseAddress": self.advertiseAddress,
            "domain": self.domain,
            "port": self.port,
            "addressPool": self.addressPool,
            "reservedRanges": self.reservedRanges,
            "users": self._users(),
            "login": self._login(),
            "userQuota": self._user_quota(),
            "fleetQuota": self._fleet_quota(),
            "egressProfile": self.egressProfile,
            "buildFromRegistry": self.buildFromRegistry,
            "dataProtection": self.dataProtection,
            "confirmDataLoss": self.confirmDataLoss,
        }
        if self.password is not None:
            args["password"] = self.password.get_secret_value()
        if self.hubImage is not None:
            args["hubImage"] = self.hubImage
        if self.notebookImage is not None:
            args["notebookImage"] = self.notebookImage
        if self.ec2 != Ec2Settings():
            args["ec2"] = self.ec2.model_dump(exclude_none=True)  # pyright: ignore[reportGeneralTypeIssues]  (same keys)
        return args

    def ec2_hub_cluster(self) -> "Ec2HubClusterArgs":
        """The arguments of `Ec2HubCluster`."""
        given: Ec2HubClusterArgs = self.ec2.model_dump(exclude_none=True, exclude=set(_SWARM_ALONE))  # pyright: ignore[reportAssignmentType]
        return {
            **given,
            "domain": self.domain,
            "users": self._users(),
            "login": self._login(),
            "userQuota": self._user_quota(),
            "fleetQuota": self._fleet_quota(),
            "egressProfile": self.egressProfile,
            "dataProtection": self.dataProtection,
            "confirmDataLoss": self.confirmDataLoss,
        }

    def ephemeral_hub(self) -> "EphemeralHubArgs":
        """The arguments of `EphemeralHub`."""
        given: EphemeralHubArgs = self.ephemeral.model_dump(exclude_none=True)  # pyright: ignore[reportAssignmentType]
        args: EphemeralHubArgs = {
            **given,
            "image": self.notebookImage or "",
            "userQuota": self._user_quota(),
            "fleetQuota": self._fleet_quota(),
            "egressProfile": self.egressProfile,
            "egressDomains": self.egressDomains,
            "egressPorts": self.egressPorts,
            "dataProtection": self.dataProtection,
        }
        if self.domain != "localhost":
            args["domain"] = self.domain
        if self.password is not None:
            args["password"] = self.password.get_secret_value()
        return args

    def notebook_platform(self) -> "NotebookPlatformArgs":
        """The arguments of `NotebookPlatform`."""
        given: dict[str, Any] = self.platform.model_dump(exclude_none=True)
        route: NotebookRoute = {key: given.pop(key) for key in _OF_A_ROUTE if key in given}  # pyright: ignore[reportAssignmentType]
        notebooks: list[PlatformNotebook] = given.pop("notebooks")
        args: NotebookPlatformArgs = {
            **given,  # pyright: ignore[reportAssignmentType]  (same keys)
            "notebookImage": self.notebookImage or "",
            "domain": self.domain,
            "route": {**route, "kind": given["route"]},
            "userQuota": self._user_quota(),
            "fleetQuota": self._fleet_quota(),
            "egressProfile": self.egressProfile,
            "egressDomains": self.egressDomains,
            "egressPorts": self.egressPorts,
            "dataProtection": self.dataProtection,
            "notebooks": notebooks,
        }
        return args

    def tmpnb_node_pool(self) -> "TmpnbNodePoolArgs":
        """The arguments of `TmpnbNodePool`."""
        given: TmpnbNodePoolArgs = self.tmpnb.model_dump(exclude_none=True)  # pyright: ignore[reportAssignmentType]
        args: TmpnbNodePoolArgs = {
            **given,
            "addressPool": self.addressPool,
            "userQuota": self._user_quota(),
            "fleetQuota": self._fleet_quota(),
            "egressProfile": self.egressProfile,
            "egressDomains": self.egressDomains,
            "egressPorts": self.egressPorts,
            "buildFromRegistry": self.buildFromRegistry,
        }
        if self.domain != "localhost":
            args["domain"] = self.domain
        if self.notebookImage is not None:
            args["notebookImage"] = self.notebookImage
        if self.ec2 != Ec2Settings():
            args["ec2"] = self.ec2.model_dump(exclude_none=True, exclude=set(_NOT_FOR_POOLS))  # pyright: ignore[reportGeneralTypeIssues]  (same keys)
        return args

    def mistakes(self) -> list[pulumi.InputPropertyErrorDetails]:
        """What the topology's component would refuse."""
        if self.topology is Topology.PLATFORM:
            # Stacks of other topologies need not wait for the SDKs of this one, here and below.
            from components.notebook_platform import check_notebook_platform  # noqa: PLC0415

            found = check_notebook_platform(self.notebook_platform())
            return [{**error, "property_path": _platform_key(error["property_path"])} for error in found]
        if self.topology is Topology.EPHEMERAL:
            from components.kubernetes.hub_arguments import check_ephemeral_hub  # noqa: PLC0415

            found = check_ephemeral_hub("hubstack", self.ephemeral_hub())
            if self.users:
                found.append({"property_path": "users", "reason": "visitors have no names; leave the list out"})
            return [{**error, "property_path": _ephemeral_key(error["property_path"])} for error in found]
        if self.topology is Topology.TMPNB:
            from components.docker.pool_checks import check_tmpnb_node_pool  # noqa: PLC0415

            found = check_tmpnb_node_pool(self.tmpnb_node_pool())
            if self.users:
                found.append({"property_path": "users", "reason": "visitors have no names; leave the list out"})
            reason = "each host of a pool has an address of its own; leave it out"
            for key in self._set_on_ec2(_NOT_FOR_POOLS):
                found.append({"property_path": key, "reason": reason})
            return [{**error, "property_path": _tmpnb_key(error["property_path"])} for error in found]
        if self.topology is Topology.EC2HUB:
            from components.ec2_hub_cluster import check_ec2_hub_cluster  # noqa: PLC0415

            found = check_ec2_hub_cluster(self.ec2_hub_cluster())
            reason = "users have an instance each; `topology: swarm` has managers and workers"
            for key in self._set_on_ec2(_SWARM_ALONE):
                found.append({"property_path": key, "reason": reason})
        else:
            found = check_swarm_cluster(self.swarm_cluster())
        below = set(Ec2Settings.model_fields)
        return [
            {**error, "property_path": f"ec2.{error['property_path']}"} if error["property_path"] in below else error
            for error in found
        ]

    def _set_on_ec2(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys of `hubstack:ec2` that are set."""
        return [key for key in keys if getattr(self.ec2, key) is not None]

    def _users(self) -> list[HubUser]:
        return [{"name": user.name, "admin": user.admin} for user in self.users]

    def _login(self) -> Login:
        login: Login = self.login.model_dump(exclude_none=True)  # pyright: ignore[reportAssignmentType]  (same keys)
        if self.clientSecret is not None:
            login["clientSecret"] = pulumi.Output.secret(self.clientSecret.get_secret_value())
        return login

    def _user_quota(self) -> UserQuota:
        return self.userQuota.model_dump(exclude_none=True)  # pyright: ignore[reportReturnType]  (same keys)

    def _fleet_quota(self) -> FleetQuota:
        return self.fleetQuota.model_dump(exclude_none=True)  # pyright: ignore[reportReturnType]  (same keys)


def parse_settings(
    raw: Mapping[str, str], namespace: str = "hubstack", *, secret_keys: Collection[str] = ()
) -> StackSettings:
    """Read the configuration as the engine hands it over: text, objects and numbers as JSON.

    `secret_keys` are those that the stack file holds encrypted; a password must be among them.
    Keys of other namespaces, such as `aws:region`, belong to their providers and are left alone.

    Raises:
        pulumi.RunError: something is wrong; the message lists everything that is, without a stack trace.
    """
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    known = list(StackSettings.model_fields)
    for key, text in raw.items():
        space, _, name = key.partition(":")
        if space != namespace:
            continue
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {namespace}:{close[0]}?" if close else f"known keys: {', '.join(known)}"
            mistakes.append(f"{key}: there is no such key; {advice}")
            continue
        if name in _SECRETS and text and key not in secret_keys:
            mistakes.append(f"{key}: it stands in plain text; set it with: pulumi config set --secret {key}")
        if text or name not in _OPTIONAL:
            values[name] = _decoded(name, text)
    try:
        settings = StackSettings.model_validate(values)
    except ValidationError as error:
        mistakes += [_sentence(namespace, dict(detail)) for detail in error.errors(include_url=False)]
    else:
        mistakes += [f"{namespace}:{error['property_path']}: {error['reason']}" for error in settings.mistakes()]
        if not mistakes:
            return settings
    lines = "\n".join(f"  - {mistake}" for mistake in mistakes)
    raise pulumi.RunError(f"the stack's configuration has {len(mistakes)} mistake(s):\n{lines}")


def _ephemeral_key(path: str) -> str:
    """The key of the stack's configuration that an argument of `EphemeralHub` comes from."""
    first = re.split(r"[.\[]", path)[0]
    if first == "image":
        return "notebookImage"
    return f"ephemeral.{path}" if first in EphemeralSettings.model_fields else path


def _tmpnb_key(path: str) -> str:
    """The key of the stack's configuration that an argument of `TmpnbNodePool` comes from."""
    first = re.split(r"[.\[]", path)[0]
    if first in TmpnbSettings.model_fields:
        return f"tmpnb.{path}"
    return f"ec2.{path}" if first in Ec2Settings.model_fields else path


def _platform_key(path: str) -> str:
    """The key of the stack's configuration that an argument of `NotebookPlatform` comes from."""
    path = "route" if path == "route.kind" else path.removeprefix("route.")
    own = re.split(r"[.\[]", path)[0] in PlatformSettings.model_fields
    return f"platform.{path}" if own else path


def _decoded(name: str, text: str) -> object:
    if name in _TEXT:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _model_at(path: Sequence[str]) -> type[_Strict]:
    """The model that a path of keys and positions in lists leads to."""
    model: type[_Strict] = StackSettings
    for step in path:
        found = model.model_fields.get(step)
        # What a key holds may be left out or be a list: the model is somewhere in its type.
        parts: list[Any] = [found.annotation] if found else []
        while parts:
            part = parts.pop()
            if isinstance(part, type) and issubclass(part, _Strict):
                model = part
            parts += get_args(part)
    return model


def _sentence(namespace: str, detail: Mapping[str, Any]) -> str:
    path = [str(part) for part in detail["loc"]]
    key = f"{namespace}:{path[0]}" + "".join(f".{part}" for part in path[1:])
    if detail["type"] == "extra_forbidden":
        known = list(_model_at(path[:-1]).model_fields)
        close = difflib.get_close_matches(path[-1], known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
        return f"{key}: there is no such key; {advice}"
    given = "" if path[0] in _SECRETS else f" (given: {str(detail.get('input'))[:60]!r})"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}{given}"
