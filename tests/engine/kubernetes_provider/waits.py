"""When an object is ready: pure conditions on what the API shows of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.engine.kubernetes_provider import jsonpath
from tests.engine.kubernetes_provider.addresses import Kind
from tests.engine.kubernetes_provider.values import Object


@dataclass(frozen=True)
class State:
    """How far an object is.

    Attributes:
        ready: It works.
        message: What it waits for, or why it failed; empty if it is ready.
        failed: It will not become ready by waiting.
    """

    ready: bool
    message: str = ""
    failed: bool = False


READY = State(ready=True)


def waiting(message: str) -> State:
    """Not ready yet."""
    return State(ready=False, message=message)


def failure(message: str) -> State:
    """Never ready."""
    return State(ready=False, message=message, failed=True)


@dataclass(frozen=True)
class Related:
    """What a condition needs to know beside the object itself.

    Attributes:
        endpoints: The EndpointSlices of a Service.
        pods: The pods that the object made.
        binds_late: A claim's volume is bound with its first pod only.
        served: The API serves the kinds that a definition defines.
    """

    endpoints: Iterable[Object] = ()
    pods: Iterable[Object] = ()
    binds_late: bool = False
    served: bool = True


NOTHING = Related()


def state(kind: Kind, live: Object, related: Related = NOTHING) -> State:
    """How far an object of a kind is; kinds without a condition are ready once they exist."""
    condition = CONDITIONS.get((kind.group, kind.name))
    return condition(live, related) if condition else READY


def expressed(expression: str, live: Object) -> State:
    """Whether what a `pulumi.com/waitFor` names holds: `condition=Type[=Status]` or `jsonpath={path}[=value]`.

    Raises:
        ValueError: it is neither.
    """
    form, _, rest = expression.partition("=")
    if form == "condition":
        name, _, wanted = rest.partition("=")
        return _has_condition(live, name, wanted or "True")
    if form == "jsonpath":
        path, _, wanted = rest.rpartition("}")
        values = jsonpath.found(f"{path}}}", live)
        text = wanted.removeprefix("=").strip("'\"")
        holds = text in map(jsonpath.as_text, values) if wanted else bool(values)
        shown = ", ".join(map(jsonpath.as_text, values)) or "nothing"
        return READY if holds else waiting(f"waiting for {expression}: it is {shown}")
    raise ValueError(f'expected a "jsonpath=" or "condition=" prefix, got {expression!r}')


def pod_problems(pods: Iterable[Object]) -> list[str]:
    """Why pods do not run: what their containers wait for or ended with, and what keeps them from a node."""
    found: list[str] = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        found += [
            f"[Pod {name}]: {condition.get('reason', '')}: {condition.get('message', '')}"
            for condition in status.get("conditions", [])
            if condition["type"] == "PodScheduled" and condition["status"] == "False"
        ]
        containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        found += [f"[Pod {name}]: {problem}" for each in containers for problem in _container_problems(each)]
    return found


def _container_problems(status: Mapping[str, Any]) -> Iterable[str]:
    name = status["name"]
    for moment in ("state", "lastState"):
        now = status.get(moment, {})
        reason = now.get("waiting", {}).get("reason")
        if reason and reason not in {"ContainerCreating", "PodInitializing"}:
            yield f"container {name} waits: {reason}: {now['waiting'].get('message', '')}".rstrip(": ")
        ended = now.get("terminated")
        if ended and (ended.get("exitCode") or ended.get("reason") not in (None, "Completed")):
            what = f"container {name} ended with exit code {ended.get('exitCode')} ({ended.get('reason', '')})"
            yield f"{what}: {ended['message'].strip()}" if ended.get("message") else what


def _condition(live: Object, name: str) -> Mapping[str, Any]:
    conditions: Iterable[Mapping[str, Any]] = live.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type", "").lower() == name.lower()), {})


def _has_condition(live: Object, name: str, wanted: str = "True") -> State:
    found = _condition(live, name)
    if not found:
        return waiting(f"waiting for condition {name}={wanted}: there is none yet")
    observed = found.get("observedGeneration", live.get("status", {}).get("observedGeneration"))
    if observed is not None and observed < live["metadata"].get("generation", 0):
        return waiting(f"waiting for condition {name}={wanted} of the latest generation")
    if found["status"].lower() == wanted.lower():
        return READY
    words = ": ".join(part for part in (found.get("reason"), found.get("message")) if part)
    return waiting(f"waiting for condition {name}={wanted}: it is {found['status']}: {words}".rstrip(": "))


def _observed(live: Object) -> bool:
    return live.get("status", {}).get("observedGeneration", 0) >= live["metadata"].get("generation", 0)


def _deployment(live: Object, _related: Related) -> State:
    if not _observed(live):
        return waiting("waiting for the Deployment's controller")
    progressing = _condition(live, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return failure(f"[ProgressDeadlineExceeded] {progressing.get('message', '')}")
    status, wanted = live["status"], live["spec"].get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        blocked = _condition(live, "ReplicaFailure")
        return waiting(f"{updated} of {wanted} replicas are updated{_because(blocked)}")
    if status.get("replicas", 0) > updated:
        return waiting(f"{status['replicas'] - updated} old replicas are still there")
    return READY if available >= updated else waiting(f"{available} of {updated} replicas are available")


def _because(condition: Mapping[str, Any]) -> str:
    return f": [{condition.get('reason')}] {condition.get('message')}" if condition.get("status") == "True" else ""


def _stateful_set(live: Object, _related: Related) -> State:
    if not _observed(live):
        return waiting("waiting for the StatefulSet's controller")
    spec, status = live["spec"], live["status"]
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    if ready < wanted:
        return waiting(f"{ready} of {wanted} replicas are ready")
    strategy = spec.get("updateStrategy", {})
    if strategy.get("type") == "OnDelete":
        return READY
    kept = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    updated = status.get("updatedReplicas", 0)
    if kept:
        return READY if updated >= wanted - kept else waiting(f"{updated} of {wanted - kept} replicas are updated")
    if wanted and status.get("updateRevision") != status.get("currentRevision"):
        return waiting(f"{updated} of {wanted} replicas are updated")
    return READY


def _daemon_set(live: Object, _related: Related) -> State:
    if not _observed(live):
        return waiting("waiting for the DaemonSet's controller")
    status = live["status"]
    wanted = status.get("desiredNumberScheduled", 0)
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    if live["spec"].get("updateStrategy", {}).get("type") != "OnDelete" and updated < wanted:
        return waiting(f"{updated} of {wanted} pods are updated")
    return READY if available >= wanted else waiting(f"{available} of {wanted} pods are available")


def _pod(live: Object, _related: Related) -> State:
    status = live.get("status", {})
    problems = "; ".join(pod_problems([live]))
    if status.get("phase") == "Succeeded" or _condition(live, "Ready").get("status") == "True":
        return READY
    if status.get("phase") == "Failed":
        words = problems or status.get("message") or status.get("reason") or "no reason is given"
        return failure(f"the pod failed: {words}")
    return waiting(problems or f"the pod is {status.get('phase', 'not seen by a node')} and not ready")


def _job(live: Object, related: Related) -> State:
    status = live.get("status", {})
    if _condition(live, "Complete").get("status") == "True":
        return READY
    failed = _condition(live, "Failed")
    counts = (
        f"active {status.get('active', 0)}, succeeded {status.get('succeeded', 0)}, failed {status.get('failed', 0)}"
    )
    problems = pod_problems(related.pods)
    if failed.get("status") == "True":
        told = f"[{failed.get('reason', 'Failed')}] {failed.get('message', '')}"
        return failure("; ".join([told, *problems]))
    return waiting("; ".join([f"waiting for the Job to succeed ({counts})", *problems]))


def _service(live: Object, related: Related) -> State:
    spec = live["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
        return READY
    if spec.get("type") == "LoadBalancer" and not live.get("status", {}).get("loadBalancer", {}).get("ingress"):
        return waiting("the Service has no address of a load balancer yet")
    endpoints = [endpoint for each in related.endpoints for endpoint in each.get("endpoints") or ()]
    if any(endpoint.get("conditions", {}).get("ready", True) for endpoint in endpoints):
        return READY
    return waiting("the Service selects no pod that is ready")


def _claim(live: Object, related: Related) -> State:
    phase = live.get("status", {}).get("phase")
    if phase == "Lost":
        return failure("the claim lost its volume")
    return READY if phase == "Bound" or related.binds_late else waiting(f"the claim is {phase}, not Bound")


def _volume(live: Object, _related: Related) -> State:
    phase = live.get("status", {}).get("phase")
    return READY if phase in {"Available", "Bound"} else waiting(f"the volume is {phase}")


def _quota(live: Object, _related: Related) -> State:
    hard, seen = live["spec"].get("hard", {}), live.get("status", {}).get("hard", {})
    return READY if hard == seen else waiting("waiting for the quota's controller")


def _definition(live: Object, related: Related) -> State:
    refused = _condition(live, "NamesAccepted")
    if refused.get("status") == "False":
        return failure(f"[{refused.get('reason')}] {refused.get('message')}")
    established = _has_condition(live, "Established")
    if established.ready and not related.served:
        return waiting("the API does not serve the kind yet")
    return established


def _namespace(live: Object, _related: Related) -> State:
    phase = live.get("status", {}).get("phase")
    return READY if phase == "Active" else waiting(f"the namespace is {phase}")


CONDITIONS: Mapping[tuple[str, str], Callable[[Object, Related], State]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("", "Pod"): _pod,
    ("batch", "Job"): _job,
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume,
    ("", "ResourceQuota"): _quota,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("", "Namespace"): _namespace,
}

LEAVES_DELETION = {
    ("", "Namespace"),
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
}
"""Kinds whose deletion is not waited for when they are annotated with `pulumi.com/skipAwait`, as in the official one."""
