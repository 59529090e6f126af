"""The Secrets that let into notebooks."""

import base64
import secrets

from runtime.notebook_operator import children
from runtime.notebook_operator.cluster import Cluster, Object
from runtime.notebook_operator.notebook import Notebook, secret_name
from runtime.notebook_operator.settings import Settings
from runtime.notebook_operator.store import Key


class Tokens:
    """Reads notebooks' tokens and makes those that are missing. It remembers which are there, not what they say."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        """Describe it.

        Args:
            settings: the stack's.
            cluster: the API server.
        """
        self._settings, self._cluster = settings, cluster
        self._present: set[Key] = set()

    async def read(self, key: Key, uid: str) -> str | None:
        """The token of the notebook that has `uid`; None if it has none, or a Secret of its name is not its own.

        Raises:
            ApiError: the API server does not say.
        """
        _, namespace, name = key
        held = await self._cluster.get("Secret", namespace, secret_name(name))
        token = _token_of(held)
        if held is None or not token:
            self._present.discard(key)
            return None
        return token if _is_of(held, name, uid, self._settings) else None

    async def ensure(self, key: Key, notebook: Notebook) -> None:
        """Have the notebook have a token.

        Raises:
            ForeignChildError: the Secret is something else's.
            StaleChildError: it is one of a deleted notebook of this name.
            ApiError: the API server refuses.
        """
        if key in self._present:
            return
        held = await self._cluster.get("Secret", notebook.namespace, notebook.secret)
        if held is None:
            made = children.token_secret(notebook, self._settings, secrets.token_urlsafe(32))
            await self._cluster.create(made)
        else:
            children.claim_ownership(held, notebook, self._settings)
            if not _token_of(held):
                patch = {"stringData": {"token": secrets.token_urlsafe(32)}}
                await self._cluster.merge("Secret", notebook.namespace, notebook.secret, patch)
        self._present.add(key)

    def forget(self, key: Key) -> None:
        """Look again whether the Secret is there."""
        self._present.discard(key)


def _is_of(secret: Object, name: str, uid: str, settings: Settings) -> bool:
    try:
        return children.belongs(secret, name, uid, settings)
    except children.StaleChildError:
        return False


def _token_of(secret: Object | None) -> str:
    text = ((secret or {}).get("data") or {}).get("token", "")
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return ""
