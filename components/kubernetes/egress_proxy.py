"""The way out of the profile `domains` on Kubernetes: squid in a pod of its own."""

import hashlib
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.egress import check_egress
from components.egress_proxy import HTTPS_PORT, PROXY_PORT, squid_configuration
from components.kubernetes.isolation import PodTarget, allow_ingress_policy, public_egress_policy
from components.kubernetes.labels import ROLE_LABEL, labels
from components.kubernetes.pods import restricted_container, restricted_pod
from components.kubernetes.tenancy import Room

NAME = "egress-proxy"
"""Name of the Service and of all that stands behind it; one proxy for a namespace."""

PROXY_PODS: PodTarget = {"labels": {ROLE_LABEL: NAME}}
"""The proxy's pods, for rules of its namespace."""

_CONFIGURATION_FOLDER = "/etc/egress-proxy"


class EgressProxyArgs(TypedDict):
    """Arguments of `EgressProxy`. All are plain values: they decide what is deployed."""

    stack: str
    """Value of the label `hubstack.stack`."""
    namespace: str
    """Namespace that it runs in."""
    image: str
    """Image built from `images/egress-proxy`, by digest or a tag of its inputs."""
    domains: list[str]
    """Domains that are passed on, exact or with a leading dot for a domain and all below. None is passed on by default."""
    clients: list[PodTarget]
    """Pods that may use it."""
    excluded: NotRequired[list[str]]
    """Ranges that it never reaches beside `components.egress.NEVER_REACHED`. Default: none."""
    replicas: NotRequired[int]
    """How many run, 1 to 10. With more than one, draining a node leaves one. Default 1."""
    imagePullSecrets: NotRequired[list[str]]
    """Secrets of the namespace with credentials of the image's registry. Default: none."""


