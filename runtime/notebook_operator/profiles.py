"""Profiles: the protected namespace of one owner."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import access, names, status
from runtime.notebook_operator.cluster import FORBIDDEN, Cluster, Object, Verdict, verdict
from runtime.notebook_operator.pull_secrets import copy_pull_secrets
from runtime.notebook_operator.settings import PROFILE_KINDS, Settings
from runtime.notebook_operator.store import Key, Store, key_of

RESYNC_SECONDS = 300.0
"""How often the furniture of a namespace is read again; it is not watched, so that nobody's policies need be read."""
ASK_AGAIN_SECONDS = 30.0
ENDING_SECONDS = 5.0
BINDING_TRIES = 50
BINDING_PAUSE_SECONDS = 0.1
QUOTA_NAME = "kf-resource-quota"
"""Name of the ResourceQuota of a profile that brings its own where the settings have none, as Kubeflow's."""
RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_VERSION = f"{RBAC_GROUP}/v1"

log = logging.getLogger(__name__)


def namespace_object(profile: Object, settings: Settings) -> dict[str, Any]:
    """The profile's namespace; it outlives the profile, and the homes in it with it, unless either says otherwise."""
    metadata = profile["metadata"]
    told = (metadata.get("annotations") or {}).get(names.DELETE_NAMESPACE)
    owned = told == "true" if told else not settings.profile.keepNamespaces
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": metadata["name"],
            "labels": {
                **settings.profile.namespaceLabels,
                names.PART_OF: names.PROFILE_PART,
                names.STACK: settings.stack,
                names.ROLE: names.PROFILE_ROLE,
            },
            "annotations": {names.OWNER: profile["spec"]["owner"]["name"]},
            **({"ownerReferences": [_owner_reference(profile)]} if owned else {}),
        },
    }


def is_own(namespace: Object, profile: Object) -> bool:
    """Whether an existing namespace is the profile's, such as of one of its name and owner before."""
    metadata = namespace["metadata"]
    owner = (metadata.get("annotations") or {}).get(names.OWNER)
    part = (metadata.get("labels") or {}).get(names.PART_OF)
    return part == names.PROFILE_PART and owner == profile["spec"]["owner"]["name"]


def of_other_stack(body: Object | None, settings: Settings) -> bool:
    """Whether an object says that another stack's operator looks after it."""
    labels = (body["metadata"].get("labels") if body else None) or {}
    return labels.get(names.STACK, settings.stack) != settings.stack


def operator_binding(profile: Object, settings: Settings, user: str) -> dict[str, Any]:
    """What lets the operator, whom the API server calls `user`, into the namespace."""
    subject = {"apiGroup": RBAC_GROUP, "kind": "User", "name": user}
    return _furniture(_binding(names.OPERATOR, access.TENANT_ROLE, subject), profile, settings)


def furniture(profile: Object, settings: Settings) -> list[dict[str, Any]]:
    """What the profile's namespace holds besides the operator's binding.

    The owner's binding goes with the profile; accounts, limits and policies stay as long as the namespace, which they
    protect.
    """
    owner = {"apiGroup": RBAC_GROUP, **profile["spec"]["owner"]}
    if owner["kind"] == "ServiceAccount":
        owner["apiGroup"] = ""
    binding = _binding("namespaceAdmin", access.ADMIN_ROLE, owner)
    binding["metadata"]["annotations"] = {"role": "admin", "user": owner["name"]}
    binding["metadata"]["ownerReferences"] = [_owner_reference(profile)]
    pulled = settings.profile.imagePullSecrets
    accounts = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name},
            "automountServiceAccountToken": False,
            **({"imagePullSecrets": [{"name": secret} for secret in pulled]} if pulled else {}),
        }
        for name in ("default-editor", "default-viewer")
    ]
    replacements = {"$(owner)": owner["name"], "$(namespace)": profile["metadata"]["name"]}
    manifests = [_filled(manifest, replacements) for manifest in settings.profile.manifests]
    own = {key_of(manifest) for manifest in manifests}
    built_in = [thing for thing in (*accounts, binding) if key_of(thing) not in own]
    things = _with_quota([*built_in, *manifests], profile["spec"].get("resourceQuotaSpec") or {})
    return [_furniture(thing, profile, settings) for thing in things]


