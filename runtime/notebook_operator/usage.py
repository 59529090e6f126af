"""When somebody last used a notebook, as its server says."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError

from runtime.hub.culling import activity_interval_seconds
from runtime.notebook_operator import activity, names, status
from runtime.notebook_operator.cluster import Cluster, Object, Verdict, verdict
from runtime.notebook_operator.notebook import DEFAULT_PORT
from runtime.notebook_operator.settings import Settings, route_prefix
from runtime.notebook_operator.store import Key, Store
from runtime.notebook_operator.tokens import Tokens
from runtime.server_activity import UnreadableError, idle_since, last_used

LEAST_ACTIVITY_STEP = timedelta(seconds=60)

log = logging.getLogger(__name__)


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


class Usage:
    """Asks notebooks' servers, each in its time. All that it remembers can be lost."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        store: Store,
        browser: httpx2.AsyncClient,
        tokens: Tokens,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        """Describe it.

        Args:
            settings: the stack's.
            cluster: the API server.
            store: what is known of the cluster.
            browser: asks notebooks' servers.
            tokens: what lets in.
            clock: the present.
            timer: seconds that only grow.
        """
        self._settings, self._cluster, self._store = settings, cluster, store
        self._browser, self._tokens, self._clock, self._timer = browser, tokens, clock, timer
        self._checks: dict[Key, Check] = {}

    def last(self, key: Key) -> datetime | None:
        """When a notebook was last used, as far as it was heard."""
        check = self._checks.get(key)
        return check.last if check else None

    def seconds_until(self, check: Check) -> float:
        """How long until the server is asked again."""
        return check.due - self._timer()

    def forget(self, key: Key) -> None:
        """Free what is remembered of a notebook that does not run."""
        self._checks.pop(key, None)

    async def check(self, key: Key, body: Object, running: Object, limit: int) -> Check:
        """What is known of a notebook whose pod is ready, after asking its server if that is due.

        Args:
            key: the notebook's.
            body: the Notebook.
            running: its pod.
            limit: how many seconds it may be idle.

        Raises:
            ApiError: the API server does not give the token this time.
        """
        uid, now = running["metadata"]["uid"], self._timer()
        interval = activity_interval_seconds(limit)
        check = self._checks.get(key)
        if check is None or check.pod != uid:
            # A server that has only just started is asked later.
            self._checks[key] = Check(pod=uid, due=now + interval)
            return self._checks[key]
        # Until the end of the idle time there may be less than an interval.
        if now < check.due and not self._runs_out(check, limit):
            return check
        started = status.parse_timestamp(running["metadata"]["creationTimestamp"])
        last, unknown = await self._ask(key, body, running, started)
        check = Check(pod=uid, due=self._timer() + interval, last=last, unknown=unknown)
        self._checks[key] = check
        if last:
            await self._note(body, last, started, limit)
        return check

    def _runs_out(self, check: Check, limit: int) -> bool:
        return check.last is not None and idle_since(check.last, limit, self._clock()) <= timedelta()

    async def _ask(self, key: Key, body: Object, running: Object, started: datetime) -> tuple[datetime | None, str]:
        _, namespace, name = key
        try:
            token = await self._tokens.read(key, body["metadata"]["uid"])
        except ApiError as error:
            if verdict(error) is Verdict.AGAIN:
                raise
            return None, f"its token cannot be read: {error.status.message}"
        if token is None:
            return None, "it has no token"
        host = _host(running["status"].get("podIP", ""))
        address = f"http://{host}:{self._port(key, running)}{route_prefix(self._settings.basePath, namespace, name)}/"
        try:
            report = await activity.read_report(self._browser, address, token)
            return last_used(report, started, self._clock()), ""
        except UnreadableError as error:
            return None, str(error)

    def _port(self, key: Key, running: Object) -> int:
        """Port of the server that runs: what the operator put into the set; the Notebook may say something else by now."""
        _, namespace, name = key
        held = self._store.get("StatefulSet", namespace, name)
        pod: Mapping[str, Any] = held["spec"]["template"]["spec"] if held else running["spec"]
        ports = pod["containers"][0].get("ports") or [{}]
        return ports[0].get("containerPort", DEFAULT_PORT)

    async def _note(self, body: Object, last: datetime, started: datetime, limit: int) -> None:
        """Write down when the notebook was used, in steps of a quarter of the time that it may be idle."""
        metadata = body["metadata"]
        step = max(LEAST_ACTIVITY_STEP, timedelta(seconds=limit) / 4)
        noted = noted_activity(metadata.get("annotations") or {}) or started
        if last - max(noted, started) < step:
            return
        patch = {"metadata": {"annotations": {names.LAST_ACTIVITY: status.timestamp(last)}}}
        namespace, name = metadata["namespace"], metadata["name"]
        try:
            self._store.put(await self._cluster.merge("Notebook", namespace, name, patch))
        except (ApiError, httpx2.HTTPError) as error:
            # It is for people to read; no limit waits for it.
            log.warning("%s/%s: its last activity cannot be noted: %r", namespace, name, error)


def noted_activity(annotations: Mapping[str, str]) -> datetime | None:
    """The moment in the annotation, where a user may have written anything; None if it is none."""
    try:
        moment = status.parse_timestamp(annotations.get(names.LAST_ACTIVITY, ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
