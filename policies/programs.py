"""The platform's own programs: what a service or container is by its role, if it runs that program and nothing else."""

from collections.abc import Sequence

from policies.reader import UNKNOWN, Value, items, label

ROLE_LABEL = "hubstack.role"
STARTED_BY: tuple[list[str], ...] = ([], ["tini", "--"])
"""Entry points that run the command: the image's own, or an init process."""


def arguments(properties: Value) -> list[Value]:
    """Words of the command of a service or container, without its entry point."""
    return [*items(properties, "taskSpec", "containerSpec", "args"), *items(properties, "command")]


def runs_as(properties: Value, role: str, command: Sequence[str]) -> Value:
    """Whether it has the role and its command begins like that; `UNKNOWN` while that cannot be told."""
    started_by = [*items(properties, "taskSpec", "containerSpec", "commands"), *items(properties, "entrypoints")]
    found = label(properties, ROLE_LABEL)
    verdicts = [
        UNKNOWN if found is UNKNOWN else found == role,
        UNKNOWN if UNKNOWN in started_by else started_by in STARTED_BY,
        begins(arguments(properties), command),
    ]
    return False if False in verdicts else UNKNOWN if UNKNOWN in verdicts else True


def begins(words: Sequence[Value], command: Sequence[str]) -> Value:
    """Whether words begin with a command; `UNKNOWN` while that cannot be told."""
    first = list(words[: len(command)])
    if UNKNOWN not in first:
        return first == list(command)
    pairs = zip(first, command, strict=False)
    return UNKNOWN if all(word is UNKNOWN or word == wanted for word, wanted in pairs) else False
