"""EphemeralHub's arguments, the graph that it registers with them and the values that it gives the chart, for its tests."""

from typing import Any

from components import EphemeralHub, EphemeralHubArgs
from components.kubernetes.chart_values import chart_values
from components.kubernetes.hub_arguments import check_ephemeral_hub, hub_chart
from components.kubernetes.hub_chart import HubSecrets
from components.kubernetes.hub_front import FrontKind
from tests.unit.recording import Recorder, Registration, record

PASSWORD = "correct horse"
ARGS: EphemeralHubArgs = {"image": "registry.example.org/hubstack/notebook:1.0"}
DOMAINS: dict[str, Any] = {"egressDomains": ["github.com"], "egressProxyImage": "registry.example.org/egress-proxy:1"}
SHARED: dict[str, Any] = {"shared": {"server": "10.0.0.7", "share": "/homes/hub", "mountOptions": ["vers=4.2"]}}
EVERYTHING: dict[str, Any] = {
    **DOMAINS,
    **SHARED,
    "domain": "try.example.org",
    "front": {"kind": FrontKind.LETSENCRYPT, "email": "owner@example.org"},
    "password": PASSWORD,
    "userScheduler": True,
    "contentLinks": [{"name": "course", "repository": "https://github.com/example/course"}],
}

POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
RELEASE = "kubernetes:helm.sh/v3:Release"


def build(**args: object) -> Recorder:
    return record(lambda: EphemeralHub("lab", {**ARGS, **args}))  # pyright: ignore[reportArgumentType]


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def release(recorder: Recorder) -> Registration:
    [found] = of_type(recorder, RELEASE).values()
    return found


def values(**args: object) -> dict[str, Any]:
    chart = hub_chart("lab", {**ARGS, **args})  # pyright: ignore[reportArgumentType]
    return chart_values(chart, HubSecrets("a" * 64, "b" * 64, "c" * 64, "d" * 64))


def mistakes(name: str = "lab", **args: object) -> dict[str, str]:
    found = check_ephemeral_hub(name, {**ARGS, **args})  # pyright: ignore[reportArgumentType]
    return {error["property_path"]: error["reason"] for error in found}


def before(recorder: Recorder, later: Registration) -> set[str]:
    """URNs of all that must be there before a resource is made."""
    waits = {r.urn: r.dependencies for r in recorder.registrations}
    found: set[str] = set()
    left = [later.urn]
    while left:
        new = set(waits.get(left.pop(), ())) - found
        found |= new
        left += new
    return found
