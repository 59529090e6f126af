"""Labels by which the hub, the policy pack and the tests find what belongs to a stack."""

from enum import Enum
from typing import TypedDict

STACK_LABEL = "hubstack.stack"
ROLE_LABEL = "hubstack.role"
DATA_LABEL = "hubstack.data"

HUB_NODE_LABEL = "hubstack.hub"
"""Label of the one manager that a stack's hub and proxy run on, where there are several; its value is the stack."""


class Role(str, Enum):
    """What a Docker object is for."""

    HUB = "hub"
    PROXY = "proxy"
    TLS_PROXY = "tls-proxy"
    PRE_PULLER = "pre-puller"
    EGRESS_GUARD = "egress-guard"
    EGRESS_PROBE = "egress-probe"
    EGRESS_PROXY = "egress-proxy"
    EGRESS_PROXY_GUARD = "egress-proxy-guard"
    CONTROL_NETWORK = "control-network"
    EDGE_NETWORK = "edge-network"
    FRONT_NETWORK = "front-network"
    OPEN_NETWORK = "open-network"
    USER_NETWORK = "user-network"
    USER_SERVER = "user-server"
    HUB_DATA = "hub-data"
    HOMES = "homes"
    NODE_SERVICE = "node-service"
    REDIRECTOR = "redirector"


class Label(TypedDict):
    """A label as the Docker provider takes it."""

    label: str
    value: str


def stack_label(stack: str) -> Label:
    """The label of everything that belongs to `stack`."""
    return {"label": STACK_LABEL, "value": stack}


def labels(stack: str, role: Role, *, data: bool = False) -> list[Label]:
    """The labels of an object with `role` in `stack`; `data` marks what people made."""
    marked: list[Label] = [stack_label(stack), {"label": ROLE_LABEL, "value": role.value}]
    return [*marked, {"label": DATA_LABEL, "value": "true"}] if data else marked
