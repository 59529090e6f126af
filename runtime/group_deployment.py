"""Making a Docker engine have a group of containers, and taking it away again."""

import contextlib
import io
import itertools
import tarfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from runtime.container_group import (
    FILES_FOLDER,
    GROUP_LABEL,
    ROLE_LABEL,
    SPEC_LABEL,
    STACK_LABEL,
    GroupSpec,
    container_digest,
    digest,
    faces,
    files_of,
    files_volume,
    group_labels,
    host_config,
    joined_networks,
    prefix,
    removal_order,
)
from runtime.group_proof import ReachError, prove
from runtime.group_readiness import DeploymentError, wait_for

USER_SERVER = "user-server"
"""Role of the containers that a group's service makes."""

SERVERS_AT_ONCE = 8
"""Users' servers that are removed at the same time."""

STOP_SECONDS = 15
FAREWELL_TRIES = 15
FAREWELL_PAUSE_SECONDS = 2
"""Half a minute for a container that begins anew: the engine pauses 0.1 s before its first start, then twice as long each time."""

Json = dict[str, Any]


def deploy(
    client: docker.APIClient,
    spec: GroupSpec,
    images: Mapping[str, str],
    secrets: Mapping[str, str],
    *,
    proved: bool = False,
) -> None:
    """Make the engine have the group, and wait until all of it works.

    What visitors reach is started, or replaced, when all else works and was proved. Where it runs already it goes on
    meanwhile, and is stopped if the proof fails.

    Args:
        client: the engine's API.
        spec: the group.
        images: ids or digests of the images by their short names; the engine has them, or can pull those with a digest.
        secrets: the secrets by their names.
        proved: whether all of this was done before, with containers that are still the same, and nothing but what visitors
            reach may lack. Default False.

    Raises:
        DeploymentError: a container does not start or does not get healthy, or a farewell cannot be taken back.
        ReachError: the probe got an answer, and nobody is let in any more.
        APIError: the engine refused something.
    """
    for image in sorted(set(images.values())):
        ensure_image(client, image)
    _remove_others(client, spec)
    for network in spec["networks"]:
        _ensure_network(client, spec, network)
    front = faces(spec)
    _bring_up(client, spec, [name for name in spec["order"] if name not in front], images, secrets)
    if "probe" in spec and not proved:
        try:
            prove(client, spec, spec["probe"], images)
        except ReachError as error:
            raise ReachError(f"{error}\n{_closed(client, spec)}") from error
    if not proved:
        _stay(client, spec)
    _bring_up(client, spec, front, images, secrets)


def close(client: docker.APIClient, spec: GroupSpec) -> None:
    """Let nobody in any more: stop what visitors reach. A stopped one is left alone by an engine that starts anew.

    Raises:
        APIError: the engine refused; it was asked for all of them nevertheless.
    """
    refused: APIError | None = None
    for name in faces(spec):
        try:
            client.stop(f"{prefix(spec)}-{name}", timeout=STOP_SECONDS)
        except NotFound:
            continue
        except APIError as error:
            refused = error
    if refused:
        raise refused


def lets_in(client: docker.APIClient, spec: GroupSpec) -> bool:
    """Whether visitors are let in: something that they reach runs."""
    there = [_inspect(client, f"{prefix(spec)}-{name}") for name in faces(spec)]
    return any(found["State"]["Running"] for found in there if found)


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


def differences(
    client: docker.APIClient, spec: GroupSpec, images: Mapping[str, str], names: Sequence[str] | None = None
) -> list[str]:
    """What is not as the description says, a sentence each; empty when all is right.

    Args:
        client: the engine's API.
        spec: the group.
        images: ids or digests of the images by their short names.
        names: containers that are looked at. Default: all.
    """
    found: list[str] = []
    for name in spec["containers"] if names is None else names:
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


