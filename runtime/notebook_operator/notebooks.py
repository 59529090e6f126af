"""Notebooks: their children, their start and their end."""

import asyncio
import base64
import logging
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError

from runtime.hub.culling import activity_interval_seconds
from runtime.notebook_operator import activity, children, names, pod, status
from runtime.notebook_operator.cluster import FORBIDDEN, Cluster, Object, Verdict, verdict
from runtime.notebook_operator.notebook import InvalidNotebookError, Notebook, parse_notebook
from runtime.notebook_operator.queue import WorkQueue
from runtime.notebook_operator.settings import Settings
from runtime.notebook_operator.store import Key, Store, key_of
from runtime.server_activity import UnreadableError, idle_since, last_used

START_SECONDS = 5.0
"""How long the set's controller may take to make a pod before the API server is asked again whether it could."""
ASK_AGAIN_SECONDS = 30.0
"""How often a notebook that was refused is tried again without a cause."""
RELEASE_SECONDS = 1.0
"""How long after a pod's end its quota is tried again: the count follows the pod."""
STALE_SECONDS = 1.0
RESYNC_SECONDS = 600.0
"""How often children are read again: a watch that was cut off does not tell what was deleted meanwhile."""
LEAST_ACTIVITY_STEP = timedelta(seconds=60)
SHORTEST_LOOK_SECONDS = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a look at a notebook found."""

    reason: str
    message: str
    later: float | None = None
    """Seconds until the next look without a cause; None for the next reading again."""
    activity: str | None = None
    """Why its activity is unknown, empty if it is known, None if nobody asked since."""


@dataclass(frozen=True)
class Check:
    """What was last heard of a server's use."""

    pod: str
    """Uid of the pod."""
    due: float
    """When to ask again, by the timer."""
    last: datetime | None = None
    """When it was last used; None if it does not say."""
    unknown: str | None = None
    """Why it does not say, empty if it does, None before it was asked."""


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
        self._browser, self._clock, self._timer = browser, clock, timer
        self._tokens: dict[Key, str] = {}
        self._started: dict[Key, float] = {}
        self._reserved: set[Key] = set()
        self._checks: dict[Key, Check] = {}
        self._resyncs: dict[Key, float] = {}
        self._refused: set[Key] = set()

    async def look(self, key: Key) -> float | None:
        """Bring a notebook to what its object asks for.

        Returns:
            Seconds until the next look without a cause; None for never.

        Raises:
            ApiError: the API server could not do it this time.
        """
        body = await self._current(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        notebook = None
        try:
            notebook = parse_notebook(body, self._settings)
            outcome = await self._bring(key, notebook)
        except InvalidNotebookError as error:
            outcome = Outcome(status.INVALID, str(error))
        except children.StaleChildError as error:
            outcome = Outcome(status.STARTING, str(error), later=STALE_SECONDS)
        except ForeignChildError as error:
            outcome = Outcome(status.REFUSED, str(error), later=ASK_AGAIN_SECONDS)
        except ApiError as error:
            outcome = refusal(error, key)
        if outcome.reason in {status.QUOTA_EXCEEDED, status.FLEET_FULL}:
            self._refused.add(key)
        else:
            self._refused.discard(key)
        await self._tell(key, notebook, outcome)
        resync = max(SHORTEST_LOOK_SECONDS, self._resyncs[key] - self._timer())
        return resync if outcome.later is None else max(SHORTEST_LOOK_SECONDS, min(resync, outcome.later))

    def released(self, queue: WorkQueue) -> None:
        """Have those looked at again that were refused for want of room, since a pod has ended."""
        for key in self._refused:
            queue.add_later(key, RELEASE_SECONDS)

    async def _current(self, key: Key) -> Object | None:
        """The notebook, after reading it and its children again if that is due."""
        _, namespace, name = key
        due = self._resyncs.get(key)
        if due is not None and self._timer() >= due:
            await self._read_again(key)
            self._tokens.pop(key, None)
            due = None
        if due is None:
            # Not all at the same time.
            self._resyncs[key] = self._timer() + RESYNC_SECONDS * random.uniform(0.5, 1)  # noqa: S311
        return self._store.get("Notebook", namespace, name)

    async def _read_again(self, key: Key) -> None:
        _, namespace, name = key
        things = [("Notebook", name), ("StatefulSet", name), ("Service", name), ("Pod", f"{name}-0")]
        if self._settings.route.kind.value in {"HTTPRoute", "Mapping"}:
            things.append((self._settings.route.kind.value, name))
        for kind, thing in things:
            held = self._store.get(kind, namespace, thing)
            found = await self._cluster.get(kind, namespace, thing)
            if found:
                self._store.put(found)
            elif held:
                self._store.drop(held)

    async def _bring(self, key: Key, notebook: Notebook) -> Outcome:
        profile = self._store.get("Profile", "", notebook.namespace)
        if profile and not status.is_ready(profile.get("status") or {}):
            return Outcome(status.STARTING, "its profile is not ready yet")
        if notebook.stopped:
            return await self._halt(key, notebook)
        running = self._pod(notebook)
        if running is None and self._timer() - self._started.get(key, -START_SECONDS) >= START_SECONDS:
            refused = await self._try(key, notebook)
            if refused:
                return refused
        elif running is None:
            await self._make(key, notebook, replicas=1)
        else:
            self._started.pop(key, None)
            await self._furnish(notebook, running)
            await self._make(key, notebook, replicas=1)
            await self._replace_outdated(key, notebook, running)
        return await self._watch_over(key, notebook)

    async def _halt(self, key: Key, notebook: Notebook) -> Outcome:
        self._started.pop(key, None)
        self._checks.pop(key, None)
        await self._make(key, notebook, replicas=0)
        await self._keep_home(notebook, make=False)
        if notebook.culled:
            return Outcome(status.CULLED, notebook.culled)
        return Outcome(status.STOPPED, f"stopped by the annotation {names.STOPPED}")

    async def _try(self, key: Key, notebook: Notebook) -> Outcome | None:
        """Start a notebook that has no pod, if the fleet has room and the API server would take its pod and its home."""
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
            if not refused:
                try:
                    await self._rehearse(notebook)
                except ApiError as error:
                    refused = refusal(error, key)
            if refused:
                if self._store.get("StatefulSet", notebook.namespace, notebook.name):
                    await self._make(key, notebook, replicas=0)
                return refused
            await self._make(key, notebook, replicas=1)
        finally:
            self._reserved.discard(key)
        self._started[key] = self._timer()
        return None

    async def _rehearse(self, notebook: Notebook) -> None:
        """Hear whether the API server would take the pod and the home."""
        trial = children.trial_pod(notebook, self._settings)
        await asyncio.gather(self._cluster.create(trial, dry_run=True), self._rehearse_home(notebook))

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
        await asyncio.gather(self._token(key, notebook), *(self._ensure(notebook, child) for child in wanted))
        claim = pod.home_claim_name(notebook, self._settings)
        gated = claim is not None and claim[1] and not await self._claim(notebook, claim[0])
        wanted_set = children.stateful_set(notebook, self._settings, replicas=replicas, gated=gated)
        await self._ensure(notebook, wanted_set)

    async def _ensure(self, notebook: Notebook, wanted: Object) -> None:
        kind, namespace, name = key_of(wanted)
        held = self._store.get(kind, namespace, name) or await self._cluster.get(kind, namespace, name)
        if held:
            self._claim_ownership(held, notebook)
            if self._cluster.in_sync(wanted, held):
                return
        self._store.put(await self._cluster.apply(wanted))

    def _claim_ownership(self, held: Object, notebook: Notebook) -> None:
        if not children.belongs(held, notebook, self._settings):
            kind, _, name = key_of(held)
            raise ForeignChildError(
                f"there is a {kind} {name} already, which is not the notebook's; rename one of them"
            )

    async def _token(self, key: Key, notebook: Notebook, *, again: bool = False) -> str:
        """The notebook's token, made if there is none; `again` looks whether the Secret is still there."""
        if key in self._tokens and not again:
            return self._tokens[key]
        held = await self._cluster.get("Secret", notebook.namespace, notebook.secret)
        if held is None:
            token = secrets.token_urlsafe(32)
            await self._cluster.create(children.token_secret(notebook, self._settings, token))
        else:
            self._claim_ownership(held, notebook)
            token = base64.b64decode((held.get("data") or {}).get("token", "")).decode()
            if not token:
                token = secrets.token_urlsafe(32)
                patch = {"stringData": {"token": token}}
                await self._cluster.merge("Secret", notebook.namespace, notebook.secret, patch)
        self._tokens[key] = token
        return token

    async def _furnish(self, notebook: Notebook, running: Object) -> None:
        """Give a pod that exists its home, and let it be scheduled.

        The home is made only now: a pod that a quota refuses leaves no claim behind.
        """
        try:
            await self._keep_home(notebook, make=True)
        except ApiError:
            await self._ensure(notebook, children.stateful_set(notebook, self._settings, replicas=0, gated=True))
            raise
        gates = running["spec"].get("schedulingGates") or []
        left = [gate for gate in gates if gate["name"] != names.HOME_GATE]
        if left != gates:
            patch = {"spec": {"schedulingGates": left or None}}
            self._store.put(await self._cluster.merge("Pod", notebook.namespace, notebook.pod, patch))

    async def _replace_outdated(self, key: Key, notebook: Notebook, running: Object) -> None:
        """End a pod whose user has changed the notebook since; the set makes the next."""
        metadata = running["metadata"]
        made_from = (metadata.get("annotations") or {}).get(names.TEMPLATE)
        if made_from != pod.template_digest(notebook) and not metadata.get("deletionTimestamp"):
            log.info("%s/%s: its template has changed, the pod is replaced", notebook.namespace, notebook.name)
            self._started[key] = self._timer()
            await self._cluster.delete("Pod", notebook.namespace, notebook.pod)

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
            self._store.put(await self._cluster.merge("PersistentVolumeClaim", notebook.namespace, claim[0], patch))

    async def _claim(self, notebook: Notebook, name: str) -> Object | None:
        kind = "PersistentVolumeClaim"
        held = self._store.get(kind, notebook.namespace, name)
        return held or await self._cluster.get(kind, notebook.namespace, name)

    async def _watch_over(self, key: Key, notebook: Notebook) -> Outcome:
        """Say how far the notebook is, and stop it if it is too old or has been idle for too long."""
        running = self._pod(notebook)
        reason, message = status.pod_progress(running)
        if running is None:
            return Outcome(reason, message, later=START_SECONDS)
        now, limits = self._clock(), self._settings.notebook
        started = status.parse_timestamp(running["metadata"]["creationTimestamp"])
        left = (started + timedelta(seconds=limits.maxAgeSeconds) - now).total_seconds()
        if left <= 0:
            why = f"stopped at its greatest age of {limits.maxAgeSeconds} s"
            return await self._cull(key, notebook, why, last=self._checks.get(key))
        if reason != status.RUNNING:
            return Outcome(reason, message, later=left)
        idle_seconds = notebook.idle_seconds(self._settings)
        check = await self._check(key, notebook, running, activity_interval_seconds(idle_seconds), started)
        later = min(left, check.due - self._timer())
        if check.last:
            idle = idle_since(check.last, idle_seconds, now).total_seconds()
            if idle <= 0:
                return await self._cull(key, notebook, f"stopped after {idle_seconds} s without activity", last=check)
            later = min(later, idle)
        return Outcome(reason, message, later=later, activity=check.unknown)

    async def _check(self, key: Key, notebook: Notebook, running: Object, interval: float, started: datetime) -> Check:
        uid, now = running["metadata"]["uid"], self._timer()
        check = self._checks.get(key)
        if check is None or check.pod != uid:
            # A server that has only just started is asked later.
            self._checks[key] = Check(pod=uid, due=now + interval)
            return self._checks[key]
        # Until the end of the idle time there may be less than an interval.
        if now < check.due and not self._runs_out(check, notebook):
            return check
        token = await self._token(key, notebook, again=True)
        address = f"http://{_host(running['status'].get('podIP', ''))}:{notebook.port}{notebook.prefix}/"
        try:
            report = await activity.read_report(self._browser, address, token)
            last, unknown = last_used(report, started, self._clock()), ""
        except UnreadableError as error:
            last, unknown = None, str(error)
        check = Check(pod=uid, due=self._timer() + interval, last=last, unknown=unknown)
        self._checks[key] = check
        if last:
            await self._note_activity(notebook, last, started)
        return check

    def _runs_out(self, check: Check, notebook: Notebook) -> bool:
        seconds = notebook.idle_seconds(self._settings)
        return check.last is not None and idle_since(check.last, seconds, self._clock()) <= timedelta()

    async def _note_activity(self, notebook: Notebook, last: datetime, started: datetime) -> None:
        """Write down when the notebook was used, in steps of a quarter of the time that it may be idle."""
        step = max(LEAST_ACTIVITY_STEP, timedelta(seconds=notebook.idle_seconds(self._settings)) / 4)
        try:
            noted = status.parse_timestamp(notebook.annotations.get(names.LAST_ACTIVITY, ""))
        except ValueError:
            noted = started
        if last - max(noted, started) >= step:
            await self._annotate(notebook, {names.LAST_ACTIVITY: status.timestamp(last)})

    async def _cull(self, key: Key, notebook: Notebook, why: str, *, last: Check | None) -> Outcome:
        moment = status.timestamp(self._clock())
        annotations = {names.STOPPED: moment, names.CULLED: f"{moment} {why}"}
        if last and last.last:
            annotations[names.LAST_ACTIVITY] = status.timestamp(last.last)
        body = await self._annotate(notebook, annotations)
        return await self._halt(key, parse_notebook(body, self._settings))

    async def _annotate(self, notebook: Notebook, annotations: dict[str, str]) -> Object:
        patch = {"metadata": {"annotations": annotations}}
        body = await self._cluster.merge("Notebook", notebook.namespace, notebook.name, patch)
        self._store.put(body)
        return body

    async def _tell(self, key: Key, notebook: Notebook | None, outcome: Outcome) -> None:
        """Write the status if it has changed, after the event that tells of it."""
        body = self._store.get(*key)
        if body is None:
            return
        before: Any = body.get("status") or {}
        now = self._clock()
        after = status.notebook_status(
            reason=outcome.reason,
            message=outcome.message,
            url=notebook.url(self._settings) if notebook else "",
            pod=self._pod(notebook) if notebook else None,
            name=body["metadata"]["name"],
            activity=outcome.activity,
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
            if error.status.code != 404:  # noqa: PLR2004  (the notebook was deleted meanwhile)
                raise

    def _pod(self, notebook: Notebook) -> Object | None:
        return self._store.get("Pod", notebook.namespace, notebook.pod)

    def _forget(self, key: Key) -> None:
        _, namespace, name = key
        for memory in (self._tokens, self._started, self._checks, self._resyncs):
            memory.pop(key, None)
        self._refused.discard(key)
        for kind in ("StatefulSet", "Service", "HTTPRoute", "Mapping"):
            self._cluster.forget(kind, namespace, name)


class ForeignChildError(Exception):
    """A name that a notebook needs belongs to something else."""


def refusal(error: ApiError, key: Key) -> Outcome:
    """What an error of the API server says of a notebook.

    Raises:
        ApiError: it says nothing of the notebook, and may be over the next time.
    """
    message = error.status.message or ""
    judged = verdict(error)
    if judged is Verdict.QUOTA:
        return Outcome(status.QUOTA_EXCEEDED, message, later=ASK_AGAIN_SECONDS)
    if judged is Verdict.ACCESS:
        hint = f"no ready Profile has the namespace {key[1]}"
        return Outcome(status.NO_ACCESS, f"{hint}: {message}", later=ASK_AGAIN_SECONDS)
    if judged is Verdict.REFUSED:
        # What is forbidden today may be allowed tomorrow; what makes no sense waits for its user.
        later = ASK_AGAIN_SECONDS if error.status.code == FORBIDDEN else None
        return Outcome(status.REFUSED, message, later=later)
    raise error


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
