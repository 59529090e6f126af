"""Taking up an update whose CLI was killed: what it was making may exist without being in the state."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound

REMOVERS = {
    "docker:index/network:Network": "remove_network",
    "docker:index/service:Service": "remove_service",
    "docker:index/secret:Secret": "remove_secret",
    "docker:index/serviceConfig:ServiceConfig": "remove_config",
}
"""How to remove what holds no data. Volumes are left: creating one that exists takes it over with what is in it."""


REMOTE = ("aws:", "kubernetes:")
"""Types that outlive this machine: forgetting one may leave a bill behind, so their entries stay in the state."""


def remote_operations(state: dict[str, Any]) -> list[dict[str, Any]]:
    """What a killed run was doing to resources elsewhere."""
    pending = (state.get("deployment") or {}).get("pending_operations") or []
    return [operation for operation in pending if operation["resource"]["type"].startswith(REMOTE)]


def interrupted_creations(state: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources that a killed run had begun to create, services first: they hold the others."""
    pending = (state.get("deployment") or {}).get("pending_operations") or []
    here = [operation["resource"] for operation in pending if operation["type"] == "creating"]
    resources = [resource for resource in here if not resource["type"].startswith(REMOTE)]
    return sorted(resources, key=lambda resource: "Service" not in resource["type"])


def engine_address(state: dict[str, Any]) -> str | None:
    """The engine of the stack's Docker provider, or None before there is one."""
    for resource in (state.get("deployment") or {}).get("resources") or []:
        if resource["type"] == "pulumi:providers:docker":
            return resource.get("inputs", {}).get("host")
    return None


def take_up(stack: str, root: Path) -> None:
    """Remove what a killed run left half-made, and its entries in the state; the next update makes it anew."""
    exported = subprocess.run(
        ["pulumi", "stack", "export", "--stack", stack], cwd=root, check=False, capture_output=True, text=True
    )
    if exported.returncode:
        return
    state = json.loads(exported.stdout)
    begun, remote = interrupted_creations(state), remote_operations(state)
    if remote:
        names = ", ".join(operation["resource"]["urn"].rsplit("::", 1)[1] for operation in remote)
        sys.stderr.write(
            f"hubstack: a run was killed while it made {names}; look whether the account has them, and take them up "
            f"with `toolchain/with pulumi refresh --stack {stack}`, which asks what to do with each\n"
        )
    deployment = state.get("deployment") or {}
    if len(deployment.get("pending_operations") or []) == len(remote):
        return
    deployment["pending_operations"] = remote
    names = ", ".join(resource["urn"].rsplit("::", 1)[1] for resource in begun)
    sys.stderr.write(f"hubstack: a run was killed while it made {names}; taking it up again\n")
    address = engine_address(state)
    if address:
        client = docker.APIClient(base_url=address, version="auto")
        for resource in begun:
            remover, name = REMOVERS.get(resource["type"]), resource.get("inputs", {}).get("name")
            if remover and name:
                try:
                    getattr(client, remover)(name)
                except NotFound:
                    continue
    subprocess.run(
        ["pulumi", "stack", "import", "--stack", stack],
        cwd=root,
        check=True,
        input=json.dumps(state),
        text=True,
        stdout=subprocess.DEVNULL,
    )
