"""Requests: a user's notebook in the user's own namespace, which is made with the first."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import names, status
from runtime.notebook_operator.cluster import CONFLICT, Cluster, Object, Verdict, verdict
from runtime.notebook_operator.profiles import RBAC_GROUP, is_own
from runtime.notebook_operator.settings import Settings
from runtime.notebook_operator.store import Key, Store

ASK_AGAIN_SECONDS = 30.0
SERVED = frozenset({"Made", "Exists"})
"""Reasons of a request that is done."""


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
        if status.reason_of(request.get("status") or {}) in SERVED:
            return None
        user = request["spec"]["user"]
        profile = profile_of(user, self._store.of("Profile"))
        if profile is None:
            return await self._make_profile(request, user)
        namespace = profile["metadata"]["name"]
        if not status.is_ready(profile.get("status") or {}):
            conditions = (profile.get("status") or {}).get("conditions") or [{}]
            message = f"profile {namespace} is not ready: {conditions[0].get('message', 'it is being made')}"
            await self._tell(request, reason="ProfilePending", message=message, namespace=namespace)
            return None
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
            await self._tell(request, reason="ProfilePending", message=f"profile {name} is being made", namespace=name)
            return None
        message = "every name that the user's namespace could have is taken"
        await self._tell(request, reason="Refused", message=message)
        return ASK_AGAIN_SECONDS

    async def _make_notebook(self, request: Object, namespace: str) -> float | None:
        wanted = requested_notebook(request, namespace, self._settings)
        if wanted is None:
            message = "the platform has no default image: name one in spec.template"
            await self._tell(request, reason="Refused", message=message, namespace=namespace)
            return None
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
            elif verdict(error) is Verdict.AGAIN:
                raise
            else:
                await self._tell(request, reason="Refused", message=error.status.message or "", namespace=namespace)
                return ASK_AGAIN_SECONDS
        url = f"https://{self._settings.domain}{self._settings.basePath}/{namespace}/{name}/"
        await self._tell(request, reason=reason, message=message, namespace=namespace, url=url)
        return None

    async def _tell(
        self, request: Object, *, reason: str, message: str, namespace: str | None = None, url: str | None = None
    ) -> None:
        before: Any = request.get("status") or {}
        now = self._clock()
        wanted = status.condition(status.READY, status=reason in SERVED, reason=reason, message=message)
        after: dict[str, Any] = {"conditions": status.dated([wanted], before, now)}
        after |= {key: value for key, value in (("namespace", namespace), ("url", url)) if value}
        if after == before:
            return
        if status.reason_of(before) != reason:
            type_ = "Warning" if reason == "Refused" else "Normal"
            version = request["metadata"]["resourceVersion"]
            event = status.event(about=request, type_=type_, reason=reason, message=message, since=version, now=now)
            await self._cluster.tell(event)
        self._store.put(await self._cluster.set_status(request, after))
