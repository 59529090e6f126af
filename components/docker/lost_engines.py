"""Engines that will never answer again, as whoever deploys says: nothing is asked of them, and nothing waits for them."""

import os
from collections.abc import Mapping

VARIABLE = "HUBSTACK_LOST_ENGINES"
"""Environment variable with the engines' addresses as the stack has them, separated by commas. Default: none."""


def is_lost(engine: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the engine is named as lost."""
    return engine in {name.strip() for name in environment.get(VARIABLE, "").split(",")} - {""}


def advice(engine: str) -> str:
    """What whoever cannot reach an engine may do about it, in a sentence."""
    return (
        f"if that machine is gone for good, set {VARIABLE}={engine}: updates then pass it over, and forget what was on it "
        "when its line is taken out; should it come back, what it ran is to be removed by hand"
    )
