"""Taking up an update whose CLI was killed: what it was making may exist without being in the state."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound

from toolchain.interrupted_aws import Client, UnknownKindError, client_of, ids_in_account, state_of

REMOVERS = {
    "docker:index/network:Network": "remove_network",
    "docker:index/service:Service": "remove_service",
    "docker:index/secret:Secret": "remove_secret",
    "docker:index/serviceConfig:ServiceConfig": "remove_config",
}
"""How to remove what holds no data. Volumes are left: creating one that exists takes it over with what is in it."""


REMOTE = ("aws:", "kubernetes:")
"""Types that outlive this machine: forgetting one may leave a bill behind."""


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


def interrupted_changes(state: dict[str, Any]) -> list[str]:
    """URNs of what is elsewhere and in the state, and may be other than the state says: it was being changed."""
    known = {resource["urn"] for resource in state["deployment"].get("resources") or []}
    changing = [o["resource"]["urn"] for o in remote_operations(state) if o["type"] in {"updating", "deleting"}]
    return [urn for urn in changing if urn in known]


def engine_address(state: dict[str, Any]) -> str | None:
    """The engine of the stack's Docker provider, or None before there is one."""
    for resource in (state.get("deployment") or {}).get("resources") or []:
        if resource["type"] == "pulumi:providers:docker":
            return resource.get("inputs", {}).get("host")
    return None


def interrupted_elsewhere(state: dict[str, Any], client: Client) -> tuple[dict[str, str], list[str]]:
    """What a killed run had begun to create elsewhere: ids by URN of what is there, URNs of what only its owner can tell.

    What is in neither was not made.
    """
    known = {resource.get("id"): resource["urn"] for resource in (state["deployment"].get("resources") or [])}
    found: dict[str, str] = {}
    doubtful: list[str] = []
    for operation in remote_operations(state):
        resource, urn = operation["resource"], operation["resource"]["urn"]
        if operation["type"] != "creating":
            continue
        try:
            ids = ids_in_account(resource, client, {id_ for id_ in known if id_})
        except UnknownKindError:
            doubtful.append(urn)
            continue
        # Of a replacement and its predecessor, which is still there, it is not for us to say which goes.
        if len(ids) > 1 or (ids and urn in known.values()):
            doubtful.append(urn)
        elif ids:
            found[urn] = ids[0]
    return found, doubtful


def adopted(state: dict[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """The state without its pending operations, and with the resources in it that have these ids."""
    deployment = state["deployment"]
    made = [
        state_of(operation["resource"], ids[operation["resource"]["urn"]])
        for operation in deployment["pending_operations"]
        if operation["resource"]["urn"] in ids
    ]
    return {
        **state,
        "deployment": {**deployment, "pending_operations": [], "resources": [*deployment["resources"], *made]},
    }


def restore_torn_state(backend: Path, stack: str) -> bool:
    """Put the state before the last step back where a kill cut the writing of the newest one short; whether it did.

    The CLI writes a stack's file in place, beside a copy of the one before, and reads nothing that is torn. What the last
    step was is in that copy as pending.

    Args:
        backend: folder of a backend of files.
        stack: the stack's name.
    """
    torn = [
        (file, copy)
        for file in backend.glob(f".pulumi/stacks/*/{stack}.json")
        if (copy := file.with_name(f"{file.name}.bak")).exists() and not _is_whole(file) and _is_whole(copy)
    ]
    for file, copy in torn:
        sys.stderr.write(f"hubstack: a run was killed while it wrote {file.name}; the state before it is put back\n")
        shutil.copyfile(copy, file)
    return bool(torn)


def _is_whole(file: Path) -> bool:
    try:
        json.loads(file.read_text())
    except ValueError:
        return False
    return True


def take_up(stack: str, root: Path) -> None:
    """Take up what a killed run left half-made, so that the next update makes nothing twice and forgets nothing.

    What it was making on this machine's engine is removed, as it holds no data. What it was making in an AWS account
    is looked for there and put into the state.

    Raises:
        SystemExit: only the stack's owner can tell what became of a resource; the message says how to go on.
    """
    exported = subprocess.run(
        ["pulumi", "stack", "export", "--stack", stack], cwd=root, check=False, capture_output=True, text=True
    )
    if exported.returncode:
        return
    state = json.loads(exported.stdout)
    deployment = state.get("deployment") or {}
    if not deployment.get("pending_operations"):
        return
    found, doubtful = interrupted_elsewhere(state, client_of(state)) if remote_operations(state) else ({}, [])
    if doubtful:
        sys.exit(
            f"hubstack: a run was killed while it made {named(doubtful)}; look whether the account has them, and take "
            f"them up with `toolchain/with pulumi refresh --stack {stack}`, which asks what to do with each"
        )
    begun = interrupted_creations(state)
    names = named([operation["resource"]["urn"] for operation in deployment["pending_operations"]])
    sys.stderr.write(f"hubstack: a run was killed while it made {names}; taking it up again\n")
    remove_from_engine(begun, engine_address(state))
    replace_state(stack, root, adopted(state, found))
    unsure = [*found, *interrupted_changes(state)]
    if not unsure:
        return
    targets = [argument for urn in unsure for argument in ("--target", urn)]
    read = subprocess.run(
        ["pulumi", "refresh", "--yes", "--skip-preview", "--stack", stack, *targets],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
    )
    if read.returncode:
        replace_state(stack, root, state)
        sys.exit(f"{read.stdout}{read.stderr}hubstack: what is in the account could not be read; try again")


def named(urns: Sequence[str]) -> str:
    """Names of resources."""
    return ", ".join(urn.rsplit("::", 1)[1] for urn in urns)


def remove_from_engine(resources: Sequence[Mapping[str, Any]], address: str | None) -> None:
    """Remove these from the engine if it has them."""
    if not address:
        return
    client = docker.APIClient(base_url=address, version="auto")
    for resource in resources:
        remover, name = REMOVERS.get(resource["type"]), resource.get("inputs", {}).get("name")
        if remover and name:
            with suppress(NotFound):
                getattr(client, remover)(name)


def replace_state(stack: str, root: Path, state: Mapping[str, Any]) -> None:
    """Give the stack this state."""
    subprocess.run(
        ["pulumi", "stack", "import", "--stack", stack],
        cwd=root,
        check=True,
        input=json.dumps(state),
        text=True,
        stdout=subprocess.DEVNULL,
    )
