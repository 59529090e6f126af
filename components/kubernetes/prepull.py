"""Images on every node before a user asks for them: a server then starts in seconds."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.labels import ROLE_LABEL, STACK_LABEL, labels
from components.kubernetes.pods import restricted_container, restricted_pod
from components.kubernetes.tenancy import Room

ROLE = "pre-puller"

PAUSE_IMAGE = "registry.k8s.io/pause:3.10.1"
"""Does nothing in 700 kB; the kubelet's own sandboxes have it on most nodes."""

LIMITS = {"cpu": "50m", "memory": "32Mi", "ephemeral-storage": "16Mi"}
REQUESTS = {**LIMITS, "cpu": "10m", "memory": "16Mi"}


class PrepullArgs(TypedDict):
    """Arguments of `Prepull`. All are plain values: they decide what is pulled where."""

    stack: str
    """Value of the label `hubstack.stack`."""
    namespace: str
    """Namespace that the pods run in."""
    images: list[str]
    """Images that users' pods need, at least one; each has a program `true`."""
    pauseImage: NotRequired[str]
    """Image whose own program does nothing, for as long as the pod stays. Default `registry.k8s.io/pause:3.10.1`."""
    nodeSelector: NotRequired[dict[str, str]]
    """Labels of the nodes that users' pods run on. Default: every node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Taints of these nodes that are tolerated, as Kubernetes writes them. Default: none."""
    imagePullSecrets: NotRequired[list[str]]
    """Secrets of the namespace with credentials of the images' registry. Default: none."""


class Prepull(pulumi.ComponentResource):
    """A DaemonSet that pulls each image once on each node, on new nodes as well, and holds it there."""

    daemonSet: pulumi.Output[str]
    """Name of the DaemonSet, known once the images are there."""

    def __init__(self, name: str, args: PrepullArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the DaemonSet.

        Args:
            name: prefix of the resource's name.
            args: see `PrepullArgs`.
            opts: resource options; what they depend on is there before.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong; every mistake is listed.
        """
        super().__init__("hubstack:kubernetes:Prepull", name, {}, opts)
        errors = check_prepull(args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        spec: Any = daemon_set_spec(args)
        daemon_set = kubernetes.apps.v1.DaemonSet(
            f"{name}-daemonset",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(
                name=ROLE, namespace=args["namespace"], labels=labels(args["stack"], ROLE)
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None),
        )
        self.daemonSet = daemon_set.id.apply(lambda _: ROLE)
        self.register_outputs({"daemonSet": self.daemonSet})


def daemon_set_spec(args: PrepullArgs) -> dict[str, Any]:
    """The DaemonSet's spec: a container per image that ends at once, then one that stays."""
    pullers = [
        {
            **restricted_container(f"pull-{number}", image, requests=REQUESTS, limits=LIMITS),
            "command": ["true"],
        }
        for number, image in enumerate(dict.fromkeys(args["images"]))
    ]
    pause = restricted_container("pause", args.get("pauseImage", PAUSE_IMAGE), requests=REQUESTS, limits=LIMITS)
    pod = {**restricted_pod([pause]), "initContainers": pullers, "terminationGracePeriodSeconds": 0}
    if args.get("nodeSelector"):
        pod["nodeSelector"] = args.get("nodeSelector")
    if args.get("tolerations"):
        pod["tolerations"] = args.get("tolerations")
    if args.get("imagePullSecrets"):
        pod["imagePullSecrets"] = [{"name": secret} for secret in args.get("imagePullSecrets", [])]
    selector = {STACK_LABEL: args["stack"], ROLE_LABEL: ROLE}
    return {
        "selector": {"matchLabels": selector},
        # Pods that wait have nothing to lose: every node pulls at once.
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
        "template": {"metadata": {"labels": labels(args["stack"], ROLE)}, "spec": pod},
    }


def prepull_room(nodes: int) -> Room:
    """What the DaemonSet takes of a namespace's quota on at most `nodes` nodes."""
    return {"pods": nodes, "cpu": 0.05, "memory": "32M", "scratch": "16M"}


def check_prepull(args: PrepullArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors: list[pulumi.InputPropertyErrorDetails] = []
    if not args["images"]:
        errors.append({"property_path": "images", "reason": "no image is named; at least one"})
    for number, image in enumerate(args["images"]):
        name = image.rpartition("/")[2]
        if not ("@sha256:" in image or ":" in name) or name.endswith(":latest"):
            reason = f"{image!r} is not pinned; name it by digest (name@sha256:…) or by a tag that does not move"
            errors.append({"property_path": f"images[{number}]", "reason": reason})
    return errors
