"""What checks of groups of containers are tried on: a good node and a good redirector, and each with one thing changed."""

import json
from typing import Any

from tests.policies.kubernetes_cases import GONE
from tests.policies.kubernetes_cases import changed as edited
from tests.policies.rows import UNKNOWN

Properties = dict[str, Any]

IMAGE = f"sha256:{'0' * 64}"
TOKEN = "ab" * 32
GATES = ["--gate=10.0.3.254", "--gate=10.0.3.253"]
GUARDED = [*GATES, "servers0", "10.0.0.0/22", "0.0.0.0/0", "::/0"]
GUARD = ["python", "-m", "runtime.egress_guard"]
TRIED = ["169.254.169.254", "168.63.129.16", "10.0.0.1", "172.31.0.1", "192.168.0.1", "100.64.0.1"]

SETTINGS: Properties = {
    "capacity": 16,
    "quota": {
        "cpu": 1.0,
        "memory_bytes": 2**30,
        "processes": 256,
        "home_bytes": 2**29,
        "tmp_bytes": 2**27,
        "open_files": 4096,
        "idle_seconds": 600,
        "max_age_seconds": 14400,
    },
    "network": "pool-tmp01-servers",
    "guard": "pool-tmp01-egress-guard",
    "resolver": False,
    "visitors": {"burst": 100, "per_minute": 10},
}
NODES = [{"name": "tmp01", "url": "https://tmp01.example.org", "stats": "https://tmp01.example.org/api/stats"}]


def described(role: str, *command: str, **more: Any) -> Properties:
    """A container of a group."""
    limits = {"cpu": 1.0, "memory_bytes": 2.0**28, "processes": 64.0}
    return {"role": role, "image": "node", "command": list(command), "health": ["true"], **limits, **more}


NODE: Properties = {
    "engine": "unix:///var/run/docker.sock",
    "images": {"node": IMAGE, "notebook": IMAGE},
    "secrets": {"admin-token": TOKEN},
    "spec": {
        "stack": "pool",
        "group": "tmp01",
        "networks": {
            "servers": {"subnet": "10.0.0.0/22", "internal": True, "bridge": "servers0", "apart": True},
            "control": {"subnet": "10.0.4.0/26", "internal": True},
            "front": {"subnet": "10.0.4.64/26", "internal": False},
        },
        "containers": {
            "egress-guard": described(
                "egress-guard",
                *GUARD,
                *GUARDED,
                host_network=True,
                cap_add=["NET_ADMIN"],
                health=[*GUARD, "--check", *GUARDED],
            ),
            "proxy": described(
                "proxy",
                *("python", "-m", "runtime.start_proxy"),
                networks={"control": {}, "servers": {"address": "10.0.3.254"}},
            ),
            "service": described(
                "node-service",
                *("python", "-m", "runtime.tmpnb_node", "/run/hubstack/settings.json", "/run/hubstack", "/srv/node"),
                networks={"front": {}, "control": {}, "servers": {"address": "10.0.3.253"}},
                texts=["settings.json"],
                secrets=["admin-token"],
                volumes={"state": "/srv/node"},
                engine_socket=True,
                ports=[{"published": 10001, "target": 10000, "address": "127.0.0.1"}],
                image_variables={"NOTEBOOK_IMAGE": "notebook"},
            ),
        },
        "texts": {"settings.json": json.dumps(SETTINGS)},
        "probe": {"image": "notebook", "network": "servers", "forbidden": [{"host": host} for host in TRIED]},
    },
}


def node(path: str, value: Any = GONE) -> Properties:
    """The good node with another value at a path of its description."""
    return edited(NODE, f"spec/{path}", value)


def container(path: str, value: Any = GONE) -> Properties:
    """The good node with another value at a path of its containers."""
    return node(f"containers/{path}", value)


def node_settings(path: str, value: Any = GONE) -> Properties:
    """The good node with another value at a path of its service's settings."""
    return node("texts/settings.json", json.dumps(edited(SETTINGS, path, value)))


def redirector(path: str = "stack", value: Any = "pool", **more: Any) -> Properties:
    """A good redirector with another value at a path of its settings."""
    settings = {"stack": "pool", "nodes": NODES, "visitors": {"burst": 200, "per_minute": 60}}
    runs = described(
        "redirector",
        *("python", "-m", "runtime.redirector", "/run/hubstack/redirector.json"),
        networks={"front": {}},
        texts=["redirector.json"],
    )
    spec = {
        "stack": "pool",
        "group": "redirector",
        "networks": {"front": {"subnet": "10.0.8.0/26", "internal": False}},
        "containers": {"redirector": runs},
        "texts": {"redirector.json": json.dumps(edited(settings, path, value))},
    }
    return {"engine": "ssh://ops@example.org", "images": {"node": IMAGE}, "secrets": {}, "spec": spec, **more}


def guarding(*arguments: Any) -> Properties:
    """The good node with other arguments of its guard."""
    return edited(
        container("egress-guard/command", [*GUARD, *arguments]),
        "spec/containers/egress-guard/health",
        [*GUARD, "--check", *arguments],
    )


def reached_at(engine: Any) -> Properties:
    """The good node on an engine with another address."""
    return edited(NODE, "engine", engine)


def reading(path: str, value: Any) -> Properties:
    """A node whose service reads other settings than those that the group names."""
    return container(f"service/{path}", value)


UNKNOWN_SETTINGS = node("texts", UNKNOWN)
ELSEWHERE = ["python", "-m", "runtime.tmpnb_node", "/etc/settings.json"]
QUOTA = SETTINGS["quota"]
