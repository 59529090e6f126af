"""Which node a visitor is sent to, and what the redirector knows of its nodes."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.redirector.fleet import Answer, Fleet, State
from runtime.redirector.metrics import LastMinute, Metrics
from runtime.redirector.weighted_choice import WeightedChoice
from tests.unit.redirector import Timer, answer, node, nodes

FAQ = {
    "available": 107,
    "hosts": {
        "https://tmp39.tmpnb.org": (25, 64),
        "https://tmp41.tmpnb.org": (29, 64),
        "https://tmp40.tmpnb.org": (30, 64),
        "https://tmp35.tmpnb.org": (23, 64),
    },
    "capacity": 256,
}
"""The answer of `/stats` that tmpnb's FAQ shows."""

WEIGHTS = st.lists(st.integers(0, 50), max_size=40)


@given(WEIGHTS, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 50)), max_size=30))
def test_every_position_owns_as_many_points_as_its_weight_whatever_was_changed(
    weights: list[int], changes: list[tuple[int, int]]
):
    choice = WeightedChoice(weights)
    for position, weight in changes:
        if position < len(weights):
            weights[position] = weight
            choice.change(position, weight)

    drawn = Counter(choice.at(point) for point in range(choice.total))

    assert choice.total == sum(weights)
    assert drawn == {position: weight for position, weight in enumerate(weights) if weight}


def fleet_of(*available: int) -> Fleet:
    """Nodes that told that they have so many free servers."""
    fleet = Fleet(nodes(len(available)), random.Random(7), Timer())
    for one, free in zip(nodes(len(available)), available, strict=True):
        fleet.answered(one, answer(free), 0)
    return fleet


def test_visitors_are_spread_in_proportion_to_free_servers():
    fleet = fleet_of(60, 30, 10, 0)

    drawn = Counter(fleet.choose(takes=False).name for _ in range(10_000))

    assert drawn["tmp01"] == pytest.approx(6000, rel=0.05)
    assert drawn["tmp02"] == pytest.approx(3000, rel=0.05)
    assert drawn["tmp03"] == pytest.approx(1000, rel=0.1)
    assert "tmp04" not in drawn


def test_the_estimate_goes_down_with_each_visitor_until_nobody_else_is_sent():
    fleet = fleet_of(2, 1)

    sent = Counter(fleet.choose(takes=True).name for _ in range(3))

    assert sent == {"tmp01": 2, "tmp02": 1}
    assert not fleet.room
    with pytest.raises(LookupError):
        fleet.choose(takes=True)
    assert {fleet.state(one) for one in nodes(2)} == {State.FULL}


def test_who_only_looks_takes_nothing():
    fleet = fleet_of(1)

    for _ in range(5):
        fleet.choose(takes=False)

    assert fleet.totals().available == 1


def test_the_next_answer_corrects_the_estimate():
    fleet = fleet_of(5)
    fleet.choose(takes=True)

    fleet.answered(node(), answer(9), fleet.taken(node()))

    assert fleet.totals().available == 9


def test_visitors_who_were_sent_while_a_node_was_asked_are_not_forgotten():
    fleet = fleet_of(5)
    before = fleet.taken(node())
    fleet.choose(takes=True)
    fleet.choose(takes=True)

    fleet.answered(node(), answer(5), before)
    assert fleet.totals().available == 3

    fleet.answered(node(), answer(1), before)
    assert fleet.totals().available == 0


def test_nobody_is_sent_to_a_node_that_is_draining_or_full_or_not_heard_of():
    fleet = Fleet(nodes(4), random.Random(7), Timer())
    fleet.answered(node("tmp01"), answer(10, draining=True), 0)
    fleet.answered(node("tmp02"), answer(0), 0)
    assert not fleet.room

    fleet.answered(node("tmp04"), answer(1), 0)

    assert {fleet.choose(takes=False).name for _ in range(100)} == {"tmp04"}
    assert [fleet.state(one).value for one in nodes(4)] == ["draining", "full", "unknown", "up"]


def test_a_node_is_down_after_two_misses_in_a_row_and_up_at_its_first_answer():
    fleet = fleet_of(5)

    fleet.missed(node())
    assert (fleet.state(node()), fleet.room) == (State.UP, True)
    fleet.missed(node())
    assert (fleet.state(node()), fleet.room) == (State.DOWN, False)
    fleet.answered(node(), answer(5), 0)
    assert (fleet.state(node()), fleet.room) == (State.UP, True)
    fleet.missed(node())
    assert fleet.state(node()) is State.UP, "the misses before do not count any more"


def test_a_node_that_was_never_heard_of_is_down_after_two_misses():
    fleet = Fleet([node()])
    fleet.missed(node())
    assert fleet.state(node()) is State.UNKNOWN
    fleet.missed(node())
    assert fleet.state(node()) is State.DOWN


def test_nodes_that_stay_keep_what_is_known_of_them_when_others_come_and_go():
    fleet = fleet_of(5, 6)
    fleet.choose(takes=True)
    known = {row["name"]: row for row in fleet.rows()}

    fleet.replace([node("tmp03"), node("tmp02")])

    now = {row["name"]: row for row in fleet.rows()}
    assert now["tmp02"] == known["tmp02"]
    assert now["tmp03"]["state"] == "unknown"
    assert fleet.totals().available == known["tmp02"]["available"]
    assert {fleet.choose(takes=False).name for _ in range(50)} == {"tmp02"}


