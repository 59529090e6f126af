"""Requests: a user's notebook in the user's own namespace, which is made with the first.

Whoever may make requests may not read them, because a request may hold what is its user's own. What came of one is told by an
event in the user's namespace, and the request goes.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import names, status
from runtime.notebook_operator.cluster import CONFLICT, Cluster, Object, Verdict, verdict
from runtime.notebook_operator.profiles import RBAC_GROUP, is_own
from runtime.notebook_operator.settings import Settings
from runtime.notebook_operator.store import Key, Store, excess

SERVED = frozenset({"Made", "Exists"})
"""Reasons of a request that is done."""
REFUSED = "Refused"
"""Reason of a request that nothing comes of; it is not tried again."""
KEPT_SECONDS = 300.0
"""How long a finished request stays, for who administers the cluster and for programs that wait for it."""
LONGEST_SECONDS = 3600.0
"""How old a request gets before it is given up."""
MOST_REQUESTS = 20
"""Requests that a user has at once, finished ones included; the oldest finished ones go first."""
TOO_MANY = "TooManyRequests"


def profile_of(user: str, profiles: Iterable[Object]) -> Object | None:
    """The user's profile: of several the oldest."""
    owned = [
        profile
        for profile in profiles
        if profile["spec"]["owner"]["kind"] == "User" and profile["spec"]["owner"]["name"] == user
    ]
    ages = sorted(owned, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))
    return ages[0] if ages else None


def new_profile(name: str, user: str, settings: Settings) -> dict[str, Any]:
    """A profile for a user."""
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": name, "labels": {names.STACK: settings.stack, names.ROLE: names.PROFILE_ROLE}},
        "spec": {"owner": {"apiGroup": RBAC_GROUP, "kind": "User", "name": user}},
    }


def requested_notebook(request: Object, namespace: str, settings: Settings) -> dict[str, Any] | None:
    """The notebook that is asked for; None if neither the request nor the platform names an image."""
    spec = request["spec"]
    template = spec.get("template")
    if template is None:
        if settings.notebook.image is None:
            return None
        template = {"spec": {"containers": [{"name": spec["name"], "image": settings.notebook.image}]}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {
            "name": spec["name"],
            "namespace": namespace,
            "labels": {names.STACK: settings.stack, names.ROLE: names.NOTEBOOK_ROLE},
            "annotations": {names.REQUEST: request["metadata"]["uid"]},
        },
        "spec": {"template": template},
    }


def surplus(requests: Iterable[Object], most: int = MOST_REQUESTS) -> list[Object]:
    """Those of a user's requests that are too many: finished ones, the oldest first, then the newest of the others."""
    ages = sorted(requests, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))
    done = [each for each in ages if finished(each)]
    left = [each for each in ages if not finished(each)]
    return [*done, *reversed(left)][: max(len(ages) - most, 0)]


def finished(request: Object) -> datetime | None:
    """When a request was served or refused; None before."""
    state = request.get("status") or {}
    if "finished" in state:
        return status.parse_timestamp(state["finished"])
    # One that was served before the time was written down.
    return _made(request) if status.reason_of(state) in SERVED else None


def _made(thing: Object) -> datetime:
    return status.parse_timestamp(thing["metadata"]["creationTimestamp"])


def event_subject(request: Object, namespace: str) -> Object:
    """What an event about a request is about, where its user may read it: the notebook that it asks for."""
    metadata = {"name": request["spec"]["name"], "namespace": namespace, "uid": request["metadata"]["uid"]}
    return {"apiVersion": "kubeflow.org/v1", "kind": "Notebook", "metadata": metadata}


