"""Who may log in to a hub."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict


class HubUser(TypedDict):
    """Somebody who may log in."""

    name: str
    """Login name."""
    admin: NotRequired[bool]
    """Whether the user administers the hub. Default False."""


def repeated_names(names: Sequence[str]) -> list[str]:
    """Names that are listed more than once, in order."""
    return sorted({name for name in names if names.count(name) > 1})


def users_document(users: Sequence[HubUser]) -> list[dict[str, str | bool]]:
    """The users as the hub reads them, in an order that does not depend on the list's."""
    return sorted(({"name": user["name"], "admin": user.get("admin", False)} for user in users), key=str)
