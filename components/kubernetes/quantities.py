"""Kubernetes' notation of amounts, in the form in which the API server hands them back."""

import math
import re

_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])|[eE]([+-]?\d+))?")
_FACTORS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    **{unit: 1000.0**power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", 1)},
}


def cpu_quantity(processors: float) -> str:
    """Processors such as `500m` or `2`, rounded up to thousandths."""
    return _decimal(math.ceil(round(processors * 1000, 6)))


def count_quantity(number: int) -> str:
    """A number of things such as `20`, or `1k` for a thousand."""
    return _decimal(int(number) * 1000)


def size_quantity(size: int) -> str:
    """Bytes such as `512Mi` or `2Gi`, rounded up to whole mebibytes."""
    number, units = -(-size // 2**20), ["Mi", "Gi", "Ti", "Pi", "Ei"]
    while number and number % 1024 == 0 and len(units) > 1:
        number, units = number // 1024, units[1:]
    return f"{number}{units[0]}" if number else "0"


def parse_quantity(text: str) -> float:
    """Translate an amount such as `500m`, `2Gi` or `1e3`.

    Raises:
        ValueError: the text is no amount.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no amount; write a number and a unit such as 500m, 20 or 2Gi")
    return float(match[1]) * _FACTORS[match[2] or ""] * 10.0 ** int(match[3] or 0)


def _decimal(thousandths: int) -> str:
    """The shortest form of a number with a unit of a power of a thousand."""
    number, units = thousandths, ["m", "", "k", "M", "G"]
    while number and number % 1000 == 0 and len(units) > 1:
        number, units = number // 1000, units[1:]
    return f"{number}{units[0]}" if number else "0"
