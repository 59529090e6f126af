"""What a notebook is made of, as plain Kubernetes objects."""

from collections.abc import Mapping
from typing import Any

from runtime.notebook_operator import names
from runtime.notebook_operator.notebook import Notebook
from runtime.notebook_operator.pod import child_labels, pod_template
from runtime.notebook_operator.settings import RouteKind, Settings

API_VERSION = "kubeflow.org/v1"
SERVICE_PORT = 80


def owner_reference(notebook: Notebook) -> dict[str, Any]:
    """What makes Kubernetes delete a child together with its notebook."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Notebook",
        "name": notebook.name,
        "uid": notebook.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _metadata(name: str, notebook: Notebook, settings: Settings) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": notebook.namespace,
        "labels": child_labels(notebook, settings),
        "ownerReferences": [owner_reference(notebook)],
    }


def stateful_set(notebook: Notebook, settings: Settings, *, replicas: int, gated: bool = False) -> dict[str, Any]:
    """The set of one pod, or of none while the notebook is stopped; a gated pod is not scheduled yet.

    A pod is replaced only when the operator deletes it (`OnDelete`): a change of the platform's settings would take the
    kernels of all users otherwise.
    """
    template = pod_template(notebook, settings)
    if gated:
        gates = [*(template["spec"].get("schedulingGates") or []), {"name": names.HOME_GATE}]
        template["spec"]["schedulingGates"] = gates
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(notebook.name, notebook, settings),
        "spec": {
            "replicas": replicas,
            "serviceName": notebook.name,
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": pod_selector(notebook)},
            "template": template,
        },
    }


def pod_selector(notebook: Notebook) -> dict[str, str]:
    """Labels that find the notebook's pod in its namespace."""
    return {names.STATEFUL_SET: notebook.name, names.NOTEBOOK_NAME: notebook.name}


