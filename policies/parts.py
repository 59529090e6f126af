"""What resources carry: things that are no resources of their own and are judged like those they become."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """Something that a resource carries."""

    type: str
    """Type token of the resource that it would be."""
    name: str
    """What it is and is called, for people: `service hub`; empty for the resource itself by its usual token."""
    properties: Any
    carrier: str = ""
    """What it stands in, for people; empty where its name says so."""

    @property
    def prefix(self) -> str:
        """What a message about it begins with."""
        place = f" of its {self.carrier}" if self.carrier else ""
        return f"{self.name}{place}: " if self.name else ""
