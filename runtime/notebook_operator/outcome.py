"""What a look at a notebook found."""

from dataclasses import dataclass

from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import status
from runtime.notebook_operator.cluster import FORBIDDEN, Verdict, verdict

ASK_AGAIN_SECONDS = 30.0
"""How often a notebook that was refused is tried again without a cause."""


@dataclass(frozen=True)
class Outcome:
    """How far a notebook is, for its status."""

    reason: str
    message: str
    later: float | None = None
    """Seconds until the next look without a cause; None for the next reading again."""


@dataclass(frozen=True)
class Judgement:
    """What the limits say of a notebook."""

    halted: Outcome | None = None
    """Why nothing of it runs; None if it may run."""
    later: float | None = None
    """Seconds until it is to be judged again without a cause; None for never."""
    activity: str | None = None
    """Why its activity is unknown, empty if it is known, None if nobody asked since."""


def refusal(error: ApiError, namespace: str) -> Outcome | None:
    """What an error of the API server says of a notebook; None if nothing, and it may be over the next time."""
    message = error.status.message or ""
    judged = verdict(error)
    if judged is Verdict.QUOTA:
        return Outcome(status.QUOTA_EXCEEDED, message, later=ASK_AGAIN_SECONDS)
    if judged is Verdict.ACCESS:
        hint = f"no ready Profile has the namespace {namespace}"
        return Outcome(status.NO_ACCESS, f"{hint}: {message}", later=ASK_AGAIN_SECONDS)
    if judged is Verdict.REFUSED:
        # What is forbidden today may be allowed tomorrow; what makes no sense waits for its user.
        later = ASK_AGAIN_SECONDS if error.status.code == FORBIDDEN else None
        return Outcome(status.REFUSED, message, later=later)
    return None


def standing(halted: Outcome, furnished: Outcome | None) -> Outcome:
    """The outcome of a notebook that stands still, which also says why it could not start again as it is."""
    if furnished is None:
        return halted
    words = halted.message
    if furnished.reason in status.REFUSALS:
        words = f"{words}; as it is now it cannot start again: {furnished.message}"
    return Outcome(halted.reason, words, later=soonest(halted.later, furnished.later))


def soonest(*seconds: float | None) -> float | None:
    """The least of some times, of which None is never."""
    return min((each for each in seconds if each is not None), default=None)