def remove(client: docker.APIClient, spec: GroupSpec, *, farewell: bool = True) -> None:
    """Remove everything of the group from the engine, users' servers on its networks included; images stay.

    Args:
        client: the engine's API.
        spec: the group.
        farewell: whether users may finish first. Default True.
    """
    mine = {"label": [f"{STACK_LABEL}={spec['stack']}", f"{GROUP_LABEL}={spec['group']}"]}
    if farewell and "farewell" in spec:
        _farewell(client, f"{prefix(spec)}-{spec['farewell']['container']}", spec["farewell"]["command"])
    # What makes servers ends first, and may have made some meanwhile.
    while left := client.containers(all=True, filters=mine):
        _remove_containers(client, spec, left)
    for network in client.networks(filters=mine):
        client.remove_network(network["Id"])
    for volume in client.volumes(filters=mine)["Volumes"] or []:
        client.remove_volume(volume["Name"], force=True)


def _inspect(client: docker.APIClient, name: str) -> Json | None:
    try:
        return client.inspect_container(name)
    except NotFound:
        return None


def _bring_up(
    client: docker.APIClient,
    spec: GroupSpec,
    names: Sequence[str],
    images: Mapping[str, str],
    secrets: Mapping[str, str],
) -> None:
    for name in names:
        _ensure_container(client, spec, name, images, secrets)
    wait_for(client, spec, names)


def _closed(client: docker.APIClient, spec: GroupSpec) -> str:
    """Let nobody in any more, and say whether that was done."""
    try:
        close(client, spec)
    except (DockerException, RequestException) as error:
        return f"visitors may still be let in, since the engine does not stop that ({error})"
    return "visitors are not let in"


def _stay(client: docker.APIClient, spec: GroupSpec) -> None:
    """Take back the farewell of a removal that did not come to its end."""
    farewell = spec.get("farewell")
    undo = farewell and farewell.get("undo")
    if not farewell or not undo:
        return
    code, said = _run(client, f"{prefix(spec)}-{farewell['container']}", undo)
    if code:
        raise DeploymentError(f"{prefix(spec)} may still be leaving, which cannot be taken back:\n{said}")


def _farewell(client: docker.APIClient, container: str, command: Sequence[str]) -> None:
    """Let users finish; a farewell that broke off, since its container began anew, is said again."""
    for _ in range(FAREWELL_TRIES):
        # Where it is gone, or nobody starts it again, there is nobody to ask.
        with contextlib.suppress(APIError):
            if _run(client, container, command)[0] == 0:
                return
        there = _inspect(client, container)
        if there is None or not (there["State"]["Running"] or there["State"].get("Restarting")):
            return
        time.sleep(FAREWELL_PAUSE_SECONDS)


def _run(client: docker.APIClient, container: str, command: Sequence[str]) -> tuple[int, str]:
    """Run a command in a container and wait for its end; its exit code, and what it said.

    Raises:
        APIError: the container is not there, or does not run.
    """
    started = client.exec_create(container, list(command))
    said = b"".join(client.exec_start(started["Id"], stream=True))
    return client.exec_inspect(started["Id"])["ExitCode"] or 0, said.decode(errors="replace").strip()


def _remove_containers(client: docker.APIClient, spec: GroupSpec, containers: Sequence[Json]) -> None:
    """Remove containers in the order of the group; users' servers are not waited for, since they keep nothing."""
    ordered = removal_order(spec, containers)
    for are_servers, some in itertools.groupby(ordered, key=lambda found: _role(found) == USER_SERVER):
        if are_servers:
            with ThreadPoolExecutor(SERVERS_AT_ONCE) as threads:
                list(threads.map(lambda found: _end_server(client, found["Id"]), some))
            continue
        for found in some:
            _remove_container(client, found["Id"])


def _role(listed: Json) -> str:
    return (listed.get("Labels") or {}).get(ROLE_LABEL, "")


def _end_server(client: docker.APIClient, container: str) -> None:
    with contextlib.suppress(NotFound):
        client.remove_container(container, force=True, v=True)


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
    _remove_containers(client, spec, client.containers(filters={"network": [network]}))
    client.remove_network(network)


def _remove_others(client: docker.APIClient, spec: GroupSpec) -> None:
    """Remove the group's containers and networks that it has no more; users' servers are the service's."""
    mine = {"label": [f"{STACK_LABEL}={spec['stack']}", f"{GROUP_LABEL}={spec['group']}"]}
    known = {f"/{prefix(spec)}-{name}" for name in spec["containers"]}
    others = [
        found
        for found in client.containers(all=True, filters=mine)
        if found["Names"][0] not in known and _role(found) != USER_SERVER
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
