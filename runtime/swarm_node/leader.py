"""What the swarm's leader looks after: who may join, where the hub runs, which hosts are gone, and the stack itself."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError

from runtime.swarm_node.settings import STACK_FILE

HUB_NODE_LABEL = "hubstack.hub"
STACK_LABEL = "hubstack.stack"
NAMESPACE_LABEL = "com.docker.stack.namespace"
"""What the command line's client marks a stack's configurations with."""

GONE_AFTER = timedelta(minutes=10)
"""How long a host may be away before it is taken out of the swarm: a reboot takes less."""

VERSION_LENGTH = 12

Json = dict[str, Any]


def is_leader(nodes: Sequence[Json], node_id: str) -> bool:
    """Whether the host with this id leads."""
    return any(node["ID"] == node_id and node.get("ManagerStatus", {}).get("Leader", False) for node in nodes)


def hub_node(nodes: Sequence[Json], stack: str) -> str | None:
    """Id of the manager that the hub is to run on: where it is while that one is well, else the first that is."""
    well = sorted(node["ID"] for node in nodes if node["Spec"]["Role"] == "manager" and _is_well(node))
    present = [node_id for node_id in well if stack in _hub_labels(nodes, node_id)]
    return next(iter(present or well), None)


def place_hub(client: docker.APIClient, nodes: Sequence[Json], stack: str) -> None:
    """Label the one manager that hub and proxy run on; both move together when it fails."""
    chosen = hub_node(nodes, stack)
    for node in nodes:
        labels: dict[str, str] = dict(node["Spec"].get("Labels") or {})
        wanted = {**labels, HUB_NODE_LABEL: stack} if node["ID"] == chosen else _without_hub(labels)
        if chosen is not None and wanted != labels:
            client.update_node(node["ID"], node["Version"]["Index"], {**node["Spec"], "Labels": wanted})


def gone(nodes: Sequence[Json], now: datetime) -> list[Json]:
    """Hosts that have been down for longer than `GONE_AFTER`."""
    return [
        node for node in nodes if node["Status"]["State"] == "down" and now - _moment(node["UpdatedAt"]) > GONE_AFTER
    ]


def forget(client: docker.APIClient, node: Json) -> None:
    """Take a host that is gone out of the swarm; a manager is made a worker first, as Swarm asks."""
    if node["Spec"]["Role"] == "manager":
        client.update_node(node["ID"], node["Version"]["Index"], {**node["Spec"], "Role": "worker"})
    client.remove_node(node["ID"], force=True)


def keep_secrets(client: docker.APIClient, stack: str, secrets: Any, hub_secret: str) -> str:
    """Put the hub's secrets into the swarm, and return the version that their names end in.

    A secret of the swarm cannot be changed: other values are other secrets, and tasks that run keep theirs.

    Args:
        client: the leader's engine.
        stack: name of the stack, in front of the secrets' names.
        secrets: boto3's client of Secrets Manager.
        hub_secret: ARN of the secret that holds them, an object by name.
    """
    found = secrets.get_secret_value(SecretId=hub_secret)
    version = version_name(found["VersionId"])
    present = {secret["Spec"]["Name"] for secret in client.secrets()}
    for name, value in sorted(json.loads(found["SecretString"]).items()):
        full = f"{stack}-{name}-{version}"
        if full not in present:
            client.create_secret(full, str(value).encode(), {STACK_LABEL: stack})
    return version


def version_name(version_id: str) -> str:
    """What the names of a version's secrets end in; it says nothing of the values.

    A digest, since ids of versions that Pulumi's provider wrote all begin alike and end in a counter.
    """
    return hashlib.sha256(version_id.encode()).hexdigest()[:VERSION_LENGTH]


def deploy(stack: str, folder: Path, version: str, applied: Path) -> bool:
    """Deploy the stack file in `folder`, unless `applied` says that just that was deployed; whether it was.

    A deployment that Swarm took back is not tried again until the stack or its secrets change.

    Raises:
        subprocess.CalledProcessError: the client refused it; its message is in `stderr`.
    """
    mark = hashlib.sha256((folder / STACK_FILE).read_bytes() + version.encode()).hexdigest()
    if applied.exists() and applied.read_text() == mark:
        return False
    subprocess.run(
        ["docker", "stack", "deploy", "--compose-file", STACK_FILE, "--resolve-image", "never", "--prune", stack],
        cwd=folder,
        env={**os.environ, "SECRETS_VERSION": version},
        check=True,
        capture_output=True,
        text=True,
    )
    applied.write_text(mark)
    return True


def sweep(client: docker.APIClient, stack: str, version: str) -> None:
    """Remove the stack's secrets and configurations that nothing uses any more."""
    for secret in client.secrets(filters={"label": f"{STACK_LABEL}={stack}"}):
        if not secret["Spec"]["Name"].endswith(f"-{version}"):
            _removed(lambda secret=secret: client.remove_secret(secret["ID"]))
    for config in client.configs(filters={"label": f"{NAMESPACE_LABEL}={stack}"}):
        _removed(lambda config=config: client.remove_config(config["ID"]))


def _removed(remove: Any) -> None:
    try:
        remove()
    except APIError as error:
        # In use: by what runs now, or by a task that is about to end.
        if error.status_code != 400:  # noqa: PLR2004
            raise


def _is_well(node: Json) -> bool:
    return node["Status"]["State"] == "ready" and node["Spec"]["Availability"] == "active"


def _hub_labels(nodes: Sequence[Json], node_id: str) -> list[str]:
    return [(node["Spec"].get("Labels") or {}).get(HUB_NODE_LABEL, "") for node in nodes if node["ID"] == node_id]


def _without_hub(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != HUB_NODE_LABEL}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
