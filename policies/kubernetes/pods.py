"""What the checks read of a pod."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from policies.reader import UNKNOWN, Value, is_number, items, read

INIT, MAIN, EPHEMERAL = "initContainers", "containers", "ephemeralContainers"
KINDS: Final = {INIT: "init container", MAIN: "container", EPHEMERAL: "debug container"}

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)")
_UNITS: Final = {
    **{unit: 10.0**power for unit, power in zip("num", (-9, -6, -3), strict=True)},
    **{unit: 10.0**power for unit, power in zip("kMGTPE", range(3, 19, 3), strict=True)},
    **{f"{unit}i": 2.0**power for unit, power in zip("KMGTPE", range(10, 61, 10), strict=True)},
}


@dataclass(frozen=True)
class Container:
    """A container of a pod, of whatever kind."""

    what: str
    """What it is and is called, for people."""
    kind: str
    """The list of the pod that it stands in."""
    given: Value
    pod: Value

    def security(self, key: str) -> Value:
        """A setting of its security context, the pod's where it has none of its own."""
        own = read(self.given, "securityContext", key)
        return read(self.pod, "spec", "securityContext", key) if own is None else own


def containers(pod: Value, *kinds: str) -> Iterator[Container]:
    """The containers of a pod, of some kinds or of all."""
    for kind in kinds or KINDS:
        for number, given in enumerate(items(pod, "spec", kind)):
            name = read(given, "name")
            yield Container(f"{KINDS[kind]} {name if isinstance(name, str) else number}", kind, given, pod)


def quantity(value: Value) -> float | None:
    """An amount as Kubernetes writes it (`500m`, `2Gi`, 3) in its base unit; None for what is none."""
    if is_number(value):
        return float(value)
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        return None
    number = float(found[1])
    return number * 10.0 ** min(int(found[2]), 30) if found[2] else number * _UNITS.get(found[3], 1.0)


def is_known(*values: Value) -> bool:
    """Whether none of the values is unknown."""
    return all(value is not UNKNOWN for value in values)
