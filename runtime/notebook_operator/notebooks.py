"""Notebooks: their children, their start and their status."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import children, names, pod, status
from runtime.notebook_operator.cluster import KINDS, MISSING, Cluster, Object, Verdict, verdict
from runtime.notebook_operator.enforcement import Enforcement
from runtime.notebook_operator.notebook import InvalidNotebookError, Notebook, parse_notebook
from runtime.notebook_operator.outcome import ASK_AGAIN_SECONDS, Judgement, Outcome, refusal, soonest, standing
from runtime.notebook_operator.queue import WorkQueue
from runtime.notebook_operator.settings import Settings
from runtime.notebook_operator.store import Key, Store, excess, key_of
from runtime.notebook_operator.tokens import Tokens
from runtime.notebook_operator.usage import Usage

START_SECONDS = 5.0
"""How long the set's controller may take to make a pod before the API server is asked again whether it could."""
RELEASE_SECONDS = 1.0
"""How long after a pod's end its quota is tried again: the count follows the pod."""
LATEST_RELEASE_SECONDS = 10.0
"""How long after a notebook's last pod was seen to end a full quota may be that pod's."""
STALE_SECONDS = 1.0
RESYNC_SECONDS = 600.0
"""How often children are read again: a watch that was cut off does not tell what was deleted meanwhile."""
SHORTEST_LOOK_SECONDS = 0.1
CLAIM = "PersistentVolumeClaim"
PROFILE_PENDING = "its profile is not ready yet"
LASTING = frozenset({status.REFUSED, status.NO_ACCESS})
"""Reasons for which a pod would be refused whatever ends before; a quota still counts the pod that it is to replace."""

log = logging.getLogger(__name__)


