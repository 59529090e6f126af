"""What a host of a pool fetches, and the user data that makes it do so."""

import functools
import json
from collections.abc import Mapping

from components.aws.boot import archive, encoded, host_script, program_files
from components.aws.swarm_access import registries
from runtime.container_group import GroupSpec
from runtime.pool_host.settings import GROUP_FILE, HOST_FILE, REGISTRY_FILE

HOST_PROGRAM = (
    "runtime/__init__.py",
    "runtime/container_group.py",
    "runtime/egress_probe",
    "runtime/group_deployment.py",
    "runtime/group_proof.py",
    "runtime/group_readiness.py",
    "runtime/pool_host",
)
"""What a host runs, relative to the project."""


@functools.cache
def _program() -> Mapping[str, bytes]:
    return program_files(HOST_PROGRAM)


def pool_bundle(spec: GroupSpec, images: Mapping[str, str]) -> bytes:
    """The archive: the host's program, its containers, and the registries whose tokens it renews.

    Args:
        spec: the group of containers: a node, or the redirector.
        images: its images by short name, each by digest.
    """
    helpers = {"credHelpers": dict.fromkeys(registries(list(images.values())), "ecr-login")}
    documents = {GROUP_FILE: {"spec": spec, "images": images}, REGISTRY_FILE: helpers}
    texts = {name: json.dumps(document, sort_keys=True).encode() for name, document in documents.items()}
    return archive({**_program(), **texts})


def host_user_data(*, bucket: str, key: str, secret: str, region: str, session_manager: bool = True) -> str:
    """User data of a host, as AWS's API takes it; nothing in it changes with what the host runs.

    Args:
        bucket: bucket that holds the archive.
        key: the archive's key in it.
        secret: ARN of the secret with what the containers must know; empty where they need none.
        region: region of all of them.
        session_manager: whether Session Manager's agent is installed. Default True; without it nobody gets a shell, and
            nobody is heard who asks the host to leave.

    Raises:
        ValueError: it is longer than user data may be.
    """
    host = {"bucket": bucket, "key": key, "secret": secret, "region": region}
    values = {
        "BUCKET": bucket,
        "HOST": json.dumps(host, sort_keys=True),
        "HOST_FILE": HOST_FILE,
        "KEY": key,
        "REGION": region,
        "REGISTRY_FILE": REGISTRY_FILE,
        "SESSION_MANAGER": "yes" if session_manager else "no",
    }
    return encoded(host_script("pool_host.sh", values))
