"""The graph that TmpnbNodePool registers, as the engine sees it, and what it refuses."""

import ipaddress
import json
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import TmpnbNodePool
from components.docker.tmpnb_plan import nodes_in, plan_node
from components.pool_arguments import DEFAULT_ENGINE
from components.pool_checks import check_tmpnb_node_pool
from components.pool_plan import engine_shares
from components.tmpnb_node_pool import node_token
from tests.unit.recording import Recorder, Registration, record

GROUP = "pulumi-python:dynamic/docker:ContainerGroup"
REDIRECTOR = "pool-redirector"
OWN = "ssh://ops@tmp.example.org"
"""A redirector's engine on another machine than all nodes."""

DIGEST = f"sha256:{'0' * 64}"
ELSEWHERE = {
    "nodeImage": f"registry.example.org/node@{DIGEST}",
    "notebookImage": f"registry.example.org/notebook@{DIGEST}",
    "redirectorImage": f"registry.example.org/redirector@{DIGEST}",
}


def two_nodes(**more: Any) -> Any:
    return {"nodes": [{"name": "tmp01"}, {"name": "tmp02"}], **more}


def build(**args: Any) -> Recorder:
    return record(lambda: TmpnbNodePool("pool", {**two_nodes(), **args}))


def groups(recorder: Recorder) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == GROUP}


def spec(recorder: Recorder, name: str = "pool-tmp01") -> dict[str, Any]:
    return described(groups(recorder)[name])


def described(group: Registration) -> dict[str, Any]:
    return json.loads(group.properties["spec"])


def settings(recorder: Recorder, name: str = "pool-tmp01") -> dict[str, Any]:
    return json.loads(spec(recorder, name)["texts"]["settings.json"])


def mistakes(**args: Any) -> dict[str, str]:
    return {error["property_path"]: error["reason"] for error in check_tmpnb_node_pool(two_nodes(**args))}


def test_a_node_is_a_component_of_its_own_that_waits_for_no_other():
    recorder = build()
    nodes = {r.urn: r for r in recorder.registrations if r.type == "hubstack:index:TmpnbNode"}

    assert {r.name for r in nodes.values()} == {"pool-tmp01", "pool-tmp02"}
    made = {group.urn for group in groups(recorder).values()}
    for name in ("pool-tmp01", "pool-tmp02"):
        assert groups(recorder)[name].parent in nodes
        assert not made & set(groups(recorder)[name].dependencies)


def test_a_line_more_is_a_node_more_and_leaves_the_others_as_they_are():
    before = {name: r.properties for name, r in groups(build()).items()}
    after = {
        name: r.properties
        for name, r in groups(build(nodes=[{"name": "tmp03"}, {"name": "tmp02"}, {"name": "tmp01"}])).items()
    }

    assert set(after) - set(before) == {"pool-tmp03"}
    assert [after[name] == before[name] for name in ("pool-tmp01", "pool-tmp02")] == [True, True]


def test_the_redirector_knows_every_node_by_its_address():
    document = json.loads(spec(build(), "pool-redirector")["texts"]["redirector.json"])

    assert [node["url"] for node in document["nodes"]] == [
        "https://tmp01.tmp.localhost:8444",
        "https://tmp02.tmp.localhost:8445",
    ]
    assert document["nodes"][0]["stats"] == "https://tmp01.tmp.localhost:8444/api/stats"


def test_the_redirector_asks_nodes_on_its_own_host_by_way_of_its_bridge_and_others_by_name():
    nodes = [{"name": "tmp01"}, {"name": "tmp02", "engine": "ssh://ops@tmp02.example.org"}]
    group = spec(
        build(nodes=nodes, domain="tmp.example.org", email="o@example.org", engine=OWN, **ELSEWHERE), REDIRECTOR
    )
    here = spec(build(), REDIRECTOR)
    front = ipaddress.ip_network(here["networks"]["front"]["subnet"])

    assert asked_at(here) == {"tmp01": str(front[1]), "tmp02": str(front[1])}
    assert asked_at(group) == {"tmp01": None, "tmp02": None}


def asked_at(group: dict[str, Any]) -> dict[str, str | None]:
    """Addresses that the redirector asks nodes at instead of those of their names."""
    listed = json.loads(group["texts"]["redirector.json"])["nodes"]
    return {node["name"]: node.get("connect") for node in listed}


