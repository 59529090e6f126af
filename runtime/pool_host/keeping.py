"""Rounds of a host: have the containers that the bundle describes, and notice when there is another to run."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import docker
from botocore.exceptions import BotoCoreError, ClientError
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from runtime.container_group import faces, prefix
from runtime.group_deployment import close, deploy, differences
from runtime.group_proof import ReachError
from runtime.group_readiness import DeploymentError
from runtime.pool_host.images import remove_other_images
from runtime.pool_host.refusal import Refusal
from runtime.pool_host.settings import Group

ROUND_SECONDS = 5
"""How soon another bundle is noticed."""

SECRET_SECONDS = 60
"""How soon another secret is noticed; asking costs money."""

IMAGES_SECONDS = 3600
"""How soon an image is removed after the last server of it."""

ENGINE_SECONDS = 300
LONG_SECONDS = 2 * 86400
"""Longer than any node waits for its users."""

log = logging.getLogger("hubstack-host")


class Asked(Protocol):
    """Who knows what the host is to run."""

    def etag(self) -> str:
        """The version of the bundle that there is now."""
        ...

    def secrets(self) -> Mapping[str, str]:
        """The secrets that there are now."""
        ...


class Keeper:
    """Looks after the containers of one bundle."""

    def __init__(
        self,
        client: docker.APIClient,
        group: Group,
        account: Asked,
        refusal: Refusal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the bundle on.

        Args:
            client: the host's engine.
            group: what it is to run.
            account: who knows whether there is another.
            refusal: remembers whether visitors are let in to this bundle no more.
            clock: seconds that only grow.
        """
        self._client, self._group, self._account, self._clock = client, group, account, clock
        self._refusal = refusal
        self._secrets: Mapping[str, str] | None = None
        self._asked = 0.0
        self._deployed = False
        self._tidied: float | None = None
        self._refused = refusal.holds(group.etag)
        if self._refused:
            log.error("visitors are let in no more until there is another bundle (%s)", refusal.path)

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
        try:
            if self._refused:
                close(self._client, self._group.spec)
            else:
                self._have_group()
                self._tidy()
        except ReachError as error:
            log.error("%s", error)  # noqa: TRY400  (the message is all that there is to know)
            self._refuse()
        except (DeploymentError, ClientError, BotoCoreError) as error:
            log.warning("%s", error)
        except APIError as error:
            log.warning("the engine refused: %s", error.explanation)
        except (DockerException, RequestException) as error:
            log.warning("the engine does not answer: %s", error)

    def _have_group(self) -> None:
        group = self._group
        if self._secrets is None:
            self._secrets, self._asked = self._account.secrets(), self._clock()
        lacking = differences(self._client, group.spec, group.images)
        if self._deployed and not lacking:
            return
        for sentence in lacking if self._deployed else ():
            log.warning("%s", sentence)
        deploy(self._client, group.spec, group.images, self._secrets, proved=self._deployed and self._is_behind_right())
        self._deployed = True
        log.info("%s works", prefix(group.spec))

    def _tidy(self) -> None:
        """Once what the bundle describes works, and then now and again: the images of earlier bundles go."""
        if self._tidied is not None and self._clock() - self._tidied < IMAGES_SECONDS:
            return
        self._tidied = self._clock()
        for name in remove_other_images(self._client, self._group.images.values()):
            log.info("removed the image %s", name)

    def _is_behind_right(self) -> bool:
        """Whether nothing lacks but what visitors reach, of which nothing is proved: it need not wait for a proof."""
        spec, front = self._group.spec, faces(self._group.spec)
        return not differences(
            self._client, spec, self._group.images, [name for name in spec["order"] if name not in front]
        )

    def _refuse(self) -> None:
        """Let nobody in any more: each round sees to it."""
        self._refused = True
        try:
            self._refusal.remember(self._group.etag)
        except OSError as error:
            log.warning("a restart forgets that visitors are let in no more: %s", error)
        log.error("visitors are let in no more until there is another bundle")
