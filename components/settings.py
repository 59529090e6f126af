"""Stack configuration, read and checked as a whole: every mistake is reported at once.

`Pulumi.yaml` declares each key with its type, default and description; the CLI accepts a mistyped key in silence and
does not look inside objects, so both are checked here.
"""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import pulumi
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from components.egress import EgressProfile
from components.login import Login, LoginProvider
from components.quotas import FleetQuota, UserQuota
from components.swarm_cluster import SwarmClusterArgs, check_swarm_cluster
from components.users import HubUser

if TYPE_CHECKING:
    from components.ec2_hub_cluster import Ec2HubClusterArgs

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
    login: LoginSettings = LoginSettings()
    clientSecret: SecretStr | None = None
    ec2: Ec2Settings = Ec2Settings()
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

    def mistakes(self) -> list[pulumi.InputPropertyErrorDetails]:
        """What the topology's component would refuse."""
        found: list[pulumi.InputPropertyErrorDetails] = []
        if self.topology is Topology.EC2HUB:
            # Stacks that deploy to no cloud need not wait for its SDK.
            from components.ec2_hub_cluster import check_ec2_hub_cluster  # noqa: PLC0415

            found += check_ec2_hub_cluster(self.ec2_hub_cluster())
            reason = "users have an instance each; `topology: swarm` has managers and workers"
            for key in (key for key in _SWARM_ALONE if getattr(self.ec2, key) is not None):
                found.append({"property_path": key, "reason": reason})
        else:
            found += check_swarm_cluster(self.swarm_cluster())
        below = set(Ec2Settings.model_fields)
        return [
            {**error, "property_path": f"ec2.{error['property_path']}"} if error["property_path"] in below else error
            for error in found
        ]

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


def _decoded(name: str, text: str) -> object:
    if name in _TEXT:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sentence(namespace: str, detail: Mapping[str, Any]) -> str:
    path = [str(part) for part in detail["loc"]]
    key = f"{namespace}:{path[0]}" + "".join(f".{part}" for part in path[1:])
    if detail["type"] == "extra_forbidden":
        annotation = StackSettings.model_fields[path[0]].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, _Strict) else None
        known = list(model.model_fields) if model else []
        close = difflib.get_close_matches(path[-1], known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
        return f"{key}: there is no such key; {advice}"
    given = "" if path[0] in _SECRETS else f" (given: {str(detail.get('input'))[:60]!r})"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}{given}"
