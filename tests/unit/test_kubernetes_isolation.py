"""What the NetworkPolicies of an egress profile let a pod reach, all of them together."""

import ipaddress
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.egress import NEVER_REACHED, EgressProfile
from components.kubernetes.isolation import (
    EgressRules,
    PodTarget,
    Spec,
    allow_egress_to_policy,
    allow_ingress_policy,
    deny_all_policy,
    name_server_policy,
    public_egress_policy,
    user_egress_policy,
)
from policies.network_policies import PROTOCOLS, Union

USER = {"app": "jupyterhub", "component": "singleuser-server"}
PROXY: PodTarget = {"namespace": "lab", "labels": {"hubstack.role": "egress-proxy"}}
SPACE = "users"

ports = st.lists(st.sampled_from([22, 80, 443, 8443, 9418]), max_size=3)
addresses = st.one_of(
    st.ip_addresses(v=4),
    st.sampled_from(NEVER_REACHED).flatmap(lambda text: st.ip_addresses(network=text)),
    st.ip_addresses(v=6),
)


def rules(profile: EgressProfile, ports: list[int] | None = None, **more: list[str]) -> EgressRules:
    return {"profile": profile, "domains": ["pypi.org"], "ports": ports or [], **more}  # pyright: ignore[reportReturnType]


def union(*specs: Spec, labels: dict[str, str] = USER, direction: str = "Egress") -> Union:
    return Union.of(specs, labels, SPACE, direction)


def profile_union(egress: EgressRules, proxy: PodTarget | None = PROXY) -> Union:
    return union(deny_all_policy(), user_egress_policy(egress, user_pods=USER, proxy=proxy))


def inside(address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(text) for text in NEVER_REACHED)


