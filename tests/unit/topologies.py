"""Every topology at its largest graph, for tests that hold for all of them."""

from collections.abc import Callable

from components import (
    Ec2HubCluster,
    EphemeralHub,
    NotebookPlatform,
    SwarmCluster,
    SwarmClusterArgs,
    TmpnbNodePool,
    TmpnbNodePoolArgs,
)
from components.kubernetes.hub_front import FrontKind

DIGEST = f"sha256:{'0' * 64}"

SWARM_ON_EC2: SwarmClusterArgs = {
    "domain": "hub.example.org",
    "users": [{"name": "ada"}],
    "hubImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack/hub@{DIGEST}",
    "notebookImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack/notebook@{DIGEST}",
    "fleetQuota": {"servers": 2},
    "ec2": {
        "zone": "example.org",
        "zones": 3,
        "natPerZone": True,
        "interfaceEndpoints": ["ecr.dkr"],
        "monthlyBudget": 100,
        "budgetEmail": "owner@example.org",
    },
}

TMPNB_ON_EC2: TmpnbNodePoolArgs = {
    "nodes": [
        {"name": "tmp01"},
        {"name": "tmp02", "instanceType": "m6i.large", "capacity": 2},
        {"name": "tmp03", "engine": "ssh://ops@203.0.113.7", "address": "203.0.113.7"},
    ],
    "capacity": 8,
    "domain": "tmp.example.org",
    "email": "owner@example.org",
    "nodeImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack/tmpnb-node@{DIGEST}",
    "redirectorImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack/redirector@{DIGEST}",
    "notebookImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack/notebook@{DIGEST}",
    "ec2": {"zone": "example.org", "zones": 3, "monthlyBudget": 100, "budgetEmail": "owner@example.org"},
}

TOPOLOGIES: dict[str, Callable[[], object]] = {
    "swarm": lambda: SwarmCluster("lab", {"users": [{"name": "ada"}], "addressPool": "10.213.0.0/16"}),
    "swarm on EC2": lambda: SwarmCluster("lab", SWARM_ON_EC2),
    "ec2hub": lambda: Ec2HubCluster(
        "lab",
        {
            "domain": "hub.example.org",
            "zone": "example.org",
            "users": [{"name": "ada"}],
            "zones": 3,
            "natPerZone": True,
            "interfaceEndpoints": ["ec2"],
            "alarmEmail": "owner@example.org",
        },
    ),
    "ephemeral": lambda: EphemeralHub(
        "lab",
        {
            "image": f"registry.example.org/hubstack/notebook@{DIGEST}",
            "domain": "try.example.org",
            "front": {"kind": FrontKind.LETSENCRYPT, "email": "owner@example.org"},
            "egressDomains": ["github.com"],
            "egressProxyImage": f"registry.example.org/hubstack/egress-proxy@{DIGEST}",
            "shared": {"server": "nfs.example.org", "share": "/homes"},
            "userScheduler": True,
        },
    ),
    "platform": lambda: NotebookPlatform(
        "lab",
        {
            "operatorImage": f"operator@{DIGEST}",
            "notebookImage": f"notebook@{DIGEST}",
            "egressProxyImage": f"egress-proxy@{DIGEST}",
            "domain": "nb.example.org",
            "route": {"gateway": "notebooks", "gatewayNamespace": "gateway-system"},
            "egressDomains": ["pypi.org"],
            "notebooks": [{"user": "ada", "name": "one"}, {"user": "ada", "name": "two"}],
        },
    ),
    "tmpnb": lambda: TmpnbNodePool(
        "lab", {"nodes": [{"name": "tmp01"}, {"name": "tmp02", "capacity": 8, "userQuota": {"memory": "2G"}}]}
    ),
    "tmpnb on EC2": lambda: TmpnbNodePool("lab", TMPNB_ON_EC2),
}
