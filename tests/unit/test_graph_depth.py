"""How long the engine's critical path through each topology is: every step waits for the one before."""

from collections.abc import Mapping, Sequence

import pytest

from tests.unit.recording import record
from tests.unit.topologies import TOPOLOGIES

LONGEST = 20
"""Steps that may have to wait for each other."""


def longest_chain(waits_for: Mapping[str, Sequence[str]]) -> list[str]:
    """The longest path, last step first, through what waits for what, which has no circle."""
    longest: dict[str, list[str]] = {}

    def chain(step: str) -> list[str]:
        if step not in longest:
            behind = max((chain(earlier) for earlier in waits_for.get(step, ())), key=len, default=[])
            longest[step] = [step, *behind]
        return longest[step]

    return max((chain(step) for step in waits_for), key=len, default=[])


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_no_chain_of_dependencies_is_longer_than_twenty(topology: str):
    registrations = record(TOPOLOGIES[topology]).registrations
    waits_for = {r.urn: r.dependencies for r in registrations}

    chain = longest_chain(waits_for)

    assert len(chain) > 3, "what a resource is made from is one of its dependencies"
    assert len(chain) <= LONGEST, chain


def test_the_longest_chain_is_found_among_several():
    waits_for = {"c": ["a", "b"], "b": ["a"], "a": [], "d": ["a"]}

    assert longest_chain(waits_for) == ["c", "b", "a"]
