"""What every host of a Swarm fetches, and the user data that makes it do so."""

import json
from collections.abc import Mapping
from pathlib import Path

from components.aws.boot import archive, encoded, host_script, program_files
from components.aws.swarm_access import registries
from runtime.swarm_node.settings import DEPLOYMENT_FILE, STACK_FILE

NODE_PROGRAM = (
    "runtime/__init__.py",
    "runtime/home_volumes",
    "runtime/open_network.py",
    "runtime/swarm_node",
)
"""What a host runs, relative to the project."""

SHARED_FOLDER = Path("/srv/hubstack")
"""Where hosts have the shared file system."""

HOMES = SHARED_FOLDER / "homes"
HUB_DATA = SHARED_FOLDER / "hub"


def swarm_bundle(
    stack_file: Mapping[str, object], deployment: Mapping[str, object], configs: Mapping[str, str]
) -> bytes:
    """The archive: the hosts' program, the stack file, the texts that it names, and what hosts prepare.

    Args:
        stack_file: services, as `docker stack deploy` reads them.
        deployment: what `runtime/swarm_node/settings.py` reads.
        configs: texts of configuration files by file name.
    """
    documents = {STACK_FILE: stack_file, DEPLOYMENT_FILE: deployment}
    texts = {**configs, **{name: json.dumps(document, sort_keys=True) for name, document in documents.items()}}
    return archive({**program_files(NODE_PROGRAM), **{name: text.encode() for name, text in texts.items()}})


def node_user_data(node: Mapping[str, object], *, bundle: str, file_system: str, region: str, images: list[str]) -> str:
    """User data of a host, as AWS's API takes it.

    Args:
        node: what `runtime/swarm_node/settings.py` reads of the host itself.
        bundle: address of the archive in S3.
        file_system: DNS name of the shared file system.
        region: region of all of them.
        images: images that the host pulls.

    Raises:
        ValueError: it is longer than user data may be.
    """
    helpers = {"credHelpers": dict.fromkeys(registries(images), "ecr-login")}
    script = host_script(
        "swarm_node.sh",
        {
            "BUNDLE": bundle,
            "FILE_SYSTEM": file_system,
            "NODE": json.dumps(node, sort_keys=True),
            "REGION": region,
            "REGISTRY_CONFIG": json.dumps(helpers),
            "SESSION_MANAGER": "yes",
        },
    )
    return encoded(script)
