"""The whole configuration of a stack, and the arguments of its topology's component that it becomes."""

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import pulumi
from pydantic import BeforeValidator, Field, SecretStr

from components.egress import EgressProfile
from components.login import Login
from components.quotas import FleetQuota, UserQuota
from components.settings.ec2 import NOT_FOR_POOLS, SWARM_ALONE, Ec2Settings
from components.settings.ephemeral import EphemeralSettings, ephemeral_key
from components.settings.login import LoginSettings
from components.settings.platform import OF_A_ROUTE, PlatformSettings, platform_key
from components.settings.quotas import FleetQuotaSettings, UserQuotaSettings
from components.settings.strict import Strict
from components.settings.tmpnb import TmpnbSettings, tmpnb_key
from components.settings.users import UserSettings, parse_user_lines
from components.swarm_cluster import SwarmClusterArgs, check_swarm_cluster
from components.users import HubUser

if TYPE_CHECKING:
    from components.ec2_hub_cluster import Ec2HubClusterArgs
    from components.ephemeral_hub import EphemeralHubArgs
    from components.kubernetes.custom_resources import PlatformNotebook
    from components.kubernetes.notebook_routes import NotebookRoute
    from components.kubernetes.platform_arguments import NotebookPlatformArgs
    from components.pool_arguments import TmpnbNodePoolArgs


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


class StackSettings(Strict):
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
        given: Ec2HubClusterArgs = self.ec2.model_dump(exclude_none=True, exclude=set(SWARM_ALONE))  # pyright: ignore[reportAssignmentType]
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
        route: NotebookRoute = {key: given.pop(key) for key in OF_A_ROUTE if key in given}  # pyright: ignore[reportAssignmentType]
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
            args["ec2"] = self.ec2.model_dump(exclude_none=True, exclude=set(NOT_FOR_POOLS))  # pyright: ignore[reportGeneralTypeIssues]  (same keys)
        return args

    def mistakes(self, name: str) -> list[pulumi.InputPropertyErrorDetails]:
        """What the topology's component would refuse, called `name`."""
        if self.topology is Topology.PLATFORM:
            # Stacks of other topologies need not wait for the SDKs of this one, here and below.
            from components.kubernetes.platform_arguments import check_notebook_platform  # noqa: PLC0415

            found = check_notebook_platform(name, self.notebook_platform())
            return [{**error, "property_path": platform_key(error["property_path"])} for error in found]
        if self.topology is Topology.EPHEMERAL:
            from components.kubernetes.hub_arguments import check_ephemeral_hub  # noqa: PLC0415

            found = check_ephemeral_hub(name, self.ephemeral_hub())
            if self.users:
                found.append({"property_path": "users", "reason": "visitors have no names; leave the list out"})
            return [{**error, "property_path": ephemeral_key(error["property_path"])} for error in found]
        if self.topology is Topology.TMPNB:
            from components.pool_checks import check_tmpnb_node_pool  # noqa: PLC0415

            found = check_tmpnb_node_pool(self.tmpnb_node_pool())
            if self.users:
                found.append({"property_path": "users", "reason": "visitors have no names; leave the list out"})
            reason = "each host of a pool has an address of its own; leave it out"
            for key in self._set_on_ec2(NOT_FOR_POOLS):
                found.append({"property_path": key, "reason": reason})
            return [{**error, "property_path": tmpnb_key(error["property_path"])} for error in found]
        if self.topology is Topology.EC2HUB:
            from components.ec2_hub_cluster import check_ec2_hub_cluster  # noqa: PLC0415

            found = check_ec2_hub_cluster(self.ec2_hub_cluster())
            reason = "users have an instance each; `topology: swarm` has managers and workers"
            for key in self._set_on_ec2(SWARM_ALONE):
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
