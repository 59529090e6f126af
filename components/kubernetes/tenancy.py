"""A namespace that its users cannot outgrow: a quota, limits for every container, and pods without privileges."""

import math
import re
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.labels import STACK_LABEL, labels
from components.kubernetes.quantities import count_quantity, cpu_quantity, parse_quantity, size_quantity
from components.quotas import (
    FLEET_QUOTA_DEFAULTS,
    FleetQuota,
    UserQuota,
    check_fleet_quota,
    check_user_quota,
    parse_size,
    user_quota_document,
)

Spec = dict[str, Any]
"""A part of an object, as Kubernetes writes it."""

POD_SECURITY_LEVELS = ("restricted", "baseline")
"""Pod Security Standards that a namespace of users may have; `privileged` would be none."""

POD_SECURITY_VERSION = "v1.34"
"""The standard as of this release of Kubernetes, so that a newer cluster refuses no pod that ran before."""

CPU_REQUEST_SHARE = 0.25
"""Part of a server's processors that is kept for it: notebooks wait for people most of the time. Memory, which
cannot be taken back, is kept whole."""

SCRATCH_BYTES = 256 * 2**20
"""Disk of a server beside its home and `/tmp`: logs (the kubelet keeps 5 files of 10 MiB) and its own layer."""

MOST_RESOURCES = ("cpu", "memory", "ephemeral-storage")

_RESOURCE = re.compile(r"requests\.([A-Za-z0-9][A-Za-z0-9./_-]*)")
"""How a quota names a resource; Kubernetes counts those of devices by their requests alone."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Room(TypedDict):
    """Room in the quota for the system's own pods of one kind."""

    pods: NotRequired[int]
    """Most of them at once, those of an update that overlap included. Default 1."""
    cpu: NotRequired[float]
    """Limit of each in processors. Default 0.5."""
    memory: NotRequired[str]
    """Limit of each. Default `256M`."""
    scratch: NotRequired[str]
    """Limit of each on the node's disk. Default `128M`."""
    volumes: NotRequired[int]
    """Volume claims of all of them. Default 0."""
    volume: NotRequired[str]
    """Size of each claim. Default `1G`."""
    services: NotRequired[int]
    """Services of all of them. Default 0."""
    loadBalancers: NotRequired[int]
    """How many of the services are load balancers. Default 0."""
    nodePorts: NotRequired[int]
    """Ports on nodes that the services take: a load balancer takes one for each port of its own. Default 0."""


class PolicyRule(TypedDict):
    """What a role allows, as Kubernetes writes it."""

    apiGroups: list[str]
    """API groups; the empty text is the core."""
    resources: list[str]
    """Kinds, in small letters and plural."""
    verbs: list[str]
    """What may be done."""
    resourceNames: NotRequired[list[str]]
    """Names of the only objects that it holds for. Default: all."""


class Subject(TypedDict):
    """Who has a role."""

    kind: str
    """`ServiceAccount`, `User` or `Group`."""
    name: str
    """Name."""
    namespace: NotRequired[str]
    """A service account's namespace. Default: the tenancy's."""


class RoleGrant(TypedDict):
    """A role and who has it."""

    name: str
    """Name of the binding, and of the role where `rules` make one."""
    rules: NotRequired[list[PolicyRule]]
    """What the role allows. Default: what `clusterRole` does."""
    clusterRole: NotRequired[str]
    """An existing ClusterRole that is granted within the namespace."""
    subjects: list[Subject]
    """Who has it."""


class TenancyArgs(TypedDict):
    """Arguments of `Tenancy`. All are plain values: they decide what the namespace consists of."""

    stack: str
    """Value of the label `hubstack.stack`."""
    namespace: str
    """Name of the namespace."""
    userQuota: NotRequired[UserQuota]
    """What one server may use."""
    fleetQuota: NotRequired[FleetQuota]
    """What all servers of the namespace may use."""
    persistentHome: NotRequired[bool]
    """Whether a home is a volume of its own instead of a part of the node's disk. Default False."""
    system: NotRequired[dict[str, Room]]
    """Room for the system's own pods, by what they are. Default: none."""
    hard: NotRequired[dict[str, str]]
    """Limits of the namespace that take the place of computed ones, as a ResourceQuota writes them."""
    podSecurity: NotRequired[str]
    """Pod Security Standard that is enforced: `restricted` or `baseline`. Default `restricted`."""
    serviceAccounts: NotRequired[list[str]]
    """Service accounts; their tokens are mounted only into pods that ask. Default: none."""
    roles: NotRequired[list[RoleGrant]]
    """Roles in the namespace. Default: none."""
    keep: NotRequired[bool]
    """Whether the namespace, with all volumes claimed in it, outlives `destroy`. Default False."""
    createNamespace: NotRequired[bool]
    """Whether the stack makes the namespace. One that is there already must enforce the Pod Security Standard by its
    label and belong to no other stack. Default True."""


