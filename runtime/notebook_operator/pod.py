"""The pod of a notebook: what its user says, and what holds otherwise."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from runtime.notebook_operator import names
from runtime.notebook_operator.notebook import DEFAULT_HOME, Notebook
from runtime.notebook_operator.settings import Settings

DEFAULT_USER_ID = 1000
DEFAULT_FILE_GROUP = 100
DEFAULT_SERVICE_ACCOUNT = "default-editor"
HOME_VOLUME = "home"
HOME_SUFFIX = "-home"
"""What the name of a home that is made has after its notebook's."""
MOST_SECONDS_TO_END = 30
"""Longest that a pod that is stopped may go on; Kubernetes' own default."""
NO_NAMES: dict[str, Any] = {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}
"""Where no policy lets a name server be asked: a look-up fails at once and does not hold a thread until it is given up."""
NOT_COPIED = ("kubectl", "notebook", "kubeflow-resource-stopped", "pulumi.com")
"""What the name of an annotation holds that says something of the Notebook, not of its pod."""


def pod_template(notebook: Notebook, settings: Settings) -> dict[str, Any]:
    """The template of the notebook's pod."""
    annotations = {
        key: value for key, value in notebook.annotations.items() if not any(word in key for word in NOT_COPIED)
    }
    return {
        "metadata": {
            "labels": {**notebook.labels, **child_labels(notebook, settings)},
            "annotations": {**annotations, names.TEMPLATE: template_digest(notebook)},
        },
        "spec": pod_spec(notebook, settings),
    }


def child_labels(notebook: Notebook, settings: Settings) -> dict[str, str]:
    """Labels of what a notebook is made of."""
    return {
        names.STACK: settings.stack,
        names.ROLE: names.NOTEBOOK_ROLE,
        names.NOTEBOOK_NAME: notebook.name,
        names.STATEFUL_SET: notebook.name,
    }


def template_digest(notebook: Notebook) -> str:
    """Hash of what a running pod must be replaced for.

    The platform's settings are no part of it: a new proxy address or image reaches a notebook when it starts again, not by
    taking its kernels away.
    """
    template = {key: value for key, value in notebook.template.items() if key != "ttlSecondsAfterFinished"}
    shaping = (names.USER_ID, names.GROUP_ID, names.HOME_PATH, names.HOME_CLAIM, names.START)
    annotations = {key: notebook.annotations[key] for key in shaping if key in notebook.annotations}
    return names.digest([template, annotations])[:16]


def home_claim_name(notebook: Notebook, settings: Settings) -> tuple[str, bool] | None:
    """Name of the claim that is the notebook's home, and whether it is made; None if the user mounts a home, or wants none.

    A mount at the home's path or above it is the user's own home.
    """
    path = notebook.home_path
    if path is None:
        return None
    mounts = {mount["mountPath"].rstrip("/") or "/" for mount in notebook.container.get("volumeMounts") or []}
    if mounts & {path, *map(str, PurePosixPath(path).parents)}:
        return None
    adopted = notebook.annotations.get(names.HOME_CLAIM)
    if adopted:
        return adopted, False
    return (f"{notebook.name}{HOME_SUFFIX}", True) if settings.notebook.homeBytes else None


def pod_spec(notebook: Notebook, settings: Settings) -> dict[str, Any]:
    """The pod: the user's template wins wherever it says anything, but for how long it may take to end."""
    spec = {key: value for key, value in notebook.template.items() if key != "ttlSecondsAfterFinished"}
    first, *others = notebook.template["containers"]
    container = _secured(_server(first, notebook, settings))
    volumes = list(spec.get("volumes") or [])
    claim = home_claim_name(notebook, settings)
    if claim:
        taken = {volume["name"] for volume in volumes}
        volume = HOME_VOLUME if HOME_VOLUME not in taken else f"{HOME_VOLUME}-{notebook.uid[:8]}"
        volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": claim[0]}})
        mounts = [*(container.get("volumeMounts") or []), {"name": volume, "mountPath": notebook.home_path}]
        container["volumeMounts"] = mounts
    spec["containers"] = [container, *(_secured(other) for other in others)]
    if spec.get("initContainers"):
        spec["initContainers"] = [_secured(initial) for initial in spec["initContainers"]]
    if volumes:
        spec["volumes"] = volumes
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None:
        spec["terminationGracePeriodSeconds"] = min(grace, MOST_SECONDS_TO_END)
    spec.setdefault("serviceAccountName", DEFAULT_SERVICE_ACCOUNT)
    spec.setdefault("automountServiceAccountToken", False)
    # A Service called `jupyter` would set JUPYTER_PORT to an address.
    spec.setdefault("enableServiceLinks", False)
    if not settings.notebook.resolvesNames and not spec.keys() & NO_NAMES.keys():
        spec |= NO_NAMES
    if settings.notebook.nodeSelector:
        spec.setdefault("nodeSelector", dict(settings.notebook.nodeSelector))
    if settings.notebook.tolerations:
        spec.setdefault("tolerations", [*settings.notebook.tolerations])
    spec["securityContext"] = _pod_security(spec.get("securityContext") or {}, notebook)
    return spec


