"""Notebooks as objects of a Kubernetes cluster, each user's in a protected namespace of their own (seed 002)."""

import ipaddress
import json
import re
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apiextensions import CustomResource

from components.egress import EgressProfile, check_egress
from components.kubernetes import operator_deployment
from components.kubernetes.custom_resources import (
    PlatformNotebook,
    check_notebook,
    check_notebooks,
    definitions,
    notebook,
    profile,
)
from components.kubernetes.egress_proxy import (
    PROXY_PODS,
    EgressProxy,
    proxy_address,
    proxy_environment,
)
from components.kubernetes.egress_proxy import room as proxy_room
from components.kubernetes.images import image_mistake
from components.kubernetes.isolation import EgressRules, PodTarget, deny_all_policy
from components.kubernetes.labels import ROLE_LABEL, labels
from components.kubernetes.notebook_admission import (
    notebook_policy,
    policy_binding,
    request_policy,
)
from components.kubernetes.notebook_routes import (
    BASE_PATH,
    REQUEST_TIMEOUT_SECONDS,
    NotebookRoute,
    RouteKind,
    check_route,
    notebook_url,
    route_kind,
    route_parents,
    route_sources,
)
from components.kubernetes.operator_access import (
    OPERATOR_ROLE,
    RBAC_GROUP,
    REQUESTER_ROLE,
    notebook_roles,
    operator_roles,
    requester_rules,
)
from components.kubernetes.operator_deployment import OPERATOR, SETTINGS_FILE
from components.kubernetes.prepull import Prepull, PrepullArgs, prepull_room
from components.kubernetes.probe import EgressProbe
from components.kubernetes.profile_manifests import PROFILE_ROLE, ProfilePlan, profile_labels, profile_manifests
from components.kubernetes.rights import Right, granted_rights, needed_rights
from components.kubernetes.tenancy import Room, Tenancy, check_hard, user_resources
from components.probe_destinations import destination
from components.quotas import (
    FLEET_QUOTA_DEFAULTS,
    FleetQuota,
    UserQuota,
    check_fleet_quota,
    check_user_quota,
    user_quota_document,
)
from runtime.notebook_operator.names import namespace_names

DEFAULT_GROUP = "notebook-users"
DEFAULT_NODES = 100
DEFAULT_NOTEBOOKS = 3
MOST_NOTEBOOKS = 50

_STACK = re.compile(r"[a-z]([a-z0-9-]{0,55}[a-z0-9])?")
"""Its namespaces have up to six characters more."""

_GROUP = re.compile(r"[^\s\x00-\x1f\x7f]{1,253}")


