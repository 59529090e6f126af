"""What a cluster costs a month, by the original's formula with today's parts (seed 004)."""

HOURS_A_MONTH = 730

HOURLY = {
    "t3.micro": 0.0104,
    "t3.small": 0.0208,
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "t3.xlarge": 0.1664,
    "t3.2xlarge": 0.3328,
    "m6i.large": 0.096,
    "m6i.xlarge": 0.192,
    "m6i.2xlarge": 0.384,
    "c6i.large": 0.085,
    "c6i.xlarge": 0.17,
    "r6i.large": 0.126,
    "r6i.xlarge": 0.252,
}
"""US dollars an hour on demand in us-east-1 (AWS's price list, 2026)."""

GIGABYTE_MONTH = 0.08
"""gp3 storage."""

NAT_HOUR = 0.045
ADDRESS_HOUR = 0.005

WORKING_HOURS = 44
"""Hours a month that one user's server runs: two a working day, as the original's example assumes."""


def monthly_cost(
    *, manager_type: str, worker_type: str, users: int, home_gigabytes: int, root_gigabytes: int, gateways: int
) -> float | None:
    """US dollars a month: `M + N x (T x A + S)`; None where the price of a type is not in the table.

    M is the manager with its disks, NAT gateways and addresses; N the users; T the hours that a user's server runs; A
    its price an hour; S the storage of its root disk and home.
    """
    if manager_type not in HOURLY or worker_type not in HOURLY:
        return None
    always = HOURLY[manager_type] + gateways * NAT_HOUR + (gateways + 1) * ADDRESS_HOUR
    manager = HOURS_A_MONTH * always + root_gigabytes * GIGABYTE_MONTH
    user = WORKING_HOURS * HOURLY[worker_type] + (home_gigabytes + root_gigabytes) * GIGABYTE_MONTH
    return manager + users * user
