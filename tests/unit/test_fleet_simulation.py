"""Whether the simulated pool of `benchmarks/fleet.py` behaves as pools must, and as Erlang's formula says where it applies."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet import failing, scenario
from benchmarks.fleet_simulation import Demand, Platform, Simulation, erlang_b, erlang_c, erlang_servers, least

HOUR = 3600.0
PLAIN = Demand(users=90, work_seconds=HOUR, idle_seconds=0, max_age_seconds=1e9)
PROMPT = Platform(nodes=1, capacity=100, start_seconds=0.01, starts_at_once=100, poll_seconds=10, travel_seconds=0)
"""A node that everything is known of nearly at once, and that replaces servers nearly at once."""
POOL = Platform(nodes=20, capacity=10, start_seconds=4, starts_at_once=2, redirectors=2)
BUSY = Demand(users=120, work_seconds=1800, idle_seconds=600, max_age_seconds=4 * HOUR)


@pytest.mark.parametrize(
    ("load", "servers", "blocked"), [(1, 1, 1 / 2), (1, 2, 1 / 5), (10, 10, 0.21458), (90, 100, 0.02696)]
)
def test_erlangs_first_formula_gives_the_values_of_its_tables(load: float, servers: int, blocked: float):
    assert erlang_b(load, servers) == pytest.approx(blocked, rel=1e-3)


@pytest.mark.parametrize(("load", "servers", "waiting"), [(1, 2, 1 / 3), (2, 3, 4 / 9), (5, 5, 1), (90, 100, 0.21690)])
def test_erlangs_second_formula_gives_the_values_of_its_tables(load: float, servers: int, waiting: float):
    assert erlang_c(load, servers) == pytest.approx(waiting, rel=1e-3)


@given(st.floats(0.1, 500), st.floats(0.0005, 0.5))
def test_the_fewest_servers_are_enough_and_one_less_is_not(load: float, turned_away: float):
    servers = erlang_servers(load, turned_away)

    assert erlang_c(load, servers) <= turned_away * (1 + 1e-9)
    assert erlang_c(load, servers - 1) > turned_away * (1 - 1e-9)


@pytest.mark.parametrize("idle_seconds", [0, HOUR / 2], ids=["exponential stays", "with a time to be found idle"])
def test_where_who_is_turned_away_leaves_as_many_are_as_erlangs_first_formula_says(idle_seconds: float):
    demand = dataclasses.replace(PLAIN, users=90 / (1 + idle_seconds / HOUR), idle_seconds=idle_seconds, tries=1)

    outcome = Simulation(demand, PROMPT, seed=4).run(400 * HOUR, warm_up_seconds=8 * HOUR)

    assert outcome.turned_away == pytest.approx(erlang_b(90, 100), rel=0.15)
    assert outcome.visitors == pytest.approx(400 * HOUR * demand.rate, rel=0.03)


def test_where_who_is_turned_away_tries_again_as_many_are_as_erlangs_second_formula_says():
    outcome = Simulation(PLAIN, PROMPT, seed=4).run(800 * HOUR, warm_up_seconds=8 * HOUR)

    assert outcome.turned_away == pytest.approx(erlang_c(90, 100), rel=0.2)


def test_the_same_seed_gives_the_same_and_another_one_another():
    first, again, other = (Simulation(BUSY, POOL, seed).run(HOUR) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_a_pool_with_more_than_enough_room_turns_nobody_away():
    outcome = Simulation(BUSY, dataclasses.replace(POOL, nodes=60), seed=3).run(2 * HOUR)

    assert outcome.visitors > 400
    assert outcome.turned_away == 0


def test_a_pool_that_is_too_small_turns_most_away():
    outcome = Simulation(BUSY, dataclasses.replace(POOL, nodes=8), seed=3).run(2 * HOUR)

    assert outcome.turned_away > 0.4
    assert outcome.refused > outcome.bounced


def test_when_a_node_fails_its_users_come_again_and_some_are_sent_to_it_before_it_is_known_to_be_down():
    many = dataclasses.replace(BUSY, users=1200)
    pools = (dataclasses.replace(POOL, nodes=8, capacity=400, failures=failures) for failures in (0, 6))

    calm, outcome = (Simulation(many, pool, seed=5).run(HOUR) for pool in pools)

    assert outcome.visitors > calm.visitors + 300
    assert calm.unreached == 0
    # Some three visitors a second while users come again, an eighth of them to each node, until it has missed two polls.
    assert 0 < outcome.unreached < 60


def test_redirectors_that_share_nothing_and_ask_seldom_send_visitors_to_full_nodes():
    crowded = dataclasses.replace(BUSY, crowd=60)
    seldom = dataclasses.replace(POOL, redirectors=4, poll_seconds=60)

    often, blind = (Simulation(crowded, pool, seed=7).run(HOUR) for pool in (POOL, seldom))

    assert blind.bounced > often.bounced


def test_a_crowd_finds_room_where_the_pool_has_it_and_none_where_it_has_not():
    crowd = dataclasses.replace(BUSY, crowd=100)

    roomy, tight = (Simulation(crowd, dataclasses.replace(POOL, nodes=nodes), seed=8).run(HOUR) for nodes in (40, 22))

    assert roomy.turned_away == 0
    assert tight.refused + tight.bounced > 10


def test_a_node_that_starts_servers_more_slowly_than_they_end_runs_dry():
    many = dataclasses.replace(BUSY, users=1200)
    nodes = dataclasses.replace(POOL, nodes=10, capacity=200, start_seconds=20)

    quick, dry = (Simulation(many, dataclasses.replace(nodes, starts_at_once=n), seed=9).run(2 * HOUR) for n in (3, 1))

    assert quick.turned_away < 0.001
    assert dry.turned_away > 0.05


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 20))
def test_the_search_finds_the_first_step_that_is_enough(low: int, above: int, step: int):
    asked: list[int] = []

    def enough(number: int) -> bool:
        asked.append(number)
        return number >= low + above

    found = least(enough, low, step)

    assert low + above <= found < low + above + step
    assert (found - low) % step == 0
    assert len(asked) == len(set(asked))


def test_a_node_fails_as_seldom_as_it_is_said_to_and_at_least_once_where_one_is_to_fail():
    assert failing(720, 30 * HOUR, 1) == 30
    assert failing(10, HOUR, 1) == 1
    assert failing(10_000, HOUR, 0) == 0


def test_a_crowd_grows_with_the_users_up_to_a_limit():
    crowds = [scenario("and a crowd comes", users)[0].crowd for users in (10_000, 1_000_000)]

    assert crowds == [500, 10_000]
    assert scenario("everybody by themselves", 10_000)[0].crowd == 0
