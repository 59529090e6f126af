"""Notebooks as objects of a Kubernetes cluster, each user's in a protected namespace of their own (seed 002)."""

import json
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apiextensions import CustomResource

from components.egress import EgressProfile
from components.kubernetes import operator_deployment
from components.kubernetes.custom_resources import check_notebook, definitions, notebook, profile
from components.kubernetes.egress_proxy import EgressProxy, EgressProxyArgs, proxy_rules
from components.kubernetes.isolation import deny_all_policy
from components.kubernetes.labels import ROLE_LABEL, labels
from components.kubernetes.notebook_admission import policy_binding
from components.kubernetes.notebook_routes import notebook_url
from components.kubernetes.operator_access import OPERATOR_ROLE, RBAC_GROUP, REQUESTER_ROLE
from components.kubernetes.operator_deployment import OPERATOR, SETTINGS_FILE
from components.kubernetes.platform_arguments import (
    DEFAULT_GROUP,
    NotebookPlatformArgs,
    check_notebook_platform,
    egress_rules,
    needs_proxy,
)
from components.kubernetes.platform_objects import admission_policies, cluster_roles, policy_name
from components.kubernetes.platform_settings import operator_settings, system_rooms, user_shares
from components.kubernetes.prepull import Prepull, PrepullArgs
from components.kubernetes.probe import EgressProbe, EgressProbeArgs, proof_digest
from components.kubernetes.profile_manifests import PROFILE_ROLE
from components.kubernetes.tenancy import PolicyRule, RoleGrant, Tenancy
from components.probe_destinations import destination
from components.quotas import UserQuota
from runtime.notebook_operator.names import namespace_names