def test_another_list_of_nodes_does_not_restart_the_redirector():
    from runtime.container_group import container_digest

    images = {"redirector": "sha256:1"}
    digests = {
        container_digest(spec(build(nodes=[{"name": name} for name in names]), "pool-redirector"), "redirector", images)
        for names in (["tmp01"], ["tmp01", "tmp02"])
    }

    assert len(digests) == 1, "nodes on the redirector's own host, as the shipped stack has them"
    elsewhere = {**ELSEWHERE, "domain": "tmp.example.org", "email": "owner@example.org"}
    digests = {
        container_digest(
            spec(
                build(nodes=[{"name": name, "engine": f"ssh://ops@{name}.example.org"} for name in names], **elsewhere),
                "pool-redirector",
            ),
            "redirector",
            images,
        )
        for names in (["tmp01"], ["tmp01", "tmp02"])
    }
    assert len(digests) == 1


def test_servers_are_on_a_bridge_without_a_way_to_each_other_or_out():
    node = spec(build())
    servers = node["networks"]["servers"]

    assert servers["apart"] is True
    assert servers["internal"] is True
    command = node["containers"]["egress-guard"]["command"]
    assert command[-2:] == ["0.0.0.0/0", "::/0"]
    gates = {word.removeprefix("--gate=") for word in command if word.startswith("--gate=")}
    assert gates == {node["containers"][name]["networks"]["servers"]["address"] for name in ("proxy", "service")}


def test_the_engines_socket_goes_to_the_service_alone_and_the_hosts_network_to_the_guard():
    containers = spec(build())["containers"]

    assert [name for name, one in containers.items() if one.get("engine_socket")] == ["service"]
    assert [name for name, one in containers.items() if one.get("host_network")] == ["egress-guard"]
    assert [name for name, one in containers.items() if one.get("cap_add")] == ["egress-guard"]


def test_the_guard_starts_first_so_that_it_goes_last():
    node = spec(build())

    assert node["order"][0] == "egress-guard"
    assert sorted(node["order"]) == sorted(node["containers"])


def test_only_tls_is_published_and_the_administration_on_loopback():
    ports = {
        name: [(port["address"], port["published"]) for port in one["ports"]]
        for name, one in spec(build())["containers"].items()
        if one.get("ports")
    }

    assert ports == {"service": [("127.0.0.1", 10001)], "tls-proxy": [("0.0.0.0", 8444)]}


def test_the_proxys_api_is_on_a_network_that_only_the_service_shares():
    networks = {name: set(one.get("networks", {})) for name, one in spec(build())["containers"].items()}

    assert {name for name, joined in networks.items() if "control" in joined} == {"proxy", "service"}


def test_everything_has_limits():
    for group in groups(build()).values():
        for name, one in described(group)["containers"].items():
            assert one["memory_bytes"] > 0, name
            assert one["cpu"] > 0, name
            assert one["processes"] > 0, name


def test_tokens_and_keys_are_secrets_and_in_no_text():
    for group in groups(build()).values():
        assert "4dabf18193072939515e22adb298388d" in json.dumps(group.properties["secrets"])
        assert "ab" * 32 not in group.properties["spec"]


def test_each_node_has_a_proxy_token_of_its_own_that_comes_from_one_key():
    recorder = build()
    tokens = {group.properties["secrets"]["value"].get("proxy-token") for group in groups(recorder).values()}

    assert tokens == {None, node_token("tmp01", "ab" * 32), node_token("tmp02", "ab" * 32)}
    assert node_token("tmp01", "a") != node_token("tmp01", "b")
    random = [r.name for r in recorder.registrations if r.type.startswith("random:")]
    assert sorted(random) == ["pool-admin-token", "pool-proxy-key"]


def test_a_node_may_differ_in_capacity_and_quota():
    recorder = build(
        capacity=3, nodes=[{"name": "tmp01"}, {"name": "tmp02", "capacity": 5, "userQuota": {"memory": "2G"}}]
    )

    assert (settings(recorder)["capacity"], settings(recorder, "pool-tmp02")["capacity"]) == (3, 5)
    assert settings(recorder)["quota"]["memory_bytes"] == 2**30
    assert settings(recorder, "pool-tmp02")["quota"]["memory_bytes"] == 2 * 2**30


