"""Quotas: sizes, and every mistake at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.quotas import check_fleet_quota, check_user_quota, parse_size, user_quota_document


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 * 2**20), ("1.5G", 3 * 2**29), ("2GiB", 2**31), ("16777216", 2**24), ("1 T", 2**40)]
)
def test_a_size_is_read_in_units_of_1024(text: str, size: int):
    assert parse_size(text) == size


@given(st.integers(min_value=1, max_value=10**6), st.sampled_from("KMGT"))
def test_a_size_with_a_unit_is_1024_times_one_with_the_unit_below(number: int, unit: str):
    below = {"K": "", "M": "K", "G": "M", "T": "G"}[unit]

    assert parse_size(f"{number}{unit}") == 1024 * parse_size(f"{number}{below}")


@pytest.mark.parametrize("text", ["", "many", "-1G", "1X", "1G1M"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_the_defaults_can_be_enforced():
    assert check_user_quota({}) == []
    assert check_fleet_quota({}) == []
    assert all(value > 0 for value in user_quota_document({}).values())


def test_every_mistake_in_a_quota_is_reported_at_once():
    errors = check_user_quota(
        {"cpu": 0, "memory": "64M", "processes": 1, "home": "lots", "tmp": "1K", "idle": 5, "maxAge": 1}
    )

    fields = ("cpu", "processes", "memory", "home", "tmp", "idle", "maxAge")
    assert {error["property_path"] for error in errors} == {f"userQuota.{field}" for field in fields}


def test_a_tmp_that_fills_the_memory_is_refused():
    [error] = check_user_quota({"memory": "1G", "tmp": "1G"})

    assert error["property_path"] == "userQuota.tmp"


@pytest.mark.parametrize("servers", [0, -1, 1001])
def test_a_fleet_without_a_sensible_cap_is_refused(servers: int):
    assert check_fleet_quota({"servers": servers})