class NotebookPlatformArgs(TypedDict):
    """Arguments of `NotebookPlatform`. All are plain values: they decide what the platform consists of."""

    operatorImage: str
    """Image built from `images/operator`, by digest or a tag that is never `latest`."""
    notebookImage: str
    """Image of notebooks that name none; the egress probe runs in it, so it needs `python3`. By digest or tag."""
    domain: NotRequired[str]
    """Host name that notebooks are reached by. Needed with a route."""
    route: NotRequired[NotebookRoute]
    """What notebooks are attached to."""
    userGroup: NotRequired[str]
    """Group whose members may make NotebookRequests. Default `notebook-users`; `system:authenticated` is everybody."""
    userQuota: NotRequired[UserQuota]
    """What one notebook may use; `processes` is the kubelets' `podPidsLimit`, which no object can set."""
    fleetQuota: NotRequired[FleetQuota]
    """Most notebooks that run at once."""
    notebooksPerUser: NotRequired[int]
    """Most notebooks of one user, stopped ones included, 1 to 50; it sizes each namespace's quota. Default 3."""
    namespaceQuota: NotRequired[dict[str, str]]
    """Limits of each user's namespace that take the place of computed ones, as a ResourceQuota writes them. Default: none."""
    egressProfile: NotRequired[EgressProfile]
    """What notebooks may reach. Default `domains`; as no domain is built in, nothing is open by default."""
    egressDomains: NotRequired[list[str]]
    """Domains that the profile `domains` opens, exact or with a leading dot for a domain and all below."""
    egressPorts: NotRequired[list[int]]
    """TCP ports that the profile `ports` opens."""
    egressExcluded: NotRequired[list[str]]
    """Public ranges that stay shut, such as the nodes' own. Default: none."""
    egressProxyImage: NotRequired[str]
    """Image built from `images/egress-proxy`. Needed where `egressDomains` has any."""
    nodes: NotRequired[int]
    """Most nodes of the cluster, at least 1; each runs a pre-puller, which the quota has room for. Default 100."""
    pauseImage: NotRequired[str]
    """Image of the pre-puller's pod, which does nothing. Default: Kubernetes' own `pause`."""
    storageClass: NotRequired[str]
    """Storage class of homes. Default: the cluster's."""
    apiServers: NotRequired[list[str]]
    """Ranges that the API servers are in, which the operator reaches. Default: every address but metadata services."""
    dataProtection: NotRequired[bool]
    """Whether definitions, profiles and with them all notebooks and homes outlive `destroy`. Default True.

    Deleting a definition deletes every object of its kind, whoever made it."""
    notebooks: NotRequired[list[PlatformNotebook]]
    """Notebooks that the stack makes. Default: none; users make their own."""


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
        errors = check_notebook_platform(args)
        if not _STACK.fullmatch(name):
            reason = f"{name!r} names a namespace: small letters, digits and dashes, the first a letter, at most 57"
            errors.append({"property_path": "name", "reason": reason})
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
            wait: whether the update waits until it answers.

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
            {"name": name, "image": image, "resources": _resources(self._args)},
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
            },
            self._local,
        )

    def _admission(self) -> list[pulumi.Resource]:
        """What the API server refuses."""
        found: list[pulumi.Resource] = []
        for kind, spec in (("notebooks", notebook_policy()), ("requests", request_policy())):
            metadata: Any = {"name": f"hubstack-{kind}", "labels": labels(self._name, "admission")}
            policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
                f"{self._name}-{kind}", metadata=metadata, spec=_typed(spec), opts=self._local
            )
            binding = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
                f"{self._name}-{kind}",
                metadata=metadata,
                spec=_typed(policy_binding(f"hubstack-{kind}")),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
            found += [policy, binding]
        return found

    def _roles(self) -> list[pulumi.Resource]:
        """ClusterRoles, and who has those for the whole cluster: the operator and whoever may ask for a notebook."""
        roles: dict[str, dict[str, Any]] = {
            **{name: {"labels": {}, "rules": rules} for name, rules in operator_roles().items()},
            **notebook_roles(forwarded=_forwarded(self._args)),
            REQUESTER_ROLE: {"labels": {}, "rules": requester_rules()},
        }
        made: dict[str, pulumi.Resource] = {
            name: kubernetes.rbac.v1.ClusterRole(
                f"{self._name}-{name}",
                metadata=_typed({"name": name, "labels": {**labels(self._name, "access"), **role["labels"]}}),
                rules=_typed(role["rules"]),
                opts=self._local,
            )
            for name, role in roles.items()
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
        proxy = EgressProxy(
            f"{self._name}-egress-proxy",
            {
                "stack": self._name,
                "namespace": self._name,
                "image": self._args.get("egressProxyImage", ""),
                "domains": self._args.get("egressDomains", []),
                "excluded": self._args.get("egressExcluded", []),
                "clients": [{"namespaceLabels": labels(self._name, PROFILE_ROLE), "labels": {}}],
            },
            pulumi.ResourceOptions(parent=self, depends_on=needed),
        )
        return [proxy]

    def _operator(self, tenancy: Tenancy, needed: Sequence[pulumi.Resource]) -> pulumi.Resource:
        settings = json.dumps(operator_settings(self._name, self._args), sort_keys=True)
        config = kubernetes.core.v1.ConfigMap(
            f"{self._name}-{OPERATOR}",
            metadata=self._metadata(OPERATOR, OPERATOR),
            data={SETTINGS_FILE: settings},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[tenancy]),
        )
        spec = operator_deployment.deployment_spec(self._name, self._args["operatorImage"], settings)
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
        return EgressProbe(
            f"{self._name}-egress-probe",
            {
                "stack": self._name,
                "namespace": namespace,
                "image": self._args["notebookImage"],
                "podLabels": {ROLE_LABEL: "notebook"},
                "egress": egress,
                # Nothing at all answers a closed notebook.
                "required": [] if egress["profile"] is EgressProfile.CLOSED else [names],
                "proxyNamespace": self._name,
                "cpu": min(0.5, float(self._args.get("userQuota", {}).get("cpu", 1))),
            },
            pulumi.ResourceOptions(parent=self, depends_on=[place]),
        )

    def _metadata(self, name: str, role: str) -> Any:
        return {"name": name, "namespace": self._name, "labels": labels(self._name, role)}


