"""Where TLS ends before an EphemeralHub: its load balancer, its Ingress and its route."""

from typing import Any

import pytest

from components.kubernetes.hub_arguments import hub_chart
from components.kubernetes.hub_chart import system_rooms
from components.kubernetes.hub_front import FrontKind
from tests.unit.ephemeral_hub import ARGS, values


def test_a_load_balancer_has_room_in_the_quota_and_nothing_else_may_open_a_port():
    def counted(kind: FrontKind, key: str) -> int:
        chart = hub_chart("lab", {**ARGS, "front": {"kind": kind}})
        return sum(int(room.get(key, 0)) for room in system_rooms(chart, 1).values())

    for kind in FrontKind:
        balanced = kind in (FrontKind.LETSENCRYPT, FrontKind.SECRET, FrontKind.OFFLOAD)
        assert counted(kind, "loadBalancers") == int(balanced)
        assert counted(kind, "nodePorts") == {True: 2, False: 0}[balanced] - (kind is FrontKind.OFFLOAD)


@pytest.mark.parametrize(
    ("front", "service", "https"),
    [
        ({}, "ClusterIP", {"enabled": False}),
        ({"kind": FrontKind.INGRESS}, "ClusterIP", {"enabled": False}),
        ({"kind": FrontKind.GATEWAY, "gateway": "g"}, "ClusterIP", {"enabled": False}),
        (
            {"kind": FrontKind.LETSENCRYPT, "email": "owner@example.org"},
            "LoadBalancer",
            {
                "enabled": True,
                "type": "letsencrypt",
                "hosts": ["try.example.org"],
                "letsencrypt": {"contactEmail": "owner@example.org"},
            },
        ),
        (
            {"kind": FrontKind.SECRET, "tlsSecret": "hub-tls"},
            "LoadBalancer",
            {"enabled": True, "type": "secret", "secret": {"name": "hub-tls"}},
        ),
        ({"kind": FrontKind.OFFLOAD}, "LoadBalancer", {"enabled": True, "type": "offload"}),
    ],
)
def test_tls_ends_where_the_front_says(front: dict[str, Any], service: str, https: dict[str, Any]):
    proxy = values(front=front, domain="try.example.org")["proxy"]

    assert proxy["service"]["type"] == service
    assert proxy["https"] == https
    # Where TLS ends before the proxy, nothing would send browsers from HTTP to HTTPS.
    assert proxy["service"].get("disableHttpPort", False) == (front.get("kind") is FrontKind.OFFLOAD)


def test_an_ingress_has_the_name_the_class_and_the_certificate():
    front = {"kind": "ingress", "ingressClass": "traefik", "tlsSecret": "hub-tls", "annotations": {"a": "b"}}

    assert values(front=front, domain="try.example.org")["ingress"] == {
        "enabled": True,
        "ingressClassName": "traefik",
        "hosts": ["try.example.org"],
        "tls": [{"hosts": ["try.example.org"], "secretName": "hub-tls"}],
        "annotations": {"a": "b"},
    }


def test_an_ingress_without_a_secret_has_the_controllers_own_certificate_for_its_name():
    front = {"kind": "ingress"}

    assert values(front=front, domain="try.example.org")["ingress"]["tls"] == [{"hosts": ["try.example.org"]}]


@pytest.mark.parametrize(
    ("version", "parent"),
    [
        ("4.4.0", {"gateway": {"name": "web", "namespace": "gateways", "sectionName": "https"}}),
        (
            "5.0.0",
            {"parentRefs": [{"kind": "Gateway", "name": "web", "namespace": "gateways", "sectionName": "https"}]},
        ),
    ],
)
def test_a_route_names_its_gateway_as_the_charts_version_wants(version: str, parent: dict[str, Any]):
    front = {"kind": "gateway", "gateway": "web", "gatewayNamespace": "gateways", "gatewaySection": "https"}
    route = values(front=front, domain="try.example.org", chartVersion=version)["httpRoute"]

    assert route == {"enabled": True, "hostnames": ["try.example.org"], "annotations": {}, **parent}