def test_a_node_whose_address_changed_is_another_node():
    fleet = fleet_of(5)
    moved = type(node())("tmp01", "https://other.example.org", "https://other.example.org/api/stats")

    fleet.replace([moved])

    assert fleet.state(moved) is State.UNKNOWN


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["choose", "look", "answer", "late answer", "drain", "miss", "replace"]),
        st.integers(0, 5),
        st.integers(0, 4),
    ),
    max_size=80,
)


def play(fleet: Fleet, present: list[Any], step: Step) -> None:
    what, which, count = step
    one = present[which % len(present)]
    if what in {"choose", "look"}:
        if fleet.room:
            chosen = fleet.choose(takes=what == "choose")
            assert chosen in present
            assert fleet.state(chosen) in {State.UP, State.FULL}
    elif what in {"answer", "late answer"}:
        before = fleet.taken(one) - (min(count, fleet.taken(one)) if what == "late answer" else 0)
        fleet.answered(one, answer(count, capacity=4, used=4 - count), before)
    elif what == "drain":
        fleet.answered(one, answer(count, capacity=4, draining=True), fleet.taken(one))
    elif what == "miss":
        fleet.missed(one)
    else:
        present[:] = nodes(6)[: which + 1]
        fleet.replace(present)


@given(STEPS, st.integers())
def test_totals_are_the_sums_over_hosts_and_no_count_is_below_zero_whatever_happens(steps: list[Step], seed: int):
    present = nodes(6)
    fleet = Fleet(present, random.Random(seed), Timer())
    for step in steps:
        play(fleet, present, step)

        stats, totals, rows = fleet.stats("0.1.0"), fleet.totals(), list(fleet.rows())
        hosts = stats["hosts"].values()
        assert stats["available"] == sum(host["available"] for host in hosts) == totals.available
        assert stats["capacity"] == sum(host["capacity"] for host in hosts) == totals.capacity
        assert all(0 <= host["available"] <= host["capacity"] for host in hosts)
        assert sorted([*stats["hosts"], *stats["down"]]) == sorted(one.url for one in present)
        assert Counter(row["state"] for row in rows) == {s.value: n for s, n in fleet.states.items() if n}
        assert sum(row["available"] for row in rows) == totals.available
        assert fleet.room == any(row["state"] == "up" for row in rows)


def test_stats_are_told_as_the_faq_shows_them():
    present = [type(node())(url[8:13], url, f"{url}/api/stats") for url in FAQ["hosts"]]
    fleet = Fleet(present)
    for one in present:
        available, capacity = FAQ["hosts"][one.url]
        fleet.answered(one, Answer(available, 0, capacity, "0.1.0", "jupyter/demo:latest", draining=False), 0)

    assert fleet.stats("0.0.1") == {
        "available": FAQ["available"],
        "hosts": {
            url: {
                "available": available,
                "container_image": "jupyter/demo:latest",
                "version": "0.1.0",
                "capacity": capacity,
            }
            for url, (available, capacity) in FAQ["hosts"].items()
        },
        "version": "0.0.1",
        "capacity": FAQ["capacity"],
        "down": [],
    }


def test_a_node_that_does_not_answer_adds_nothing_to_the_totals_and_is_named():
    fleet = fleet_of(5, 6)
    fleet.missed(node("tmp01"))
    fleet.missed(node("tmp01"))

    stats = fleet.stats("0.1.0")

    assert (stats["available"], stats["capacity"]) == (6, 64)
    assert stats["down"] == ["https://tmp01.example.org"]


def test_the_fleet_page_is_told_nothing_that_no_node_said():
    timer = Timer()
    fleet = Fleet(nodes(2), timer=timer)
    fleet.answered(node("tmp01"), answer(5, used=3), 0)
    fleet.missed(node("tmp01"))
    fleet.missed(node("tmp01"))
    timer.now += 7.5

    gone, unknown = fleet.rows()

    silent = {"available": 0, "used": None, "capacity": None}
    assert gone.items() >= {**silent, "state": "down", "version": "0.1.0", "heard_seconds": 7.5}.items()
    assert unknown.items() >= {**silent, "state": "unknown", "version": None, "heard_seconds": None}.items()


def test_redirects_of_the_last_minute_are_counted_and_older_ones_forgotten():
    timer = Timer()
    minute = LastMinute(timer)
    for _ in range(90):
        minute.add()
        minute.add()
        timer.now += 1

    assert minute.count() == 118, "two in each of 59 seconds, and none yet in this one"
    timer.now += 60
    assert minute.count() == 0


def test_metrics_tell_the_state_of_the_fleet_when_they_are_asked_for():
    fleet = fleet_of(5, 0)
    metrics = Metrics(fleet)
    fleet.choose(takes=True)

    lines = metrics.exposition().decode().splitlines()

    assert 'redirector_nodes{state="up"} 1.0' in lines
    assert 'redirector_nodes{state="full"} 1.0' in lines
    assert 'redirector_servers{kind="available"} 4.0' in lines
    assert 'redirector_servers{kind="capacity"} 128.0' in lines
