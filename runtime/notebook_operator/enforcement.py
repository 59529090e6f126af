"""What runs and may not: notebooks that are stopped, too old, idle for too long, or deleted.

It goes by what the cluster and the platform's settings say: the pod, the set that the operator made, the Notebook's
existence. What a user wrote into the Notebook can end it sooner and never keep it alive, whether it makes sense or not; so
nothing here waits for a Notebook to be read as a whole, or for one of its children to be made.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import httpx2
from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import children, names, status
from runtime.notebook_operator.children import StaleChildError
from runtime.notebook_operator.cluster import MISSING, Cluster, Object
from runtime.notebook_operator.notebook import idle_seconds
from runtime.notebook_operator.outcome import ASK_AGAIN_SECONDS, Judgement, Outcome, soonest
from runtime.notebook_operator.settings import Settings
from runtime.notebook_operator.store import Key, Store
from runtime.notebook_operator.usage import Usage
from runtime.server_activity import idle_since

log = logging.getLogger(__name__)


class Enforcement:
    """Stops what may not run. It changes a set's `replicas` alone, and writes down why."""

    def __init__(
        self, settings: Settings, cluster: Cluster, store: Store, usage: Usage, clock: Callable[[], datetime]
    ) -> None:
        """Describe it.

        Args:
            settings: the stack's.
            cluster: the API server.
            store: what is known of the cluster.
            usage: when notebooks were last used.
            clock: the present.
        """
        self._settings, self._cluster, self._store = settings, cluster, store
        self._usage, self._clock = usage, clock

    async def judge(self, key: Key, body: Object) -> Judgement:
        """Stop a notebook that is to stand still or has reached a limit; say when one is reached next.

        Raises:
            ApiError: the API server could not do it this time.
        """
        annotations: Mapping[str, str] = body["metadata"].get("annotations") or {}
        if names.STOPPED in annotations:
            self._usage.forget(key)
            await self.scale_down(key, body)
            return Judgement(halted=_halted(annotations))
        untold = self._untold(key, body)
        if untold:
            return await self._stop(key, body, *_parted(untold))
        running = self.live_pod(key)
        return await self._limit(key, body, running) if running else Judgement()

    async def end(self, key: Key, body: Object | None) -> None:
        """Stop what runs of a notebook that is deleted, though something holds it, or was, and left its set behind.

        Raises:
            ApiError: the API server could not do it this time.
        """
        if body is not None:
            await self.scale_down(key, body)
            return
        held = self._store.get("StatefulSet", key[1], key[2])
        if held and children.is_orphan(held, key[2], self._settings):
            await self._patch(key, held, untold=None)

    async def scale_down(self, key: Key, body: Object, *, untold: str | None = None) -> None:
        """Set the replicas of the notebook's set to 0.

        Args:
            key: the notebook's.
            body: the Notebook.
            untold: when and why, if the Notebook does not say so.

        Raises:
            ApiError: the API server could not do it this time.
        """
        held = self._store.get("StatefulSet", key[1], key[2])
        if held is None and self.live_pod(key):
            held = await self._cluster.get("StatefulSet", key[1], key[2])
        if held and not held["metadata"].get("deletionTimestamp") and self._is_its(held, body):
            await self._patch(key, held, untold=untold)

    def live_pod(self, key: Key) -> Object | None:
        """The notebook's pod, unless it is ending already."""
        _, namespace, name = key
        found = self._store.get("Pod", namespace, f"{name}-0")
        return None if found is None or found["metadata"].get("deletionTimestamp") else found

    async def _limit(self, key: Key, body: Object, running: Object) -> Judgement:
        """Stop the notebook if it is too old or has been idle for too long."""
        now, limits = self._clock(), self._settings.notebook
        started = status.parse_timestamp(running["metadata"]["creationTimestamp"])
        left = (started + timedelta(seconds=limits.maxAgeSeconds) - now).total_seconds()
        if left <= 0:
            return await self._cull(key, body, f"stopped at its greatest age of {limits.maxAgeSeconds} s")
        if status.pod_progress(running)[0] != status.RUNNING:
            return Judgement(later=left)
        limit = idle_seconds(body, self._settings)
        check = await self._usage.check(key, body, running, limit)
        later = soonest(left, self._usage.seconds_until(check))
        if check.last:
            idle = idle_since(check.last, limit, now).total_seconds()
            if idle <= 0:
                return await self._cull(key, body, f"stopped after {limit} s without activity")
            later = soonest(later, idle)
        return Judgement(later=later, activity=check.unknown)

    async def _cull(self, key: Key, body: Object, why: str) -> Judgement:
        return await self._stop(key, body, status.timestamp(self._clock()), why)

    async def _stop(self, key: Key, body: Object, moment: str, why: str) -> Judgement:
        """Write into the Notebook that it is stopped, and stop it in any case.

        A Notebook that cannot be written, such as one that an admission policy of after its making refuses, has the set say
        so instead, until it can.
        """
        last = self._usage.last(key)
        noted = {names.LAST_ACTIVITY: status.timestamp(last)} if last else {}
        told = f"{moment} {why}"
        annotations = {names.STOPPED: moment, names.CULLED: told, **noted}
        _, namespace, name = key
        try:
            body = await self._cluster.merge("Notebook", namespace, name, {"metadata": {"annotations": annotations}})
        except (ApiError, httpx2.HTTPError) as error:
            log.warning("%s/%s: %s, which cannot be written into the Notebook: %r", namespace, name, why, error)
            await self.scale_down(key, body, untold=told)
            hint = "; it resumes once this can be written into the Notebook, and its annotation is removed"
            return Judgement(halted=Outcome(status.CULLED, why + hint, later=ASK_AGAIN_SECONDS))
        self._store.put(body)
        self._usage.forget(key)
        await self.scale_down(key, body)
        return Judgement(halted=Outcome(status.CULLED, why))

    def _untold(self, key: Key, body: Object) -> str | None:
        """When and why the notebook was stopped, if it could not be written into the Notebook."""
        held = self._store.get("StatefulSet", key[1], key[2])
        return _mark(held) if held and self._is_its(held, body) else None

    def _is_its(self, held: Object, body: Object) -> bool:
        """Whether a set is the notebook's, and not one of somebody else's or of a deleted notebook of its name."""
        metadata = body["metadata"]
        try:
            return children.belongs(held, metadata["name"], metadata["uid"], self._settings)
        except StaleChildError:
            return False

    async def _patch(self, key: Key, held: Object, *, untold: str | None) -> None:
        """Set a set's replicas to 0, and what could not be told, and nothing else."""
        patch: dict[str, object] = {"spec": {"replicas": 0}} if held["spec"].get("replicas") else {}
        if _mark(held) != untold:
            patch["metadata"] = {"annotations": {names.CULLED: untold}}
        if not patch:
            return
        try:
            self._store.put(await self._cluster.merge("StatefulSet", key[1], key[2], patch))
        except ApiError as error:
            if error.status.code != MISSING:
                raise


def _mark(held: Object) -> str | None:
    return (held["metadata"].get("annotations") or {}).get(names.CULLED)


def _halted(annotations: Mapping[str, str]) -> Outcome:
    """Why a notebook with the annotation stands still: what the operator wrote, unless it was stopped by hand since."""
    moment, why = _parted(annotations.get(names.CULLED, ""))
    if why and moment == annotations[names.STOPPED]:
        return Outcome(status.CULLED, why)
    return Outcome(status.STOPPED, f"stopped by the annotation {names.STOPPED}")


def _parted(told: str) -> tuple[str, str]:
    moment, _, why = told.partition(" ")
    return moment, why
