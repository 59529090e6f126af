"""How often one visitor may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.visitor_rates import VisitorRates, forwarded_address, visitor_key


class Timer:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ten_thousand_requests_of_one_address_pass_as_often_as_the_burst_and_others_as_before():
    rates = VisitorRates(burst=20, per_minute=6, timer=Timer())

    passed = sum(rates.wait_seconds("192.0.2.1") == 0 for _ in range(10_000))

    assert passed == 20
    assert rates.wait_seconds("192.0.2.2") == 0


def test_who_waits_as_long_as_told_may_ask_again():
    timer = Timer()
    rates = VisitorRates(burst=1, per_minute=6, timer=timer)
    rates.wait_seconds("192.0.2.1")

    wait = rates.wait_seconds("192.0.2.1")

    assert wait == pytest.approx(10)
    timer.now += wait
    assert rates.wait_seconds("192.0.2.1") == 0


@given(st.lists(st.floats(min_value=0, max_value=600), max_size=50), st.integers(1, 10), st.floats(0.5, 120))
def test_nobody_passes_more_often_than_the_limit_allows(pauses: list[float], burst: int, per_minute: float):
    timer = Timer()
    rates = VisitorRates(burst=burst, per_minute=per_minute, timer=timer)

    passed = 0
    for pause in pauses:
        timer.now += pause
        passed += rates.wait_seconds("192.0.2.1") == 0

    assert passed <= burst + timer.now * per_minute / 60 + 1e-6


def test_memory_is_bounded_and_the_address_that_asked_longest_ago_is_forgotten():
    rates = VisitorRates(burst=1, per_minute=1, timer=Timer(), most=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        rates.wait_seconds(address)

    assert len(rates) == 2
    assert rates.wait_seconds("192.0.2.3") > 0
    assert rates.wait_seconds("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_visitor_is_an_address_or_what_a_provider_gives_one_customer(address: str, key: str):
    assert visitor_key(address) == key


@pytest.mark.parametrize(
    ("header", "hops", "address"),
    [
        ("192.0.2.1", 1, "192.0.2.1"),
        ("192.0.2.1, 10.0.0.1", 2, "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1, 10.0.0.1", 2, "192.0.2.1"),
        ("192.0.2.1", 2, "10.0.0.2"),
        (None, 1, "10.0.0.2"),
        ("192.0.2.1", 0, "10.0.0.2"),
    ],
)
def test_what_a_visitor_claims_to_be_does_not_count(header: str | None, hops: int, address: str):
    assert forwarded_address(header, hops, "10.0.0.2") == address
