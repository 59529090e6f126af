"""What NetworkPolicies allow together, against the rules written down once more, plainly, for a tiny cluster."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.network_policies import EGRESS, INGRESS, PROTOCOLS, Union, policy_types, selects

USER = {"app": "jupyterhub", "component": "singleuser-server"}
METADATA = "169.254.169.254"

Policy = dict[str, Any]


def policy(*egress: dict[str, Any], select: dict[str, Any] | None = None, **spec: Any) -> Policy:
    return {"spec": {"podSelector": select or {}, "policyTypes": ["Egress"], "egress": list(egress), **spec}}


def to(*cidrs: str, leave_out: list[str] | None = None, **more: Any) -> dict[str, Any]:
    blocks = [{"cidr": cidr, **({"except": leave_out} if leave_out else {})} for cidr in cidrs]
    return {"to": [{"ipBlock": block} for block in blocks], **more}


def egress(*policies: Policy, labels: dict[str, str] | None = None, namespace: str = "users") -> Union:
    return Union.of(policies, USER if labels is None else labels, namespace, EGRESS)


def test_a_pod_that_no_policy_selects_reaches_everything():
    union = egress(policy(select={"matchLabels": {"app": "other"}}))

    assert not union.isolated
    assert union.reaches_address(METADATA, 80)
    assert union.reaches_pod({}, "kube-system", 53, "UDP")
    assert [segment.is_everything for segment in union.segments("SCTP")] == [True, True]


def test_a_pod_that_a_policy_without_rules_selects_reaches_nothing():
    union = egress(policy())

    assert union.isolated
    assert not union.reaches_address("1.1.1.1", 443)
    assert not union.reaches_pod(USER, "users", 8888)
    assert union.segments() == ()


def test_two_halves_in_two_policies_are_the_world():
    union = egress(policy(to("0.0.0.0/1")), policy(to("128.0.0.0/1")))

    [segment] = union.addresses(443)
    assert segment.is_everything
    assert union.reaches_address(METADATA, 80)


def test_what_one_rule_excepts_another_may_allow():
    closed = policy(to("0.0.0.0/0", leave_out=["169.254.0.0/16"]))

    assert not egress(closed).reaches_address(METADATA, 80)
    assert egress(closed, policy(to("169.254.169.254/32"))).reaches_address(METADATA, 80)
    assert egress(closed, policy(to("0.0.0.0/0", leave_out=["10.0.0.0/8"]))).reaches_address(METADATA, 80)


def test_exceptions_count_for_their_own_range_alone_and_for_their_version_of_ip():
    union = egress(policy(to("0.0.0.0/0", "::/0", leave_out=["10.0.0.0/8", "fd00::/8"])))

    assert not union.reaches_address("10.1.2.3", 443)
    assert not union.reaches_address("fd00:ec2::254", 80)
    assert union.reaches_address("2001:db8::1", 443)
    assert [segment.version for segment in union.addresses(443)] == [4, 6]


def test_an_exception_that_covers_the_whole_range_leaves_nothing():
    assert egress(policy(to("10.0.0.0/8", leave_out=["0.0.0.0/0"]))).segments() == ()
    assert egress(policy(to("10.0.0.0/8", leave_out=["10.0.0.0/8"]))).segments() == ()


def test_ports_are_tcp_unless_they_say_otherwise_and_reach_to_their_end():
    union = egress(policy(to("1.0.0.0/8", ports=[{"port": 8000, "endPort": 8010}, {"port": 53, "protocol": "UDP"}])))

    assert [union.reaches_address("1.1.1.1", port) for port in (7999, 8000, 8010, 8011)] == [False, True, True, False]
    assert union.reaches_address("1.1.1.1", 53, "UDP")
    assert not union.reaches_address("1.1.1.1", 53)
    assert not union.reaches_address("1.1.1.1", 8000, "UDP")
    assert egress(policy(to("1.0.0.0/8", ports=[{"protocol": "UDP"}]))).reaches_address("1.1.1.1", 1, "UDP")


def test_a_rule_without_peers_or_with_an_empty_list_of_them_is_for_everybody():
    for rule in ({}, {"to": []}, {"to": None, "ports": []}):
        union = egress(policy(rule))
        assert union.reaches_address(METADATA, 80, "SCTP")
        assert union.reaches_pod({}, "elsewhere", 1)


def test_a_port_by_name_is_the_one_that_the_destination_calls_so_and_none_at_an_address():
    rule = {"ports": [{"port": "api"}]}
    union = egress(policy(rule))

    assert union.reaches_pod({}, "users", 8081, named_ports={"api": ("TCP", 8081)})
    assert not union.reaches_pod({}, "users", 8081, named_ports={"api": ("UDP", 8081)})
    assert not union.reaches_pod({}, "users", 8081, "UDP", named_ports={"api": ("UDP", 8081)})
    assert not union.reaches_pod({}, "users", 8081)
    assert not union.reaches_address("1.1.1.1", 8081)
    own = Union.of([policy(rule)], USER, "users", EGRESS, named_ports={"api": ("TCP", 8081)})
    assert not own.reaches_address("1.1.1.1", 8081)
    assert not own.reaches_pod({}, "users", 8081)
    into = Union.of([{"spec": {"ingress": [rule]}}], USER, "users", INGRESS, named_ports={"api": ("TCP", 8888)})
    assert into.reaches_pod({}, "users", 8888)
    assert into.reaches_address("1.1.1.1", 8888)
    assert not into.reaches_pod({}, "users", 8081, named_ports={"api": ("TCP", 8081)})


def test_pods_are_selected_in_the_policys_namespace_unless_a_namespace_selector_says_otherwise():
    dns = {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    system = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    label = {"k8s-app": "kube-dns"}

    alone, space, both = (egress(policy({"to": [peer]})) for peer in (dns, system, {**dns, **system}))
    assert (alone.reaches_pod(label, "users", 53), alone.reaches_pod(label, "kube-system", 53)) == (True, False)
    assert (space.reaches_pod({}, "kube-system", 53), space.reaches_pod({}, "users", 53)) == (True, False)
    assert (both.reaches_pod(label, "kube-system", 53), both.reaches_pod({}, "kube-system", 53)) == (True, False)
    # Pods have addresses, but rules for addresses are not what names them.
    assert not alone.reaches_address("10.0.0.10", 53)
    # All namespaces, by a selector that is empty, and by one that a namespace's own label meets.
    assert egress(policy({"to": [{"namespaceSelector": {}}]})).reaches_pod({}, "any", 1)
    team = egress(policy({"to": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}))
    assert team.reaches_pod({}, "any", 1, namespace_labels={"team": "a"})
    assert not team.reaches_pod({}, "any", 1)
    # Neither selector nor block names nobody.
    assert not egress(policy({"to": [{}]})).reaches_pod({}, "users", 1)


def test_a_pod_is_let_through_by_its_address_too():
    union = egress(policy(to("10.0.0.0/8")))

    assert union.reaches_pod({}, "users", 53, ip="10.9.9.9")
    assert not union.reaches_pod({}, "users", 53, ip="11.9.9.9")


def test_policies_of_other_namespaces_do_not_count():
    theirs = {"metadata": {"namespace": "other"}, **policy()}
    ours = {"metadata": {"namespace": "users"}, **policy()}

    assert not egress(theirs).isolated
    assert egress(ours).isolated
    assert egress(ours["spec"]).isolated


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ("Ingress",)),
        ({"egress": []}, ("Ingress",)),
        ({"egress": [{}]}, ("Ingress", "Egress")),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, ("Egress",)),
    ],
)
def test_a_policy_without_types_is_for_ingress_and_for_egress_if_it_has_a_rule_for_it(
    spec: Policy, types: tuple[str, ...]
):
    assert policy_types(spec) == types
    assert Union.of([spec], USER, "users", EGRESS).isolated == ("Egress" in types)


@pytest.mark.parametrize(
    ("expression", "matched"),
    [
        ({"key": "app", "operator": "In", "values": ["jupyterhub"]}, True),
        ({"key": "app", "operator": "In", "values": ["x"]}, False),
        ({"key": "gone", "operator": "In", "values": ["x"]}, False),
        ({"key": "app", "operator": "NotIn", "values": ["jupyterhub"]}, False),
        ({"key": "app", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "gone", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "gone", "operator": "Exists"}, False),
        ({"key": "gone", "operator": "DoesNotExist"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_expressions_of_selectors(expression: dict[str, Any], matched: bool):
    assert selects({"matchExpressions": [expression]}, USER) is matched
    assert selects({"matchLabels": {"app": "jupyterhub"}, "matchExpressions": [expression]}, USER) is matched
    assert not selects({"matchLabels": {"app": "x"}, "matchExpressions": [expression]}, USER)


def test_what_is_no_operator_or_direction_is_an_error():
    with pytest.raises(ValueError, match="operator 'Like'"):
        selects({"matchExpressions": [{"key": "app", "operator": "Like"}]}, USER)
    with pytest.raises(ValueError, match="no direction"):
        Union.of([], USER, "users", "out")


# The same rules once more, by going through all addresses, ports and pods of a tiny cluster.

KEYS, VALUES, SPACES = ("a", "b"), ("1", "2"), ("x", "y")
ADDRESSES = [f"10.0.0.{last}" for last in range(8)] + [f"fd00::{last}" for last in range(4)]
TINY_PORTS = range(1, 6)
NAMES = {"api": ("TCP", 2), "dns": ("UDP", 3)}

labels_of = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
expressions = st.builds(
    lambda key, operator, values: {
        "key": key,
        "operator": operator,
        **({"values": values} if operator in ("In", "NotIn") else {}),
    },
    st.sampled_from(KEYS),
    st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=2),
)
selectors = st.fixed_dictionaries(
    {}, optional={"matchLabels": labels_of, "matchExpressions": st.lists(expressions, max_size=2)}
)
space_selectors = st.sampled_from([{}, *({"matchLabels": {"kubernetes.io/metadata.name": space}} for space in SPACES)])
blocks_4 = st.builds(
    lambda last, length: str(ipaddress.ip_network((f"10.0.0.{last}", length), strict=False)),
    st.integers(0, 7),
    st.integers(29, 32),
)
blocks_6 = st.builds(
    lambda last, length: str(ipaddress.ip_network((f"fd00::{last}", length), strict=False)),
    st.integers(0, 3),
    st.integers(126, 128),
)
ip_blocks = st.one_of(
    *(
        st.fixed_dictionaries({"cidr": blocks}, optional={"except": st.lists(blocks, max_size=3)})
        for blocks in (blocks_4, blocks_6)
    )
)
peers = st.one_of(
    ip_blocks.map(lambda block: {"ipBlock": block}),
    st.fixed_dictionaries({"podSelector": selectors}, optional={"namespaceSelector": space_selectors}),
    space_selectors.map(lambda selector: {"namespaceSelector": selector}),
)
numbered = st.builds(
    lambda ends, protocol, ranged: {
        "port": float(min(ends)),
        **({"endPort": float(max(ends))} if ranged else {}),
        **({"protocol": protocol} if protocol else {}),
    },
    st.tuples(st.sampled_from(TINY_PORTS), st.sampled_from(TINY_PORTS)),
    st.sampled_from((None, *PROTOCOLS)),
    st.booleans(),
)
ports = st.one_of(
    numbered,
    st.builds(
        lambda name, protocol: {"port": name, "protocol": protocol},
        st.sampled_from(sorted(NAMES)),
        st.sampled_from(PROTOCOLS),
    ),
    st.sampled_from([{"protocol": "UDP"}, {}]),
)
rules = st.fixed_dictionaries({}, optional={"peers": st.lists(peers, max_size=3), "ports": st.lists(ports, max_size=3)})
policies_of = st.lists(
    st.builds(
        lambda space, select, egress_rules, ingress_rules, types: {
            "metadata": {"namespace": space},
            "spec": {
                "podSelector": select,
                "egress": [_named(rule, "to") for rule in egress_rules],
                "ingress": [_named(rule, "from") for rule in ingress_rules],
                **({"policyTypes": types} if types else {}),
            },
        },
        st.sampled_from(SPACES),
        selectors,
        st.lists(rules, max_size=3),
        st.lists(rules, max_size=2),
        st.sampled_from((None, ["Ingress"], ["Egress"], ["Ingress", "Egress"])),
    ),
    max_size=4,
)


def _named(rule: dict[str, Any], direction: str) -> dict[str, Any]:
    return {(direction if key == "peers" else key): value for key, value in rule.items()}


def plainly_selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        has = expression["key"] in labels
        among = has and labels[expression["key"]] in expression.get("values", [])
        verdicts = {"In": among, "NotIn": not among, "Exists": has, "DoesNotExist": not has}
        if not verdicts[expression["operator"]]:
            return False
    return True


def plainly_in(address: str, block: dict[str, Any]) -> bool:
    ip = ipaddress.ip_address(address)
    return ip in ipaddress.ip_network(block["cidr"]) and not any(
        ip in ipaddress.ip_network(text) for text in block.get("except", [])
    )


def plainly_on(given: list[dict[str, Any]], port: int, protocol: str, names: dict[str, tuple[str, int]]) -> bool:
    if not given:
        return True
    for entry in given:
        if entry.get("protocol", "TCP") != protocol:
            continue
        wanted = entry.get("port")
        if wanted is None:
            return True
        if isinstance(wanted, str):
            if names.get(wanted) == (protocol, port):
                return True
        elif port in range(int(wanted), int(entry.get("endPort", wanted)) + 1):
            return True
    return False


def plainly_allowed(
    policies: list[Policy],
    pod: dict[str, str],
    direction: str,
    port: int,
    protocol: str,
    *,
    address: str | None = None,
    other: tuple[dict[str, str], str] | None = None,
) -> bool:
    """The pod is in namespace x; the other is an address, or labels in a namespace."""
    counting = []
    for each in policies:
        spec = each["spec"]
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec["egress"] else ["Ingress"])
        if each["metadata"]["namespace"] == "x" and direction in types and plainly_selected(spec["podSelector"], pod):
            counting.append(spec)
    if not counting:
        return True
    names = NAMES if direction == "Ingress" or other else {}
    for spec in counting:
        for rule in spec[direction.lower()]:
            named = rule.get("to" if direction == "Egress" else "from", [])
            on_port = plainly_on(rule.get("ports", []), port, protocol, names)
            if on_port and (not named or any(plainly_named(peer, address, other) for peer in named)):
                return True
    return False


def plainly_named(peer: dict[str, Any], address: str | None, other: tuple[dict[str, str], str] | None) -> bool:
    if "ipBlock" in peer:
        return address is not None and plainly_in(address, peer["ipBlock"])
    if other is None:
        return False
    labels, space = other
    if "namespaceSelector" not in peer:
        return space == "x" and plainly_selected(peer["podSelector"], labels)
    return plainly_selected(peer["namespaceSelector"], {"kubernetes.io/metadata.name": space}) and plainly_selected(
        peer.get("podSelector", {}), labels
    )


@given(policies_of, labels_of, st.sampled_from((INGRESS, EGRESS)), st.sampled_from(PROTOCOLS))
def test_addresses_are_allowed_exactly_if_a_plain_reading_allows_them(
    policies: list[Policy], pod: dict[str, str], direction: str, protocol: str
):
    union = Union.of(policies, pod, "x", direction, named_ports=NAMES)

    for port in TINY_PORTS:
        segments = union.addresses(port, protocol)
        for address in ADDRESSES:
            expected = plainly_allowed(policies, pod, direction, port, protocol, address=address)
            assert union.reaches_address(address, port, protocol) == expected
            ip = ipaddress.ip_address(address)
            number = int(ip)
            inside = any(
                first <= number <= last
                for segment in segments
                if segment.version == ip.version
                for first, last in segment.addresses
            )
            # Segments know numbers alone; a port by name may open more to a pod that names it.
            assert inside == (
                expected if direction == EGRESS else union_without_names(policies, pod, address, port, protocol)
            )


def union_without_names(policies: list[Policy], pod: dict[str, str], address: str, port: int, protocol: str) -> bool:
    return Union.of(policies, pod, "x", INGRESS).reaches_address(address, port, protocol)


@given(policies_of, labels_of, labels_of, st.sampled_from(SPACES), st.sampled_from((INGRESS, EGRESS)))
def test_pods_are_allowed_exactly_if_a_plain_reading_allows_them(
    policies: list[Policy], pod: dict[str, str], labels: dict[str, str], space: str, direction: str
):
    union = Union.of(policies, pod, "x", direction, named_ports=NAMES)

    for protocol in PROTOCOLS:
        for port in TINY_PORTS:
            expected = plainly_allowed(policies, pod, direction, port, protocol, other=(labels, space))
            assert union.reaches_pod(labels, space, port, protocol, named_ports=NAMES) == expected


@given(policies_of, labels_of, st.randoms())
def test_neither_the_order_of_policies_nor_one_said_twice_changes_anything(
    policies: list[Policy], pod: dict[str, str], random: Any
):
    shuffled = [*policies, *policies]
    random.shuffle(shuffled)

    for protocol in PROTOCOLS:
        assert Union.of(policies, pod, "x", EGRESS).segments(protocol) == Union.of(shuffled, pod, "x", EGRESS).segments(
            protocol
        )
