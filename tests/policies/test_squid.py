"""What the pack finds in configurations of squid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.egress import UNROUTED_RANGES, check_egress
from components.egress_proxy import TRANSLATED_RANGES, squid_configuration
from policies.egress.nodes import FORBIDDEN
from policies.squid import squid_mistakes

TEXT = squid_configuration(["pypi.org", ".example.org"])

domains = st.from_regex(r"\.?[a-z0-9_-]{1,4}(\.[a-z0-9_-]{1,4}){1,3}", fullmatch=True)


def mistakes(text: str) -> list[str]:
    return list(squid_mistakes(text, FORBIDDEN.values()))


@given(st.lists(domains, max_size=5))
def test_whatever_domains_a_stack_may_name_pass(named: list[str]):
    given_domains = [domain for domain in named if not check_egress("domains", [domain], [])]

    assert mistakes(squid_configuration(given_domains, ["203.0.113.0/24"])) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("include /tmp/more.conf", "'include'"),
        ("cache_peer 10.0.0.1 parent 3128 0", "'cache_peer'"),
        ("http_port 8080", "listens on"),
        ("http_access allow all", "lets through"),
        ("acl https port 8443", "another list 'https'"),
        ("acl tunnel method GET", "another list 'tunnel'"),
        ("acl too_many maxconn 100000", "any number of connections"),
        ("acl named dst 0.0.0.0/0", "by 'dst'"),
        ("acl named dstdomain .evil.example", "'.evil.example'"),
        ("acl named dstdomain -n .com", "'.com'"),
        ("acl named dstdomain -n com", "'com'"),
        ('acl named dstdomain -n "/tmp/list"', "which is no domain"),
        ("acl named dstdomain -n 1.1.1.1", "'1.1.1.1'"),
        ("acl named dstdomain -n *.org", "'*.org'"),
        ("acl others src all", "another list 'others'"),
        ("cache_mem 0 \\", "goes on in the next one"),
    ],
)
def test_a_line_more_is_a_mistake_that_is_named(line: str, words: str):
    for text in (f"{line}\n{TEXT}", f"{TEXT}{line}\n"):
        assert any(words in mistake for mistake in mistakes(text)), mistakes(text)


BEYOND = tuple(f"acl never_reached dst {text}" for text in (*UNROUTED_RANGES, *TRANSLATED_RANGES))
"""Ranges that the proxy refuses beside those that the pack asks for."""
WITHIN_ANOTHER = "acl never_reached dst fd00:ec2::254/128"
LINES = [line for line in TEXT.splitlines() if line.startswith(("acl", "http_access", "http_port"))]


@pytest.mark.parametrize(
    "line", [line for line in LINES if line not in (*BEYOND, WITHIN_ANOTHER, "acl asked has request")]
)
def test_a_line_less_is_a_mistake(line: str):
    assert mistakes(TEXT.replace(f"{line}\n", "")), line


def test_rules_in_another_order_are_a_mistake():
    turned = TEXT.replace(
        "http_access deny never_reached\nhttp_access allow all", "http_access allow all\nhttp_access deny never_reached"
    )

    assert turned != TEXT
    assert "lets through" in mistakes(turned)[0]
