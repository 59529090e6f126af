"""What every pod of the project has: the Pod Security Standard `restricted`, and room in the quota that is made for it."""

from collections.abc import Mapping
from typing import Any

from components.kubernetes.quantities import parse_quantity
from components.kubernetes.tenancy import Room, limit_range_spec, resource_quota_spec

COMPUTE = ("cpu", "memory", "ephemeral-storage")


def assert_restricted(pod: Mapping[str, Any]) -> None:
    """The pod passes the standard, mounts no token, and limits every container."""
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == set(COMPUTE)


def assert_within(pod: Mapping[str, Any], pods: int, system: Mapping[str, Room]) -> None:
    """So many of these pods fit what a quota for one server and `system` has for the system."""
    limits = limit_range_spec({}, system=system)["limits"][0]["max"]
    user = resource_quota_spec({}, {"servers": 1})["hard"]
    hard = resource_quota_spec({}, {"servers": 1}, system=system)["hard"]
    assert parse_quantity(hard["pods"]) - 1 >= pods
    for key in COMPUTE:
        taken = max(
            sum(parse_quantity(c["resources"]["limits"][key]) for c in pod["containers"]),
            max((parse_quantity(c["resources"]["limits"][key]) for c in pod.get("initContainers", [])), default=0),
        )
        room = parse_quantity(hard[f"limits.{key}"]) - parse_quantity(user[f"limits.{key}"])
        assert taken <= parse_quantity(limits[key])
        assert pods * taken <= room * (1 + 1e-9)