NOBODY = "system:hubstack-probe"
"""Owner of the probe's namespace: names with this beginning are Kubernetes' own, so that nobody logs in by it."""

NO_SERVER: UserQuota = {"cpu": 0.1, "memory": "128M", "home": "16M", "tmp": "1M"}
"""The least that a quota knows: in the operator's namespace runs no user's server."""


def _typed(value: object) -> Any:
    """A part of an object as Kubernetes writes it, for the SDK's types, which write it their own way."""
    return value


def _forwarded(args: NotebookPlatformArgs) -> bool:
    """Whether users reach notebooks by `kubectl port-forward`."""
    return route_kind(args.get("route", {})) is RouteKind.NONE


def needs_proxy(args: NotebookPlatformArgs) -> bool:
    """Whether there is any domain to pass on."""
    return egress_rules(args)["profile"] is EgressProfile.DOMAINS and bool(args.get("egressDomains"))


def egress_rules(args: NotebookPlatformArgs) -> EgressRules:
    """What notebooks may reach, defaults filled in."""
    return {
        "profile": EgressProfile(args.get("egressProfile", EgressProfile.DOMAINS)),
        "domains": args.get("egressDomains", []),
        "ports": args.get("egressPorts", []),
        "excluded": args.get("egressExcluded", []),
    }


def profile_plan(name: str, args: NotebookPlatformArgs) -> ProfilePlan:
    """What all users' namespaces have in common."""
    operator: PodTarget = {"namespace": name, "labels": labels(name, OPERATOR)}
    return {
        "stack": name,
        "userQuota": args.get("userQuota", {}),
        "notebooks": int(args.get("notebooksPerUser", DEFAULT_NOTEBOOKS)),
        "hard": args.get("namespaceQuota", {}),
        "egress": egress_rules(args),
        "proxy": {**PROXY_PODS, "namespace": name} if needs_proxy(args) else None,
        "sources": [*route_sources(args.get("route", {})), operator],
    }


def operator_settings(name: str, args: NotebookPlatformArgs) -> dict[str, Any]:
    """The operator's settings; `runtime/notebook_operator/settings.py` says what each means."""
    route = args.get("route", {})
    document = user_quota_document(args.get("userQuota", {}))
    fleet: FleetQuota = {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})}
    return {
        "stack": name,
        "domain": args.get("domain", "localhost"),
        "basePath": BASE_PATH,
        "route": {"kind": route_kind(args.get("route", {})).value, "parents": route_parents(route)},
        "requestTimeoutSeconds": REQUEST_TIMEOUT_SECONDS,
        "notebook": {
            "image": args["notebookImage"],
            "idleSeconds": document["idle_seconds"],
            "maxAgeSeconds": document["max_age_seconds"],
            "homeBytes": document["home_bytes"],
            "storageClass": args.get("storageClass"),
            "resources": _resources(args),
            "resolvesNames": egress_rules(args)["profile"] is not EgressProfile.CLOSED,
            "environment": proxy_environment(proxy_address(name), name) if needs_proxy(args) else {},
        },
        "profile": {
            "namespaceLabels": profile_labels(name),
            "manifests": profile_manifests(profile_plan(name, args)),
            "keepNamespaces": args.get("dataProtection", True),
        },
        "fleet": {"notebooks": int(fleet.get("servers", 0))},
    }


def _resources(args: NotebookPlatformArgs) -> dict[str, dict[str, str]]:
    return user_resources(args.get("userQuota", {}), persistent_home=True)


def system_rooms(args: NotebookPlatformArgs) -> dict[str, Room]:
    """What runs in the operator's namespace, for its quota."""
    rooms: dict[str, Room] = {
        OPERATOR: operator_deployment.room(),
        "pre-puller": prepull_room(int(args.get("nodes", DEFAULT_NODES))),
    }
    if needs_proxy(args):
        rooms["egress-proxy"] = proxy_room()
    return rooms


