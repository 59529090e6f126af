"""The egress guard: the one service that may be on a host's network and change its packet filter."""

from policies.reader import Value, items, label

COMMAND = ["python", "-m", "runtime.egress_guard"]
STARTED_BY: tuple[list[str], ...] = ([], ["tini", "--"])
"""Entry points that run the command: the image's own, or an init process."""


def is_egress_guard(properties: Value) -> bool:
    """Whether a service is the guard and runs nothing else; False while its role or command is unknown."""
    arguments = list(items(properties, "taskSpec", "containerSpec", "args"))
    is_guards_command = arguments[: len(COMMAND)] == COMMAND
    started_by = list(items(properties, "taskSpec", "containerSpec", "commands"))
    return label(properties, "hubstack.role") == "egress-guard" and is_guards_command and started_by in STARTED_BY
