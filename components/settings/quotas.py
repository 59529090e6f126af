"""The sections `hubstack:userQuota` and `hubstack:fleetQuota`."""

from components.settings.strict import Strict


class UserQuotaSettings(Strict):
    """`hubstack:userQuota`; ranges are checked by the component."""

    cpu: float | None = None
    memory: str | None = None
    processes: int | None = None
    home: str | None = None
    tmp: str | None = None
    idle: int | None = None
    maxAge: int | None = None


class FleetQuotaSettings(Strict):
    """`hubstack:fleetQuota`."""

    servers: int | None = None