class EgressProxy(pulumi.ComponentResource):
    """A squid that its clients reach on port 3128, and that reaches public addresses on port 443 alone."""

    address: pulumi.Output[str]
    """Its address, `http://egress-proxy.<namespace>:3128`, known once it answers."""

    def __init__(self, name: str, args: EgressProxyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the proxy.

        Args:
            name: prefix of the resources' names.
            args: see `EgressProxyArgs`.
            opts: resource options; what they depend on is there before any part.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong; every mistake is listed.
        """
        super().__init__("hubstack:kubernetes:EgressProxy", name, {}, opts)
        errors = check_egress_proxy(args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        local = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        metadata = _metadata(args)
        replicas = args.get("replicas", 1)
        configuration = proxy_configuration(args)
        config = kubernetes.core.v1.ConfigMap(
            f"{name}-configuration", metadata=metadata, data={"squid.conf": configuration}, opts=local
        )
        policies = [
            kubernetes.networking.v1.NetworkPolicy(
                f"{name}-{direction}",
                metadata=_metadata(args, f"{NAME}-{direction}"),
                spec=spec,
                opts=local,
            )
            for direction, spec in network_policies(args).items()
        ]
        service: Any = {
            "selector": PROXY_PODS["labels"],
            "ports": [{"name": "proxy", "port": PROXY_PORT, "targetPort": PROXY_PORT, "protocol": "TCP"}],
        }
        service_resource = kubernetes.core.v1.Service(f"{name}-service", metadata=metadata, spec=service, opts=local)
        deployment: Any = deployment_spec(args, configuration)
        # Not a moment without its policies, nor without its rules.
        running = kubernetes.apps.v1.Deployment(
            f"{name}-deployment",
            metadata=metadata,
            spec=deployment,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[config, *policies]),
        )
        if replicas > 1:
            budget: Any = {"maxUnavailable": 1, "selector": {"matchLabels": PROXY_PODS["labels"]}}
            kubernetes.policy.v1.PodDisruptionBudget(f"{name}-budget", metadata=metadata, spec=budget, opts=local)
        address = proxy_address(args["namespace"])
        self.address = pulumi.Output.all(running.id, service_resource.id).apply(lambda _: address)
        self.register_outputs({"address": self.address})


def _metadata(args: EgressProxyArgs, name: str = NAME) -> kubernetes.meta.v1.ObjectMetaArgs:
    return kubernetes.meta.v1.ObjectMetaArgs(name=name, namespace=args["namespace"], labels=labels(args["stack"], NAME))


def proxy_address(namespace: str) -> str:
    """Address of the proxy in a namespace."""
    return f"http://{NAME}.{namespace}:{PROXY_PORT}"


def proxy_environment(address: str, namespace: str) -> dict[str, str]:
    """Environment by which programs of user pods find the proxy, and what they reach without it.

    Plain HTTP is not sent there: the proxy would refuse it, and the hub's own API is plain HTTP.
    """
    direct = ",".join(["localhost", "127.0.0.1", "::1", f".{namespace}", ".svc", ".cluster.local"])
    return {"HTTPS_PROXY": address, "https_proxy": address, "NO_PROXY": direct, "no_proxy": direct}


def proxy_configuration(args: EgressProxyArgs) -> str:
    """Squid's configuration."""
    return squid_configuration(args["domains"], args.get("excluded", []))


def proxy_rules(args: EgressProxyArgs) -> dict[str, Any]:
    """All that decides what the proxy passes on: its policies, and its pods with image and configuration."""
    return {"policies": network_policies(args), "deployment": deployment_spec(args, proxy_configuration(args))}


def network_policies(args: EgressProxyArgs) -> dict[str, Any]:
    """Specs of the proxy's policies, by what they open; its clients' own say that they may reach it."""
    pods = PROXY_PODS["labels"]
    return {
        "from-clients": allow_ingress_policy(pods=pods, port=PROXY_PORT, sources=args["clients"]),
        "to-domains": public_egress_policy(pods=pods, ports=[HTTPS_PORT], excluded=args.get("excluded", [])),
    }


def deployment_spec(args: EgressProxyArgs, configuration: str) -> dict[str, Any]:
    """The Deployment's spec; a changed configuration starts new pods."""
    limits = {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "64Mi"}
    container = {
        **restricted_container(NAME, args["image"], requests={**limits, "cpu": "50m", "memory": "64Mi"}, limits=limits),
        "ports": [{"name": "proxy", "containerPort": PROXY_PORT, "protocol": "TCP"}],
        # Engines learn of a new pod within seconds, and refuse what goes to it until then.
        "readinessProbe": {"tcpSocket": {"port": PROXY_PORT}, "initialDelaySeconds": 5, "periodSeconds": 5},
        "livenessProbe": {"tcpSocket": {"port": PROXY_PORT}, "periodSeconds": 10, "failureThreshold": 6},
        # Those that are on their way to a pod that ends still find it.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "volumeMounts": [{"name": "configuration", "mountPath": _CONFIGURATION_FOLDER, "readOnly": True}],
    }
    pod = restricted_pod([container], uid=13, gid=13)
    pod["volumes"] = [{"name": "configuration", "configMap": {"name": NAME}}]
    # Tunnels that are in use end with the pod: `preStop`, `shutdown_lifetime` and a margin.
    pod["terminationGracePeriodSeconds"] = 20
    if args.get("imagePullSecrets"):
        pod["imagePullSecrets"] = [{"name": secret} for secret in args.get("imagePullSecrets", [])]
    if args.get("replicas", 1) > 1:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": PROXY_PODS["labels"]},
            }
        ]
    checksum = hashlib.sha256(configuration.encode()).hexdigest()
    return {
        "replicas": args.get("replicas", 1),
        "selector": {"matchLabels": PROXY_PODS["labels"]},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {
                "labels": labels(args["stack"], NAME),
                "annotations": {"hubstack.io/configuration": checksum},
            },
            "spec": pod,
        },
    }


def room(replicas: int = 1) -> Room:
    """What the proxy takes of a namespace's quota, the overlap of an update included."""
    return {"pods": replicas + 1, "cpu": 0.5, "memory": "256M", "scratch": "64M", "services": 1}


def check_egress_proxy(args: EgressProxyArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors = check_egress("domains", args["domains"], [], args.get("excluded", []))
    if not 1 <= args.get("replicas", 1) <= 10:  # noqa: PLR2004  (named in the argument's docstring)
        errors.append({"property_path": "replicas", "reason": f"{args.get('replicas')} is not between 1 and 10"})
    return errors
