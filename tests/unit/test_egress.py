"""What an egress profile's lists may say, and which platform knows which profile."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ec2_hub_cluster import check_ec2_hub_cluster
from components.egress import (
    NEVER_REACHED,
    REFUSED_PORTS,
    EgressProfile,
    check_egress,
    public_ranges,
)
from components.swarm_cluster import check_swarm_cluster

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(lambda parts: ".".join([*parts, "example"]))


def told(*, domains: list[str] | None = None, ports: list[int] | None = None) -> dict[str, str]:
    """Mistakes by property under a profile that uses the list."""
    profile = "ports" if ports else "domains"
    return {e["property_path"]: e["reason"] for e in check_egress(profile, domains or [], ports or [])}


@given(domains, st.booleans())
def test_a_domain_is_taken_alone_and_with_all_below(domain: str, below: bool):
    assert told(domains=["." * below + domain]) == {}


@given(st.ip_addresses(), st.sampled_from(["{}", "[{}]", ".{}"]))
def test_no_way_to_write_an_address_passes_for_a_domain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, form: str
):
    assert "is an IP address" in told(domains=[form.format(address)])["egressDomains[0]"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("https://pypi.org", "address of a page"),
        ("pypi.org/simple", "address of a page"),
        ("*.pypi.org", "has a star"),
        ("127.1", "is an IP address"),
        ("0x7f.1", "is an IP address"),
        ("2130706433", "is an IP address"),
        ("pypi.org:443", "has a port"),
        ("Pypi.org", "has capital letters"),
        ("bücher.example", "beyond ASCII"),
        ("org", "is one word"),
        (".org", "is one word"),
        ("", "is no domain name"),
        (".", "is no domain name"),
        ("a..b", "is no domain name"),
        ("-a.org", "is no domain name"),
        ("pypi.org.", "is no domain name"),
        ("pypi.org\nhttp_access allow all", "is no domain name"),
        ("pypi.org evil.org", "is no domain name"),
        (f"{'a' * 64}.org", "is no domain name"),
        (f"{'a.' * 127}org", "is no domain name"),
        ("hub.lab.svc", "name of the inside"),
        ("kubernetes.default.svc.cluster.local", "name of the inside"),
        ("metadata.google.internal", "name of the inside"),
        (".internal.local", "name of the inside"),
    ],
)
def test_what_is_no_public_domain_is_refused_with_what_is_wrong(text: str, mistake: str):
    assert mistake in told(domains=["pypi.org", text])["egressDomains[1]"]


@given(st.integers(1, 65535))
def test_every_tcp_port_may_be_named_but_those_of_mail_relays_and_name_servers(port: int):
    assert bool(told(ports=[port])) == (port in {25, 53, 853})


@pytest.mark.parametrize("port", [0, -1, 65536, 443.5])
def test_what_is_no_port_is_refused(port: int):
    assert told(ports=[443, port])["egressPorts[1]"] == f"{port} is not a TCP port; 1 to 65535"


@pytest.mark.parametrize("port", sorted(REFUSED_PORTS))
def test_a_refused_port_says_what_is_behind_it(port: int):
    assert told(ports=[port]) == {"egressPorts[0]": f"{port}: {REFUSED_PORTS[port]}"}


def test_every_mistake_is_reported_at_once():
    errors = check_egress("ports", ["*.pypi.org", "org"], [0, 25, 443], ["203.0.113.1/24", "there", "203.0.113.0/24"])

    assert [error["property_path"] for error in errors] == [
        "egressDomains",
        "egressDomains[0]",
        "egressDomains[1]",
        "egressPorts[0]",
        "egressPorts[1]",
        "egressExcluded[0]",
        "egressExcluded[1]",
    ]


@pytest.mark.parametrize(
    ("profile", "wrong"),
    [
        (EgressProfile.CLOSED, set()),
        (EgressProfile.DOMAINS, {"egressPorts"}),
        (EgressProfile.PORTS, {"egressDomains"}),
        (EgressProfile.OPEN, {"egressDomains", "egressPorts"}),
    ],
)
def test_a_list_that_promises_a_limit_which_the_profile_does_not_set_is_refused(
    profile: EgressProfile, wrong: set[str]
):
    assert {e["property_path"] for e in check_egress(profile, ["pypi.org"], [443])} == wrong


def test_a_profile_is_known_by_its_value_as_well():
    assert check_egress("domains", ["pypi.org"], []) == []
    [error] = check_egress("everything", [], [])
    assert error["reason"] == "everything is not known here; one of closed, domains, ports, open"


@pytest.mark.parametrize("profile", ["domains", EgressProfile.DOMAINS, "ports", EgressProfile.PORTS])
def test_a_swarm_and_hosts_on_ec2_refuse_the_profiles_with_lists_and_name_theirs(profile: EgressProfile):
    swarm = check_swarm_cluster({"users": [{"name": "ada"}], "egressProfile": profile})
    ec2 = check_ec2_hub_cluster(
        {
            "users": [{"name": "ada"}],
            "domain": "a.example.org",
            "zone": "example.org",
            "alarmEmail": "owner@example.org",
            "egressProfile": profile,
        }
    )

    for errors in (swarm, ec2):
        assert errors == [
            {
                "property_path": "egressProfile",
                "reason": f"{EgressProfile(profile).value} is not known here; one of closed, open",
            }
        ]


@pytest.mark.parametrize("profile", ["closed", EgressProfile.CLOSED, "open", EgressProfile.OPEN])
def test_a_swarm_takes_the_profiles_that_it_knows(profile: EgressProfile):
    assert check_swarm_cluster({"users": [{"name": "ada"}], "egressProfile": profile}) == []


@given(st.ip_addresses(v=4), st.lists(st.ip_addresses(v=4), max_size=4))
def test_an_address_is_public_exactly_if_nothing_excludes_it(
    address: ipaddress.IPv4Address, more: list[ipaddress.IPv4Address]
):
    excluded = [*NEVER_REACHED, *(f"{one}/32" for one in more)]
    shut = any(address in ipaddress.ip_network(text) for text in excluded)

    assert any(address in ipaddress.ip_network(text) for text in public_ranges(excluded)) is not shut
