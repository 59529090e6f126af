"""Every topology at its largest graph, for tests that hold for all of them."""

from collections.abc import Callable

from components import Ec2HubCluster, SwarmCluster, SwarmClusterArgs

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
        },
    ),
}
