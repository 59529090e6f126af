"""The chart that stands for zero-to-jupyterhub: it takes EphemeralHub's values, and its pods are as guarded."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.kubernetes.chart_values import chart_values
from components.kubernetes.hub_arguments import EphemeralHubArgs, hub_chart
from components.kubernetes.hub_chart import HubSecrets
from tests.engine.cluster import helm_program

CHART = Path(__file__).with_name("stand_in_chart")
FRONTS: dict[str, dict[str, Any]] = {
    "none": {},
    "ingress": {"kind": "ingress", "ingressClass": "traefik", "tlsSecret": "hub-tls"},
    "gateway": {"kind": "gateway", "gateway": "web", "gatewayNamespace": "gateways"},
    "offload": {"kind": "offload"},
}
NAMES = [
    *("ConfigMap/hub", "DaemonSet/continuous-image-puller", "DaemonSet/hook-image-puller", "Deployment/hub"),
    *("Deployment/proxy", "Job/hook-image-awaiter", "NetworkPolicy/hub", "NetworkPolicy/proxy"),
    *("NetworkPolicy/singleuser", "PersistentVolumeClaim/hub-db-dir", "Role/hook-image-awaiter", "Role/hub"),
    *("RoleBinding/hook-image-awaiter", "RoleBinding/hub", "Secret/hub", "Service/hub", "Service/proxy-api"),
    *("Service/proxy-public", "ServiceAccount/hook-image-awaiter", "ServiceAccount/hub"),
]


def values_of(front: str = "none", **args: object) -> dict[str, Any]:
    given: EphemeralHubArgs = {"image": "a/b:1", "domain": "try.example.org", "front": FRONTS[front], **args}  # pyright: ignore[reportAssignmentType]
    return chart_values(hub_chart("lab", given), HubSecrets("ab" * 32, "cd", "ef", "mark"))


def rendered(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    command = [helm_program(), "template", "lab", CHART, "--namespace=lab", f"--values={file}"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return [found for found in yaml.safe_load_all(told.stdout) if found]


def pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from (found["spec"]["template"]["spec"] for found in objects if "template" in found.get("spec", {}))


@pytest.mark.parametrize("front", FRONTS)
def test_it_makes_what_the_chart_makes_under_the_same_names(front: str, tmp_path: Path):
    made = sorted(f"{found['kind']}/{found['metadata']['name']}" for found in rendered(tmp_path, values_of(front)))
    fronts = {"ingress": ["Ingress/jupyterhub"], "gateway": ["HTTPRoute/jupyterhub"]}

    assert made == sorted([*NAMES, *fronts.get(front, [])])


def test_its_pods_satisfy_the_standard_restricted_and_have_every_limit(tmp_path: Path):
    found = list(pods(rendered(tmp_path, values_of(extraImages=["a/c:1"]))))
    containers = [one for pod in found for one in (*pod.get("initContainers", []), *pod["containers"])]

    assert len(containers) == 9
    for container in containers:
        guarded = container["securityContext"]
        assert guarded["allowPrivilegeEscalation"] is False
        assert guarded["runAsNonRoot"] is True
        assert guarded["capabilities"] == {"drop": ["ALL"]}
        assert guarded["seccompProfile"] == {"type": "RuntimeDefault"}
        assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}


def test_users_reach_the_hub_and_the_proxy_and_what_switches_open_beside(tmp_path: Path):
    def ports(**rules: bool) -> list[list[int]]:
        values = values_of()
        values["singleuser"]["networkPolicy"]["egressAllowRules"] |= rules
        objects = rendered(tmp_path, values)
        [policy] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == ("NetworkPolicy", "singleuser")]
        return [[port["port"] for port in rule.get("ports", [])] for rule in policy["spec"]["egress"]]

    assert ports() == [[8081], [8000]]
    assert ports(dnsPortsPrivateIPs=True, nonPrivateIPs=True) == [[8081], [8000], [53, 53], []]


def test_the_hub_starts_anew_for_another_password_and_the_proxy_does_not(tmp_path: Path):
    def annotations(mark: str) -> dict[str, Any]:
        values = values_of()
        values["hub"]["annotations"]["hubstack.io/password"] = mark
        found = [one for one in rendered(tmp_path, values) if one["kind"] == "Deployment"]
        return {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["annotations"] for one in found}

    one, other = annotations("one"), annotations("other")

    assert one["hub"] != other["hub"]
    assert one["proxy"] == other["proxy"]
