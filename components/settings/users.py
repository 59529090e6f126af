"""The list `hubstack:users`: who may log in, a line each."""

import re
from collections.abc import Mapping, Sequence

from components.settings.lines import parse_lines
from components.settings.strict import Strict

_USER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class UserSettings(Strict):
    """One line of `hubstack:users`."""

    name: str
    admin: bool = False


def parse_user_lines(lines: object) -> object:
    """Read `name` or `name admin` lines, as the seed's user list has them; blank lines and `#` comments are skipped.

    Raises:
        ValueError: lines are wrong; each is named by its number.
    """
    return parse_lines(lines, _user)


def _user(words: Sequence[str]) -> Mapping[str, object]:
    name, *rest = words
    if not _USER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no user name (a-z, 0-9, '.', '_', '-'; 32 characters)")
    if rest not in ([], ["admin"]):
        raise ValueError(f"{' '.join(rest)!r} after the name; only 'admin' may follow")
    return {"name": name, "admin": bool(rest)}
