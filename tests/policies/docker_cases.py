"""What checks of Docker's resources are tried on: good ones, each with something changed."""

import base64
import json
from typing import Any

QUOTA = {
    "cpu": 1.0,
    "memory_bytes": 2**30,
    "processes": 256,
    "home_bytes": 2**31,
    "tmp_bytes": 2**28,
    "idle_seconds": 3600,
    "max_age_seconds": 28800,
}


def settings(**changes: Any) -> dict[str, Any]:
    document = {"quota": QUOTA, "fleet": {"servers": 20}, "egress": {"profile": "closed"}, **changes}
    return {"data": base64.b64encode(json.dumps(document).encode()).decode()}


def service(container: dict[str, Any] | None = None, role: str = "proxy", **changes: Any) -> dict[str, Any]:
    limits = {"memoryBytes": 2.0**28, "nanoCpus": 1e9}
    spec = {"image": "sha256:abc", "capDrops": ["ALL"], "readOnly": True, **(container or {})}
    task = {"containerSpec": spec, "resources": {"limits": limits}, "networksAdvanceds": [{"id": "n1"}]}
    labels = [{"label": "hubstack.role", "value": role}]
    return {"name": "s", "labels": labels, "taskSpec": {**task, **changes.pop("task", {})}, **changes}


def container(**changes: Any) -> dict[str, Any]:
    return {
        "name": "c",
        "image": "a@sha256:abc",
        "memory": 512,
        "memorySwap": 512,
        "cpus": "1",
        "readOnly": True,
        **changes,
    }


def of_role(role: str, *command: Any, **changes: Any) -> dict[str, Any]:
    """A container that says what it is and what it runs."""
    return container(labels=[{"label": "hubstack.role", "value": role}], command=list(command), **changes)


GUARD = ("python", "-m", "runtime.egress_guard")
NODE_SERVICE = ("python", "-m", "runtime.tmpnb_node")


def guarding(*forbidden: Any, **changes: Any) -> dict[str, Any]:
    """The egress guard of a bridge."""
    return of_role("egress-guard", *GUARD, "--gate=10.0.0.2", "servers0", "10.0.0.0/22", *forbidden, **changes)


def administered(ip: Any, *command: str) -> dict[str, Any]:
    """A node's service whose administration is published."""
    port = {"internal": 10000, "external": 10001, **({} if ip is None else {"ip": ip})}
    return of_role("node-service", *(command or NODE_SERVICE), ports=[port])


def network(role: str = "user-network", **changes: Any) -> dict[str, Any]:
    return {"labels": [{"label": "hubstack.role", "value": role}], "internal": True, **changes}


def mount(source: Any) -> dict[str, Any]:
    return service({"mounts": [{"type": "bind", "source": source, "target": "/x"}]})
