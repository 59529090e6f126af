"""The proof, from the place of a user's server, of what code there reaches."""

import json
from collections.abc import Mapping
from pathlib import Path

import docker
from docker.errors import NotFound

from runtime.container_group import GroupSpec, ProbeSpec, group_labels, prefix
from runtime.group_readiness import DeploymentError

PROBE_SECONDS = 90
PROBE_BYTES = 256 * 2**20
PROBE_PROCESSES = 128
PROBE_SOURCE = Path(__file__).parent / "egress_probe" / "__main__.py"


class ReachError(DeploymentError):
    """Code in users' place reaches what its egress profile closes; the message says what answered."""


def prove(client: docker.APIClient, spec: GroupSpec, probe: ProbeSpec, images: Mapping[str, str]) -> None:
    """Run the probe as a user's server runs, and fail with what answered.

    Raises:
        ReachError: something answered that must not, or did not and must.
        APIError: the engine refused something.
        RequestException: the engine did not answer, or the probe came to no end in time.
    """
    required = list(probe.get("required", ()))
    document = {"forbidden": list(probe["forbidden"]), "required": required, "words": True}
    name, network = f"{prefix(spec)}-egress-probe", f"{prefix(spec)}-{probe['network']}"
    _remove(client, name)
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


def _remove(client: docker.APIClient, name: str) -> None:
    """Remove the probe of an update that was killed, if there is one."""
    try:
        client.remove_container(name, force=True)
    except NotFound:
        return
