"""What a node's containers become under each egress profile."""

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import EgressProfile, TmpnbNodePoolArgs
from components.docker.tmpnb_egress import bridges
from components.docker.tmpnb_node import node_group
from components.docker.tmpnb_plan import plan_node
from components.egress import NEVER_REACHED
from components.pool_checks import check_tmpnb_node_pool
from components.pool_plan import engine_shares, node_settings
from components.probe_destinations import METADATA_SERVICES, OUTSIDE, PRIVATE_NEIGHBOURS
from runtime.egress_guard.__main__ import parse_bridge
from runtime.egress_guard.rules import Bridge
from tests.unit.test_egress_guard import verdict

DIGEST = f"sha256:{'0' * 64}"
DOMAINS: TmpnbNodePoolArgs = {
    "nodes": [{"name": "tmp01"}],
    "egressProfile": EgressProfile.DOMAINS,
    "egressDomains": ["pypi.org", ".example.org"],
}
PORTS: TmpnbNodePoolArgs = {
    "nodes": [{"name": "tmp01"}],
    "egressProfile": EgressProfile.PORTS,
    "egressPorts": [443, 22],
}
OPEN: TmpnbNodePoolArgs = {"nodes": [{"name": "tmp01"}], "egressProfile": EgressProfile.OPEN}
CLOSED: TmpnbNodePoolArgs = {"nodes": [{"name": "tmp01"}]}
NOTHING_NAMED: list[TmpnbNodePoolArgs] = [
    {"nodes": [{"name": "tmp01"}], "egressProfile": profile} for profile in (EgressProfile.DOMAINS, EgressProfile.PORTS)
]


def group(args: TmpnbNodePoolArgs) -> dict[str, Any]:
    [node] = node_settings("pool", args)
    return json.loads(json.dumps(node_group(node)))


def settings(args: TmpnbNodePoolArgs) -> dict[str, Any]:
    return json.loads(group(args)["texts"]["settings.json"])


def guarded(args: TmpnbNodePoolArgs, guard: str = "egress-guard") -> Bridge:
    """What the guard makes of its arguments."""
    return parse_bridge(group(args)["containers"][guard]["command"][3:], "nameserver 10.0.0.2")


@pytest.mark.parametrize("args", [CLOSED, DOMAINS, *NOTHING_NAMED])
def test_without_a_way_out_of_their_own_servers_are_on_an_internal_bridge_and_resolve_no_names(args: TmpnbNodePoolArgs):
    assert group(args)["networks"]["servers"]["internal"] is True
    assert settings(args)["resolver"] is False
    assert guarded(args).forbidden == ("0.0.0.0/0", "::/0")
    assert guarded(args).resolvers == ()
    assert verdict("1.1.1.1", bridge=guarded(args)) == "DROP"


@pytest.mark.parametrize("args", NOTHING_NAMED)
def test_a_list_that_names_nothing_opens_nothing(args: TmpnbNodePoolArgs):
    assert group(args) == group(CLOSED)


@pytest.mark.parametrize("args", [PORTS, OPEN])
def test_a_way_out_leads_to_public_addresses_alone(args: TmpnbNodePoolArgs):
    bridge = guarded(args)

    assert group(args)["networks"]["servers"]["internal"] is False
    assert group(args)["networks"]["servers"]["apart"] is True
    assert settings(args)["resolver"] is True
    assert bridge.forbidden == NEVER_REACHED
    assert verdict("1.1.1.1", "tcp", 443, bridge) == "RETURN"
    assert verdict("10.0.0.2", "udp", 53, bridge) == "RETURN"
    for address in ("169.254.169.254", "168.63.129.16", "10.0.0.1", "172.17.0.1", "192.168.0.1", "100.64.0.1"):
        assert verdict(address, "tcp", 443, bridge) == "DROP"


def test_ports_that_are_not_named_stay_shut_where_ports_are_named():
    assert guarded(PORTS).ports == (443, 22)
    assert [verdict("1.1.1.1", way, port, guarded(PORTS)) for way, port in (("tcp", 80), ("udp", 443))] == ["DROP"] * 2
    assert verdict("1.1.1.1", "udp", 443, guarded(OPEN)) == "RETURN"


def test_servers_find_the_proxy_by_its_address_and_the_guard_lets_them_reach_it():
    node = group(DOMAINS)
    address = node["containers"]["egress-proxy"]["networks"]["servers"]["address"]

    assert settings(DOMAINS)["egress_proxy"] == f"http://{address}:3128"
    assert guarded(DOMAINS).proxies == ((address, 3128),)
    assert address not in guarded(DOMAINS).gates, "the proxy reaches no server by itself"
    assert settings(CLOSED)["egress_proxy"] is None
    assert guarded(CLOSED).proxies == ()


def test_the_proxy_passes_on_the_named_domains_and_has_no_rights():
    proxy = group(DOMAINS)["containers"]["egress-proxy"]

    assert "acl named dstdomain -n .example.org pypi.org\n" in group(DOMAINS)["texts"]["squid.conf"]
    assert proxy["command"] == ["squid", "-N", "-f", "/run/hubstack/squid.conf"]
    assert proxy["texts"] == ["squid.conf"]
    assert proxy["user"] == "13:13"
    assert set(proxy["networks"]) == {"egress", "servers"}
    assert not {"secrets", "cap_add", "engine_socket", "host_network", "ports", "volumes"} & set(proxy)