def platform_rights(args: NotebookPlatformArgs) -> tuple[list[Right], list[Right]]:
    """What the deployer must be allowed, and what the roles hand on; see `components.kubernetes.rights`."""
    handed = [
        *(rule for rules in operator_roles().values() for rule in rules),
        *(rule for role in notebook_roles(forwarded=_forwarded(args)).values() for rule in role["rules"]),
        *requester_rules(),
    ]
    return needed_rights(DEPLOYED), granted_rights(handed)


DEPLOYED = (
    "admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
    "admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding",
    "apiextensions.k8s.io/v1:CustomResourceDefinition",
    "apps/v1:DaemonSet",
    "apps/v1:Deployment",
    "batch/v1:Job",
    "core/v1:ConfigMap",
    "core/v1:LimitRange",
    "core/v1:Namespace",
    "core/v1:ResourceQuota",
    "core/v1:Service",
    "core/v1:ServiceAccount",
    "kubeflow.org/v1:Notebook",
    "kubeflow.org/v1:Profile",
    "networking.k8s.io/v1:NetworkPolicy",
    "rbac.authorization.k8s.io/v1:ClusterRole",
    "rbac.authorization.k8s.io/v1:ClusterRoleBinding",
)
"""Types that the component makes, without `kubernetes:` before them."""


def check_notebook_platform(args: NotebookPlatformArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors = _check_images(args) + check_route(args.get("route", {}), args.get("domain", ""))
    errors += check_egress(
        args.get("egressProfile", EgressProfile.DOMAINS),
        args.get("egressDomains", []),
        args.get("egressPorts", []),
        args.get("egressExcluded", []),
    )
    errors += _check_amounts(args)
    for number, text in enumerate(args.get("apiServers", [])):
        try:
            ipaddress.IPv4Network(text)
        except ValueError as error:
            reason = f"{error}; write an address range such as 203.0.113.4/32"
            errors.append({"property_path": f"apiServers[{number}]", "reason": reason})
    group = args.get("userGroup", DEFAULT_GROUP)
    if not _GROUP.fullmatch(group) or group == "system:unauthenticated":
        errors.append({"property_path": "userGroup", "reason": f"{group!r} is no group of people who log in"})
    most = max(int(args.get("notebooksPerUser", DEFAULT_NOTEBOOKS)), 1)
    return errors + check_notebooks(args.get("notebooks", []), most)


def _check_images(args: NotebookPlatformArgs) -> list[pulumi.InputPropertyErrorDetails]:
    images = {"operatorImage": args["operatorImage"], "notebookImage": args["notebookImage"]}
    profile_given = args.get("egressProfile", EgressProfile.DOMAINS)
    if "egressProxyImage" in args or (args.get("egressDomains") and profile_given == EgressProfile.DOMAINS):
        images["egressProxyImage"] = args.get("egressProxyImage", "")
    if "pauseImage" in args:
        images["pauseImage"] = args["pauseImage"]
    mistakes = {path: image_mistake(reference) for path, reference in images.items()}
    return [{"property_path": path, "reason": reason} for path, reason in mistakes.items() if reason]


def _check_amounts(args: NotebookPlatformArgs) -> list[pulumi.InputPropertyErrorDetails]:
    errors: list[pulumi.InputPropertyErrorDetails] = []
    nodes, most = args.get("nodes", DEFAULT_NODES), args.get("notebooksPerUser", DEFAULT_NOTEBOOKS)
    if nodes < 1:
        errors.append({"property_path": "nodes", "reason": f"{nodes} is below 1"})
    if not 1 <= most <= MOST_NOTEBOOKS:
        reason = f"{most} is not between 1 and {MOST_NOTEBOOKS}"
        errors.append({"property_path": "notebooksPerUser", "reason": reason})
    errors += check_fleet_quota(args.get("fleetQuota", {}))
    of_one = check_user_quota(args.get("userQuota", {}))
    return errors + (
        # What one notebook takes is known only where its own quota is one.
        of_one
        or check_hard(
            args.get("namespaceQuota", {}), args.get("userQuota", {}), persistent_home=True, path="namespaceQuota"
        )
    )
