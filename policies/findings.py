"""What a check says of a resource."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What a check found wrong, or could not decide."""

    message: str
    undecided: bool = False


def violation(message: str) -> Finding:
    """Something is wrong: a whole sentence with the value and what to do."""
    return Finding(message)


def undecided(what: str) -> Finding:
    """The property `what` is not known yet, so the check cannot say."""
    return Finding(f"{what} is not known before the update", undecided=True)


Judge = Callable[[str, Any, Mapping[str, Any]], Iterator[Finding]]
"""A check's function: the resource's name, its properties and the family's configuration."""
