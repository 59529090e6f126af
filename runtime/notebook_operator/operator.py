"""What the operator watches, and what it looks at for each thing that happens."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import kopf

from runtime.notebook_operator import activity, names, status
from runtime.notebook_operator.cluster import KINDS, Cluster, connect
from runtime.notebook_operator.notebooks import Notebooks
from runtime.notebook_operator.profiles import Profiles, of_other_stack
from runtime.notebook_operator.queue import WorkQueue
from runtime.notebook_operator.requests import Requests
from runtime.notebook_operator.settings import RouteKind, Settings
from runtime.notebook_operator.store import Key, Store, key_of, shorten

WORKERS = 24
"""How many objects are looked at at once; a look mostly waits for the API server or a notebook's server."""

LISTED_AT_ONCE = 2
"""How many objects of a kind are read at once when all are: 1.5 MB of a user's may become 30 MB of small Python objects."""

log = logging.getLogger(__name__)


class Operator:
    """The parts, and what connects them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store()
        self.queue = WorkQueue(self._look, WORKERS)
        self._parts: dict[str, Notebooks | Profiles | Requests] = {}
        self._cluster: Cluster | None = None
        self._browser: httpx2.AsyncClient | None = None
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and begin to work."""
        self._cluster = cluster = connect()
        self._browser = browser = activity.browser()
        user = await cluster.identity()
        log.info("looking after stack %s as %s", self.settings.stack, user)

        def clock() -> datetime:
            return datetime.now(UTC)

        self._parts = {
            "Notebook": Notebooks(self.settings, cluster, self.store, browser, clock),
            "Profile": Profiles(self.settings, cluster, self.store, clock, user),
            "NotebookRequest": Requests(self.settings, cluster, self.store, clock),
        }
        self._work = asyncio.create_task(self.queue.run())

    async def stop(self) -> None:
        """End the work and the connections."""
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._cluster and self._browser:
            await self._cluster.close()
            await self._browser.aclose()

    def working(self) -> bool:
        """Whether the workers are there."""
        return self._work is not None and not self._work.done()

    def heard(self, body: Mapping[str, Any], type_: str | None) -> None:
        """Have looked at what an event concerns."""
        kind, namespace, name = key_of(body)
        if type_ == "DELETED":
            self.store.drop(body)
        else:
            self.store.put(body)
        if kind in self._parts:
            self.queue.add((kind, namespace, name))
        elif kind == "Namespace":
            self.queue.add(("Profile", "", name))
        else:
            notebook = (body["metadata"].get("labels") or {}).get(names.NOTEBOOK_NAME)
            if notebook:
                self.queue.add(("Notebook", namespace, notebook))
        if kind == "Profile":
            self._profile_changed(body)
        notebooks = self._parts["Notebook"]
        if type_ == "DELETED" and kind in {"Pod", "StatefulSet"} and isinstance(notebooks, Notebooks):
            notebooks.released(self.queue)

    def _profile_changed(self, profile: Mapping[str, Any]) -> None:
        if not status.is_ready(profile.get("status") or {}):
            return
        for notebook in self.store.of("Notebook", profile["metadata"]["name"]):
            self.queue.add(key_of(notebook))
        for request in self.store.of("NotebookRequest"):
            if request["spec"]["user"] == profile["spec"]["owner"]["name"]:
                self.queue.add(key_of(request))

    async def _look(self, key: Key) -> float | None:
        if not is_own(key, self.store, self.settings):
            return None
        return await self._parts[key[0]].look(key)


def is_own(key: Key, store: Store, settings: Settings) -> bool:
    """Whether an object is this stack's to look after.

    A notebook is its namespace's stack's: its own labels are its user's, who could end all limits by one.
    """
    kind, namespace, name = key
    place = name if kind == "Profile" else namespace
    concerned: list[Key] = [("Profile", "", place), ("Namespace", "", place)]
    if kind == "NotebookRequest":
        concerned = [key]
    return not any(of_other_stack(store.get(*each), settings) for each in concerned)


def watched(settings: Settings) -> dict[str, str]:
    """Kinds that are watched, and the labels of those that matter; empty for all."""
    children = f"{names.STACK}={settings.stack},{names.ROLE}={names.NOTEBOOK_ROLE}"
    kinds = {
        "Notebook": "",
        "Profile": "",
        "NotebookRequest": "",
        "StatefulSet": children,
        "Pod": children,
        "Service": children,
        "PersistentVolumeClaim": f"{names.STACK}={settings.stack},{names.ROLE}={names.HOME_ROLE}",
        "Namespace": f"{names.PART_OF}={names.PROFILE_PART}",
    }
    if settings.route.kind is not RouteKind.NONE:
        kinds[settings.route.kind.value] = children
    return kinds


def handlers(operator: Operator) -> kopf.OperatorRegistry:
    """The framework's handlers: they only take note of what happens.

    None of them asks for the framework's finalizer or its annotations: an object is deleted whether the operator runs or
    not, and all that there is to know is in the objects themselves.
    """
    registry = kopf.OperatorRegistry()
    selectors = watched(operator.settings)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.queueing.idle_timeout = 1.0
        settings.watching.chunk_size = LISTED_AT_ONCE
        for kind, labels in selectors.items():
            if labels:
                where = KINDS[kind]
                settings.watching.label_selectors[where.group, where.version, where.plural] = labels
        await operator.start()

    @kopf.on.login(registry=registry)
    async def log_in(**context: Any) -> kopf.ConnectionInfo | None:  # pyright: ignore[reportUnusedFunction]
        return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        await operator.stop()

    @kopf.on.probe(registry=registry, id="looks")
    async def probe(**_: Any) -> int:  # pyright: ignore[reportUnusedFunction]
        if not operator.working():
            raise kopf.PermanentError("the workers have ended")
        return len(operator.queue)

    for kind in selectors:
        _watch(operator, kind, registry)
    return registry


def _watch(operator: Operator, kind: str, registry: kopf.OperatorRegistry) -> None:
    async def keep(body: kopf.Body, **_: Any) -> None:
        # The framework holds every object until all are listed.
        shorten(body)
        operator.store.put(dict(body))

    async def hear(body: kopf.Body, type: str | None, **_: Any) -> None:  # noqa: A002  (the framework's name)
        operator.heard(dict(body), type)

    group, version, plural, _namespaced = KINDS[kind]
    # Indexing comes before all handlers: none of them is called until every kind has been listed.
    kopf.index(group, version, plural, registry=registry, id=f"keep-{plural}")(keep)
    kopf.on.event(group, version, plural, registry=registry, id=f"hear-{plural}")(hear)
