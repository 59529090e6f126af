"""The rules that the egress guard loads, as text."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.egress import METADATA_RANGES, NEVER_REACHED, PRIVATE_RANGES
from runtime.egress_guard.__main__ import parse_bridge
from runtime.egress_guard.rules import Bridge, filter_table, filter_table_ipv6, host_resolvers, nat_table
from runtime.open_network import bridge_name

BRIDGE = Bridge("open0", "10.213.64.0/20", NEVER_REACHED, ("10.0.0.2", "fd00::53"))


def verdict(address: str, protocol: str = "tcp", port: int = 443, bridge: Bridge = BRIDGE) -> str:
    """What becomes of a new connection from a server to `address` beyond the bridge, by the rules' own order."""
    for rule in filter_table(bridge).splitlines():
        words = rule.split()
        if not rule.startswith(f"-A {bridge.chain}-OUT ") or "conntrack" in words or "-o" in words or "!" in words:
            continue
        if "-d" in words and ipaddress.ip_address(address) not in ipaddress.ip_network(words[words.index("-d") + 1]):
            continue
        if "-p" in words and (words[words.index("-p") + 1], words[words.index("--dport") + 1]) != (protocol, str(port)):
            continue
        return words[-1]
    return "RETURN"


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "11.0.0.1"])
def test_public_addresses_pass(address: str):
    assert verdict(address) == "RETURN"


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "168.63.129.16", "10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"],
)
def test_metadata_services_and_private_ranges_do_not(address: str):
    assert verdict(address) == "DROP"


@given(st.sampled_from([r for r in (*METADATA_RANGES, *PRIVATE_RANGES) if ":" not in r]), st.data())
def test_no_address_of_a_forbidden_range_passes(subnet: str, data: st.DataObject):
    address = data.draw(st.ip_addresses(network=ipaddress.IPv4Network(subnet)))

    assert verdict(str(address)) == "DROP"


def test_a_private_resolver_of_the_host_answers_names_and_nothing_else():
    assert verdict("10.0.0.2", "udp", 53) == "RETURN"
    assert verdict("10.0.0.2", "tcp", 53) == "RETURN"
    assert verdict("10.0.0.2", "tcp", 443) == "DROP"
    assert verdict("10.0.0.3", "udp", 53) == "DROP"


def test_the_host_answers_names_where_it_is_its_own_name_server_and_neighbours_get_nothing_but_answers():
    rules = filter_table(BRIDGE).splitlines()

    assert [rule for rule in rules if rule.startswith(f"-A {BRIDGE.chain}-HOST")] == [
        f"-A {BRIDGE.chain}-HOST -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        f"-A {BRIDGE.chain}-HOST -d 10.0.0.2 -p udp --dport 53 -j RETURN",
        f"-A {BRIDGE.chain}-HOST -d 10.0.0.2 -p tcp --dport 53 -j RETURN",
        f"-A {BRIDGE.chain}-HOST -j DROP",
    ]
    assert f"-A {BRIDGE.chain}-OUT -o open0 -j DROP" in rules
    assert f"-A {BRIDGE.chain}-OUT ! -s 10.213.64.0/20 -j DROP" in rules


def test_nothing_passes_over_ipv6():
    assert [rule.split()[-1] for rule in filter_table_ipv6(BRIDGE).splitlines() if rule.startswith("-A")] == [
        "DROP"
    ] * 2


def test_addresses_are_translated_only_on_the_way_out_of_the_bridge():
    assert f"-A {BRIDGE.chain}-NAT ! -o open0 -j MASQUERADE" in nat_table(BRIDGE)


def test_resolvers_on_loopback_are_left_to_the_engine():
    text = (
        "search example.org\nnameserver 127.0.0.53\nnameserver 10.0.0.2 # VPC\nnameserver fe80::1%eth0\nnameserver x\n"
    )

    assert host_resolvers(text) == ("10.0.0.2", "fe80::1")


