"""How many nodes 10,000 and 1,000,000 simultaneous users need, so that at most one visitor in 1,000 meets a full pool.

`toolchain/with python benchmarks/fleet.py`, some minutes; `… fleet.py USERS CAPACITY` for other numbers. Nothing is
measured: it is the simulation of `benchmarks/fleet_simulation.py`, seeded, with the assumptions that it prints. Each row
is the fewest nodes that were enough in every run of it; a step fewer were not.
"""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fleet_simulation import Demand, Outcome, Platform, Simulation, erlang_servers, least

TURNED_AWAY = 0.001
"""Part of the visitors who may get no server at their first try."""

SEEDS = (1, 2, 3)
MINUTE, HOUR = 60.0, 3600.0

EVEN = Demand(users=0, work_seconds=30 * MINUTE, idle_seconds=10 * MINUTE, max_age_seconds=4 * HOUR)
CLASSES = replace(EVEN, class_share=0.3, class_size=50, class_seconds=MINUTE)
CROWD_SHARE, LARGEST_CROWD = 0.05, 10_000

SCENARIOS = {
    "everybody by themselves": (EVEN, 0),
    "30 % in classes of 50": (CLASSES, 0),
    "and a node fails": (CLASSES, 1),
    "and a crowd comes": (CLASSES, 1),
}

FIRST, *_, LAST = SCENARIOS

STARTS_AT_ONCE = 2
START_SECONDS = 4.0
DAYS_BETWEEN_FAILURES = 30.0
REDIRECTORS = 2

CASES = ((10_000, 64), (10_000, 1000), (1_000_000, 1000))
"""Users, and the servers of a node."""

MANY_USERS = 100_000
"""From here on a twelfth of the time is simulated, once, for the first and the last of the scenarios: as many come."""

STEP_SHARE = 0.005
"""Steps in which nodes are counted, as a part of them; one node at least."""


def scenario(title: str, users: int) -> tuple[Demand, int]:
    """Who comes, and how many nodes fail at least."""
    demand, failures = SCENARIOS[title]
    crowd = min(LARGEST_CROWD, round(CROWD_SHARE * users)) if "crowd" in title else 0
    return replace(demand, users=users, crowd=crowd), failures


def failing(nodes: int, seconds: float, least_failures: int) -> int:
    """Nodes that fail in a time, if each does once in `DAYS_BETWEEN_FAILURES`; none where none is to fail."""
    expected = nodes * seconds / (DAYS_BETWEEN_FAILURES * 24 * HOUR)
    return max(least_failures, round(expected)) if least_failures else 0


def simulated(demand: Demand, nodes: int, capacity: int, failures: int) -> Iterator[Outcome]:
    """What visitors meet at so many nodes, one run after the other."""
    many = demand.users >= MANY_USERS
    seconds = HOUR / 12 if many else HOUR
    platform = Platform(
        nodes=nodes,
        capacity=capacity,
        start_seconds=START_SECONDS,
        starts_at_once=STARTS_AT_ONCE,
        failures=failing(nodes, seconds, failures),
        redirectors=REDIRECTORS,
    )
    for seed in SEEDS[:1] if many else SEEDS:
        yield Simulation(demand, platform, seed).run(seconds)


def row(title: str, users: int, capacity: int) -> str:
    """A line of the table."""
    demand, failures = scenario(title, users)
    began = time.process_time()
    worst: dict[int, Outcome] = {}

    def enough(nodes: int) -> bool:
        for outcome in simulated(demand, nodes, capacity, failures):
            worst[nodes] = max(worst.get(nodes, outcome), outcome, key=lambda one: one.turned_away)
            if outcome.turned_away > TURNED_AWAY:
                return False
        return True

    # Fewer have no place for those who are there when it begins.
    low = math.ceil(demand.unlucky / capacity)
    nodes = least(enough, low, max(1, round(STEP_SHARE * low)))
    outcome, spare = worst[nodes], nodes * capacity / demand.held - 1
    busy = demand.rate / nodes / (STARTS_AT_ONCE / START_SECONDS)
    return (
        f"{users:9,} users, {capacity:4} a node, {title:24} {nodes:5} nodes, {100 * spare:4.1f} % more servers than are in "
        f"use; {outcome.visitors:7,} visitors, turned away {100 * outcome.turned_away:.3f} % ({outcome.refused} no room, "
        f"{outcome.bounced} at a full node, {outcome.unreached} at one that had failed); a node starts {100 * busy:.0f} % of what "
        f"it can; {time.process_time() - began:.0f} s"
    )


def assumptions() -> str:
    """What the figures hold for."""
    return (
        f"stays: {EVEN.work_seconds / MINUTE:.0f} min on average, exponential, and {EVEN.idle_seconds / MINUTE:.0f} min until "
        f"a server is found idle, at most {EVEN.max_age_seconds / HOUR:.0f} h\n"
        f"classes: {100 * CLASSES.class_share:.0f} % of the visitors, {CLASSES.class_size} within "
        f"{CLASSES.class_seconds:.0f} s, at independent moments; the crowd: {100 * CROWD_SHARE:.0f} % of the users, at most "
        f"{LARGEST_CROWD:,}, within {CLASSES.class_seconds:.0f} s, once\n"
        f"a node: starts {STARTS_AT_ONCE} servers at once, each ready after {START_SECONDS:.0f} s; fails once in "
        f"{DAYS_BETWEEN_FAILURES:.0f} days, where any fails at least one in the time; is back after 10 min, empty\n"
        f"{REDIRECTORS} redirectors that ask each node every 3 s; the rate is the day's highest all the time, and a run "
        "begins with two standard deviations more users than on average"
    )


def main(cases: tuple[tuple[int, int], ...]) -> None:
    """Print the table."""
    print(assumptions())
    for users, capacity in cases:
        held = replace(EVEN, users=users).held
        places = erlang_servers(held, TURNED_AWAY)
        print(
            f"\n{users:,} users hold {held:,.0f} servers on average; if one free server were as good as another and all were "
            f"there at once: {places:,} servers, {math.ceil(places / capacity):,} nodes (Erlang C)"
        )
        for title in SCENARIOS if users < MANY_USERS else (FIRST, LAST):
            print(row(title, users, capacity), flush=True)


if __name__ == "__main__":
    main(((int(sys.argv[1]), int(sys.argv[2])),) if len(sys.argv) > 2 else CASES)
