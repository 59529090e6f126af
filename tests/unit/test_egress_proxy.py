"""Rules of squid, which lets servers out to named domains."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.egress import NEVER_REACHED
from components.egress_proxy import squid_configuration

domains = st.from_regex(r"\.?[a-c](\.[a-c]){1,3}", fullmatch=True)


def listed(configuration: str) -> list[str]:
    """Domains of squid's list."""
    found = re.search(r"^acl named dstdomain -n (.+)$", configuration, re.MULTILINE)
    return found[1].split() if found else []


def covered(name: str, domains: list[str]) -> bool:
    """Whether squid takes a name for one of the domains."""
    return any(name == one or (one.startswith(".") and f".{name}".endswith(one)) for one in domains)


@given(st.lists(domains, max_size=8), st.lists(st.from_regex(r"[a-c](\.[a-c]){1,4}", fullmatch=True), max_size=5))
def test_squids_list_passes_what_the_stacks_does_and_repeats_nothing(given_domains: list[str], names: list[str]):
    found = listed(squid_configuration(given_domains))

    assert all(covered(name, found) == covered(name, given_domains) for name in names)
    # Squid stops at a domain that lies within another of the same list.
    wide = [one for one in found if one.startswith(".")]
    assert not any(f".{one.removeprefix('.')}".endswith(other) for one in found for other in wide if one != other)
    assert found == listed(squid_configuration(reversed(given_domains)))


def test_without_domains_squid_refuses_everything():
    rules = [line for line in squid_configuration([]).splitlines() if line.startswith("http_access")]

    assert rules[:3] == ["http_access deny !tunnel", "http_access deny !https", "http_access deny all"]


@pytest.mark.parametrize("text", NEVER_REACHED)
def test_squid_refuses_names_of_every_address_that_is_never_reached(text: str):
    assert f"\nacl never_reached dst {text}\n" in squid_configuration(["pypi.org"])


def test_squid_judges_before_it_allows_and_ends_with_everything_that_is_left():
    rules = re.findall(r"^http_access (.+)$", squid_configuration(["pypi.org"]), re.MULTILINE)

    assert rules == [
        "deny !tunnel",
        "deny !https",
        "deny !named",
        "deny too_many",
        "deny never_reached",
        "allow all",
    ]