@given(st.text(min_size=1, max_size=80))
def test_names_of_bridge_and_chains_fit_the_kernel(stack: str):
    name = bridge_name(stack)

    assert len(name) <= 15
    assert len(f"{Bridge(name, '10.0.0.0/24', (), ()).chain}-HOST") <= 28


def test_a_gate_reaches_every_server_and_gets_answers_and_nobody_reaches_a_gate():
    bridge = Bridge("open0", "10.217.8.0/22", ("0.0.0.0/0", "::/0"), (), gates=("10.217.11.254",))
    rules = [rule.removeprefix(f"-A {bridge.chain}-OUT ") for rule in filter_table(bridge).splitlines()]

    accepted = [rule for rule in rules if rule.endswith("-j ACCEPT")]
    assert accepted == [
        "-s 10.217.11.254 -o open0 -j ACCEPT",
        "-d 10.217.11.254 -o open0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
    answers = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    assert max(map(rules.index, accepted)) < rules.index(answers) < rules.index("-o open0 -j DROP")


def test_where_everything_is_forbidden_so_are_the_hosts_name_servers():
    closed = parse_bridge(["--gate=10.1.0.2", "open0", "10.1.0.0/22", "0.0.0.0/0", "::/0"], "nameserver 10.0.0.2")
    opened = parse_bridge(["open0", "10.1.0.0/22", "10.0.0.0/8"], "nameserver 10.0.0.2")

    assert (closed.gates, closed.resolvers) == (("10.1.0.2",), ())
    assert opened.resolvers == ("10.0.0.2",)


PORTS = Bridge("open0", "10.213.64.0/20", NEVER_REACHED, ("10.0.0.2",), ports=(443, 8080))


@pytest.mark.parametrize(("port", "expected"), [(443, "RETURN"), (8080, "RETURN"), (80, "DROP"), (22, "DROP")])
def test_named_ports_of_public_addresses_pass_and_no_others(port: int, expected: str):
    assert verdict("1.1.1.1", "tcp", port, PORTS) == expected
    assert verdict("1.1.1.1", "udp", port, PORTS) == "DROP"


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "10.0.0.1", "192.168.1.1", "127.0.0.1"])
def test_a_named_port_opens_no_address_that_is_never_reached(address: str):
    assert verdict(address, "tcp", 443, PORTS) == "DROP"


def test_names_are_asked_of_the_hosts_name_server_alone_where_ports_are_named():
    assert verdict("10.0.0.2", "udp", 53, PORTS) == "RETURN"
    assert verdict("9.9.9.9", "udp", 53, PORTS) == "DROP"


def test_every_server_reaches_a_proxy_on_its_port_and_the_proxy_none_by_itself():
    bridge = parse_bridge(
        ["--gate=10.1.3.254", "--egress-proxy=10.1.3.251:3128", "open0", "10.1.0.0/22", "0.0.0.0/0", "::/0"], ""
    )
    rules = [rule.removeprefix(f"-A {bridge.chain}-OUT ") for rule in filter_table(bridge).splitlines()]
    ways = [rule for rule in rules if "10.1.3.251" in rule]

    assert ways == [
        "-s 10.1.0.0/22 -d 10.1.3.251 -o open0 -p tcp --dport 3128 -j ACCEPT",
        "-s 10.1.3.251 -o open0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
    answers = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    assert max(map(rules.index, ways)) < rules.index(answers) < rules.index("-o open0 -j DROP")
    assert (bridge.gates, bridge.forbidden) == (("10.1.3.254",), ("0.0.0.0/0", "::/0"))


def test_ports_are_read_and_what_is_no_number_is_refused():
    assert parse_bridge(["--port=443", "--port=22", "open0", "10.1.0.0/22", "10.0.0.0/8"], "").ports == (443, 22)
    for wrong in ("--port=https", "--egress-proxy=10.1.3.251"):
        with pytest.raises(ValueError, match="invalid literal"):
            parse_bridge([wrong, "open0", "10.1.0.0/22"], "")
