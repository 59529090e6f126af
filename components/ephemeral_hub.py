"""A JupyterHub on Kubernetes whose users are nobody and keep nothing (seed 003)."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any
from weakref import ref

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi.runtime.settings import get_monitor

from components.content_links import content_links
from components.kubernetes.chart_notation import Values, merged
from components.kubernetes.chart_values import ACCESS_SECRET, chart_values
from components.kubernetes.egress_proxy import EgressProxy
from components.kubernetes.hub_arguments import (
    DEFAULT_CHART,
    DEFAULT_CHART_VERSION,
    DEFAULT_REPOSITORY,
    DEFAULT_TIMEOUT_SECONDS,
    EphemeralHubArgs,
    SharedDirectory,
    check_ephemeral_hub,
    egress_rules,
    hub_chart,
    hub_namespace,
    is_in_repository,
    is_local,
    password_mistake,
    tenancy_args,
)
from components.kubernetes.hub_chart import HUB_PORT, Access, HubChart, HubSecrets
from components.kubernetes.hub_front import FrontKind, front_kind
from components.kubernetes.hub_policies import hub_policies, hub_proxy
from components.kubernetes.hub_proof import hub_proof
from components.kubernetes.labels import labels
from components.kubernetes.probe import EgressProbe, proof_digest
from components.kubernetes.tenancy import Tenancy
from components.kubernetes.user_pod_values import HUB_ACCESS, SHARED_CLAIM, USER_PODS, USER_ROLE, user_place
from components.probe_destinations import destination
from components.random_secrets import random_password, random_token

__all__ = ["EphemeralHub", "EphemeralHubArgs", "SharedDirectory"]

DEFAULT_MOUNT_OPTIONS = ["soft", "noatime", "vers=4.2"]
"""What 2i2c's hubs mount their file systems with."""

PROXY_API_PORT = 8001


KEPT_POLICY = "default-deny"
"""Outlives `destroy` in a namespace of the stack's and goes with it: servers may end half a minute after their hub, and reach
nothing. In a namespace of somebody else's nothing stays that would shut it."""

_CLAIMED: list[tuple[ref[Any], dict[str, str]]] = []
"""The hub in each namespace, for each deployment, which is the program's connection to its engine."""