class NotebookPlatform(pulumi.ComponentResource):
    """The kinds `Notebook`, `Profile` and `NotebookRequest`, their operator, and what keeps users apart.

    A user's first notebook makes their namespace: with roles, a quota, limits and network policies; later ones share
    it. A request or a notebook that asks for what a user may not have is refused by the API server, in a sentence.
    """

    namespace: pulumi.Output[str]
    """Namespace of the operator."""
    userGroup: pulumi.Output[str]
    """Group whose members may make NotebookRequests."""
    urls: pulumi.Output[dict[str, str]]
    """Addresses of the stack's own notebooks by `<namespace>/<name>`."""

    def __init__(self, name: str, args: NotebookPlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the platform; a cluster takes one.

        Args:
            name: prefix of the resources' names, name of the operator's namespace, value of the label `hubstack.stack`.
            args: see `NotebookPlatformArgs`.
            opts: resource options.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong; every mistake is listed.
        """
        super().__init__("hubstack:index:NotebookPlatform", name, {}, opts)
        errors = check_notebook_platform(name, args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        self._name, self._args = name, args
        self._local = pulumi.ResourceOptions(parent=self)
        self._profiles: dict[str, CustomResource] = {}
        self._made: set[tuple[str, str]] = set()
        tenancy = self._tenancy()
        guards = [*self._admission(), *self._roles(), *self._network_policies(tenancy)]
        proxy = self._proxy([tenancy, *guards])
        operator = self._operator(tenancy, [*guards, *self._definitions()])
        self._prepulled([tenancy, *guards])
        self._proved = self._probe([operator, *proxy])
        urls = {
            f"{namespace_names(one['user'])[0]}/{one['name']}": self.notebook(**one)
            for one in args.get("notebooks", [])
        }
        self.namespace = tenancy.namespace
        self.userGroup = pulumi.Output.from_input(args.get("userGroup", DEFAULT_GROUP))
        self.urls = pulumi.Output.all(**urls) if urls else pulumi.Output.from_input({})
        self.register_outputs({"namespace": self.namespace, "userGroup": self.userGroup, "urls": self.urls})

    def notebook(self, user: str, name: str, image: str | None = None, *, wait: bool = True) -> pulumi.Output[str]:
        """Make a notebook for somebody, and their namespace if it is their first.

        Args:
            user: name of the user as Kubernetes knows it.
            name: name of the notebook.
            image: its image. Default: the platform's.
            wait: whether the update waits until it answers, or stands still because it was stopped.

        Returns:
            Its address.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong, or the user has a notebook of this name from here.
        """
        image = image or self._args["notebookImage"]
        errors = check_notebook({"user": user, "name": name, "image": image}, "notebook")
        if (user, name) in self._made:
            errors.append({"property_path": "notebook.name", "reason": f"{user} has a notebook {name} already"})
        if errors:
            raise pulumi.InputPropertiesError(f"{self._name} cannot make a notebook", errors)
        self._made.add((user, name))
        namespace = namespace_names(user)[0]
        made = notebook(
            self._name,
            namespace,
            {"name": name, "image": image, "resources": user_shares(self._args)},
            wait=wait,
        )
        resource = CustomResource(
            f"{self._name}-{namespace}-{name}",
            api_version=made["apiVersion"],
            kind=made["kind"],
            metadata=made["metadata"],
            spec=made["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._profile(namespace, user)]),
        )
        address = notebook_url(self._args.get("route", {}), self._args.get("domain", ""), namespace, name)
        return resource.id.apply(lambda _: address)

    def _profile(self, namespace: str, owner: str) -> CustomResource:
        """The user's Profile: one, however many notebooks there are."""
        if namespace not in self._profiles:
            keep = self._args.get("dataProtection", True)
            made = profile(self._name, namespace, owner, keep=keep)
            self._profiles[namespace] = self._custom(made, keep=keep, depends_on=[self._proved])
        return self._profiles[namespace]

    def _custom(self, made: dict[str, Any], *, keep: bool, depends_on: Sequence[pulumi.Resource]) -> CustomResource:
        return CustomResource(
            f"{self._name}-{made['metadata']['name']}",
            api_version=made["apiVersion"],
            kind=made["kind"],
            metadata=made["metadata"],
            spec=made["spec"],
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=keep, depends_on=depends_on),
        )

    def _definitions(self) -> list[pulumi.Resource]:
        """The kinds. Kept, because whoever deletes one deletes all objects of that kind."""
        opts = pulumi.ResourceOptions(parent=self, retain_on_delete=self._args.get("dataProtection", True))
        return [
            kubernetes.apiextensions.v1.CustomResourceDefinition(
                f"{self._name}-{kind}", metadata=made["metadata"], spec=made["spec"], opts=opts
            )
            for kind, made in definitions(self._name).items()
        ]

    def _tenancy(self) -> Tenancy:
        """The operator's namespace."""
        return Tenancy(
            f"{self._name}-tenancy",
            {
                "stack": self._name,
                "namespace": self._name,
                "userQuota": NO_SERVER,
                "fleetQuota": {"servers": 1},
                "system": system_rooms(self._args),
                "serviceAccounts": [OPERATOR],
                "roles": pull_grants(self._args.get("imagePullSecrets", [])),
            },
            self._local,
        )

    def _admission(self) -> list[pulumi.Resource]:
        """What the API server refuses."""
        found: list[pulumi.Resource] = []
        for kind, spec in admission_policies(self._name, self._args).items():
            metadata: Any = {"name": policy_name(kind), "labels": labels(self._name, "admission")}
            policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
                f"{self._name}-{kind}", metadata=metadata, spec=_typed(spec), opts=self._local
            )
            binding = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
                f"{self._name}-{kind}",
                metadata=metadata,
                spec=_typed(policy_binding(policy_name(kind))),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
            found += [policy, binding]
        return found

    def _roles(self) -> list[pulumi.Resource]:
        """ClusterRoles, and who has those for the whole cluster: the operator and whoever may ask for a notebook."""
        made: dict[str, pulumi.Resource] = {
            name: kubernetes.rbac.v1.ClusterRole(
                f"{self._name}-{name}",
                metadata=_typed({"name": name, "labels": {**labels(self._name, "access"), **role["labels"]}}),
                rules=_typed(role["rules"]),
                opts=self._local,
            )
            for name, role in cluster_roles(self._args).items()
        }
        operator = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": self._name}
        group = self._args.get("userGroup", DEFAULT_GROUP)
        users = {"kind": "Group", "apiGroup": RBAC_GROUP, "name": group}
        bindings = [
            kubernetes.rbac.v1.ClusterRoleBinding(
                f"{self._name}-{role}",
                metadata=_typed({"name": role, "labels": labels(self._name, "access")}),
                role_ref=_typed({"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role}),
                subjects=_typed([subject]),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[made[role]]),
            )
            for role, subject in ((OPERATOR_ROLE, operator), (REQUESTER_ROLE, users))
        ]
        return [*made.values(), *bindings]

    def _network_policies(self, tenancy: Tenancy) -> list[pulumi.Resource]:
        """Nothing in or out of the operator's namespace but what it is there for."""
        opened = operator_deployment.network_policies(
            self._name, labels(self._name, PROFILE_ROLE), self._args.get("apiServers", [])
        )
        specs = {"deny-all": deny_all_policy(), **{f"{OPERATOR}-{key}": spec for key, spec in opened.items()}}
        return [
            kubernetes.networking.v1.NetworkPolicy(
                f"{self._name}-{key}",
                metadata=self._metadata(key, OPERATOR),
                spec=_typed(spec),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[tenancy]),
            )
            for key, spec in specs.items()
        ]

    def _proxy(self, needed: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """The way out of the profile `domains`, where any domain is open."""
        if not needs_proxy(self._args):
            return []
        opts = pulumi.ResourceOptions(parent=self, depends_on=needed)
        return [EgressProxy(f"{self._name}-egress-proxy", self._proxy_args(), opts)]

    def _proxy_args(self) -> EgressProxyArgs:
        return {
            "stack": self._name,
            "namespace": self._name,
            "image": self._args.get("egressProxyImage", ""),
            "domains": self._args.get("egressDomains", []),
            "excluded": self._args.get("egressExcluded", []),
            "clients": [{"namespaceLabels": labels(self._name, PROFILE_ROLE), "labels": {}}],
            "imagePullSecrets": self._args.get("imagePullSecrets", []),
        }

    def _operator(self, tenancy: Tenancy, needed: Sequence[pulumi.Resource]) -> pulumi.Resource:
        settings = json.dumps(operator_settings(self._name, self._args), sort_keys=True)
        config = kubernetes.core.v1.ConfigMap(
            f"{self._name}-{OPERATOR}",
            metadata=self._metadata(OPERATOR, OPERATOR),
            data={SETTINGS_FILE: settings},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[tenancy]),
        )
        secrets = self._args.get("imagePullSecrets", [])
        spec = operator_deployment.deployment_spec(self._name, self._args["operatorImage"], settings, secrets)
        return kubernetes.apps.v1.Deployment(
            f"{self._name}-{OPERATOR}",
            metadata=self._metadata(OPERATOR, OPERATOR),
            spec=_typed(spec),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[tenancy, config, *needed]),
        )

    def _prepulled(self, needed: Sequence[pulumi.Resource]) -> None:
        """The images of notebooks on every node."""
        named = {one["image"] for one in self._args.get("notebooks", []) if "image" in one}
        args: PrepullArgs = {
            "stack": self._name,
            "namespace": self._name,
            "images": sorted({self._args["notebookImage"], *named}),
            "nodeSelector": self._args.get("nodeSelector", {}),
            "tolerations": self._args.get("tolerations", []),
            "imagePullSecrets": self._args.get("imagePullSecrets", []),
        }
        if "pauseImage" in self._args:
            args["pauseImage"] = self._args["pauseImage"]
        Prepull(f"{self._name}-prepull", args, pulumi.ResourceOptions(parent=self, depends_on=needed))

    def _probe(self, needed: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """The proof, in a namespace that the operator makes as it makes a user's, that users are cut off."""
        namespace = f"{self._name}-probe"
        place = self._custom(profile(self._name, namespace, NOBODY, keep=False), keep=False, depends_on=needed)
        egress = egress_rules(self._args)
        names = destination("dns", "kubernetes.default.svc", 53, "a name of the cluster")
        probe: EgressProbeArgs = {
            "stack": self._name,
            "namespace": namespace,
            "image": self._args["notebookImage"],
            "podLabels": {ROLE_LABEL: "notebook"},
            "egress": egress,
            # Nothing at all answers a closed notebook.
            "required": [] if egress["profile"] is EgressProfile.CLOSED else [names],
            "proxyNamespace": self._name,
            "nodeSelector": self._args.get("nodeSelector", {}),
            "tolerations": self._args.get("tolerations", []),
            "imagePullSecrets": self._args.get("imagePullSecrets", []),
            "cpu": min(0.5, float(self._args.get("userQuota", {}).get("cpu", 1))),
            "proves": proof_digest(
                {
                    "operator": self._args["operatorImage"],
                    "profile": operator_settings(self._name, self._args)["profile"],
                    "proxy": proxy_rules(self._proxy_args()) if needs_proxy(self._args) else None,
                }
            ),
        }
        opts = pulumi.ResourceOptions(parent=self, depends_on=[place])
        return EgressProbe(f"{self._name}-egress-probe", probe, opts)

    def _metadata(self, name: str, role: str) -> Any:
        return {"name": name, "namespace": self._name, "labels": labels(self._name, role)}


NOBODY = "system:hubstack-probe"
"""Owner of the probe's namespace: names with this beginning are Kubernetes' own, so that nobody logs in by it."""

NO_SERVER: UserQuota = {"cpu": 0.1, "memory": "128M", "home": "16M", "tmp": "1M"}
"""The least that a quota knows: in the operator's namespace runs no user's server."""


def pull_grants(secrets: Sequence[str]) -> list[RoleGrant]:
    """What lets the operator read the registries' credentials of its own namespace, and no other Secret there."""
    if not secrets:
        return []
    rule: PolicyRule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": [*secrets]}
    return [{"name": "image-pull-secrets", "rules": [rule], "subjects": [{"kind": "ServiceAccount", "name": OPERATOR}]}]


def _typed(value: object) -> Any:
    """A part of an object as Kubernetes writes it, for the SDK's types, which write it their own way."""
    return value
