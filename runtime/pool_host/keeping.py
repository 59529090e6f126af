"""Rounds of a host: have the containers that the bundle describes, and notice when there is another to run."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import docker
from botocore.exceptions import BotoCoreError, ClientError
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from runtime.container_group import GroupSpec, prefix
from runtime.group_deployment import DeploymentError, ReachError, deploy, differences
from runtime.pool_host.settings import Group

ROUND_SECONDS = 5
"""How soon another bundle is noticed."""

SECRET_SECONDS = 60
"""How soon another secret is noticed; asking costs money."""

ENGINE_SECONDS = 300
LONG_SECONDS = 2 * 86400
"""Longer than any node waits for its users."""

LOOPBACK = "127.0.0.1"

log = logging.getLogger("hubstack-host")


class Asked(Protocol):
    """Who knows what the host is to run."""

    def etag(self) -> str:
        """The version of the bundle that there is now."""
        ...

    def secrets(self) -> Mapping[str, str]:
        """The secrets that there are now."""
        ...


def faces(spec: GroupSpec) -> list[str]:
    """Containers that visitors reach: those with a port on an address that is not the host's own."""
    return [
        name
        for name, container in spec["containers"].items()
        if any(port["address"] != LOOPBACK for port in container.get("ports", ()))
    ]


class Keeper:
    """Looks after the containers of one bundle."""

    def __init__(
        self, client: docker.APIClient, group: Group, account: Asked, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the bundle on.

        Args:
            client: the host's engine.
            group: what it is to run.
            account: who knows whether there is another.
            clock: seconds that only grow.
        """
        self._client, self._group, self._account, self._clock = client, group, account, clock
        self._secrets: Mapping[str, str] | None = None
        self._asked = 0.0
        self._deployed = False
        self._refused = False

    def is_outdated(self) -> bool:
        """Whether there is another bundle or secret; whoever does not answer has none."""
        try:
            if self._account.etag() != self._group.etag:
                log.info("there is another bundle")
                return True
            if self._secrets is None or self._clock() - self._asked < SECRET_SECONDS:
                return False
            self._asked = self._clock()
            if self._account.secrets() != self._secrets:
                log.info("there is another secret")
                return True
        except (ClientError, BotoCoreError) as error:
            log.warning("AWS: %s", error)
        return False

    def round(self) -> None:
        """Do what lacks; what fails is told, and the next round comes back to it.

        Where the proof finds that code of users reaches too much, visitors are let in no more until another bundle comes.
        """
        if self._refused:
            return
        group = self._group
        try:
            if self._secrets is None:
                self._secrets, self._asked = self._account.secrets(), self._clock()
            lacking = differences(self._client, group.spec, group.images)
            if self._deployed and not lacking:
                return
            for sentence in lacking if self._deployed else ():
                log.warning("%s", sentence)
            deploy(self._client, group.spec, group.images, self._secrets)
            self._deployed = True
            log.info("%s works", prefix(group.spec))
        except ReachError as error:
            log.error("%s", error)  # noqa: TRY400  (the message is all that there is to know)
            self._close()
        except (DeploymentError, ClientError, BotoCoreError) as error:
            log.warning("%s", error)
        except APIError as error:
            log.warning("the engine refused: %s", error.explanation)
        except (DockerException, RequestException) as error:
            log.warning("the engine does not answer: %s", error)

    def _close(self) -> None:
        for name in faces(self._group.spec):
            self._client.stop(f"{prefix(self._group.spec)}-{name}")
        self._refused = True
        log.error("visitors are let in no more")