class EphemeralHub(pulumi.ComponentResource):
    """A hub from the chart zero-to-jupyterhub in a namespace of its own, with a password and a fresh user per visit.

    Servers have no volume that outlives them, no privileges and no token, and reach what the egress profile opens; a
    probe in their place proves it, and again whenever something changes that decides it: a policy, the chart, its
    values, the egress proxy. Users' images are on the nodes before the hub is updated.
    """

    url: pulumi.Output[str]
    """Address of the hub, known once the probe has passed."""
    password: pulumi.Output[str]
    """The password, a secret; empty with the access `open`."""
    namespace: pulumi.Output[str]
    """Namespace of the hub."""
    contentLinks: pulumi.Output[dict[str, str]]
    """Links that open repositories on the hub, by their names."""

    def __init__(self, name: str, args: EphemeralHubArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the hub.

        Args:
            name: name of the release, unique in the cluster, and the value of the label `hubstack.stack`.
            args: see `EphemeralHubArgs`.
            opts: resource options.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong, or the namespace has a hub already; everything is listed.
        """
        super().__init__("hubstack:index:EphemeralHub", name, {}, opts)
        errors = check_ephemeral_hub(name, args) or claim_namespace(hub_namespace(name, args), name)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        self._name, self._args = name, args
        self._namespace = hub_namespace(name, args)
        self._local = pulumi.ResourceOptions(parent=self)
        chart = hub_chart(name, args)
        tenancy = Tenancy(f"{name}-tenancy", tenancy_args(name, args, chart), self._local)
        self._ready = pulumi.ResourceOptions(parent=self, depends_on=[tenancy])
        secrets, password = self._secrets(chart)
        before = [*self._policies(), *self._shared_directory()]
        if password is not None:
            before.append(self._password_secret(password))
        if args.get("egressDomains"):
            before.append(self._egress_proxy())
        values = merged(chart_values(chart, secrets), args.get("values", {}))
        probe = self._probe(chart, values, secrets, self._release(values, before))
        address = hub_address(args, self._namespace)
        self.url = probe.job.apply(lambda _: address)
        self.password = pulumi.Output.secret("") if password is None else password
        self.namespace = tenancy.namespace
        links = content_links(address, args.get("contentLinks", []))
        self.contentLinks = pulumi.Output.from_input(links)
        self.register_outputs(
            {
                "url": self.url,
                "password": self.password,
                "namespace": self.namespace,
                "contentLinks": self.contentLinks,
            }
        )

    def _metadata(self, name: str | None, role: str) -> kubernetes.meta.v1.ObjectMetaArgs:
        return kubernetes.meta.v1.ObjectMetaArgs(name=name, namespace=self._namespace, labels=labels(self._name, role))

    def _secrets(self, chart: HubChart) -> tuple[HubSecrets, pulumi.Output[str] | None]:
        """What the hub must keep over an update, and the password."""
        proxy_token, cookie_secret, crypt_key = (
            random_token(f"{self._name}-{label}", self._local)
            for label in ("proxy-token", "cookie-secret", "crypt-key")
        )
        password = None if chart.access is Access.OPEN else self._password()
        fingerprint = None
        if password is not None:
            # Keyed: who may look at pods could otherwise try passwords against it.
            fingerprint = pulumi.Output.all(cookie_secret, password).apply(
                lambda known: hmac.new(known[0].encode(), known[1].encode(), hashlib.sha256).hexdigest()
            )
        return HubSecrets(proxy_token, cookie_secret, crypt_key, fingerprint), password

    def _password(self) -> pulumi.Output[str]:
        if "password" in self._args:
            given = pulumi.Output.secret(self._args["password"])
            return given.apply(checked_password)
        return random_password(f"{self._name}-password", 20, self._local)

    def _password_secret(self, password: pulumi.Output[str]) -> kubernetes.core.v1.Secret:
        values = {"hub": {"config": {"SharedPasswordAuthenticator": {"user_password": password}}}}
        return kubernetes.core.v1.Secret(
            f"{self._name}-access",
            metadata=self._metadata(ACCESS_SECRET, "hub"),
            # JSON is YAML, too.
            string_data={"values.yaml": pulumi.Output.secret(pulumi.Output.json_dumps(values, sort_keys=True))},
            opts=self._ready,
        )

    def _policies(self) -> list[pulumi.Resource]:
        """What pods may reach, beside the chart's own policies."""
        kept = KEPT_POLICY if self._args.get("createNamespace", True) else None
        return [
            kubernetes.networking.v1.NetworkPolicy(
                f"{self._name}-{title}",
                # A name of its own each time: another update in the same namespace finds the last one's policy there.
                metadata=self._metadata(None if title == KEPT_POLICY else title, "isolation"),
                spec=spec,
                opts=pulumi.ResourceOptions.merge(self._ready, pulumi.ResourceOptions(retain_on_delete=title == kept)),
            )
            for title, spec in hub_policies(self._args).items()
        ]

    def _shared_directory(self) -> list[pulumi.Resource]:
        """A volume on the other hub's file system that nobody but this hub's users can claim, and only read."""
        shared = self._args.get("shared")
        if shared is None:
            return []
        title, capacity = f"{self._namespace}-{SHARED_CLAIM}", {"storage": "1Mi"}
        volume = kubernetes.core.v1.PersistentVolume(
            f"{self._name}-shared",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(name=title, labels=labels(self._name, "shared")),
            spec=shared_volume(shared, self._namespace),  # pyright: ignore[reportArgumentType]  (Kubernetes' own keys)
            opts=self._ready,
        )
        claim: Any = {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": title,
            "resources": {"requests": capacity},
        }
        made = kubernetes.core.v1.PersistentVolumeClaim(
            f"{self._name}-shared",
            metadata=self._metadata(SHARED_CLAIM, "shared"),
            spec=claim,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[volume]),
        )
        return [volume, made]

    def _egress_proxy(self) -> EgressProxy:
        return EgressProxy(f"{self._name}-egress-proxy", hub_proxy(self._name, self._args), self._ready)

    def _release(self, values: Values, before: Sequence[pulumi.Resource]) -> kubernetes.helm.v3.Release:
        args = self._args
        chart = args.get("chart", DEFAULT_CHART)
        repository = kubernetes.helm.v3.RepositoryOptsArgs(repo=args.get("chartRepository", DEFAULT_REPOSITORY))
        return kubernetes.helm.v3.Release(
            f"{self._name}-release",
            name=self._name,
            namespace=self._namespace,
            chart=chart,
            # An archive or folder is the version that it is.
            version=None if is_local(chart) else args.get("chartVersion", DEFAULT_CHART_VERSION),
            repository_opts=repository if is_in_repository(chart) else None,
            values=values,
            timeout=int(args.get("timeout", DEFAULT_TIMEOUT_SECONDS)),
            # What failed stays to be looked at; what an update added before it failed goes.
            atomic=False,
            cleanup_on_fail=True,
            create_namespace=False,
            skip_await=False,
            max_history=5,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(before),
                # The manifest holds the chart's Secret.
                additional_secret_outputs=["manifest", "values"],
            ),
        )

    def _probe(
        self, chart: HubChart, values: Values, secrets: HubSecrets, release: kubernetes.helm.v3.Release
    ) -> EgressProbe:
        """Proof in the place of a user's pod, with its labels, image and nodes."""
        hub = "$HUB_SERVICE_HOST" if chart.by_address else "hub"
        nodes, tolerations = user_place(values)
        return EgressProbe(
            f"{self._name}-probe",
            {
                "stack": self._name,
                "namespace": self._namespace,
                "image": self._args["image"],
                "podLabels": {**USER_PODS, "release": self._name, **HUB_ACCESS, **labels(self._name, USER_ROLE)},
                "egress": egress_rules(self._args),
                "required": [destination("tcp", hub, HUB_PORT, "the hub")],
                "forbidden": [
                    destination("tcp", "$PROXY_API_SERVICE_HOST", PROXY_API_PORT, "the proxy's API, which moves routes")
                ],
                "nodeSelector": nodes,
                "tolerations": tolerations,
                "imagePullSecrets": self._args.get("imagePullSecrets", []),
                "proves": pulumi.Output.all(hub_proof(self._name, self._args), secrets.cookie_secret).apply(
                    lambda known: proof_digest(*known)
                ),
            },
            pulumi.ResourceOptions(parent=self, depends_on=[release]),
        )


