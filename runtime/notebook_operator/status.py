"""What the operator tells: conditions, a notebook's status, and events."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from runtime.notebook_operator import names

READY = "Ready"
SETTLED = "Settled"
"""Condition of a notebook that has come to rest where it was asked to: it answers, or is stopped."""
QUOTA_EXCEEDED = "QuotaExceeded"
ACTIVITY_KNOWN = "ActivityKnown"

RUNNING = "Running"
STARTING = "Starting"
STOPPED = "Stopped"
CULLED = "Culled"
FLEET_FULL = "FleetFull"
REFUSED = "Refused"
INVALID = "Invalid"
NO_ACCESS = "NoAccess"

HALTED = frozenset({STOPPED, CULLED})
AT_REST = HALTED | {RUNNING}
REFUSALS = frozenset({QUOTA_EXCEEDED, FLEET_FULL, REFUSED, INVALID, NO_ACCESS})
LONGEST_MESSAGE = 1000
"""The API takes 1,024 characters of an event's message."""

Condition = dict[str, Any]


def timestamp(moment: datetime) -> str:
    """A moment as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """A moment that Kubernetes wrote."""
    return datetime.fromisoformat(text)


def condition(type_: str, *, status: bool, reason: str, message: str = "") -> Condition:
    """One condition."""
    return {
        "type": type_,
        "status": "True" if status else "False",
        "reason": reason,
        "message": message[:LONGEST_MESSAGE],
    }


def dated(wanted: Sequence[Condition], before: Mapping[str, Any], now: datetime) -> list[Condition]:
    """The conditions with the time since when each has its status, which stays while the status does."""
    held = {entry["type"]: entry for entry in before.get("conditions") or []}
    result: list[Condition] = []
    for entry in wanted:
        previous = held.get(entry["type"], {})
        since = previous.get("lastTransitionTime") if previous.get("status") == entry["status"] else None
        result.append({**entry, "lastTransitionTime": since or timestamp(now)})
    return result


def reason_of(status: Mapping[str, Any]) -> str | None:
    """Reason of the condition `Ready` in a status; None before there is one."""
    return next((entry.get("reason") for entry in status.get("conditions") or [] if entry["type"] == READY), None)


def is_ready(status: Mapping[str, Any]) -> bool:
    """Whether a status says that its object is ready."""
    return any(entry["type"] == READY and entry["status"] == "True" for entry in status.get("conditions") or [])


def pod_progress(pod: Mapping[str, Any] | None) -> tuple[str, str]:
    """Reason and message of a notebook that is to run: `Running`, or what it waits for."""
    if pod is None or _is_gated(pod):
        return STARTING, "the pod is being made"
    if pod["metadata"].get("deletionTimestamp"):
        return STARTING, "the last pod is still ending"
    status: Mapping[str, Any] = pod.get("status") or {}
    held = {entry["type"]: entry for entry in status.get("conditions") or []}
    if held.get("Ready", {}).get("status") == "True":
        return RUNNING, "the notebook answers"
    scheduled = held.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return STARTING, f"no node for the pod: {scheduled.get('message', '')}"
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            return STARTING, f"{container['name']}: {waiting.get('reason', '')} {waiting.get('message', '')}".rstrip()
    return STARTING, "the pod is starting"


def _is_gated(pod: Mapping[str, Any]) -> bool:
    return bool(pod["spec"].get("schedulingGates"))


def container_state(pod: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """State of the container that is called `name`, else of the first one."""
    statuses: Sequence[Mapping[str, Any]] = ((pod or {}).get("status") or {}).get("containerStatuses") or []
    chosen = next((entry for entry in statuses if entry["name"] == name), statuses[0] if statuses else {})
    return dict(chosen.get("state") or {})


def notebook_status(
    *,
    reason: str,
    message: str,
    url: str,
    pod: Mapping[str, Any] | None,
    name: str,
    activity: str | None,
    generation: int,
    before: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """A notebook's status.

    Args:
        reason: reason of `Ready` and `Settled`.
        message: their message.
        url: where a browser finds the notebook.
        pod: its pod, if there is one.
        name: its name.
        activity: why its activity is unknown, empty if it is known, None if nobody asked since.
        generation: what of it the status is of; who waits for a condition takes none of an earlier generation.
        before: its status so far.
        now: the present.
    """
    ready = reason == RUNNING
    full = reason == QUOTA_EXCEEDED
    wanted = [
        condition(READY, status=ready, reason=reason, message=message),
        condition(SETTLED, status=reason in AT_REST, reason=reason, message=message),
        condition(
            QUOTA_EXCEEDED, status=full, reason="Exceeded" if full else "WithinQuota", message=message if full else ""
        ),
    ]
    if activity is None:
        wanted += [entry for entry in before.get("conditions") or [] if ready and entry["type"] == ACTIVITY_KNOWN]
    else:
        known = not activity
        wanted.append(
            condition(ACTIVITY_KNOWN, status=known, reason="Answers" if known else "Unreadable", message=activity)
        )
    return {
        "conditions": dated(wanted, before, now),
        "containerState": container_state(pod, name),
        "observedGeneration": generation,
        "readyReplicas": int(ready),
        "url": url,
    }


def notebook_event(before: str | None, after: str, message: str) -> tuple[str, str, str] | None:
    """Type, reason and message of the event for a change of a notebook's reason; None if it is none of note."""
    if before == after:
        return None
    if after == STARTING:
        if before == RUNNING:
            return "Warning", "Unready", message
        return (
            ("Normal", "Resumed", "the notebook starts again") if before in HALTED else ("Normal", "Created", message)
        )
    if after == RUNNING:
        return "Normal", "Started", message
    if after in HALTED:
        return "Normal", after, message
    return "Warning", "Refused", f"{after}: {message}"


def event(
    *, about: Mapping[str, Any], type_: str, reason: str, message: str, since: str, now: datetime
) -> dict[str, Any]:
    """An event about an object. The same thing told twice has the same name, so that it is kept once.

    Args:
        about: the object.
        type_: `Normal` or `Warning`.
        reason: one word.
        message: the sentence.
        since: the state of the object that the event follows.
        now: the present.
    """
    metadata = about["metadata"]
    told = names.digest([metadata["uid"], reason, message, since])[:16]
    namespace = metadata.get("namespace", "default")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{told}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            **({"namespace": metadata["namespace"]} if "namespace" in metadata else {}),
        },
        "type": type_,
        "reason": reason,
        "message": message[:LONGEST_MESSAGE],
        "source": {"component": names.OPERATOR},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