def test_with_a_domain_certificates_are_lets_encrypts():
    nodes = [{"name": "tmp01", "engine": "ssh://ops@tmp01.example.org"}]
    args = {"domain": "tmp.example.org", "email": "owner@example.org", "nodes": nodes, **ELSEWHERE}
    node = spec(build(**args))

    assert "\ntmp01.tmp.example.org {" in node["texts"]["Caddyfile"]
    elsewhere = spec(build(**{**args, "nodes": [{**nodes[0], "port": 4443}]}))
    assert "\ntmp01.tmp.example.org {" in elsewhere["texts"]["Caddyfile"]
    assert node["containers"]["tls-proxy"].get("secrets", []) == []
    assert settings(build(**args))["url"] == "https://tmp01.tmp.example.org"


def test_every_mistake_is_listed_at_once():
    with pytest.raises(pulumi.InputPropertiesError) as raised:
        build(
            nodes=[
                {"name": "tmp01", "capacity": 1001},
                {"name": "tmp01"},
                {"name": "node"},
                {"name": "tmp33"},
                {"name": "tmp04", "engine": "ssh://ops@tmp04", "image": "notebook:latest"},
                {"name": "tmp05", "userQuota": {"home": "2G"}},
                {"name": "tmp06", "port": 8443},
                {"name": "tmp07", "port": 10005},
                {"name": "tmp08", "port": 70000},
                {"name": "tmp09", "port": 0},
            ],
            landing="lab",
            fleetQuota={"servers": 10},
        )

    told = {error["property_path"] for error in raised.value.errors}
    assert told >= {
        "nodes",
        "nodes[0].capacity",
        "nodes[2].name",
        "nodes[3].name",
        "nodes[4].image",
        "nodes[5].userQuota.home",
        "nodes[6].port",
        "nodes[7].port",
        "nodes[8].port",
        "nodes[9].port",
        "nodeImage",
        "landing",
        "fleetQuota.servers",
    }


def test_no_port_of_visitors_is_that_of_an_administration_on_the_same_engine():
    there = "unix:///run/other.sock"

    told = mistakes(nodes=[{"name": "tmp01", "port": 10002}, {"name": "tmp02"}])
    assert told == {"nodes[0].port": f"10002 is the port of the administration of tmp02 on {DEFAULT_ENGINE} as well"}
    assert "the administration of tmp01" in mistakes(port=10001)["port"]
    elsewhere: Any = {"nodes": [{"name": "tmp01", "port": 10002}, {"name": "tmp02", "engine": there}], **ELSEWHERE}
    assert mistakes(**elsewhere) == {}


@pytest.mark.parametrize(("port", "refused"), [(0, True), (1, False), (65535, False), (65536, True)])
def test_a_port_is_one_of_tcp(port: int, refused: bool):
    assert ("port" in mistakes(port=port)) is refused
    assert ("nodes[0].port" in mistakes(nodes=[{"name": "tmp01", "port": port}])) is refused


def test_capacity_ends_where_a_bridge_does():
    assert "1 to 1000" in mistakes(capacity=1001)["capacity"]
    assert "capacity" not in mistakes(capacity=1000)


def test_a_node_starts_as_many_servers_at_once_as_it_is_told_to():
    assert settings(build())["starts_at_once"] == 2
    assert settings(build(startsAtOnce=8))["starts_at_once"] == 8
    assert {(many, "startsAtOnce" in mistakes(startsAtOnce=many)) for many in (0, 1, 64, 65)} == {
        (0, True),
        (1, False),
        (64, False),
        (65, True),
    }


def test_nodes_know_where_the_pools_visitors_come_first():
    assert settings(build())["redirector"] == "https://tmp.localhost:8443"


def test_two_nodes_of_one_name_are_named():
    assert "tmp01" in mistakes(nodes=[{"name": "tmp01"}, {"name": "tmp01"}])["nodes"]


def test_homes_must_fit_the_memory_that_they_lie_in():
    assert "do not fit the memory" in mistakes(userQuota={"memory": "256M"})["nodes[0].userQuota.home"]


def test_engines_of_other_machines_pull_images_by_digest():
    told = mistakes(nodes=[{"name": "tmp01", "engine": "tcp://tmp01:2376"}])

    assert {"nodeImage", "notebookImage"} <= set(told)
    named = {"domain": "tmp.example.org", "email": "owner@example.org"}
    assert mistakes(nodes=[{"name": "tmp01", "engine": "tcp://tmp01:2376"}], **named, **ELSEWHERE) == {}