def hub_address(args: EphemeralHubArgs, namespace: str) -> str:
    """Address of the hub: what stands before it has TLS, the bare Service has none."""
    if front_kind(args.get("front", {})) is FrontKind.NONE:
        return f"http://proxy-public.{namespace}"
    return f"https://{args.get('domain', '')}"


def shared_volume(shared: SharedDirectory, namespace: str) -> Values:
    """Spec of the volume: read-only for the kernel that mounts it, for Kubernetes and for whoever claims it."""
    return {
        "accessModes": ["ReadOnlyMany"],
        "capacity": {"storage": "1Mi"},
        "claimRef": {"namespace": namespace, "name": SHARED_CLAIM},
        "mountOptions": [*shared.get("mountOptions", DEFAULT_MOUNT_OPTIONS), "ro"],
        "nfs": {"server": shared["server"], "path": shared["share"], "readOnly": True},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
    }


def checked_password(password: str) -> str:
    """The password, if the hub takes it.

    Raises:
        pulumi.RunError: it does not; the message does not repeat it.
    """
    mistake = password_mistake(password)
    if mistake:
        raise pulumi.RunError(f"password: {mistake}")
    return password


def claim_namespace(namespace: str, name: str) -> list[pulumi.InputPropertyErrorDetails]:
    """A mistake where another hub of this deployment is in the namespace: all names in the chart are fixed."""
    deployment = get_monitor()
    _CLAIMED[:] = [(known, hubs) for known, hubs in _CLAIMED if known() is not None]
    hubs = next((hubs for known, hubs in _CLAIMED if known() is deployment), None)
    if hubs is None:
        hubs = dict[str, str]()
        _CLAIMED.append((ref(deployment), hubs))
    first = hubs.setdefault(namespace, name)
    if first == name:
        return []
    return [{"property_path": "namespace", "reason": f"{namespace} has a hub already, {first}; each needs its own"}]