class Notebooks:
    """Brings each notebook to what its object asks for. All that it remembers can be lost."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        store: Store,
        browser: httpx2.AsyncClient,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe it.

        Args:
            settings: the stack's.
            cluster: the API server.
            store: what is known of the cluster.
            browser: asks notebooks' servers.
            clock: the present.
            timer: seconds that only grow.
        """
        self._settings, self._cluster, self._store = settings, cluster, store
        self._clock, self._timer = clock, timer
        self._tokens = Tokens(settings, cluster)
        self._usage = Usage(settings, cluster, store, browser, self._tokens, clock, timer)
        self._enforcement = Enforcement(settings, cluster, store, self._usage, clock)
        self._started: dict[Key, float] = {}
        self._ending: dict[Key, float] = {}
        self._reserved: set[Key] = set()
        self._resyncs: dict[Key, float] = {}
        self._refused: set[Key] = set()
        self._releases = 0

    async def look(self, key: Key) -> float | None:
        """Stop a notebook if it may not run, and bring it to what its object asks for.

        Returns:
            Seconds until the next look without a cause; None for never.

        Raises:
            ApiError: the API server could not do it this time.
        """
        releases = self._releases
        due = self._is_due(key)
        if due:
            await self._read_again(key, {"Notebook": "", "StatefulSet": "", "Pod": "-0"})
        body = self._store.get(*key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            await self._enforcement.end(key, body)
            self._forget(key)
            return None
        judged = await self._enforcement.judge(key, body)
        if due:
            await self._read_again(key, self._others(key))
            self._tokens.forget(key)
            self._plan_reading(key)
        outcome = await self._bring(key, self._store.get(*key) or body, judged)
        # What was released during the look may not have been counted in it.
        retry = RELEASE_SECONDS if key in self._refused and self._releases != releases else None
        later = soonest(self._resyncs[key] - self._timer(), judged.later, outcome.later, retry)
        return max(SHORTEST_LOOK_SECONDS, later or 0)

    def released(self, queue: WorkQueue) -> None:
        """Have those looked at again that were refused for want of room, since a pod has ended."""
        self._releases += 1
        for key in self._refused:
            queue.add_later(key, RELEASE_SECONDS)

    def _is_due(self, key: Key) -> bool:
        """Whether the notebook and its children are to be read again; not at first, when all have just been listed."""
        if key not in self._resyncs:
            self._plan_reading(key)
        return self._timer() >= self._resyncs[key]

    def _plan_reading(self, key: Key) -> None:
        # Not all at the same time.
        self._resyncs[key] = self._timer() + RESYNC_SECONDS * random.uniform(0.5, 1)  # noqa: S311

    def _others(self, key: Key) -> dict[str, str]:
        """Kinds and suffixes of what else is read again: a home only where it is known, as somebody's own claim never is."""
        _, namespace, name = key
        route = self._settings.route.kind.value
        found = {"Service": "", **({route: ""} if route in KINDS else {})}
        if self._store.get(CLAIM, namespace, f"{name}{pod.HOME_SUFFIX}"):
            found[CLAIM] = pod.HOME_SUFFIX
        return found

    async def _read_again(self, key: Key, suffixes: Mapping[str, str]) -> None:
        """Read objects of these kinds, which are called as the notebook and the suffix."""
        _, namespace, name = key
        for kind, suffix in suffixes.items():
            held = self._store.get(kind, namespace, f"{name}{suffix}")
            found = await self._cluster.get(kind, namespace, f"{name}{suffix}")
            if found:
                self._store.put(found)
            elif held:
                self._store.drop(held)

    async def _bring(self, key: Key, body: Object, judged: Judgement) -> Outcome:
        """Furnish the notebook as far as it can be, and tell how far it is."""
        notebook, found = None, None
        generation: int = body["metadata"]["generation"]
        try:
            if too_large := excess(body):
                raise InvalidNotebookError(too_large)
            notebook = parse_notebook(body, self._settings)
            found = await self._furnish(key, notebook, body, stopped=judged.halted is not None)
        except InvalidNotebookError as error:
            found = Outcome(status.INVALID, str(error))
        except children.StaleChildError as error:
            found = Outcome(status.STARTING, str(error), later=STALE_SECONDS)
        except children.ForeignChildError as error:
            found = Outcome(status.REFUSED, str(error), later=ASK_AGAIN_SECONDS)
        except ApiError as error:
            found = refusal(error, key[1])
            if found is None:
                if judged.halted:
                    await self._tell(key, notebook, judged.halted, judged.activity, generation)
                raise
        outcome = standing(judged.halted, found) if judged.halted else found or self._progress(key)
        if outcome.reason in {status.QUOTA_EXCEEDED, status.FLEET_FULL}:
            self._refused.add(key)
        else:
            self._refused.discard(key)
        await self._tell(key, notebook, outcome, judged.activity, generation)
        return outcome

    async def _furnish(self, key: Key, notebook: Notebook, body: Object, *, stopped: bool) -> Outcome | None:
        """Make what the notebook is made of, and start it unless it is stopped; returns what keeps it from that."""
        profile = self._store.get("Profile", "", notebook.namespace)
        ready = profile is None or status.is_ready(profile.get("status") or {})
        running = self._pod(key)
        if running and running["metadata"].get("deletionTimestamp"):
            self._ending[key] = self._timer()
        if stopped:
            self._started.pop(key, None)
            if ready:
                await self._make(key, notebook, replicas=0)
                await self._keep_home(notebook, make=False)
            return None
        admitted = self._is_admitted(notebook)
        in_time = self._timer() - self._started.get(key, -START_SECONDS) < START_SECONDS
        if not admitted or (running is None and not in_time):
            return await self._try(key, notebook, body) if ready else Outcome(status.STARTING, PROFILE_PENDING)
        if running is None:
            await self._make(key, notebook, replicas=1)
            return None
        self._started.pop(key, None)
        await self._furnish_pod(key, notebook, body, running)
        outdated = _is_outdated(notebook, running)
        refused = await self._rehearse(key, notebook) if outdated else None
        if refused and refused.reason in LASTING:
            return Outcome(refused.reason, f"what runs goes on as it was started: {refused.message}", refused.later)
        await self._make(key, notebook, replicas=1)
        if outdated:
            await self._replace(key, notebook, running)
        return None

    def _is_admitted(self, notebook: Notebook) -> bool:
        """Whether it counts among those that run: a pod that is still ending does not, once its set has no replicas."""
        held = self._store.get("StatefulSet", notebook.namespace, notebook.name)
        return held is not None and bool(held["spec"].get("replicas"))

    def _progress(self, key: Key) -> Outcome:
        running = self._pod(key)
        return Outcome(*status.pod_progress(running), later=START_SECONDS if running is None else None)

    async def _try(self, key: Key, notebook: Notebook, body: Object) -> Outcome | None:
        """Start a notebook that does not run, if the fleet has room and the API server would take its pod and its home."""
        running = {key_of(body)[1:] for body in self._store.of("StatefulSet") if body["spec"].get("replicas")}
        others = (running | {other[1:] for other in self._reserved}) - {key[1:]}
        refused = None
        if len(others) >= self._settings.notebooks:
            refused = Outcome(
                status.FLEET_FULL,
                f"{len(others)} notebooks run, which is as many as the platform allows; it starts when one is stopped",
                later=ASK_AGAIN_SECONDS,
            )
        # While the API server is asked, others are tried.
        self._reserved.add(key)
        try:
            refused = refused or await self._rehearse(key, notebook)
            if refused:
                await self._enforcement.scale_down(key, body)
                return refused
            await self._make(key, notebook, replicas=1)
        finally:
            self._reserved.discard(key)
        self._started[key] = self._timer()
        return None

    async def _rehearse(self, key: Key, notebook: Notebook) -> Outcome | None:
        """Hear whether the API server would take the pod and the home; returns what it has against them."""
        trial = children.trial_pod(notebook, self._settings)
        try:
            await asyncio.gather(self._cluster.create(trial, dry_run=True), self._rehearse_home(notebook))
        except ApiError as error:
            refused = refusal(error, notebook.namespace)
            if refused is None:
                raise
            since = self._timer() - self._ending.get(key, -LATEST_RELEASE_SECONDS)
            if refused.reason == status.QUOTA_EXCEEDED and since < LATEST_RELEASE_SECONDS:
                return Outcome(status.STARTING, "the quota has no room before the last pod has ended", RELEASE_SECONDS)
            return refused
        return None

    async def _rehearse_home(self, notebook: Notebook) -> None:
        claim = pod.home_claim_name(notebook, self._settings)
        if claim and claim[1] and not await self._claim(notebook, claim[0]):
            await self._cluster.create(children.home_claim(notebook, self._settings, claim[0]), dry_run=True)

    async def _make(self, key: Key, notebook: Notebook, *, replicas: int) -> None:
        """Make the children as they should be; the pod's set last, which needs the Secret."""
        wanted = [children.service(notebook, self._settings)]
        route = children.route(notebook, self._settings)
        if route:
            wanted.append(route)
        await asyncio.gather(self._tokens.ensure(key, notebook), *(self._ensure(notebook, child) for child in wanted))
        claim = pod.home_claim_name(notebook, self._settings)
        gated = claim is not None and claim[1] and not await self._claim(notebook, claim[0])
        wanted_set = children.stateful_set(notebook, self._settings, replicas=replicas, gated=gated)
        await self._ensure(notebook, wanted_set)

    async def _ensure(self, notebook: Notebook, wanted: Object) -> None:
        kind, namespace, name = key_of(wanted)
        held = self._store.get(kind, namespace, name) or await self._cluster.get(kind, namespace, name)
        if held:
            children.claim_ownership(held, notebook, self._settings)
            if self._cluster.in_sync(wanted, held):
                return
        self._store.put(await self._cluster.apply(wanted))

    async def _furnish_pod(self, key: Key, notebook: Notebook, body: Object, running: Object) -> None:
        """Give a pod that exists its home, and let it be scheduled.

        The home is made only now: a pod that a quota refuses leaves no claim behind. A pod that runs has its home, and an
        error ends nobody's kernels.
        """
        gates = running["spec"].get("schedulingGates") or []
        left = [gate for gate in gates if gate["name"] != names.HOME_GATE]
        try:
            await self._keep_home(notebook, make=True)
        except ApiError as error:
            if left != gates and verdict(error) in {Verdict.QUOTA, Verdict.REFUSED}:
                await self._enforcement.scale_down(key, body)
            raise
        if left != gates:
            patch = {"spec": {"schedulingGates": left or None}}
            self._store.put(await self._cluster.merge("Pod", notebook.namespace, notebook.pod, patch))

    async def _replace(self, key: Key, notebook: Notebook, running: Object) -> None:
        """End a pod whose user has changed the notebook since; the set makes the next."""
        log.info("%s/%s: its template has changed, the pod is replaced", notebook.namespace, notebook.name)
        self._started[key] = self._timer()
        await self._cluster.delete("Pod", notebook.namespace, notebook.pod)
        # Until the watch says so, it would be taken for one that answers.
        ending = {**running["metadata"], "deletionTimestamp": status.timestamp(self._clock())}
        self._store.put({**running, "metadata": ending})

    async def _keep_home(self, notebook: Notebook, *, make: bool) -> None:
        claim = pod.home_claim_name(notebook, self._settings)
        if not claim or not claim[1]:
            return
        held = await self._claim(notebook, claim[0])
        if held is None:
            if make:
                wanted = children.home_claim(notebook, self._settings, claim[0])
                self._store.put(await self._cluster.create(wanted))
            return
        labels = held["metadata"].get("labels") or {}
        if labels.get(names.ROLE) != names.HOME_ROLE or labels.get(names.NOTEBOOK_NAME) != notebook.name:
            # Somebody made it: it is mounted as it is.
            return
        owners = children.home_owners(notebook)
        others = held["metadata"].get("ownerReferences") or []
        if {owner["uid"] for owner in owners} != {owner["uid"] for owner in others}:
            patch = {"metadata": {"ownerReferences": owners}}
            self._store.put(await self._cluster.merge(CLAIM, notebook.namespace, claim[0], patch))

    async def _claim(self, notebook: Notebook, name: str) -> Object | None:
        held = self._store.get(CLAIM, notebook.namespace, name)
        return held or await self._cluster.get(CLAIM, notebook.namespace, name)

    async def _tell(
        self, key: Key, notebook: Notebook | None, outcome: Outcome, activity: str | None, generation: int
    ) -> None:
        """Write the status if it has changed, after the event that tells of it.

        Args:
            key: the notebook's.
            notebook: what it asks for, if that could be read.
            outcome: how far it is.
            activity: why its activity is unknown, empty if it is known, None if nobody asked since.
            generation: what of it was looked at; by now there may be a later one.

        Raises:
            ApiError: the API server could not do it this time.
        """
        body = self._store.get(*key)
        if body is None:
            return
        before: Any = body.get("status") or {}
        now = self._clock()
        after = status.notebook_status(
            reason=outcome.reason,
            message=outcome.message,
            url=notebook.url(self._settings) if notebook else "",
            pod=self._pod(key),
            name=body["metadata"]["name"],
            activity=activity,
            generation=generation,
            before=before,
            now=now,
        )
        if after == before:
            return
        told = status.notebook_event(status.reason_of(before), outcome.reason, outcome.message)
        if told:
            type_, reason, message = told
            version = body["metadata"]["resourceVersion"]
            event = status.event(about=body, type_=type_, reason=reason, message=message, since=version, now=now)
            await self._cluster.tell(event)
        try:
            self._store.put(await self._cluster.set_status(body, after))
        except ApiError as error:
            # It was deleted meanwhile.
            if error.status.code != MISSING:
                raise

    def _pod(self, key: Key) -> Object | None:
        _, namespace, name = key
        return self._store.get("Pod", namespace, f"{name}-0")

    def _forget(self, key: Key) -> None:
        _, namespace, name = key
        for memory in (self._started, self._ending, self._resyncs):
            memory.pop(key, None)
        self._refused.discard(key)
        self._tokens.forget(key)
        self._usage.forget(key)
        for kind in ("StatefulSet", "Service", "HTTPRoute", "Mapping"):
            self._cluster.forget(kind, namespace, name)


def _is_outdated(notebook: Notebook, running: Object) -> bool:
    """Whether the user has changed the notebook since its pod was made; one that is ending already needs nothing."""
    metadata = running["metadata"]
    made_from = (metadata.get("annotations") or {}).get(names.TEMPLATE)
    return made_from != pod.template_digest(notebook) and not metadata.get("deletionTimestamp")
