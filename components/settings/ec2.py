"""The section `hubstack:ec2`, and the keys of it that not every topology on AWS has a use for."""

from components.settings.strict import Strict


class Ec2Settings(Strict):
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
    alarmEmail: str | None = None


SWARM_ALONE = ("encrypted", "managers", "workers")
"""Keys of `hubstack:ec2` that a hub whose users have an instance each has no use for."""

NOT_FOR_POOLS = (*SWARM_ALONE, "interfaceEndpoints", "natPerZone")
"""Keys of `hubstack:ec2` that a pool, whose hosts each have an address of their own, has no use for."""
