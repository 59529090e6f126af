"""Making a Docker engine have a group of containers, and taking it away again."""

import io
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from runtime.container_group import (
    FILES_FOLDER,
    GROUP_LABEL,
    ROLE_LABEL,
    SPEC_LABEL,
    STACK_LABEL,
    GroupSpec,
    ProbeSpec,
    container_digest,
    digest,
    files_of,
    files_volume,
    group_labels,
    host_config,
    joined_networks,
    prefix,
    removal_order,
)

READY_SECONDS = 120
STOP_SECONDS = 15
FAILED_STARTS = 4
"""Starts in a row after which a container is not waited for any more."""
INTERVAL_SECONDS = 0.3
LAST_LINES = 15
PROBE_SECONDS = 90
PROBE_BYTES = 256 * 2**20
PROBE_PROCESSES = 128
PROBE_SOURCE = Path(__file__).parent / "egress_probe" / "__main__.py"

Json = dict[str, Any]


class DeploymentError(Exception):
    """A container does not work, or code in users' place reaches too much; the message says what."""


class ReachError(DeploymentError):
    """Code in users' place reaches what its egress profile closes; the message says what answered."""


def deploy(client: docker.APIClient, spec: GroupSpec, images: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Make the engine have the group, and wait until all of it works.

    Args:
        client: the engine's API.
        spec: the group.
        images: ids or digests of the images by their short names; the engine has them, or can pull those with a digest.
        secrets: the secrets by their names.

    Raises:
        DeploymentError: a container does not start or does not get healthy, or the probe got an answer.
        APIError: the engine refused something.
    """
    for image in sorted(set(images.values())):
        ensure_image(client, image)
    _remove_others(client, spec)
    for network in spec["networks"]:
        _ensure_network(client, spec, network)
    for name in spec["order"]:
        _ensure_container(client, spec, name, images, secrets)
    _wait(client, spec)
    if "probe" in spec:
        _prove(client, spec, spec["probe"], images)


def ensure_image(client: docker.APIClient, image: str) -> None:
    """Pull the image unless it is there.

    Raises:
        DeploymentError: it is neither there nor can it be pulled.
    """
    try:
        client.inspect_image(image)
    except NotFound:
        try:
            # An engine that has begun to answer tells of what goes wrong then in its answer alone.
            mistakes = [step["error"] for step in client.pull(image, stream=True, decode=True) if "error" in step]
        except APIError as error:
            mistakes = [str(error.explanation)]
        if mistakes:
            reason = "; ".join(mistakes)
            raise DeploymentError(f"the image {image} is not on this engine and cannot be pulled: {reason}") from None


def differences(client: docker.APIClient, spec: GroupSpec, images: Mapping[str, str]) -> list[str]:
    """What is not as the description says, a sentence each; empty when all is right."""
    found: list[str] = []
    for name in spec["containers"]:
        there = _inspect(client, f"{prefix(spec)}-{name}")
        if there is None:
            found.append(f"container {name} is missing")
        elif there["Config"]["Labels"].get(SPEC_LABEL) != container_digest(spec, name, images):
            found.append(f"container {name} was made from something else")
        elif set(there["NetworkSettings"]["Networks"]) != joined_networks(spec, name):
            found.append(f"container {name} is on other networks")
        elif not there["State"]["Running"]:
            found.append(f"container {name} does not run")
    return found


def remove(client: docker.APIClient, spec: GroupSpec) -> None:
    """Remove everything of the group from the engine, users' servers on its networks included; images stay."""
    mine = {"label": [f"{STACK_LABEL}={spec['stack']}", f"{GROUP_LABEL}={spec['group']}"]}
    if "farewell" in spec:
        _run(client, f"{prefix(spec)}-{spec['farewell']['container']}", spec["farewell"]["command"])
    for found in removal_order(spec, client.containers(all=True, filters=mine)):
        _remove_container(client, found["Id"])
    for network in client.networks(filters=mine):
        client.remove_network(network["Id"])
    for volume in client.volumes(filters=mine)["Volumes"] or []:
        client.remove_volume(volume["Name"], force=True)


def _inspect(client: docker.APIClient, name: str) -> Json | None:
    try:
        return client.inspect_container(name)
    except NotFound:
        return None


def _run(client: docker.APIClient, container: str, command: Sequence[str]) -> None:
    """Run a command in a container, if that runs, and wait for its end."""
    try:
        started = client.exec_create(container, list(command))
        for _ in client.exec_start(started["Id"], stream=True):
            pass
    except APIError:
        # It is gone, or does not run: there is nobody to ask.
        return


def _remove_container(client: docker.APIClient, container: str) -> None:
    try:
        client.stop(container, timeout=STOP_SECONDS)
        client.remove_container(container, force=True, v=True)
    except NotFound:
        return


def _ensure_network(client: docker.APIClient, spec: GroupSpec, name: str) -> None:
    network, full_name = spec["networks"][name], f"{prefix(spec)}-{name}"
    made_from = digest(dict(network))
    for found in client.networks(names=[full_name]):
        if found["Name"] != full_name:
            continue
        if (found.get("Labels") or {}).get(SPEC_LABEL) == made_from:
            return
        _remove_network(client, spec, found["Id"])
    options = {"com.docker.network.bridge.name": network["bridge"]} if "bridge" in network else {}
    if network.get("apart"):
        options["com.docker.network.bridge.enable_icc"] = "false"
        options["com.docker.network.bridge.enable_ip_masquerade"] = "false"
    pool = docker.types.IPAMPool(subnet=network["subnet"])
    client.create_network(
        full_name,
        driver="bridge",
        internal=network["internal"],
        options=options,
        labels=group_labels(spec, f"{name}-network", made_from),
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
    )


def _remove_network(client: docker.APIClient, spec: GroupSpec, network: str) -> None:
    """Remove a network with all that is on it, what makes servers before these."""
    members = client.inspect_network(network)["Containers"]
    listed = [{"Id": member, "Names": [f"/{found['Name']}"]} for member, found in members.items()]
    for found in removal_order(spec, listed):
        _remove_container(client, found["Id"])
    client.remove_network(network)


def _remove_others(client: docker.APIClient, spec: GroupSpec) -> None:
    """Remove the group's containers and networks that it has no more; users' servers are the service's."""
    mine = {"label": [f"{STACK_LABEL}={spec['stack']}", f"{GROUP_LABEL}={spec['group']}"]}
    known = {f"/{prefix(spec)}-{name}" for name in spec["containers"]}
    others = [
        found
        for found in client.containers(all=True, filters=mine)
        if found["Names"][0] not in known and found["Labels"].get(ROLE_LABEL) != "user-server"
    ]
    # A guard takes its rules along once nobody is on its bridge.
    for found in sorted(others, key=lambda found: found["HostConfig"]["NetworkMode"] == "host"):
        _remove_container(client, found["Id"])
    for network in client.networks(filters=mine):
        if network["Name"] not in {f"{prefix(spec)}-{name}" for name in spec["networks"]}:
            _remove_network(client, spec, network["Id"])


def _ensure_container(
    client: docker.APIClient, spec: GroupSpec, name: str, images: Mapping[str, str], secrets: Mapping[str, str]
) -> None:
    container, full_name = spec["containers"][name], f"{prefix(spec)}-{name}"
    there = _inspect(client, full_name)
    wanted, held = files_of(spec, name, secrets), _read_files(client, full_name) if there else {}
    changed = {file for file in wanted if held.get(file) != wanted[file][0]}
    needs_restart = changed - set(container.get("texts", ()) if container.get("reloads") else ())
    stale = there and there["Config"]["Labels"].get(SPEC_LABEL) != container_digest(spec, name, images)
    # An update that was killed may have left one that is on some of its networks alone.
    unfinished = there and set(there["NetworkSettings"]["Networks"]) != joined_networks(spec, name)
    if there and (stale or unfinished or needs_restart):
        _remove_container(client, full_name)
        there = None
    if changed:
        _write_files(client, spec, name, images[container["image"]], wanted)
    if there is None:
        _create_container(client, spec, name, images)
    if there is None or not there["State"]["Running"]:
        client.start(full_name)


def _create_container(client: docker.APIClient, spec: GroupSpec, name: str, images: Mapping[str, str]) -> None:
    container, full_name = spec["containers"][name], f"{prefix(spec)}-{name}"
    for volume in container.get("volumes", {}):
        client.create_volume(f"{prefix(spec)}-{volume}", labels=group_labels(spec, volume, ""))
    variables = {variable: images[image] for variable, image in container.get("image_variables", {}).items()}
    options = host_config(spec, name)
    first, *others = sorted(container.get("networks", {})) or [""]
    endpoints = {options["network_mode"]: _endpoint(client, spec, name, first)} if first else None
    client.create_container(
        images[container["image"]],
        command=list(container["command"]),
        name=full_name,
        environment={**container.get("environment", {}), **variables},
        user=container.get("user"),
        labels=group_labels(spec, container["role"], container_digest(spec, name, images)),
        ports=[port["target"] for port in container.get("ports", ())],
        healthcheck=_health(container.get("health")),
        host_config=client.create_host_config(**options),
        networking_config=client.create_networking_config(endpoints) if endpoints else None,
    )
    for network in others:
        join = container.get("networks", {})[network]
        client.connect_container_to_network(
            full_name,
            f"{prefix(spec)}-{network}",
            ipv4_address=join.get("address"),
            aliases=list(join.get("aliases", ())),
        )


def _endpoint(client: docker.APIClient, spec: GroupSpec, name: str, network: str) -> Json:
    join = spec["containers"][name].get("networks", {})[network]
    return client.create_endpoint_config(aliases=list(join.get("aliases", ())), ipv4_address=join.get("address"))


def _health(command: Sequence[str] | None) -> Json | None:
    if not command:
        return None
    second = 10**9
    return {"test": ["CMD", *command], "interval": 5 * second, "timeout": 10 * second, "retries": 3}


def _read_files(client: docker.APIClient, container: str) -> dict[str, bytes]:
    """The files that a container has; none where it has no folder of them."""
    try:
        stream, _ = client.get_archive(container, FILES_FOLDER)
    except (NotFound, APIError):
        return {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {
            member.name.rpartition("/")[2]: found.read() for member in files if (found := archive.extractfile(member))
        }


def _write_files(
    client: docker.APIClient, spec: GroupSpec, name: str, image: str, files: Mapping[str, tuple[bytes, int]]
) -> None:
    """Put a container's files into its volume, by way of a container that is never started."""
    volume = files_volume(spec, name)
    client.create_volume(volume, labels=group_labels(spec, "files", ""))
    user = spec["containers"][name].get("user", "0:0").split(":")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, int(user[0]), int(user[-1])
            tar.addfile(entry, io.BytesIO(content))
    loader = client.create_container(
        image,
        command=["true"],
        labels=group_labels(spec, "loader", ""),
        host_config=client.create_host_config(binds=[f"{volume}:{FILES_FOLDER}"], network_mode="none"),
    )
    try:
        client.put_archive(loader["Id"], FILES_FOLDER, archive.getvalue())
    finally:
        client.remove_container(loader["Id"], force=True)


def _wait(client: docker.APIClient, spec: GroupSpec) -> None:
    """Wait until every container runs and those with a check are healthy."""
    deadline = time.monotonic() + READY_SECONDS
    waiting = list(spec["containers"])
    while waiting:
        states = {name: client.inspect_container(f"{prefix(spec)}-{name}") for name in waiting}
        waiting = [name for name, found in states.items() if not _works(found)]
        hopeless = any(found["RestartCount"] >= FAILED_STARTS for found in states.values())
        if waiting and (hopeless or time.monotonic() > deadline):
            raise DeploymentError(_explain(client, spec, {name: states[name] for name in waiting}))
        time.sleep(INTERVAL_SECONDS if waiting else 0)


def _prove(client: docker.APIClient, spec: GroupSpec, probe: ProbeSpec, images: Mapping[str, str]) -> None:
    """Run the probe as a user's server runs, and fail with what answered."""
    required = list(probe.get("required", ()))
    document = {"forbidden": list(probe["forbidden"]), "required": required, "words": True}
    name, network = f"{prefix(spec)}-egress-probe", f"{prefix(spec)}-{probe['network']}"
    if _inspect(client, name):
        client.remove_container(name, force=True)
    client.create_container(
        images[probe["image"]],
        command=["python3", "-c", PROBE_SOURCE.read_text(), json.dumps(document)],
        name=name,
        user="1000:100",
        labels=group_labels(spec, "egress-probe", ""),
        host_config=client.create_host_config(
            cap_drop=["ALL"],
            dns=["127.0.0.1"],
            dns_opt=["timeout:1", "attempts:1"],
            mem_limit=PROBE_BYTES,
            memswap_limit=PROBE_BYTES,
            network_mode=network,
            pids_limit=PROBE_PROCESSES,
            read_only=True,
            security_opt=["no-new-privileges"],
        ),
        networking_config=client.create_networking_config(
            {network: client.create_endpoint_config(ipv4_address=probe["address"])}
        ),
    )
    try:
        client.start(name)
        code = client.wait(name, timeout=PROBE_SECONDS)["StatusCode"]
        said = client.logs(name).decode(errors="replace").strip()
    finally:
        client.remove_container(name, force=True)
    if code:
        raise ReachError(f"{prefix(spec)}: what code of users reaches is not what its egress profile says:\n{said}")


def _works(container: Json) -> bool:
    health = container["State"].get("Health")
    return bool(container["State"]["Running"]) and (health is None or health["Status"] == "healthy")


def _explain(client: docker.APIClient, spec: GroupSpec, states: Mapping[str, Json]) -> str:
    sentences: list[str] = []
    for name, found in states.items():
        health = (found["State"].get("Health") or {}).get("Status", found["State"]["Status"])
        said = client.logs(found["Id"], tail=LAST_LINES).decode(errors="replace").strip()
        sentences.append(f"container {prefix(spec)}-{name} does not work ({health}); its last words:\n{said}")
    return "\n".join(sentences)
