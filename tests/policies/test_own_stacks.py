"""Our own component passes our own pack, and a single weakened line in it does not."""

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from pulumi_policy.proxy import unknown_checking_proxy

from components import EgressProfile, SwarmCluster
from policies.registry import REGISTRY
from tests.policies.rows import CONFIGURATION
from tests.unit.recording import Registration, record

SERVICE = "docker:index/service:Service"
NETWORK = "docker:index/network:Network"
CONFIG = "docker:index/serviceConfig:ServiceConfig"

import policies.pack  # noqa: E402, F401  (registers the checks)


def graph(profile: EgressProfile = EgressProfile.CLOSED) -> list[Registration]:
    return record(lambda: SwarmCluster("hub", {"users": [{"name": "ada"}], "egressProfile": profile})).registrations


def violations(registrations: list[Registration], **configuration: bool) -> set[str]:
    return {
        check.id
        for r in registrations
        for check, finding in REGISTRY.findings(
            None, r.type, r.name, unknown_checking_proxy(r.properties), {**CONFIGURATION, **configuration}
        )
    }


def test_the_component_passes_with_its_defaults():
    assert violations(graph()) == set()


def test_an_open_profile_passes_where_it_is_allowed_and_nowhere_else():
    assert violations(graph(EgressProfile.OPEN), allowOpen=True) == set()
    assert violations(graph(EgressProfile.OPEN)) == {"egress-profile", "open-network", "guard-ranges"}


GUARD_WEAKENINGS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("no-privileges", lambda p: p.update(labels=[{"label": "hubstack.role", "value": "hub"}])),
    ("no-privileges", lambda p: container(p).update(args=["sh", "-c", "sleep infinity"])),
    ("no-privileges", lambda p: container(p).update(commands=["sh", "-c", "sleep infinity"])),
    ("no-privileges", lambda p: container(p)["capAdds"].append("CAP_SYS_ADMIN")),
    ("no-privileges", lambda p: container(p).update(args=[])),
    ("capabilities-dropped", lambda p: container(p).pop("capDrops")),
]


@pytest.mark.parametrize(("check", "weaken"), GUARD_WEAKENINGS)
def test_the_guards_rights_go_to_nothing_but_the_guard(check: str, weaken: Callable[[dict[str, Any]], object]):
    weakened = graph(EgressProfile.OPEN)
    [guard] = [r for r in weakened if r.name == "hub-egress-guard"]
    weaken(guard.properties)

    assert check in violations(weakened, allowOpen=True)


def edit_settings(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    def edit(properties: dict[str, Any]) -> None:
        document = json.loads(base64.b64decode(properties["data"]))
        change(document)
        properties["data"] = base64.b64encode(json.dumps(document).encode()).decode()

    return edit


def container(properties: dict[str, Any]) -> dict[str, Any]:
    return properties["taskSpec"]["containerSpec"]


WEAKENINGS: list[tuple[str, str, Callable[[dict[str, Any]], object], str]] = [
    ("hub-control", NETWORK, lambda p: p.update(internal=False), "network-internal"),
    ("hub-edge", NETWORK, lambda p: p.pop("internal"), "network-internal"),
    ("hub-control", NETWORK, lambda p: p.update(attachable=True), "network-not-attachable"),
    ("hub-proxy", SERVICE, lambda p: p["taskSpec"].pop("resources"), "service-memory-limit"),
    ("hub-hub", SERVICE, lambda p: p["taskSpec"]["resources"]["limits"].update(nanoCpus=0), "service-cpu-limit"),
    ("hub-proxy", SERVICE, lambda p: container(p).update(readOnly=False), "read-only-root"),
    ("hub-hub", SERVICE, lambda p: container(p).update(capDrops=[]), "capabilities-dropped"),
    ("hub-hub", SERVICE, lambda p: container(p).update(capAdds=["SYS_ADMIN"]), "no-privileges"),
    ("hub-proxy", SERVICE, lambda p: container(p)["env"].update(CONFIGPROXY_AUTH_TOKEN="x"), "secret-in-environment"),
    ("hub-proxy", SERVICE, lambda p: container(p).update(image="hubstack/hub:latest"), "image-pinned"),
    ("hub-proxy", SERVICE, lambda p: p.update(endpointSpec={"ports": [{"publishedPort": 8001}]}), "published-port"),
    (
        "hub-tls-proxy",
        SERVICE,
        lambda p: container(p)["mounts"].append({"type": "bind", "source": "/var/run/docker.sock", "target": "/s"}),
        "docker-socket",
    ),
    (
        "hub-hub",
        SERVICE,
        lambda p: container(p)["mounts"].append({"type": "bind", "source": "/etc"}),
        "sensitive-mount",
    ),
    ("hub-hub-settings", CONFIG, edit_settings(lambda d: d["quota"].pop("processes")), "user-quota-complete"),
    ("hub-hub-settings", CONFIG, edit_settings(lambda d: d["quota"].update(memory_bytes=2**50)), "user-quota-maximum"),
    ("hub-hub-settings", CONFIG, edit_settings(lambda d: d["fleet"].update(servers=0)), "fleet-cap"),
    ("hub-hub-settings", CONFIG, edit_settings(lambda d: d["egress"].update(profile="open")), "egress-profile"),
]


@pytest.mark.parametrize(("name", "kind", "weaken", "check"), WEAKENINGS)
def test_a_weakened_line_is_caught_by_its_check(
    name: str, kind: str, weaken: Callable[[dict[str, Any]], object], check: str
):
    weakened = copy.deepcopy(graph())
    [target] = [r for r in weakened if r.name == name and r.type == kind]
    weaken(target.properties)

    assert check in violations(weakened)
