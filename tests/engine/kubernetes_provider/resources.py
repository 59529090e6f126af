"""What the engine asks about one resource and what it gets back, in plain data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.engine.kubernetes_provider.diff import Change
from tests.engine.kubernetes_provider.objects import Log
from tests.engine.kubernetes_provider.values import Object


@dataclass(frozen=True)
class Asked:
    """A request about one resource.

    Attributes:
        urn: Its name for the engine.
        token: Its type.
        log: Tells the user something about it.
        id: Its ID, empty while there is none.
        inputs: What the program wants now; for reads and deletions what it wanted last.
        old_inputs: What the program wanted before.
        outputs: The resource's last known state.
        timeout: The seconds of its `customTimeouts`, 0 if there are none.
        preview: Nothing may change.
        seed: Randomness for a name.
        proposed: A name by the stack's own rules.
    """

    urn: str
    token: str
    log: Log
    id: str = ""
    inputs: Object = field(default_factory=dict)
    old_inputs: Object = field(default_factory=dict)
    outputs: Object = field(default_factory=dict)
    timeout: float = 0.0
    preview: bool = False
    seed: bytes = b""
    proposed: str | None = None

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.split("::")[-1]


@dataclass(frozen=True)
class Difference:
    """What an update would change."""

    changes: Sequence[Change] = ()
    replaces: Sequence[str] = ()
    deletes_first: bool = False


@dataclass(frozen=True)
class Failure:
    """An input that is wrong."""

    path: str
    reason: str


@dataclass(frozen=True)
class Found:
    """A resource as it is."""

    id: str
    inputs: Object
    outputs: Object


class PartialError(Exception):
    """The resource is there and belongs in the state, but it does not work."""

    def __init__(self, found: Found, reasons: Iterable[str]) -> None:
        self.found = found
        self.reasons = list(reasons)
        super().__init__("; ".join(self.reasons))


class Resources(Protocol):
    """A way to manage resources of some types."""

    def check(self, asked: Asked) -> tuple[Object, list[Failure]]:
        """The inputs with defaults, and what is wrong with them."""
        ...

    def diff(self, asked: Asked) -> Difference:
        """What an update to the inputs would change."""
        ...

    def create(self, asked: Asked) -> tuple[str, Object]:
        """ID and outputs of the resource that was made, or would be in a preview."""
        ...

    def update(self, asked: Asked) -> Object:
        """Outputs of the resource after a change, or as they would be in a preview."""
        ...

    def read(self, asked: Asked) -> Found | None:
        """The resource as it is; none if it is gone."""
        ...

    def delete(self, asked: Asked) -> None:
        """Delete the resource."""
        ...