def test_the_proxys_way_out_has_a_guard_that_knows_https_and_public_addresses_alone():
    node, bridge = group(DOMAINS), guarded(DOMAINS, "egress-proxy-guard")

    assert (bridge.name, bridge.subnet) == (node["networks"]["egress"]["bridge"], node["networks"]["egress"]["subnet"])
    assert node["networks"]["egress"]["apart"] is True
    assert (bridge.gates, bridge.proxies, bridge.ports, bridge.forbidden) == ((), (), (443,), NEVER_REACHED)
    assert [name for name, one in node["containers"].items() if "egress" in one.get("networks", {})] == ["egress-proxy"]


def test_guards_start_before_what_they_guard_and_go_after_it():
    assert group(DOMAINS)["order"] == [
        "egress-guard",
        "egress-proxy-guard",
        "egress-proxy",
        "proxy",
        "service",
        "tls-proxy",
    ]
    assert sorted(group(DOMAINS)["order"]) == sorted(group(DOMAINS)["containers"])


def test_a_proxy_changes_nothing_of_a_nodes_other_containers_but_their_settings():
    closed, domains = group(CLOSED)["containers"], group(DOMAINS)["containers"]

    assert {name for name in closed if closed[name] != domains[name]} == {"egress-guard"}


def tried(args: TmpnbNodePoolArgs) -> list[dict[str, Any]]:
    return group(args)["probe"]["forbidden"]


@pytest.mark.parametrize("args", [CLOSED, DOMAINS, PORTS, OPEN])
def test_an_update_tries_what_no_profile_opens(args: TmpnbNodePoolArgs):
    assert all(one in tried(args) for one in (*METADATA_SERVICES, *PRIVATE_NEIGHBOURS))
    assert {one["why"] for one in tried(args)} >= {"the proxy's API", "a neighbour's server", "the host"}
    assert [one for one in tried(args) if ":" in one["host"] and one["why"] == "a public IPv6 address"]


@pytest.mark.parametrize(("args", "proved"), [(CLOSED, True), (DOMAINS, True), (PORTS, False), (OPEN, False)])
def test_an_update_tries_the_outside_where_there_is_no_way_out(args: TmpnbNodePoolArgs, proved: bool):
    assert all(one in tried(args) for one in OUTSIDE) is proved


def test_an_update_tries_ports_that_are_not_named_and_none_that_is():
    public = {(one["kind"], one["port"]) for one in tried(PORTS) if "public" in one["why"] and ":" not in one["host"]}

    assert public == {("tcp", 80), ("tcp", 853), ("udp", 5353)}
    assert not [one for one in tried(OPEN) if one["host"] == "1.1.1.1"]


def test_an_update_asks_the_proxy_for_a_domain_that_is_not_named():
    required = group(DOMAINS)["probe"]["required"]
    address = plan_node("10.217.0.0/16", 1).egress_proxy

    assert {(one["kind"], one["host"], one["port"], one["status"]) for one in required} == {
        ("proxy", address, 3128, 403)
    }
    assert {one["target"] for one in required} == {"hubstack-is-not-listed.invalid:443", "169.254.169.254:443"}
    assert (address, 443) in {(one["host"], one["port"]) for one in tried(DOMAINS)}
    assert "required" not in group(CLOSED)["probe"]


@given(st.integers(1, 31))
def test_addresses_of_the_platform_on_the_servers_network_are_apart_and_where_no_server_is(number: int):
    plan = plan_node("10.217.0.0/16", number)
    servers = ipaddress.ip_network(plan.servers)
    own = [*plan.gates, plan.probe, plan.egress_proxy]

    assert len(set(own)) == len(own)
    assert all(servers.num_addresses - int(ipaddress.ip_address(one)) + int(servers[0]) <= 5 for one in own)


def test_bridges_of_nodes_have_names_of_their_own():
    names = [name for number in range(1, 40) for name in bridges(f"pool-tmp{number:02}")]

    assert len(set(names)) == len(names)


def wrong(**args: Any) -> dict[str, str]:
    given: Any = {"nodes": [{"name": "tmp01"}], **args}
    return {error["property_path"]: error["reason"] for error in check_tmpnb_node_pool(given)}


def test_mistakes_in_either_list_are_listed_with_all_others():
    found = wrong(egressProfile="domains", egressDomains=["*.org", "10.0.0.1"], egressPorts=[443, 25], capacity=1001)

    assert set(found) == {"egressDomains[0]", "egressDomains[1]", "egressPorts", "egressPorts[1]", "capacity"}
    assert "does not use it" in found["egressPorts"]
    assert "not known here" in wrong(egressProfile="half")["egressProfile"]


def test_engines_of_other_machines_pull_the_proxys_image_by_digest_where_they_have_one():
    pool = {"domain": "tmp.example.org", "email": "owner@example.org"}
    pool |= {key: f"r/{key}@{DIGEST}" for key in ("nodeImage", "notebookImage", "redirectorImage")}
    nodes: Any = [{"name": "tmp01", "engine": "ssh://ops@tmp01"}]

    assert wrong(**{**PORTS, **pool, "nodes": nodes}) == {}
    assert set(wrong(**{**DOMAINS, **pool, "nodes": nodes})) == {"egressProxyImage"}
    assert "not pinned" in wrong(egressProxyImage="egress-proxy:latest")["egressProxyImage"]
    named: Any = {**DOMAINS, **pool, "nodes": nodes, "egressProxyImage": f"r/egress-proxy@{DIGEST}"}
    assert wrong(**named) == {}
    [share] = [share for share in engine_shares("pool", named) if share.engine == "ssh://ops@tmp01"]
    assert f"r/egress-proxy@{DIGEST}" in share.images