def trial_pod(notebook: Notebook, settings: Settings) -> dict[str, Any]:
    """The pod that the set would make, for the API server to judge."""
    template = pod_template(notebook, settings)
    metadata = {**template["metadata"], "generateName": f"{notebook.name}-", "namespace": notebook.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def service(notebook: Notebook, settings: Settings) -> dict[str, Any]:
    """The Service in front of the pod."""
    port = {"name": f"http-{notebook.name}", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": notebook.port}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(notebook.name, notebook, settings),
        "spec": {"type": "ClusterIP", "selector": pod_selector(notebook), "ports": [port]},
    }


def token_secret(notebook: Notebook, settings: Settings, token: str) -> dict[str, Any]:
    """The Secret that lets into the notebook: who may read it is for the namespace's roles to say."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(notebook.secret, notebook, settings),
        "type": "Opaque",
        "stringData": {"token": token},
    }


def home_claim(notebook: Notebook, settings: Settings, name: str) -> dict[str, Any]:
    """The claim of a home that is made. It has no owner, and so outlives the notebook, unless the notebook says so."""
    size = notebook.annotations.get(names.HOME_SIZE) or str(settings.notebook.homeBytes)
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if settings.notebook.storageClass is not None:
        spec["storageClassName"] = settings.notebook.storageClass
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": notebook.namespace,
            "labels": {
                names.STACK: settings.stack,
                names.ROLE: names.HOME_ROLE,
                names.NOTEBOOK_NAME: notebook.name,
            },
            "ownerReferences": home_owners(notebook),
        },
        "spec": spec,
    }


def home_owners(notebook: Notebook) -> list[dict[str, Any]]:
    """Owner references of a home that was made."""
    if notebook.annotations.get(names.DELETE_HOME) != "true":
        return []
    return [{**owner_reference(notebook), "controller": False, "blockOwnerDeletion": False}]


def route(notebook: Notebook, settings: Settings) -> dict[str, Any] | None:
    """What leads from outside the cluster to the Service; None if the stack has no routes."""
    if settings.route.kind is RouteKind.HTTP_ROUTE:
        return _http_route(notebook, settings)
    if settings.route.kind is RouteKind.MAPPING:
        return _mapping(notebook, settings)
    return None


def _http_route(notebook: Notebook, settings: Settings) -> dict[str, Any]:
    timeout = f"{settings.requestTimeoutSeconds}s"
    rule: dict[str, Any] = {
        "matches": [{"path": {"type": "PathPrefix", "value": notebook.prefix}}],
        "backendRefs": [{"name": notebook.name, "port": SERVICE_PORT}],
        "timeouts": {"request": timeout, "backendRequest": timeout},
    }
    filters: list[dict[str, Any]] = []
    if notebook.rewrite_path:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": notebook.rewrite_path}
        filters.append({"type": "URLRewrite", "urlRewrite": {"path": path}})
    if notebook.request_headers:
        headers = [{"name": name, "value": value} for name, value in sorted(notebook.request_headers.items())]
        filters.append({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}})
    if filters:
        rule["filters"] = filters
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _metadata(notebook.name, notebook, settings),
        "spec": {
            "parentRefs": [dict(parent) for parent in settings.route.parents],
            "hostnames": [settings.domain],
            "rules": [rule],
        },
    }


def _mapping(notebook: Notebook, settings: Settings) -> dict[str, Any]:
    milliseconds = settings.requestTimeoutSeconds * 1000
    spec: dict[str, Any] = {
        "hostname": settings.domain,
        "prefix": f"{notebook.prefix}/",
        # Empty leaves the path as it is; without it Emissary would strip the prefix.
        "rewrite": notebook.rewrite_path or "",
        "service": f"{notebook.name}.{notebook.namespace}:{SERVICE_PORT}",
        "timeout_ms": milliseconds,
        "idle_timeout_ms": milliseconds,
        "allow_upgrade": ["websocket"],
    }
    if notebook.request_headers:
        spec["add_request_headers"] = {
            name: {"value": value, "append": False} for name, value in sorted(notebook.request_headers.items())
        }
    return {
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": "Mapping",
        "metadata": _metadata(notebook.name, notebook, settings),
        "spec": spec,
    }


def belongs(child: Mapping[str, Any], name: str, uid: str, settings: Settings) -> bool:
    """Whether an object that has a child's name is the notebook's: made for it, or left behind by one of its name.

    Args:
        child: the object.
        name: the notebook's name.
        uid: the notebook's uid.
        settings: the stack's.

    Raises:
        StaleChildError: it is one of a notebook of this name that was deleted, and goes with that.
    """
    metadata = child["metadata"]
    controller = _controller(child)
    if controller is None:
        return is_orphan(child, name, settings)
    if controller["uid"] == uid:
        return True
    if controller["kind"] == "Notebook" and controller["name"] == name:
        raise StaleChildError(f"{child['kind']} {metadata['name']} of a deleted notebook is not gone yet")
    return False


def is_orphan(child: Mapping[str, Any], name: str, settings: Settings) -> bool:
    """Whether an object was made for a notebook of this name, and has no owner since that was deleted without it."""
    labels = child["metadata"].get("labels") or {}
    return (
        _controller(child) is None
        and labels.get(names.NOTEBOOK_NAME) == name
        and labels.get(names.STACK) == settings.stack
    )


def claim_ownership(held: Mapping[str, Any], notebook: Notebook, settings: Settings) -> None:
    """Make sure that an object that has a child's name may be taken for the notebook's.

    Raises:
        ForeignChildError: it is somebody else's.
        StaleChildError: it is a deleted notebook's.
    """
    if not belongs(held, notebook.name, notebook.uid, settings):
        kind, name = held["kind"], held["metadata"]["name"]
        raise ForeignChildError(f"there is a {kind} {name} already, which is not the notebook's; rename one of them")


def _controller(child: Mapping[str, Any]) -> Mapping[str, Any] | None:
    owners = child["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


class ForeignChildError(Exception):
    """A name that a notebook needs belongs to something else."""


class StaleChildError(Exception):
    """What a deleted notebook left is still there; it goes by itself."""
