"""What tests of the operator do with notebooks, and what they wait for."""

from typing import Any

from runtime.notebook_operator import names
from tests.engine.notebooks import Api, Operator, eventually, notebook, play_ready, ready_condition

CHILDREN = (("StatefulSet", ""), ("Service", ""), ("HTTPRoute", ""), ("Secret", "-token"))


def wait_for_profile(api: Api, name: str) -> None:
    eventually(
        lambda: ready_condition(api.get("Profile", "", name)).get("status") == "True",
        f"profile {name} does not get ready",
    )


def reason(api: Api, namespace: str, name: str = "training") -> str | None:
    return ready_condition(api.get("Notebook", namespace, name)).get("reason")


def wait_for(api: Api, namespace: str, wanted: str, name: str = "training") -> None:
    eventually(lambda: reason(api, namespace, name) == wanted, f"{name} does not become {wanted}")


def settled(api: Api, namespace: str, name: str = "training") -> str | None:
    """Status of the condition `Settled`, as who waits for it takes it: None before it is of what is asked for by now."""
    thing = api.get("Notebook", namespace, name)
    if not thing or (thing.get("status") or {}).get("observedGeneration") != thing["metadata"]["generation"]:
        return None
    return ready_condition(thing, "Settled").get("status")


def replicas(api: Api, namespace: str, name: str = "training") -> int | None:
    thing = api.get("StatefulSet", namespace, name)
    return thing["spec"]["replicas"] if thing else None


def start(api: Api, namespace: str, name: str = "training", **parts: Any) -> None:
    api.create(notebook(namespace, name, **parts))
    eventually(lambda: api.get("Pod", namespace, f"{name}-0"), f"{name} gets no pod")
    play_ready(api, namespace, f"{name}-0")
    wait_for(api, namespace, "Running", name)


def annotate(api: Api, namespace: str, name: str = "training", **annotations: str | None) -> None:
    api.patch("Notebook", namespace, name, {"metadata": {"annotations": annotations}})


def versions(api: Api, namespace: str) -> dict[tuple[str, str], str]:
    """State of everything that the operator makes, and of what it has told."""
    kinds = ("Notebook", "StatefulSet", "Service", "HTTPRoute", "Secret", "PersistentVolumeClaim", "RoleBinding")
    more = ("ServiceAccount", "ResourceQuota", "NetworkPolicy", "LimitRange", "Event")
    found = {
        (kind, thing["metadata"]["name"]): thing["metadata"]["resourceVersion"]
        for kind in (*kinds, *more)
        for thing in api.list(kind, namespace)
        if kind != "Event" or thing["source"].get("component") == names.OPERATOR
    }
    for kind in ("Profile", "Namespace"):
        thing = api.get(kind, "", namespace)
        assert thing
        found[kind, namespace] = thing["metadata"]["resourceVersion"]
    return found


def settle(api: Api, operator: Operator, namespace: str) -> dict[tuple[str, str], str]:
    """The state once nobody has changed anything between two readings and the operator has nothing to do."""
    seen: list[dict[tuple[str, str], str]] = []

    def still() -> bool:
        seen.append(versions(api, namespace))
        return len(seen) > 1 and seen[-1] == seen[-2] and operator.waiting() == 0

    eventually(still, "the operator does not come to rest")
    return seen[-1]
