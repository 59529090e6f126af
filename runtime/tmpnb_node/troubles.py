"""What keeps a node from working as it should: logged once when it begins, changes or ends, however often it is met."""

import logging
from collections.abc import Mapping
from enum import Enum

log = logging.getLogger(__name__)


class Part(str, Enum):
    """What something can be wrong with."""

    ENGINE = "engine"
    GUARD = "guard"
    JOURNAL = "journal"
    KERNELS = "kernels"
    PROXY = "proxy"
    REMOVALS = "removals"
    STARTS = "starts"
    STATE = "state"


CLOSING = frozenset({Part.GUARD, Part.JOURNAL, Part.STATE})
"""With these nothing is handed out: a server could reach what it may not, or be handed out twice."""


class Troubles:
    """What is wrong at the moment."""

    def __init__(self) -> None:
        self._texts: dict[Part, str] = {}

    def note(self, part: Part, text: str) -> None:
        """Something is wrong with `part`; `text` says what, in the same words for each try."""
        if self._texts.get(part) != text:
            self._texts[part] = text
            log.warning("%s: %s", part.value, text)

    def clear(self, part: Part) -> None:
        """Nothing is wrong with `part` any more."""
        if self._texts.pop(part, None) is not None:
            log.info("%s: works again", part.value)

    def has(self, part: Part) -> bool:
        """Whether something is wrong with `part`."""
        return part in self._texts

    @property
    def closing(self) -> bool:
        """Whether nothing may be handed out because of it."""
        return not CLOSING.isdisjoint(self._texts)

    def texts(self) -> Mapping[str, str]:
        """What is wrong, by the name of the part, sorted."""
        return {part.value: self._texts[part] for part in sorted(self._texts)}