def _with_quota(things: Sequence[dict[str, Any]], quota: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not quota.get("hard"):
        return list(things)
    result = [
        {**thing, "spec": {**thing["spec"], **quota}} if thing["kind"] == "ResourceQuota" else thing for thing in things
    ]
    if all(thing["kind"] != "ResourceQuota" for thing in things):
        own = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": QUOTA_NAME}, "spec": dict(quota)}
        result.append(own)
    return result


def _binding(name: str, role: str, subject: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": RBAC_VERSION,
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [dict(subject)],
    }


def _furniture(thing: Mapping[str, Any], profile: Object, settings: Settings) -> dict[str, Any]:
    metadata = thing["metadata"]
    labels = {names.ROLE: names.PROFILE_ROLE, **(metadata.get("labels") or {})}
    labels |= {names.STACK: settings.stack, names.MANAGED_BY: names.OPERATOR}
    placed = {**metadata, "namespace": profile["metadata"]["name"], "labels": labels}
    return {**thing, "metadata": placed}


def _filled(value: Any, replacements: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for placeholder, text in replacements.items():
            value = value.replace(placeholder, text)
        return value
    if isinstance(value, Mapping):
        return {key: _filled(part, replacements) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(part, replacements) for part in value]
    return value


def _owner_reference(profile: Object) -> dict[str, Any]:
    metadata = profile["metadata"]
    return {"apiVersion": "kubeflow.org/v1", "kind": "Profile", "name": metadata["name"], "uid": metadata["uid"]}


class Profiles:
    """Brings each profile's namespace to what the profile and the settings ask for."""

    def __init__(
        self, settings: Settings, cluster: Cluster, store: Store, clock: Callable[[], datetime], user: str
    ) -> None:
        """Describe it.

        Args:
            settings: the stack's.
            cluster: the API server.
            store: what is known of the cluster.
            clock: the present.
            user: whom the API server takes the operator for.
        """
        self._settings, self._cluster, self._store = settings, cluster, store
        self._clock, self._user = clock, user

    async def look(self, key: Key) -> float | None:
        """Bring a profile's namespace to what is asked for.

        Returns:
            Seconds until the next look without a cause; None for never.

        Raises:
            ApiError: the API server could not do it this time.
        """
        held = self._store.get(*key)
        profile = await self._cluster.get(*key) if held else None
        if held and profile is None:
            # A watch that was cut off does not tell what was deleted meanwhile.
            self._store.drop(held)
        if profile is None or profile["metadata"].get("deletionTimestamp"):
            return None
        self._store.put(profile)
        namespace = await self._cluster.get("Namespace", "", key[2])
        if of_other_stack(namespace, self._settings):
            return None
        if namespace and not is_own(namespace, profile):
            message = f"there is a namespace {key[2]} already, which is not {profile['spec']['owner']['name']}'s"
            await self._tell(profile, ready=False, reason="NamespaceTaken", message=message)
            return ASK_AGAIN_SECONDS
        if namespace and namespace["metadata"].get("deletionTimestamp"):
            await self._tell(
                profile, ready=False, reason="NamespaceEnding", message="its last namespace is being deleted"
            )
            return ENDING_SECONDS
        try:
            await self._furnish(profile, namespace)
        except ApiError as error:
            if verdict(error) is Verdict.AGAIN:
                raise
            await self._tell(profile, ready=False, reason="Refused", message=error.status.message or "")
            return ASK_AGAIN_SECONDS
        await self._tell(profile, ready=True, reason="Ready", message="the namespace has all that belongs to it")
        return RESYNC_SECONDS

    async def _furnish(self, profile: Object, namespace: Object | None) -> None:
        name = profile["metadata"]["name"]
        wanted = namespace_object(profile, self._settings)
        if namespace is None or not self._cluster.in_sync(wanted, namespace):
            await self._cluster.apply(wanted)
        binding = operator_binding(profile, self._settings, self._user)
        held = await self._cluster.get("RoleBinding", name, binding["metadata"]["name"])
        if held is None or not self._cluster.in_sync(binding, held):
            await self._cluster.apply(binding)
        present = await self._present(name)
        await copy_pull_secrets(self._cluster, name, self._settings)
        things = furniture(profile, self._settings)
        await asyncio.gather(
            *(
                self._cluster.apply(thing)
                for thing in things
                if (found := present.get(key_of(thing))) is None or not self._cluster.in_sync(thing, found)
            )
        )
        kept = {key_of(thing) for thing in (binding, *things)}
        for kind, _, extra in sorted(present.keys() - kept):
            # A rule that the settings no longer have must not go on letting through.
            log.info("%s: %s %s is no longer part of a profile", name, kind, extra)
            await self._cluster.delete(kind, name, extra)

    async def _present(self, namespace: str) -> dict[Key, Object]:
        """What the namespace was furnished with, as soon as the operator's new binding counts."""
        labels = {names.STACK: self._settings.stack, names.MANAGED_BY: names.OPERATOR}
        for _ in range(BINDING_TRIES):
            try:
                await self._cluster.list("RoleBinding", namespace, labels)
                break
            except ApiError as error:
                if error.status.code != FORBIDDEN:
                    raise
                await asyncio.sleep(BINDING_PAUSE_SECONDS)
        found = await asyncio.gather(*(self._cluster.list(kind, namespace, labels) for kind in PROFILE_KINDS))
        return {key_of(thing): thing for things in found for thing in things}

    async def _tell(self, profile: Object, *, ready: bool, reason: str, message: str) -> None:
        profile = self._store.get(*key_of(profile)) or profile
        before: Any = profile.get("status") or {}
        now = self._clock()
        wanted = status.condition(status.READY, status=ready, reason=reason, message=message)
        after = {"conditions": status.dated([wanted], before, now)}
        if after == before:
            return
        if status.reason_of(before) != reason:
            type_ = "Normal" if ready else "Warning"
            version = profile["metadata"]["resourceVersion"]
            event = status.event(about=profile, type_=type_, reason=reason, message=message, since=version, now=now)
            await self._cluster.tell(event)
        self._store.put(await self._cluster.set_status(profile, after))