class Requests:
    """Serves each request once."""

    def __init__(self, settings: Settings, cluster: Cluster, store: Store, clock: Callable[[], datetime]) -> None:
        """Describe it.

        Args:
            settings: the stack's.
            cluster: the API server.
            store: what is known of the cluster.
            clock: the present.
        """
        self._settings, self._cluster, self._store, self._clock = settings, cluster, store, clock

    async def look(self, key: Key) -> float | None:
        """Serve a request.

        Returns:
            Seconds until the next look without a cause; None for never.

        Raises:
            ApiError: the API server could not do it this time.
        """
        request = self._store.get(*key)
        if request is None or request["metadata"].get("deletionTimestamp"):
            return None
        if await self._thin_out(request):
            return None
        ended = finished(request)
        if ended:
            return await self._clear(request, ended + timedelta(seconds=KEPT_SECONDS))
        if self._clock() - _made(request) > timedelta(seconds=LONGEST_SECONDS):
            because = (request.get("status") or {}).get("conditions") or [{}]
            message = f"it was not served within an hour: {because[0].get('message', 'the cluster did not take it')}"
            return await self._tell(request, reason=REFUSED, message=message)
        return await self._serve(request)

    async def _thin_out(self, request: Object) -> bool:
        """Delete what the user has too much of, and say whether the request is of it."""
        user = request["spec"]["user"]
        found = surplus(each for each in self._store.of("NotebookRequest") if each["spec"]["user"] == user)
        for each in found:
            await self._delete(each)
        profile = profile_of(user, self._store.of("Profile"))
        if profile and any(not finished(each) for each in found):
            # One event for however many: it has the same name until it is gone.
            about = {**profile, "metadata": {**profile["metadata"], "namespace": profile["metadata"]["name"]}}
            message = f"more than {MOST_REQUESTS} requests at once; the newest are deleted"
            event = status.event(
                about=about, type_="Warning", reason=TOO_MANY, message=message, since="", now=self._clock()
            )
            await self._cluster.tell(event)
        return any(each["metadata"]["uid"] == request["metadata"]["uid"] for each in found)

    async def _clear(self, request: Object, due: datetime) -> float | None:
        left = (due - self._clock()).total_seconds()
        if left > 0:
            return left
        await self._delete(request)
        return None

    async def _delete(self, request: Object) -> None:
        await self._cluster.delete("NotebookRequest", "", request["metadata"]["name"])
        self._store.drop(request)

    async def _serve(self, request: Object) -> float | None:
        user = request["spec"]["user"]
        profile = profile_of(user, self._store.of("Profile"))
        if profile is None:
            return await self._make_profile(request, user)
        namespace = profile["metadata"]["name"]
        if not status.is_ready(profile.get("status") or {}):
            conditions = (profile.get("status") or {}).get("conditions") or [{}]
            message = f"profile {namespace} is not ready: {conditions[0].get('message', 'it is being made')}"
            return await self._tell(request, reason="ProfilePending", message=message, namespace=namespace)
        return await self._make_notebook(request, namespace)

    async def _make_profile(self, request: Object, user: str) -> float | None:
        for name in names.namespace_names(user):
            wanted = new_profile(name, user, self._settings)
            if self._store.get("Profile", "", name):
                continue
            namespace = await self._cluster.get("Namespace", "", name)
            if namespace and not is_own(namespace, wanted):
                continue
            # One that somebody made in this moment is an error (409), after which the look is repeated.
            self._store.put(await self._cluster.create(wanted))
            message = f"profile {name} is being made"
            return await self._tell(request, reason="ProfilePending", message=message, namespace=name)
        message = "every name that the user's namespace could have is taken"
        return await self._tell(request, reason=REFUSED, message=message)

    async def _make_notebook(self, request: Object, namespace: str) -> float | None:
        too_large = excess(request)
        if too_large:
            return await self._tell(request, reason=REFUSED, message=too_large, namespace=namespace)
        wanted = requested_notebook(request, namespace, self._settings)
        if wanted is None:
            message = "the platform has no default image: name one in spec.template"
            return await self._tell(request, reason=REFUSED, message=message, namespace=namespace)
        name = wanted["metadata"]["name"]
        reason, message = "Made", f"notebook {name} is in namespace {namespace}"
        try:
            self._store.put(await self._cluster.create(wanted))
        except ApiError as error:
            if error.status.code == CONFLICT:
                found = await self._cluster.get("Notebook", namespace, name)
                if found is None:
                    raise
                made_for = (found["metadata"].get("annotations") or {}).get(names.REQUEST)
                if made_for != request["metadata"]["uid"]:
                    reason, message = "Exists", f"there was a notebook {name} in namespace {namespace} already"
            elif verdict(error) in {Verdict.AGAIN, Verdict.ACCESS}:
                raise
            else:
                message = error.status.message or ""
                return await self._tell(request, reason=REFUSED, message=message, namespace=namespace)
        url = self._settings.url(namespace, name)
        return await self._tell(request, reason=reason, message=message, namespace=namespace, url=url)

    async def _tell(
        self, request: Object, *, reason: str, message: str, namespace: str | None = None, url: str | None = None
    ) -> float | None:
        """Write down how far a request is; returns the seconds until it is to be looked at again."""
        before: Any = request.get("status") or {}
        now = self._clock()
        over = reason in SERVED or reason == REFUSED
        namespace = namespace or before.get("namespace")
        wanted = status.condition(status.READY, status=reason in SERVED, reason=reason, message=message)
        after: dict[str, Any] = {"conditions": status.dated([wanted], before, now)}
        told = {"namespace": namespace, "url": url, "finished": status.timestamp(now) if over else None}
        after |= {key: value for key, value in told.items() if value}
        if after != before:
            if status.reason_of(before) != reason:
                await self._post(request, reason=reason, message=message, namespace=namespace)
            self._store.put(await self._cluster.set_status(request, after))
        end = _made(request) + timedelta(seconds=LONGEST_SECONDS)
        return KEPT_SECONDS if over else max((end - now).total_seconds(), 0) + 1

    async def _post(self, request: Object, *, reason: str, message: str, namespace: str | None) -> None:
        event = status.event(
            about=event_subject(request, namespace) if namespace else request,
            type_="Warning" if reason == REFUSED else "Normal",
            reason=f"Request{reason}" if namespace else reason,
            message=f"NotebookRequest {request['metadata']['name']}: {message}",
            since=request["metadata"]["resourceVersion"],
            now=self._clock(),
        )
        await self._cluster.tell(event)
