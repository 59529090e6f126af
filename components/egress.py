"""What code that users run may reach, one value for every platform."""

from enum import Enum


class EgressProfile(str, Enum):
    """What a user's server may reach beside its hub."""

    CLOSED = "closed"
    """Nothing."""
