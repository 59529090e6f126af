"""Address plans: what is cut from a pool, and what it must not meet."""

import ipaddress
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.docker.overlay import RangeInUse, collisions, parse_pool, plan_addresses
from runtime.hub.user_networks import NoFreeSubnetError, free_subnet, neighbour_address

pools = st.builds(
    lambda second, length: str(ipaddress.ip_network(f"10.{second}.0.0/{length}", strict=False)),
    st.integers(0, 255),
    st.integers(16, 20),
)


@given(pools)
def test_the_parts_of_a_plan_lie_in_the_pool_and_never_overlap(pool: str):
    parts = [ipaddress.ip_network(part) for part in asdict(plan_addresses(pool)).values()]

    assert all(part.subnet_of(ipaddress.ip_network(pool)) for part in parts)
    assert not any(a.overlaps(b) for n, a in enumerate(parts) for b in parts[n + 1 :])


@pytest.mark.parametrize("pool", ["10.0.0.0/24", "8.8.0.0/16", "10.0.0.1/16", "fd00::/48", "pool"])
def test_a_pool_that_cannot_serve_is_refused(pool: str):
    with pytest.raises(ValueError, match=r"is too small|is not a private range|is not an IPv4 network"):
        parse_pool(pool)


def test_the_seeds_overlay_collides_with_the_default_vpc_and_the_error_names_both():
    [sentence] = collisions("172.31.0.0/24", [RangeInUse("172.31.0.0/16", "AWS's default VPC")])

    assert sentence == "172.31.0.0/24 overlaps 172.31.0.0/16 of AWS's default VPC"


def test_a_default_route_is_no_collision():
    assert collisions("10.213.0.0/16", [RangeInUse("0.0.0.0/0", "the default route")]) == []


@given(pools, pools)
def test_a_collision_is_seen_from_both_sides(one: str, other: str):
    assert bool(collisions(one, [RangeInUse(other, "x")])) == bool(collisions(other, [RangeInUse(one, "x")]))


@given(st.lists(st.integers(0, 15), max_size=15, unique=True))
def test_a_free_subnet_overlaps_none_that_is_taken(numbers: list[int]):
    subnets = list(ipaddress.ip_network("10.9.0.0/24").subnets(new_prefix=28))
    taken = [str(subnets[number]) for number in numbers]

    assert free_subnet("10.9.0.0/24", taken) not in taken


def test_a_full_range_says_so():
    with pytest.raises(NoFreeSubnetError, match=r"10\.9\.0\.0/28"):
        free_subnet("10.9.0.0/28", ["10.9.0.0/16"])


def test_the_platforms_addresses_on_a_users_network_are_its_last():
    assert neighbour_address("10.9.0.0/28", 0) == "10.9.0.14"
    assert neighbour_address("10.9.0.0/28", 1) == "10.9.0.13"
