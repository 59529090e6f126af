"""Proof that a user's pod reaches nothing it must not: an update fails when something forbidden answers."""

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.egress import EgressProfile
from components.egress_proxy import HTTPS_PORT, PROXY_PORT
from components.kubernetes.egress_proxy import NAME as PROXY_NAME
from components.kubernetes.isolation import EgressRules
from components.kubernetes.labels import labels
from components.kubernetes.pods import restricted_container, restricted_pod
from components.kubernetes.quantities import cpu_quantity
from components.kubernetes.tenancy import Room
from components.probe_destinations import (
    METADATA_SERVICES,
    OUTSIDE,
    PRIVATE_NEIGHBOURS,
    PROBE_SOURCE,
    PUBLIC_IPV6,
    PUBLIC_PORTS,
    Destination,
    destination,
    proxy_refusals,
)

ROLE = "egress-probe"

PROVES = "hubstack.io/proves"
"""Annotation of the probe's pod with the digest of what it proves; see `proof_digest`."""

PROBE_ROOM: Room = {"pods": 2, "cpu": 0.5, "memory": "128M", "scratch": "64M"}
"""What the probe takes of a namespace's quota, a new one beside the last one's rest."""

DEADLINE_SECONDS = 300
"""How long a probe may take, the pull of its image included; it runs for about 10 s itself."""

KUBERNETES_API = destination(
    "tcp", "$KUBERNETES_SERVICE_HOST", 443, "the Kubernetes API: no engine enforces NetworkPolicies"
)
"""It answers every pod until a NetworkPolicy forbids it."""

NODE = (
    destination("tcp", "$NODE_ADDRESS", 10250, "the kubelet of the pod's node"),
    destination("tcp", "$NODE_ADDRESS", 22, "SSH of the pod's node"),
)

OTHER_NAMESPACE = destination("tcp", "kube-dns.kube-system.svc", 9153, "a port of the name servers beside names")
"""A pod of another namespace that is there in every cluster."""


class EgressProbeArgs(TypedDict):
    """Arguments of `EgressProbe`. All but `proves` are plain values: they decide what is tried."""

    stack: str
    """Value of the label `hubstack.stack`."""
    namespace: str
    """Namespace of the users' pods."""
    image: str
    """Image with `python3`, at best the users' own, which is on the nodes already."""
    podLabels: dict[str, str]
    """Labels of users' pods, by which NetworkPolicies select the probe, too."""
    egress: EgressRules
    """The profile that is proved."""
    required: list[Destination]
    """What must answer: the hub, for one. Without anything required a machine without a network would pass."""
    forbidden: NotRequired[list[Destination]]
    """What must not answer beside what no user's pod may reach: another user's server. Default: none."""
    proxyNamespace: NotRequired[str]
    """Namespace of the egress proxy of the profile `domains`. Default: that of the users' pods."""
    serviceAccount: NotRequired[str]
    """Service account of the pod, whose token is not mounted. Default: the namespace's own."""
    nodeSelector: NotRequired[dict[str, str]]
    """Labels of the nodes that users' pods run on. Default: any node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Taints of these nodes that are tolerated, as Kubernetes writes them. Default: none."""
    imagePullSecrets: NotRequired[list[str]]
    """Secrets of the namespace with credentials of the image's registry. Default: none."""
    cpu: NotRequired[float]
    """Limit in processors, where a user's is lower than the default of 0.5."""
    proves: NotRequired[pulumi.Input[str]]
    """Digest of all that decides what users' pods reach, by `proof_digest`: another one is proved anew. Default: none,
    so that a change is proved where it changes what is tried."""


