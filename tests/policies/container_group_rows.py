"""What each check of groups of containers says."""

import json

from policies.resource_types import CONTAINER_GROUP
from tests.policies.container_group_cases import (
    ELSEWHERE,
    GATES,
    GUARDED,
    IMAGE,
    NODE,
    PROXY,
    QUOTA,
    TOKEN,
    UNKNOWN_SETTINGS,
    Properties,
    container,
    guarding,
    handed_over,
    let_out,
    node,
    node_settings,
    passing,
    proxied,
    reached_at,
    reading,
    redirector,
    with_proxy,
)
from tests.policies.kubernetes_cases import GONE
from tests.policies.kubernetes_cases import changed as edited
from tests.policies.rows import UNKNOWN, Rows


def group_rows(
    good: list[Properties], bad: list[Properties], missing: Properties | None, unknown: Properties | None
) -> Rows:
    """Rows of a check of groups; the good node and the good redirector pass every one of them."""
    good = [handed_over(one) for one in (NODE, redirector(), {}, *good)]
    return Rows(CONTAINER_GROUP, good, [handed_over(one) for one in bad], missing and handed_over(missing), unknown)


GROUP_ROWS = {
    "container-group-readable": group_rows(
        [edited(NODE, "images", UNKNOWN), node("farewell", {"container": "service", "command": ["true"]})],
        [
            container("proxy", {}),
            container("proxy", "sh"),
            container("proxy/privileged", True),
            container("proxy/image", "other"),
            container("service/image_variables/NOTEBOOK_IMAGE", "other"),
            container("service/networks/outside", {}),
            container("service/texts", ["other.json"]),
            node("networks/front/driver", "macvlan"),
            node("volumes", {}),
            node("containers", {}),
            edited(NODE, "spec", "everything"),
        ],
        edited(NODE, "spec", GONE),
        container("proxy/networks/control/aliases", [UNKNOWN]),
    ),
    "container-group-secrets": group_rows(
        [edited(NODE, "secrets", UNKNOWN), edited(NODE, "secrets/word", "true")],
        [
            node("texts/more.json", json.dumps({"token": TOKEN})),
            container("proxy/command/+", f"--token={TOKEN}"),
            container("proxy/environment", {"HARMLESS": TOKEN}),
        ],
        None,
        None,
    ),
    "container-processes-limit": group_rows(
        [],
        [container("proxy/processes", 0), container("proxy/processes", -1), container("proxy/processes", "64")],
        container("proxy/processes"),
        container("proxy/processes", UNKNOWN),
    ),
    "engine-tls": group_rows(
        [reached_at(text) for text in ("ssh://ops@a", "tcp://a:2376", "https://a:2376", "npipe:////./pipe/docker")],
        [reached_at(text) for text in ("tcp://a:2375", "tcp://a", "http://a:2376", "a", "tcp://a:many", "")],
        edited(NODE, "engine", GONE),
        reached_at(UNKNOWN),
    ),
    "node-network": group_rows(
        [],
        [
            node_settings("network", "pool-tmp01-control"),
            node_settings("network", "bridge"),
            node("networks/servers"),
            node("group", "tmp02"),
            reading("command", ELSEWHERE),
            reading("texts", []),
            edited(node_settings("network", "bridge"), "spec/containers/service/role", "proxy"),
        ],
        node_settings("network"),
        UNKNOWN_SETTINGS,
    ),
    "node-guard": group_rows(
        [node("networks/servers/subnet", "10.0.0.0/22")],
        [
            container("egress-guard"),
            container("egress-guard/role", "proxy"),
            container("egress-guard/command", ["sleep", "infinity"]),
            node("networks/servers/bridge", "servers1"),
            node("networks/servers/subnet", "10.0.0.0/21"),
            guarding("--check", *GUARDED),
            guarding("servers0"),
        ],
        node("networks/servers/bridge"),
        node("networks/servers/bridge", UNKNOWN),
    ),
    "node-guard-awaited": group_rows(
        [],
        [
            node_settings("guard", "pool-tmp01-proxy"),
            node_settings("guard", ""),
            container("egress-guard"),
            container("egress-guard/health", ["true"]),
            container("egress-guard/health/3", "--nothing"),
        ],
        container("egress-guard/health"),
        container("egress-guard/health", UNKNOWN),
    ),
    "node-gates": group_rows(
        [guarding(*GUARDED[2:]), guarding(GATES[0], *GUARDED[2:])],
        [
            guarding("--gate=10.0.0.7", *GUARDED),
            container("proxy/networks/servers/address", "10.0.3.1"),
            container("proxy/role", "tls-proxy"),
        ],
        container("service/networks/servers/address"),
        container("service/networks/servers/address", UNKNOWN),
    ),
    "node-resolver": group_rows(
        [
            edited(
                guarding(*GATES, "servers0", "10.0.0.0/22", "10.0.0.0/8"),
                "spec/texts",
                node_settings("resolver", True)["spec"]["texts"],
            )
        ],
        [
            node_settings("resolver", True),
            node_settings("resolver", None),
            edited(node_settings("resolver", True), "spec/containers/egress-guard", GONE),
        ],
        node_settings("resolver"),
        UNKNOWN_SETTINGS,
    ),
    "node-way-out": group_rows(
        [with_proxy(), let_out(), let_out("--port=443"), let_out("--port=443", internal=True)],
        [
            node("networks/servers/internal", False),
            proxied("networks/servers/internal", False),
            edited(let_out("--port=443"), "spec/containers/egress-guard", GONE),
            edited(let_out("--port=443"), "spec/containers/egress-guard/role", "egress-proxy-guard"),
        ],
        node("networks/servers/internal"),
        node("networks/servers/internal", UNKNOWN),
    ),
    "node-egress-proxy": group_rows(
        [with_proxy(), passing("pypi.org", "data.example.org"), let_out("--port=443")],
        [
            proxied("containers/egress-proxy"),
            proxied("containers/egress-proxy/role", "proxy"),
            proxied("containers/egress-proxy/networks/servers/address", "10.0.3.250"),
            proxied("containers/egress-proxy/command", ["squid", "-N", "-f", "/etc/squid/squid.conf"]),
            proxied("containers/egress-proxy/command", ["squid", "-N"]),
            proxied("containers/egress-proxy/command", ["python3", "-m", "http.server"]),
            proxied("containers/egress-proxy/texts", []),
            edited(
                with_proxy(),
                "spec/containers/egress-guard",
                guarding(f"{PROXY}0", *GUARDED)["spec"]["containers"]["egress-guard"],
            ),
            edited(
                with_proxy(),
                "spec/containers/egress-guard",
                guarding("--egress-proxy=10.0.3.7:3128", *GUARDED)["spec"]["containers"]["egress-guard"],
            ),
            guarding(PROXY, *GUARDED),
            passing("http_access deny !named", "http_access allow all"),
            passing("pypi.org", ".org"),
        ],
        proxied("texts/squid.conf"),
        proxied("texts/squid.conf", UNKNOWN),
    ),
    "node-egress-network": group_rows(
        [with_proxy()],
        [
            proxied("containers/egress-proxy-guard"),
            proxied("containers/egress-proxy-guard/role", "egress-guard"),
            proxied("containers/egress-proxy-guard/command", ["sleep", "infinity"]),
            proxied("containers/egress-proxy-guard/command/4", "servers0"),
            proxied("containers/egress-proxy-guard/command/5", "10.0.4.128/27"),
            proxied("containers/egress-proxy/networks/front", {}),
            proxied("containers/service/networks/egress", {}),
            proxied("networks/egress"),
        ],
        proxied("networks/egress/bridge"),
        proxied("networks/egress/bridge", UNKNOWN),
    ),
    "node-proxy-proof": group_rows(
        [with_proxy(), proxied("probe/required/0/port", 3128.0)],
        [
            proxied("probe/required", []),
            proxied("probe/required/0/status", 200),
            proxied("probe/required/0/kind", "tcp"),
            proxied("probe/required/0/host", "10.0.3.254"),
            proxied("probe"),
        ],
        proxied("probe/required"),
        proxied("probe/required", UNKNOWN),
    ),
    "node-proof": group_rows(
        [node("probe/forbidden/+", {"host": "example.org"})],
        [
            node("probe"),
            node("probe/network", "front"),
            node("probe/forbidden", []),
            node("probe/forbidden/0"),
            node("probe/forbidden/2/host", "not-an-address"),
        ],
        node("probe/forbidden"),
        node("probe", UNKNOWN),
    ),
    "node-capacity": group_rows(
        [node_settings("capacity", 1000), node_settings("quota/memory_bytes", 2**36)],
        [
            node_settings("capacity", 0),
            node_settings("capacity", 1001),
            node_settings("capacity", "16"),
            node_settings("quota/memory_bytes", 2**36 + 1),
            reading("command", ELSEWHERE),
            node("texts/settings.json", "no JSON"),
        ],
        node_settings("capacity"),
        UNKNOWN_SETTINGS,
    ),
    "node-quota-complete": group_rows(
        [],
        [*(node_settings(f"quota/{key}", 0) for key in QUOTA), node_settings("quota", []), reading("texts", [])],
        node_settings("quota"),
        UNKNOWN_SETTINGS,
    ),
    "node-quota-maximum": group_rows(
        [node_settings("quota/cpu", 8)],
        [
            node_settings("quota/cpu", 8.1),
            node_settings("quota/memory_bytes", 2**36),
            node_settings("quota/max_age_seconds", 86401),
        ],
        None,
        UNKNOWN_SETTINGS,
    ),
    "node-quota-fits": group_rows(
        [node_settings("quota/home_bytes", 2**30 - 2**27 - 1)],
        [node_settings("quota/home_bytes", 2**30 - 2**27), node_settings("quota/tmp_bytes", 2**30)],
        None,
        UNKNOWN_SETTINGS,
    ),
    "visitor-limit": group_rows(
        [node_settings("visitors/burst", 1), node_settings("visitors/burst", 1000)],
        [
            node_settings("visitors/burst", 0),
            node_settings("visitors/burst", 1001),
            node_settings("visitors/per_minute", 0),
            node_settings("visitors/per_minute", 1e9),
        ],
        node_settings("visitors"),
        UNKNOWN_SETTINGS,
    ),
    "redirect-limit": group_rows(
        [
            redirector("visitors/per_minute", 0.5),
            redirector("visitors/burst", 2000),
            redirector("visitors/per_minute", 3600),
        ],
        [
            redirector("visitors/burst", True),
            redirector("visitors/burst", 2001),
            redirector("visitors/per_minute", 3601),
        ],
        redirector("visitors"),
        edited(redirector(), "spec/texts/redirector.json", UNKNOWN),
    ),
    "node-image-pinned": group_rows(
        [edited(NODE, "images/notebook", UNKNOWN), edited(NODE, "images/notebook", f"r/notebook@{IMAGE}")],
        [edited(NODE, "images/notebook", image) for image in ("jupyter/minimal-notebook", "r/notebook:1.0")],
        None,
        None,
    ),
    "redirector-nodes-over-tls": group_rows(
        [],
        [
            redirector("nodes/0/url", "http://tmp01.example.org"),
            redirector("nodes/0/stats", "http://tmp01.example.org/api/stats"),
            redirector("nodes/0/stats"),
            redirector("nodes/+", "https://tmp02.example.org"),
            redirector("nodes", []),
        ],
        redirector("nodes"),
        edited(redirector(), "spec/texts/redirector.json", UNKNOWN),
    ),
}