def empty_peers(spec: object) -> Iterator[object]:
    """Every empty list of a rule's: to Kubernetes it stands for everybody."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in {"to", "from", "ports"} and not value:
                yield {key: value}
            yield from empty_peers(value)
    if isinstance(spec, list):
        for value in spec:
            yield from empty_peers(value)


def test_nothing_goes_in_or_out_by_default():
    pods = ({}, USER, {"any": "other"})

    for labels, direction in product(pods, ("Ingress", "Egress")):
        found = union(deny_all_policy(), labels=labels, direction=direction)
        assert found.isolated
        assert not found.rules


@given(st.sampled_from(EgressProfile), ports, addresses, st.integers(1, 65535), st.sampled_from(PROTOCOLS))
def test_a_profile_opens_the_public_addresses_that_it_names_and_no_other(
    profile: EgressProfile,
    named: list[int],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    protocol: str,
):
    public = address.version == 4 and not inside(str(address))
    wanted = {
        EgressProfile.OPEN: public,
        EgressProfile.PORTS: public and protocol == "TCP" and port in named,
    }

    found = profile_union(rules(profile, named)).reaches_address(str(address), port, protocol)

    assert found is wanted.get(profile, False)


@pytest.mark.parametrize("profile", EgressProfile)
@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "fd00:ec2::254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "224.0.0.1",
    ],
)
def test_no_profile_opens_metadata_services_or_private_ranges(profile: EgressProfile, address: str):
    found = profile_union(rules(profile, [80, 443]))

    assert not any(found.reaches_address(address, port, kind) for port in (53, 80, 443) for kind in PROTOCOLS)


@pytest.mark.parametrize("profile", EgressProfile)
def test_every_profile_but_closed_has_the_clusters_name_servers_and_no_more_of_them(profile: EgressProfile):
    found = profile_union(rules(profile, [443]))
    servers = {"k8s-app": "kube-dns"}
    named = profile is not EgressProfile.CLOSED

    assert found.reaches_pod(servers, "kube-system", 53, "UDP") is named
    assert found.reaches_pod(servers, "kube-system", 53, "TCP") is named
    assert not found.reaches_pod(servers, "kube-system", 9153)
    assert not found.reaches_pod(servers, SPACE, 53, "UDP"), "a label is not enough: anybody gives a pod labels"
    assert not found.reaches_pod({"k8s-app": "metrics-server"}, "kube-system", 53, "UDP")


@pytest.mark.parametrize("profile", EgressProfile)
def test_no_profile_opens_other_pods(profile: EgressProfile):
    found = profile_union(rules(profile, [443]), proxy=None)

    for labels, space, port in product((USER, {}, {"component": "hub"}), (SPACE, "other"), (80, 443, 8081, 8888)):
        assert not found.reaches_pod(labels, space, port, ip="10.244.0.7")


@pytest.mark.parametrize("profile", EgressProfile)
def test_the_egress_proxy_is_opened_to_the_profile_that_needs_it(profile: EgressProfile):
    found = profile_union(rules(profile, [443]))

    assert found.reaches_pod(PROXY["labels"], "lab", 3128) is (profile is EgressProfile.DOMAINS)
    assert not found.reaches_pod(PROXY["labels"], "lab", 22)
    assert not found.reaches_pod(PROXY["labels"], "other", 3128)


def test_a_proxy_in_the_pods_own_namespace_needs_no_name_of_it():
    found = profile_union(rules(EgressProfile.DOMAINS), proxy={"labels": PROXY["labels"]})

    assert found.reaches_pod(PROXY["labels"], SPACE, 3128)
    assert not found.reaches_pod(PROXY["labels"], "lab", 3128)


def test_domains_without_a_proxy_reach_nothing_but_name_servers():
    found = profile_union(rules(EgressProfile.DOMAINS), proxy=None)

    assert len(found.rules) == 1
    assert found.segments() == ()


@given(st.sampled_from(EgressProfile), ports, addresses)
def test_what_a_stack_excludes_stays_shut(
    profile: EgressProfile, named: list[int], address: ipaddress.IPv4Address | ipaddress.IPv6Address
):
    found = profile_union(rules(profile, named, excluded=[str(ipaddress.ip_network(address))]))

    assert not any(found.reaches_address(str(address), port) for port in (22, 80, 443, 5000))


@pytest.mark.parametrize("profile", EgressProfile)
def test_a_stack_that_excludes_everything_opens_nothing(profile: EgressProfile):
    spec = user_egress_policy(rules(profile, [443], excluded=["0.0.0.0/0"]), user_pods=USER, proxy=None)

    assert list(empty_peers(spec)) == []
    assert union(spec).segments() == ()


@pytest.mark.parametrize(
    "spec",
    [
        allow_ingress_policy(pods=USER, port=8888, sources=[]),
        allow_egress_to_policy(pods=USER, targets=[], ports=[8081]),
        allow_egress_to_policy(pods=USER, targets=[{"labels": {"component": "hub"}}], ports=[]),
        user_egress_policy(rules(EgressProfile.PORTS, []), user_pods=USER, proxy=None),
        user_egress_policy(rules(EgressProfile.CLOSED), user_pods=USER, proxy=PROXY),
    ],
)
def test_an_empty_list_opens_nothing_and_isolates_nevertheless(spec: Spec):
    found = union(spec, direction=spec["policyTypes"][0])

    assert list(empty_peers(spec)) == []
    assert found.isolated
    assert found.segments() == ()
    assert not found.reaches_pod({"component": "hub"}, SPACE, 8081)


def test_a_port_is_opened_to_its_sources_alone():
    spec = allow_ingress_policy(
        pods=USER,
        port=8888,
        sources=[{"labels": {"component": "proxy"}}, {"namespace": "operator", "labels": {"app": "operator"}}],
    )
    found = union(deny_all_policy(), spec, direction="Ingress")

    assert found.reaches_pod({"component": "proxy"}, SPACE, 8888)
    assert found.reaches_pod({"app": "operator"}, "operator", 8888)
    assert not found.reaches_pod({"component": "proxy"}, "operator", 8888)
    assert not found.reaches_pod({"app": "operator"}, SPACE, 8888)
    assert not found.reaches_pod({"component": "proxy"}, SPACE, 22)
    assert not found.reaches_pod({"component": "proxy"}, SPACE, 8888, "UDP")
    assert not found.reaches_pod(USER, SPACE, 8888)
    assert found.segments() == ()


def test_targets_are_opened_on_their_ports_alone():
    spec = allow_egress_to_policy(pods=USER, targets=[{"labels": {"component": "hub"}}], ports=[8081])
    found = union(deny_all_policy(), spec)

    assert found.reaches_pod({"component": "hub"}, SPACE, 8081)
    assert not found.reaches_pod({"component": "hub"}, SPACE, 22)
    assert not found.reaches_pod({"component": "hub"}, "other", 8081)
    assert not found.reaches_pod({"component": "proxy"}, SPACE, 8081)


def test_namespaces_that_come_and_go_are_named_by_their_labels():
    targets: list[PodTarget] = [{"namespaceLabels": {"part-of": "profiles"}, "labels": {"role": "notebook"}}]
    found = union(allow_ingress_policy(pods={}, port=3128, sources=targets), direction="Ingress")

    assert found.reaches_pod({"role": "notebook"}, "ada", 3128, namespace_labels={"part-of": "profiles"})
    assert not found.reaches_pod({"role": "notebook"}, "ada", 3128)
    assert not found.reaches_pod({"role": "other"}, "ada", 3128, namespace_labels={"part-of": "profiles"})


def test_no_labels_stand_for_every_pod_of_the_namespace():
    found = union(allow_egress_to_policy(pods=USER, targets=[{"namespace": "lab", "labels": {}}], ports=[80]))

    assert found.reaches_pod({"any": "pod"}, "lab", 80)
    assert not found.reaches_pod({"any": "pod"}, SPACE, 80)


def test_pods_that_work_for_users_reach_public_addresses_on_their_ports_and_name_servers():
    found = union(public_egress_policy(pods=USER, ports=[443], excluded=["203.0.113.0/24"]))

    assert found.reaches_address("1.1.1.1", 443)
    assert found.reaches_pod({"k8s-app": "kube-dns"}, "kube-system", 53, "UDP")
    assert not found.reaches_address("1.1.1.1", 80)
    assert not found.reaches_address("203.0.113.7", 443)
    assert not any(
        segment.overlaps(ipaddress.ip_network(text)) for segment in found.segments() for text in NEVER_REACHED
    )


def test_name_servers_alone_are_no_way_out():
    found = union(name_server_policy(pods=USER))

    assert found.reaches_pod({"k8s-app": "kube-dns"}, "kube-system", 53, "UDP")
    assert found.segments("UDP") == found.segments() == ()


def test_the_charts_own_rules_would_undo_the_profile_which_the_union_shows():
    chart: Spec = {
        "podSelector": {"matchLabels": USER},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.169.254/32"]}}]}],
    }
    closed = user_egress_policy(rules(EgressProfile.CLOSED), user_pods=USER, proxy=None)

    assert union(closed, chart).reaches_address("100.64.0.1", 443)
    assert not union(closed).reaches_address("100.64.0.1", 443)