class EgressProbe(pulumi.ComponentResource):
    """A Job in a pod like a user's; it fails, and the update with it, when something forbidden answers.

    Its name is made of what it tries and of what decides the answers (`proves`), so that a change of either is proved
    anew. What answered stands in the message of the failed pod.
    """

    job: pulumi.Output[str]
    """Name of the Job, known once it passed."""

    def __init__(self, name: str, args: EgressProbeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the probe.

        Args:
            name: prefix of the resource's name.
            args: see `EgressProbeArgs`.
            opts: resource options; they depend on every NetworkPolicy and on what must answer.
        """
        super().__init__("hubstack:kubernetes:EgressProbe", name, {}, opts)
        # The digest can be read off the pod, so it makes no secret of what it is in.
        if "proves" in args:
            args = {**args, "proves": pulumi.Output.unsecret(pulumi.Output.from_input(args["proves"]))}
        spec: Any = job_spec(args)
        job_title = pulumi.Output.from_input(spec).apply(job_name)
        job = kubernetes.batch.v1.Job(
            f"{name}-job",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(
                name=job_title, namespace=args["namespace"], labels=labels(args["stack"], ROLE)
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=opts.depends_on if opts else None,
                custom_timeouts=pulumi.CustomTimeouts(create=f"{DEADLINE_SECONDS + 30}s"),
            ),
        )
        self.job = pulumi.Output.all(job_title, job.id).apply(lambda known: str(known[0]))
        self.register_outputs({"job": self.job})


def job_name(spec: dict[str, Any]) -> str:
    """The Job's name: Jobs cannot be changed, and a changed one is to run."""
    return f"{ROLE}-{hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]}"


def proof_digest(decides: Mapping[str, Any], key: str = "") -> str:
    """The digest of what decides the answers that a probe gets.

    Args:
        decides: policies, versions, images and settings, as JSON has them.
        key: a random secret of the stack; needed where anything in `decides` could be a secret, because who may look
            at pods could otherwise try what it is.
    """
    text = json.dumps(decides, sort_keys=True).encode()
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest() if key else hashlib.sha256(text).hexdigest()


def job_spec(args: EgressProbeArgs) -> dict[str, Any]:
    """The Job's spec. It is kept when it is done: the stack owns it."""
    cpu = args.get("cpu", 0.5)
    limits = {"cpu": cpu_quantity(cpu), "memory": "128Mi", "ephemeral-storage": "64Mi"}
    container = {
        **restricted_container(
            ROLE, args["image"], requests={**limits, "cpu": cpu_quantity(min(cpu, 0.1))}, limits=limits
        ),
        "command": ["python3", "-c", PROBE_SOURCE.read_text(), json.dumps(probe_document(args), sort_keys=True)],
        "env": [{"name": "NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod = restricted_pod([container], uid=1000, gid=100)
    pod |= {
        "restartPolicy": "Never",
        # Where there are no names, what is required is found by the environment.
        "enableServiceLinks": True,
        # A name that nobody answers for is a result here, and not worth 40 seconds.
        "dnsConfig": {"options": [{"name": "timeout", "value": "2"}, {"name": "attempts", "value": "1"}]},
    }
    if args.get("serviceAccount"):
        pod["serviceAccountName"] = args.get("serviceAccount")
    if args.get("nodeSelector"):
        pod["nodeSelector"] = args.get("nodeSelector")
    if args.get("tolerations"):
        pod["tolerations"] = args.get("tolerations")
    if args.get("imagePullSecrets"):
        pod["imagePullSecrets"] = [{"name": secret} for secret in args.get("imagePullSecrets", [])]
    metadata: dict[str, Any] = {"labels": {**labels(args["stack"], ROLE), **args["podLabels"]}}
    if "proves" in args:
        metadata["annotations"] = {PROVES: args["proves"]}
    return {
        "backoffLimit": 0,
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "template": {"metadata": metadata, "spec": pod},
    }


def probe_document(args: EgressProbeArgs) -> dict[str, Any]:
    """What the probe tries, as `runtime/egress_probe` reads it."""
    return {
        "control": KUBERNETES_API,
        "required": [*args["required"], *_proxy_refuses(args)],
        "forbidden": [*forbidden_destinations(args["egress"]), *args.get("forbidden", [])],
        "rejects": True,
        "words": True,
    }


def forbidden_destinations(egress: EgressRules) -> list[Destination]:
    """Everything that must not answer under the profile."""
    profile = EgressProfile(egress["profile"])
    found = [KUBERNETES_API, *METADATA_SERVICES, *PRIVATE_NEIGHBOURS, *NODE, OTHER_NAMESPACE, PUBLIC_IPV6]
    found += _excluded_neighbours(egress)
    if profile is EgressProfile.OPEN:
        return found
    opened = set(egress["ports"]) if profile is EgressProfile.PORTS else set[int]()
    found += [one for one in PUBLIC_PORTS if one["kind"] != "tcp" or one["port"] not in opened]
    return found + [one for one in OUTSIDE if one["kind"] == "dns" and profile is EgressProfile.CLOSED]


def _excluded_neighbours(egress: EgressRules) -> list[Destination]:
    """The first address of each range that the stack excludes, on a port that the profile opens elsewhere."""
    opened = egress["ports"] if EgressProfile(egress["profile"]) is EgressProfile.PORTS else ()
    ranges = [ipaddress.ip_network(text) for text in sorted(set(egress.get("excluded", [])))]
    return [
        destination("tcp", str(next(iter(one.hosts()))), min(opened, default=HTTPS_PORT), f"excluded range {one}")
        for one in ranges
    ]


def _proxy_refuses(args: EgressProbeArgs) -> list[Destination]:
    """What the egress proxy must refuse, where it is the way out."""
    egress = args["egress"]
    if EgressProfile(egress["profile"]) is not EgressProfile.DOMAINS or not egress["domains"]:
        return []
    return proxy_refusals(f"{PROXY_NAME}.{args.get('proxyNamespace', args['namespace'])}", PROXY_PORT)
