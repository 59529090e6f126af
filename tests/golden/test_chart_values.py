"""Values that hubs on Kubernetes give the chart, reviewed as text: `python -m tests.golden.test_chart_values` writes it anew."""

import json
from pathlib import Path

import pytest

from components import EgressProfile, EphemeralHubArgs
from components.kubernetes.chart_values import chart_values
from components.kubernetes.hub_arguments import hub_chart
from components.kubernetes.hub_chart import Access, HubSecrets
from components.kubernetes.hub_front import FrontKind

HERE = Path(__file__).parent
SECRETS = HubSecrets("<proxy token>", "<cookie secret>", "<crypt key>", "<fingerprint of the password>")

HUBS: dict[str, EphemeralHubArgs] = {
    "chart-values.json": {"image": "registry.example.org/hubstack/notebook:1.0"},
    "chart-values-open.json": {
        "image": f"registry.example.org/hubstack/notebook@sha256:{'0' * 64}",
        "domain": "try.example.org",
        "access": Access.OPEN,
        "openToTheWorld": True,
        "egressProfile": EgressProfile.CLOSED,
        "front": {"kind": FrontKind.LETSENCRYPT, "email": "owner@example.org"},
        "shared": {"server": "nfs.example.org", "share": "/homes"},
        "extraImages": ["quay.io/jupyter/r-notebook:2025-03-14"],
        "cullUsers": True,
        "userScheduler": True,
        "dataProtection": False,
        "fleetQuota": {"servers": 200},
    },
}
"""Each golden file, and the hub that it is of: one with nothing but an image, one with as much else as can be."""


def made(name: str) -> str:
    values = chart_values(hub_chart("lab", HUBS[name]), SECRETS)
    # The programs that the hub runs are reviewed where they are written.
    scripts = values["hub"]["extraConfig"]
    values["hub"]["extraConfig"] = {key: f"…{text.splitlines()[-1]}" for key, text in scripts.items()}
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", HUBS)
def test_the_chart_gets_the_values_that_were_reviewed(name: str):
    assert made(name) == (HERE / name).read_text(), "review the change and write it anew, see the top of this file"


if __name__ == "__main__":
    for name in HUBS:
        (HERE / name).write_text(made(name))
