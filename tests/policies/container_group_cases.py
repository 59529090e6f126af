"""What checks of groups of containers are tried on: a good node and a good redirector, and each with one thing changed."""

import json
from typing import Any

from components.egress_proxy import squid_configuration
from policies.egress.nodes import FORBIDDEN
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


def handed_over(properties: Properties) -> Properties:
    """A group as the engine hands it over: its description is one text."""
    spec = properties.get("spec")
    return {**properties, "spec": json.dumps(spec)} if isinstance(spec, dict) else properties


PROXY = "--egress-proxy=10.0.3.251:3128"
WAY_OUT = ["--port=443", "egress0", "10.0.4.128/26", *FORBIDDEN]
"""What the egress proxy's guard is told."""


def with_proxy() -> Properties:
    """The good node with an egress proxy."""
    spec = NODE["spec"]
    guard = described("egress-proxy-guard", *GUARD, *WAY_OUT, host_network=True, cap_add=["NET_ADMIN"])
    proxy = described(
        "egress-proxy",
        *("squid", "-N", "-f", "/run/hubstack/squid.conf"),
        networks={"egress": {}, "servers": {"address": "10.0.3.251"}},
        texts=["squid.conf"],
        user="13:13",
    )
    more = {"egress-proxy-guard": {**guard, "health": [*GUARD, "--check", *WAY_OUT]}, "egress-proxy": proxy}
    network = {"subnet": "10.0.4.128/26", "internal": False, "bridge": "egress0", "apart": True}
    required = {"kind": "proxy", "host": "10.0.3.251", "port": 3128, "target": "a.invalid:443", "status": 403}
    spec = {
        **guarding(PROXY, *GUARDED)["spec"],
        "networks": {**spec["networks"], "egress": network},
        "texts": {**spec["texts"], "squid.conf": squid_configuration(["pypi.org", ".example.org"])},
        "probe": {**spec["probe"], "required": [required]},
    }
    return {**NODE, "spec": {**spec, "containers": {**spec["containers"], **more}}}


def proxied(path: str, value: Any = GONE) -> Properties:
    """The good node with an egress proxy, and another value at a path of its description."""
    return edited(with_proxy(), f"spec/{path}", value)


def passing(*edit: str) -> Properties:
    """The same with another text in its squid's configuration: what is there, and what comes in its place."""
    there, other = edit
    text = with_proxy()["spec"]["texts"]["squid.conf"]
    assert there in text
    return proxied("texts/squid.conf", text.replace(there, other))


def let_out(*arguments: str, internal: Any = False) -> Properties:
    """The good node with a guard that lets servers out."""
    return edited(
        guarding(*GATES, *arguments, "servers0", "10.0.0.0/22", *FORBIDDEN), "spec/networks/servers/internal", internal
    )


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
