"""The host's program: `python3 -m runtime.pool_host keep|leave HOST FOLDER`.

HOST is the file that the host's user data wrote, FOLDER the unpacked bundle. `keep` looks after the containers and ends
when there is another bundle or secret; whoever starts it fetches that first. `leave` lets users finish and removes all.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3  # pyright: ignore[reportMissingTypeStubs]  (it ships none)
import docker

from runtime.group_deployment import remove
from runtime.pool_host.keeping import ENGINE_SECONDS, LONG_SECONDS, ROUND_SECONDS, Keeper, log
from runtime.pool_host.refusal import Refusal
from runtime.pool_host.settings import REFUSED_FILE, Host, load_group, load_host

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
"""As the AWS SDKs name it; Debian's version does not read it by itself."""


class Account:
    """What the host asks of AWS."""

    def __init__(self, host: Host) -> None:
        """Make the clients."""
        self._host = host
        self._s3, self._secrets = (self._client(service) for service in ("s3", "secretsmanager"))

    def _client(self, service: str) -> Any:
        endpoint = os.environ.get(ENDPOINT_VARIABLE) or None
        return boto3.client(service, region_name=self._host.region, endpoint_url=endpoint)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def etag(self) -> str:
        """What S3 calls the version of the bundle that it has now.

        Raises:
            ClientError, BotoCoreError: S3 refuses or does not answer.
        """
        return self._s3.head_object(Bucket=self._host.bucket, Key=self._host.key)["ETag"]

    def secrets(self) -> Mapping[str, str]:
        """The containers' secrets by their names.

        Raises:
            ClientError, BotoCoreError: Secrets Manager refuses or does not answer.
        """
        if not self._host.secret:
            return {}
        return json.loads(self._secrets.get_secret_value(SecretId=self._host.secret)["SecretString"])


def main(arguments: Sequence[str]) -> int:
    """Look after the containers, or remove them; 0 when that is done."""
    action, file, folder = arguments
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)
    host, group = load_host(Path(file)), load_group(Path(folder))
    if action == "leave":
        with closing(docker.APIClient(version="auto", timeout=LONG_SECONDS)) as client:
            remove(client, group.spec)
        return 0
    with closing(docker.APIClient(version="auto", timeout=ENGINE_SECONDS)) as client:
        keeper = Keeper(client, group, Account(host), Refusal(Path(REFUSED_FILE)))
        while not keeper.is_outdated():
            keeper.round()
            time.sleep(ROUND_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