def environment(notebook: Notebook, settings: Settings) -> list[dict[str, Any]]:
    """Variables of the server, as far as its user does not set them.

    `NB_PREFIX` is what Kubeflow's images read, `NOTEBOOK_ARGS` what the Jupyter Docker Stacks do.
    """
    arguments = " ".join(_arguments(notebook))
    token = {"secretKeyRef": {"name": notebook.secret, "key": "token"}}
    return [
        {"name": "NB_PREFIX", "value": notebook.prefix},
        {"name": "NOTEBOOK_ARGS", "value": arguments},
        {"name": "JUPYTER_TOKEN", "valueFrom": token},
        *({"name": name, "value": value} for name, value in sorted(settings.notebook.environment.items())),
    ]


def _arguments(notebook: Notebook) -> list[str]:
    return [
        f"--ServerApp.base_url={notebook.prefix}/",
        "--ServerApp.ip=0.0.0.0",
        f"--ServerApp.port={notebook.port}",
        "--ServerApp.port_retries=0",
    ]


def _server(container: Mapping[str, Any], notebook: Notebook, settings: Settings) -> dict[str, Any]:
    server = dict(container)
    server.setdefault("workingDir", notebook.home_path or DEFAULT_HOME)
    if not server.get("ports"):
        server["ports"] = [{"name": "notebook-port", "containerPort": notebook.port, "protocol": "TCP"}]
    if notebook.starts_jupyter(settings):
        server["args"] = ["jupyter", "lab", "--no-browser", *_arguments(notebook)]
    server["env"] = _merged(environment(notebook, settings), server.get("env") or [])
    server["resources"] = _resources(server.get("resources") or {}, settings.notebook.resources)
    server.setdefault("readinessProbe", {"tcpSocket": {"port": notebook.port}, "periodSeconds": 2})
    return server


def _merged(defaults: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Variables in order; of two with one name the later holds, as in a pod, where the API takes no name twice."""
    own_names = {variable["name"] for variable in own}
    last = {variable["name"]: position for position, variable in enumerate(own)}
    return [
        *(dict(variable) for variable in defaults if variable["name"] not in own_names),
        *(dict(variable) for position, variable in enumerate(own) if last[variable["name"]] == position),
    ]


def _resources(own: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The user's resources, and the platform's for each kind that the user says nothing of.

    A default next to a value of the user's could make a request larger than its limit.
    """
    named = {kind for part in ("requests", "limits") for kind in own.get(part) or {}}
    parts: dict[str, dict[str, Any]] = {}
    for part in ("requests", "limits"):
        filled = {kind: value for kind, value in defaults.get(part, {}).items() if kind not in named}
        merged = {**filled, **(own.get(part) or {})}
        if merged:
            parts[part] = merged
    return {**own, **parts}


def _pod_security(own: Mapping[str, Any], notebook: Notebook) -> dict[str, Any]:
    group = notebook.group_id
    defaults: dict[str, Any] = {
        "runAsUser": DEFAULT_USER_ID if notebook.user_id is None else notebook.user_id,
        "fsGroup": DEFAULT_FILE_GROUP if group is None else group,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if group is not None:
        defaults["runAsGroup"] = group
    security = {**defaults, **own}
    return {"runAsNonRoot": security["runAsUser"] != 0, **security}


def _secured(container: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {**container, "securityContext": {**defaults, **(container.get("securityContext") or {})}}
