"""The egress guard: the one service that may be on a host's network and change its packet filter."""

from policies.reader import Value, items, label

COMMAND = ["python", "-m", "runtime.egress_guard"]


def is_egress_guard(properties: Value) -> bool:
    """Whether a service is the guard and runs nothing else; False while its role or command is unknown."""
    arguments = list(items(properties, "taskSpec", "containerSpec", "args"))
    return label(properties, "hubstack.role") == "egress-guard" and arguments[: len(COMMAND)] == COMMAND
