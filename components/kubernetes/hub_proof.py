"""All that decides what a user's pod of an `EphemeralHub` reaches: where any of it changes, it is proved anew."""

import hashlib
from pathlib import Path
from typing import Any

from components.kubernetes.chart_notation import merged
from components.kubernetes.chart_values import chart_values
from components.kubernetes.egress_proxy import proxy_rules
from components.kubernetes.hub_arguments import (
    DEFAULT_CHART,
    DEFAULT_CHART_VERSION,
    DEFAULT_REPOSITORY,
    EphemeralHubArgs,
    hub_chart,
    is_local,
)
from components.kubernetes.hub_chart import HubSecrets
from components.kubernetes.hub_policies import hub_policies, hub_proxy

UNTOLD = HubSecrets("", "", "", "")
"""In the place of secrets, which decide nothing of it: another password needs no proof."""


def hub_proof(name: str, args: EphemeralHubArgs) -> dict[str, Any]:
    """What `components.kubernetes.probe.proof_digest` takes; the stack's own `values` may hold secrets, so with a key."""
    chart = args.get("chart", DEFAULT_CHART)
    return {
        "policies": hub_policies(args),
        "proxy": proxy_rules(hub_proxy(name, args)) if args.get("egressDomains") else None,
        "chart": [
            chart,
            args.get("chartRepository", DEFAULT_REPOSITORY),
            folder_digest(Path(chart)) if is_local(chart) else args.get("chartVersion", DEFAULT_CHART_VERSION),
        ],
        "values": merged(chart_values(hub_chart(name, args), UNTOLD), args.get("values", {})),
    }


def folder_digest(place: Path) -> str:
    """Digest of a file, or of all files in a folder with their names."""
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(place)} {content}\n".encode())
    return digest.hexdigest()