@pytest.mark.parametrize("engine", ["ssh://ops@tmp03.example.org", "tcp://203.0.113.7:2376"])
def test_an_engine_of_another_machine_needs_a_name_that_leads_there(engine: str):
    node, redirector = mistakes(nodes=[{"name": "tmp01", "engine": engine}], **ELSEWHERE), mistakes(engine=engine)

    for told in (node["nodes[0].engine"], redirector["engine"]):
        assert f"{engine} is another machine" in told
        assert "tmp.localhost" in told
        assert "hubstack:domain" in told


@pytest.mark.parametrize("engine", ["unix:///run/other.sock", "ssh://ops@localhost", "tcp://127.0.0.1:2376"])
def test_another_engine_of_this_machine_needs_no_name(engine: str):
    assert mistakes(nodes=[{"name": "tmp01", "engine": engine}], **ELSEWHERE) == {}


def test_with_a_domain_no_two_hosts_of_certificates_are_on_one_engine():
    args: Any = {"domain": "tmp.example.org", "email": "owner@example.org", **ELSEWHERE}
    there = "ssh://ops@tmp02.example.org"
    shared = [{"name": "tmp01", "port": 4443}, {"name": "tmp02", "engine": there}, {"name": "tmp03", "engine": there}]

    told = mistakes(nodes=shared, **args)
    assert "the redirector" in told["nodes[0].engine"]
    assert "tmp02, and Let's Encrypt asks each on port 80" in told["nodes[2].engine"]
    assert "nodes[1].engine" not in told
    assert mistakes(nodes=shared[1:2], **args) == {}
    assert "80 is the port" in mistakes(nodes=[{"name": "tmp01", "port": 80}], port=80)["nodes[0].port"]


def test_port_80_is_asked_for_beforehand_where_certificates_are_lets_encrypts():
    named: Any = {"domain": "tmp.example.org", "email": "owner@example.org"}
    node: Any = {"name": "tmp01", "engine": "ssh://ops@tmp01.example.org"}

    args: Any = {"nodes": [node], **named, **ELSEWHERE}
    shares = {share.engine: set(share.ports) for share in engine_shares("pool", args)}
    assert shares == {"unix:///var/run/docker.sock": {443, 80}, node["engine"]: {443, 80, 10001}}
    [local] = engine_shares("pool", two_nodes())
    assert set(local.ports) == {8443, 8444, 8445, 10001, 10002}


def test_the_redirector_sends_a_class_on_as_often_as_nodes_have_servers_for_it():
    def limits(**args: Any) -> list[dict[str, float]]:
        recorder = build(**args)
        at_redirector = json.loads(spec(recorder, REDIRECTOR)["texts"]["redirector.json"])
        return [settings(recorder)["visitors"], at_redirector["visitors"]]

    assert limits(capacity=300) == [{"burst": 100, "per_minute": 10}, {"burst": 200, "per_minute": 60}]
    lecture = limits(visitorBurst=500, visitorsPerMinute=100)
    assert lecture == [{"burst": 500, "per_minute": 100}, {"burst": 1000, "per_minute": 600}]


@pytest.mark.parametrize(("capacity", "burst"), [(1, 1), (2, 1), (16, 8), (200, 100), (1000, 100)])
def test_where_nobody_says_one_address_has_half_of_a_nodes_servers(capacity: int, burst: int):
    assert settings(build(capacity=capacity))["visitors"]["burst"] == burst


@given(st.sampled_from(["10.217.0.0/16", "10.96.0.0/12", "192.168.0.0/20"]), st.data())
def test_nodes_of_one_engine_have_ranges_of_their_own_within_the_pool(pool: str, data: st.DataObject):
    places = nodes_in(pool)
    numbers = data.draw(st.lists(st.integers(0, places - 1), min_size=1, max_size=8, unique=True))

    ranges = [ipaddress.IPv4Network(subnet) for number in numbers for subnet in vars(plan_node(pool, number)).values()]

    assert all(one.subnet_of(ipaddress.IPv4Network(pool)) for one in ranges)
    assert not any(one.overlaps(other) for i, one in enumerate(ranges) for other in ranges[:i])


def test_a_node_has_addresses_for_as_many_servers_as_it_may_hold():
    plan = plan_node("10.217.0.0/16", 1)

    # The network, its broadcast and the gateway, proxy and service.
    assert ipaddress.ip_network(plan.servers).num_addresses - 5 >= 1000
