"""Fetch the hub's secrets into memory, as root, whenever the hub or its proxy starts."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import boto3

from runtime.ec2_spawner.settings import SECRETS_FOLDER

OWNER = "hub"


def write_secrets(values: Mapping[str, str], folder: Path, owner: str) -> None:
    """Write each value into a file of its name that `owner` alone reads; who reads meanwhile gets an old or a new one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(folder, owner, owner)
    for name, value in sorted(values.items()):
        handle, unfinished = tempfile.mkstemp(dir=folder)  # readable by its owner alone from the start
        with os.fdopen(handle, "w") as file:
            file.write(value)
        shutil.chown(unfinished, owner, owner)
        Path(unfinished).rename(folder / name)


def main() -> None:
    """Fetch the secret whose ARN is in `SECRET`.

    Raises:
        ClientError: AWS refused; systemd tries again.
    """
    client = boto3.client("secretsmanager")  # pyright: ignore[reportUnknownMemberType]
    document = client.get_secret_value(SecretId=os.environ["SECRET"])["SecretString"]
    write_secrets(json.loads(document), SECRETS_FOLDER, OWNER)


if __name__ == "__main__":
    main()
