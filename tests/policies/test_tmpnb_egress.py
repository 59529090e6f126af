"""The pool's stack with the egress profiles `domains` and `ports` passes the pack, and a single bad change does not."""

import functools
import json
from collections.abc import Callable

import pytest

from policies.egress.nodes import FORBIDDEN
from tests.policies import test_tmpnb_on_ec2
from tests.policies.judging import Change, Properties, changed, previewed, told
from tests.policies.test_tmpnb_stack import LEVELS, NODE, at, decoded, guarded, in_settings, pool, within
from tests.unit.recording import Registration, record
from toolchain.rehearsal import configuration

DOMAINS = {"egressProfile": "domains", "egressDomains": json.dumps(["pypi.org", ".example.org"])}
PORTS = {"egressProfile": "ports", "egressPorts": json.dumps([443, 22])}


@functools.cache
def graph(profile: str) -> list[Registration]:
    """What the stack registers under a profile."""
    return record(pool(**{"domains": DOMAINS, "ports": PORTS}[profile])).registrations


@pytest.mark.parametrize("profile", ["domains", "ports"])
def test_the_stack_passes_and_leaves_nothing_open(profile: str):
    assert told(graph(profile), LEVELS) == []


@pytest.mark.parametrize("given", [DOMAINS, PORTS], ids=["domains", "ports"])
def test_nothing_is_undecided_at_the_first_preview_when_no_image_is_known(given: dict[str, str]):
    assert told(previewed(pool(**given)), LEVELS) == []


@pytest.mark.parametrize("given", [DOMAINS, PORTS], ids=["domains", "ports"])
def test_a_pool_on_ec2_passes_as_well(given: dict[str, str]):
    image = f"registry.example.org/hubstack/egress-proxy@sha256:{'0' * 64}"
    tmpnb = json.dumps({**configuration("tmpnb")["hubstack:tmpnb"], "egressProxyImage": image})

    assert told(record(test_tmpnb_on_ec2.pool(**given, tmpnb=tmpnb)).registrations, LEVELS) == []


def out_guarded(change: Callable[[list[str]], list[str]]) -> Change:
    """Another command of the egress proxy's guard, and its health command after it."""

    def edit(properties: Properties) -> Properties:
        guard = properties["spec"]["containers"]["egress-proxy-guard"]
        guard["command"] = change(guard["command"])
        guard["health"] = [*guard["command"][:3], "--check", *guard["command"][3:]]
        return properties

    return decoded(edit)


def squid(there: str, other: str) -> Change:
    """Another text in squid's configuration."""

    def edit(properties: Properties) -> Properties:
        texts = properties["spec"]["texts"]
        assert there in texts["squid.conf"]
        texts["squid.conf"] = texts["squid.conf"].replace(there, other)
        return properties

    return decoded(edit)


def more(word: str) -> Callable[[list[str]], list[str]]:
    """A guard's command with one option more."""
    return lambda words: [*words[:3], word, *words[3:]]


def less(gone: str) -> Callable[[list[str]], list[str]]:
    """A guard's command without a word."""
    return lambda words: [word for word in words if word != gone]


BAD_CHANGES: list[tuple[str, Change, str, str]] = [
    # What servers reach as their way out.
    ("domains", guarded(more("--egress-proxy=10.217.8.9:3128")), "node-egress-proxy", "10.217.8.9:3128"),
    ("domains", within("egress-proxy", "networks/servers/address", "10.217.8.9"), "node-egress-proxy", "10.217.11.251"),
    ("domains", within("egress-proxy", "command", ["sleep", "infinity"]), "node-egress-proxy", "runs no squid"),
    ("domains", within("egress-proxy", "command/3", "/etc/squid/squid.conf"), "node-egress-proxy", "runs no squid"),
    ("domains", within("egress-proxy", "role", "proxy"), "node-egress-proxy", "runs no squid"),
    ("domains", guarded(more("--gate=10.217.11.251")), "node-gates", "10.217.11.251"),
    # What the proxy passes on.
    ("domains", squid("pypi.org", ".org"), "node-egress-proxy", "'.org'"),
    ("domains", squid("pypi.org", "93.184.216.34"), "node-egress-proxy", "'93.184.216.34'"),
    ("domains", squid("http_access deny !named\n", ""), "node-egress-proxy", "lets through"),
    ("domains", squid("http_access deny !https\n", ""), "node-egress-proxy", "lets through"),
    ("domains", squid("acl https port 443", "acl https port 1-65535"), "node-egress-proxy", "'https'"),
    ("domains", squid("dst 169.254.0.0/16", "dst 169.254.0.0/24"), "node-egress-proxy", "169.254.0.0/16"),
    ("domains", squid("cache deny all", "include /run/hubstack/more.conf"), "node-egress-proxy", "'include'"),
    # Where the proxy's packets go.
    ("domains", at("spec/containers/egress-proxy-guard"), "node-egress-network", "has no guard"),
    ("domains", within("egress-proxy-guard", "command", ["sleep", "infinity"]), "node-egress-network", "has no guard"),
    ("domains", at("spec/networks/egress/bridge", "other0"), "node-egress-network", "'other0'"),
    ("domains", at("spec/networks/egress/apart", False), "network-internal", "network egress"),
    ("domains", within("service", "networks/egress", {}), "node-egress-network", "container service"),
    ("domains", within("egress-proxy", "networks/front", {}), "node-egress-network", "'front'"),
    ("domains", out_guarded(less("10.0.0.0/8")), "guard-ranges", "10.0.0.0/8"),
    ("domains", out_guarded(less("--port=443")), "guard-ports", "every port"),
    ("domains", out_guarded(more("--port=22")), "guard-ports", "443"),
    # What keeps servers in, and what an update tries.
    ("domains", at("spec/networks/servers/internal", False), "node-way-out", "does not open"),
    ("domains", guarded(less("0.0.0.0/0")), "guard-ranges", "169.254.0.0/16"),
    ("domains", in_settings("resolver", True), "node-resolver", "resolve names"),
    ("domains", at("spec/probe/required", []), "node-proxy-proof", "10.217.11.251:3128"),
    # Ports.
    ("ports", guarded(more("--port=25")), "guard-ports", "the port 25"),
    ("ports", guarded(more("--port=53")), "guard-ports", "the port 53"),
    (
        "ports",
        guarded(lambda words: [word for word in words if not word.startswith("--port=")]),
        "guard-ranges",
        "lets",
    ),
    *(("ports", guarded(less(text)), "guard-ranges", text) for text in FORBIDDEN if ":" not in text),
    ("ports", at("spec/networks/servers/apart"), "network-masquerade", "without their guard"),
    ("ports", at("spec/containers/egress-guard"), "node-guard", "has no egress guard"),
    ("ports", within("egress-guard", "role", "egress-proxy-guard"), "node-guard", "has no egress guard"),
]


@pytest.mark.parametrize(("profile", "change", "check", "words"), BAD_CHANGES)
def test_a_bad_change_is_refused_with_its_reason(profile: str, change: Change, check: str, words: str):
    found = told(changed(graph(profile), NODE, change), LEVELS)

    assert [finding for found_by, _, finding in found if found_by == check and words in finding.message], found