class Tenancy(pulumi.ComponentResource):
    """A namespace with its quota, limits, Pod Security Standard, service accounts and roles."""

    namespace: pulumi.Output[str]
    """Name of the namespace, known once its quota and limits stand."""

    def __init__(self, name: str, args: TenancyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the namespace.

        Args:
            name: prefix of the resources' names.
            args: see `TenancyArgs`.
            opts: resource options.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong; every mistake is listed.
        """
        super().__init__("hubstack:kubernetes:Tenancy", name, {}, opts)
        errors = check_tenancy(args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        system, persistent = args.get("system", {}), args.get("persistentHome", False)
        user, fleet = args.get("userQuota", {}), args.get("fleetQuota", {})
        level = args.get("podSecurity", "restricted")
        if args.get("createNamespace", True):
            namespace = kubernetes.core.v1.Namespace(
                f"{name}-namespace",
                metadata={
                    "name": args["namespace"],
                    "labels": {**labels(args["stack"], "tenancy"), **pod_security_labels(level)},
                },
                opts=pulumi.ResourceOptions(parent=self, retain_on_delete=args.get("keep", False)),
            )
            self._namespace: pulumi.Input[str] = args["namespace"]
        else:
            namespace = kubernetes.core.v1.Namespace.get(
                f"{name}-namespace", args["namespace"], opts=pulumi.ResourceOptions(parent=self)
            )
            self._namespace = namespace.metadata.apply(
                lambda found: existing_namespace(args["namespace"], found.labels, stack=args["stack"], level=level)
            )
        self._args = args
        self._local = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        quota_spec: Any = resource_quota_spec(user, fleet, system=system, persistent_home=persistent)
        quota_spec["hard"].update(args.get("hard", {}))
        quota = kubernetes.core.v1.ResourceQuota(
            f"{name}-quota", metadata=self._metadata("quota"), spec=quota_spec, opts=self._local
        )
        limits: Any = limit_range_spec(user, system=system, persistent_home=persistent)
        limit_range = kubernetes.core.v1.LimitRange(
            f"{name}-limits", metadata=self._metadata("limits"), spec=limits, opts=self._local
        )
        for account in args.get("serviceAccounts", []):
            kubernetes.core.v1.ServiceAccount(
                f"{name}-{account}",
                metadata=self._metadata(account),
                automount_service_account_token=False,
                opts=self._local,
            )
        for grant in args.get("roles", []):
            self._grant(f"{name}-{grant['name']}", grant)
        ready = pulumi.Output.all(quota.id, limit_range.id)
        self.namespace = ready.apply(lambda _: args["namespace"])
        self.register_outputs({"namespace": self.namespace})

    def _metadata(self, name: str) -> kubernetes.meta.v1.ObjectMetaArgs:
        return kubernetes.meta.v1.ObjectMetaArgs(
            name=name, namespace=self._namespace, labels=labels(self._args["stack"], "tenancy")
        )

    def _grant(self, name: str, grant: RoleGrant) -> None:
        role_ref: Any = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": grant["name"]}
        if "clusterRole" in grant:
            role_ref.update({"kind": "ClusterRole", "name": grant["clusterRole"]})
        else:
            rules: Any = grant.get("rules", [])
            kubernetes.rbac.v1.Role(name, metadata=self._metadata(grant["name"]), rules=rules, opts=self._local)
        subjects: Any = [role_subject(subject, self._args["namespace"]) for subject in grant["subjects"]]
        kubernetes.rbac.v1.RoleBinding(
            name, metadata=self._metadata(grant["name"]), role_ref=role_ref, subjects=subjects, opts=self._local
        )


def existing_namespace(name: str, found: Mapping[str, str] | None, *, stack: str, level: str) -> str:
    """The namespace's name, if its labels let the stack use it.

    Raises:
        pulumi.RunError: they do not; everything that is missing is listed.
    """
    mistakes = namespace_mistakes(name, found or {}, stack=stack, level=level)
    if mistakes:
        lines = "\n".join(f"  - {mistake}" for mistake in mistakes)
        raise pulumi.RunError(f"the namespace {name} cannot be used:\n{lines}")
    return name


def namespace_mistakes(name: str, found: Mapping[str, str], *, stack: str, level: str = "restricted") -> list[str]:
    """What the labels of an existing namespace lack that the stack could use it."""
    enforced = "pod-security.kubernetes.io/enforce"
    mistakes: list[str] = []
    if found.get(enforced) != level:
        advice = f"kubectl label --overwrite namespace {name} {enforced}={level}"
        mistakes.append(f"it does not enforce the Pod Security Standard {level!r}; run: {advice}")
    if found.get(STACK_LABEL, stack) != stack:
        mistakes.append(f"it belongs to the stack {found[STACK_LABEL]!r}; choose another namespace")
    return mistakes


def role_subject(subject: Subject, namespace: str) -> Spec:
    """The subject of a RoleBinding in `namespace`."""
    if subject["kind"] == "ServiceAccount":
        return {"kind": subject["kind"], "name": subject["name"], "namespace": subject.get("namespace", namespace)}
    return {"kind": subject["kind"], "name": subject["name"], "apiGroup": "rbac.authorization.k8s.io"}


def pod_security_labels(level: str = "restricted") -> dict[str, str]:
    """Labels by which a namespace refuses pods below the standard, and warns and records beside."""
    return {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "warn", "audit")
        for suffix, value in (("", level), ("-version", POD_SECURITY_VERSION))
    }


def user_resources(user: UserQuota, *, persistent_home: bool = False) -> dict[str, dict[str, str]]:
    """Requests and limits of one server's container.

    A home that is a part of the node's disk counts towards `ephemeral-storage`; one that is a volume does not.
    Kubernetes has no limit of processes for a single pod: `processes` is the kubelet's `podPidsLimit`.
    """
    amounts = _user_amounts(user, persistent_home=persistent_home)
    limits = _compute(amounts)
    return {"requests": {**limits, "cpu": cpu_quantity(_cpu_request(amounts["cpu"]) / 1000)}, "limits": limits}


def limit_range_spec(
    user: UserQuota, *, system: Mapping[str, Room] | None = None, persistent_home: bool = False
) -> Spec:
    """Limits of every container and pod: the largest there is, and those of a container that names none."""
    rooms = [_room_amounts(room) for room in (system or {}).values()]
    each = [_user_amounts(user, persistent_home=persistent_home), *rooms]
    largest = {key: max(amounts[key] for amounts in each) for key in MOST_RESOURCES}
    unnamed = _room_amounts({})
    default = {key: min(unnamed[key], largest[key]) for key in MOST_RESOURCES}
    volume = max(amounts["volume"] for amounts in each)
    spec: Spec = {
        "limits": [
            {
                "type": "Container",
                "max": _compute(largest),
                "default": _compute(default),
                "defaultRequest": {**_compute(default), "cpu": cpu_quantity(_cpu_request(default["cpu"]) / 1000)},
            },
            {"type": "Pod", "max": _compute(largest)},
        ]
    }
    if volume:
        spec["limits"].append({"type": "PersistentVolumeClaim", "max": {"storage": size_quantity(volume)}})
    return spec


def resource_quota_spec(
    user: UserQuota,
    fleet: FleetQuota,
    *,
    system: Mapping[str, Room] | None = None,
    persistent_home: bool = False,
) -> Spec:
    """The namespace's limits: those of one server times the fleet's, and the system's room."""
    filled: FleetQuota = {**FLEET_QUOTA_DEFAULTS, **fleet}
    return {"hard": _hard(user, int(filled.get("servers", 0)), system or {}, persistent_home=persistent_home)}


def limited_resources(hard: Mapping[str, str]) -> tuple[str, ...]:
    """What containers may ask for in a namespace: what every quota limits, and what these limits name beside, such as `nvidia.com/gpu`."""
    named = {match[1] for match in map(_RESOURCE.fullmatch, hard) if match}
    return *MOST_RESOURCES, *sorted(named - {*MOST_RESOURCES, "storage"})


def check_tenancy(args: TenancyArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    if not _NAME.fullmatch(args["namespace"]):
        reason = "is no name of a namespace; small letters, digits and dashes, at most 63"
        wrong("namespace", f"{args['namespace']!r} {reason}")
    level = args.get("podSecurity", "restricted")
    if level not in POD_SECURITY_LEVELS:
        wrong("podSecurity", f"{level!r} is not known; one of {', '.join(POD_SECURITY_LEVELS)}")
    for number, grant in enumerate(args.get("roles", [])):
        if ("rules" in grant) == ("clusterRole" in grant):
            wrong(f"roles[{number}]", f"{grant['name']} needs either rules or a clusterRole")
    errors += check_user_quota(args.get("userQuota", {}))
    errors += check_fleet_quota(args.get("fleetQuota", {}))
    for name, room in args.get("system", {}).items():
        errors += _check_room(name, room)
    return errors or check_hard(
        args.get("hard", {}),
        args.get("userQuota", {}),
        system=args.get("system", {}),
        persistent_home=args.get("persistentHome", False),
    )


def check_hard(
    hard: Mapping[str, str],
    user: UserQuota,
    *,
    system: Mapping[str, Room] | None = None,
    persistent_home: bool = False,
    path: str = "hard",
) -> list[pulumi.InputPropertyErrorDetails]:
    """Mistakes in a namespace's limits: what is no amount, and what has no room for a single server."""
    errors: list[pulumi.InputPropertyErrorDetails] = []
    least = _hard(user, 1, system or {}, persistent_home=persistent_home)
    least |= {short: least[f"requests.{short}"] for short in MOST_RESOURCES}
    for key, text in sorted(hard.items()):
        try:
            amount = parse_quantity(str(text))
        except ValueError as error:
            errors.append({"property_path": f"{path}.{key}", "reason": str(error)})
            continue
        needed = least.get(key, "0")
        if amount < parse_quantity(needed):
            beside = " beside the system's own pods" if system else ""
            reason = f"{text} has no room for one server{beside}, which takes {needed}"
            errors.append({"property_path": f"{path}.{key}", "reason": reason})
    return errors


def _check_room(name: str, room: Room) -> list[pulumi.InputPropertyErrorDetails]:
    errors: list[pulumi.InputPropertyErrorDetails] = []
    for key in ("memory", "scratch", "volume"):
        try:
            parse_size(room.get(key, "1M"))
        except ValueError as error:
            errors.append({"property_path": f"system.{name}.{key}", "reason": str(error)})
    for key in ("pods", "cpu", "volumes", "services", "loadBalancers", "nodePorts"):
        amount = room.get(key, 0)
        if amount < 0:
            errors.append({"property_path": f"system.{name}.{key}", "reason": f"{amount} is below 0"})
    return errors


def _hard(user: UserQuota, servers: int, system: Mapping[str, Room], *, persistent_home: bool) -> dict[str, str]:
    rooms = list(system.values())
    one, homes = _user_amounts(user, persistent_home=persistent_home), servers if persistent_home else 0
    kinds = [(servers, one), *((int(room.get("pods", 1)), _room_amounts(room)) for room in rooms)]
    claims = [(homes, one), *((int(room.get("volumes", 0)), _room_amounts(room)) for room in rooms)]

    def counted(key: str) -> int:
        return sum(int(room.get(key, 0)) for room in rooms)

    limits = _compute({key: sum(pods * amounts[key] for pods, amounts in kinds) for key in MOST_RESOURCES})
    # What a pod of the system requests is for its owner to say: at most its limit.
    requested = servers * _cpu_request(one["cpu"]) + sum(pods * amounts["cpu"] for pods, amounts in kinds[1:])
    return {
        **{f"limits.{key}": value for key, value in limits.items()},
        **{f"requests.{key}": value for key, value in limits.items()},
        "requests.cpu": cpu_quantity(requested / 1000),
        "requests.storage": size_quantity(sum(number * amounts["volume"] for number, amounts in claims)),
        "pods": count_quantity(sum(pods for pods, _ in kinds)),
        "persistentvolumeclaims": count_quantity(sum(number for number, _ in claims)),
        # Notebooks of Kubeflow's kind have a Service each.
        "services": count_quantity(servers + counted("services")),
        "services.loadbalancers": count_quantity(counted("loadBalancers")),
        "services.nodeports": count_quantity(counted("nodePorts")),
    }


def _user_amounts(user: UserQuota, *, persistent_home: bool) -> dict[str, int]:
    """What one server takes: thousandths of processors, and bytes in whole mebibytes, so that sums are exact."""
    document = user_quota_document(user)
    home = document["home_bytes"]
    return {
        "cpu": _thousandths(document["cpu"]),
        "memory": _mebibytes(document["memory_bytes"]),
        "ephemeral-storage": _mebibytes((0 if persistent_home else home) + document["tmp_bytes"] + SCRATCH_BYTES),
        "volume": _mebibytes(home) if persistent_home else 0,
    }


def _room_amounts(room: Room) -> dict[str, int]:
    """What one of the system's pods takes, in the same units."""
    return {
        "cpu": _thousandths(room.get("cpu", 0.5)),
        "memory": _mebibytes(parse_size(room.get("memory", "256M"))),
        "ephemeral-storage": _mebibytes(parse_size(room.get("scratch", "128M"))),
        "volume": _mebibytes(parse_size(room.get("volume", "1G"))) if room.get("volumes", 0) else 0,
    }


def _thousandths(processors: float) -> int:
    return math.ceil(round(processors * 1000, 6))


def _mebibytes(size: float) -> int:
    """Bytes, rounded up to whole mebibytes."""
    return math.ceil(size / 2**20) * 2**20


def _cpu_request(thousandths: int) -> int:
    """Thousandths of processors that are kept for a server, at least ten."""
    return max(math.ceil(thousandths * CPU_REQUEST_SHARE), 10)


def _compute(amounts: Mapping[str, int]) -> dict[str, str]:
    return {
        "cpu": cpu_quantity(amounts["cpu"] / 1000),
        "memory": size_quantity(amounts["memory"]),
        "ephemeral-storage": size_quantity(amounts["ephemeral-storage"]),
    }
