"""What a user's pod reaches under each egress profile, on a real node whose engine enforces NetworkPolicies.

Every destination is there to answer: a namespace without policies reaches them all, so silence elsewhere is the policies'.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from components.kubernetes.egress_proxy import EgressProxy, EgressProxyArgs, room
from components.kubernetes.prepull import Prepull, PrepullArgs, prepull_room
from components.kubernetes.probe import EgressProbe
from components.kubernetes.tenancy import RoleGrant, Tenancy, TenancyArgs
from policies.network_policies import EGRESS, INGRESS, Union
from tests.engine import isolation_lab
from tests.engine.cluster import TOOLS, Cluster
from tests.engine.isolation_lab import (
    DOORS,
    NO_POLICIES,
    PROFILES,
    USER,
    USER_QUOTA,
    USERS,
    Destination,
    Lab,
    Object,
    Place,
    Space,
    apply,
    get,
    objects,
    pod,
)
from toolchain.kubernetes import addons

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker]

DOMAINS = ["listed.matrix.example.org", ".below.matrix.example.org"]
PORTS = [443, 8443]
EXCLUDED = ["203.0.113.0/24"]

PUBLIC = "198.51.100.180"
NAMES = {
    "listed.matrix.example.org": PUBLIC,
    "any.below.matrix.example.org": PUBLIC,
    "unlisted.matrix.example.org": PUBLIC,
    "metadata.below.matrix.example.org": "169.254.169.254",
    "private.below.matrix.example.org": "10.0.0.1",
    "shared.below.matrix.example.org": "100.64.0.1",
    "excluded.below.matrix.example.org": "203.0.113.7",
    "api.below.matrix.example.org": "10.96.0.1",
    "both.below.matrix.example.org": PUBLIC,
    # What a probe asks for, too.
    "example.org": PUBLIC,
}
NAMES6 = {
    "both.below.matrix.example.org": "2606:4700:4700::1111",
    "metadata6.below.matrix.example.org": "fd00:ec2::254",
}

TABLE = """
what                                  | kind   | to                                    | none | closed | domains | ports | open
the metadata service                  | tcp    | 169.254.169.254 80                    | yes  | no     | no      | no    | no
the metadata service, HTTPS           | tcp    | 169.254.169.254 443                   | yes  | no     | no      | no    | no
credentials of Amazon ECS             | tcp    | 169.254.170.2 80                      | yes  | no     | no      | no    | no
pod identity of Amazon EKS            | tcp    | 169.254.170.23 80                     | yes  | no     | no      | no    | no
the metadata service's resolver       | udp    | 169.254.169.253 53                    | yes  | no     | no      | no    | no
the platform of Azure                 | tcp    | 168.63.129.16 80                      | yes  | no     | no      | no    | no
the metadata service, IPv6            | tcp    | fd00:ec2::254 80                      | yes  | no     | no      | no    | no
the metadata service, translated      | tcp    | 64:ff9b::a9fe:a9fe 80                 | yes  | no     | no      | no    | no
private range 10                      | tcp    | 10.0.0.1 443                          | yes  | no     | no      | no    | no
private range 10, last                | tcp    | 10.255.255.254 443                    | yes  | no     | no      | no    | no
private range 172.16                  | tcp    | 172.16.0.1 443                        | yes  | no     | no      | no    | no
private range 172.31                  | tcp    | 172.31.0.1 443                        | yes  | no     | no      | no    | no
private range 192.168                 | tcp    | 192.168.0.1 443                       | yes  | no     | no      | no    | no
shared range 100.64                   | tcp    | 100.64.0.1 443                        | yes  | no     | no      | no    | no
shared range 100.127                  | tcp    | 100.127.255.254 443                   | yes  | no     | no      | no    | no
range for benchmarks 198.18           | tcp    | 198.18.0.1 443                        | yes  | no     | no      | no    | no
a range that the stack excludes       | tcp    | 203.0.113.7 443                       | yes  | no     | no      | no    | no
a range that it excludes, first       | tcp    | 203.0.113.1 443                       | yes  | no     | no      | no    | no
public, just below 172.16             | tcp    | 172.15.255.254 443                    | yes  | no     | no      | yes   | yes
public, just above 172.31             | tcp    | 172.32.0.1 443                        | yes  | no     | no      | yes   | yes
public, HTTPS                         | tcp    | 1.1.1.1 443                           | yes  | no     | no      | yes   | yes
public, HTTP                          | tcp    | 1.1.1.1 80                            | yes  | no     | no      | no    | yes
public, SSH                           | tcp    | 8.8.8.8 22                            | yes  | no     | no      | no    | yes
public, mail                          | tcp    | 8.8.8.8 25                            | yes  | no     | no      | no    | yes
public, a listed port                 | tcp    | 198.51.100.180 8443                   | yes  | no     | no      | yes   | yes
public, the next port                 | tcp    | 198.51.100.180 8444                   | yes  | no     | no      | no    | yes
public, the listed domain's address   | tcp    | 198.51.100.180 443                    | yes  | no     | no      | yes   | yes
public, a listed port over UDP        | udp    | 1.1.1.1 443                           | yes  | no     | no      | no    | yes
public, IPv6                          | tcp    | 2606:4700:4700::1111 443              | yes  | no     | no      | no    | no
a resolver outside, UDP               | udp    | 9.9.9.9 53                            | yes  | no     | no      | no    | yes
a resolver outside, TCP               | tcp    | 1.1.1.1 53                            | yes  | no     | no      | no    | yes
a resolver outside, TLS               | tcp    | 8.8.8.8 853                           | yes  | no     | no      | no    | yes
the cluster's resolver, UDP           | udp    | dns 53                                | yes  | no     | yes     | yes   | yes
the cluster's resolver, TCP           | tcp    | dns 53                                | yes  | no     | yes     | yes   | yes
the cluster's resolver, another port  | tcp    | dns-pod 8080                          | yes  | no     | no      | no    | no
a name of the cluster                 | name   | kubernetes.default.svc.cluster.local 443 | yes | no   | yes     | yes   | yes
a name outside                        | name   | unlisted.matrix.example.org 443       | yes  | no     | yes     | yes   | yes
the Kubernetes API, its service       | tcp    | kubernetes 443                        | yes  | no     | no      | no    | no
the Kubernetes API on the node        | tcp    | node 6443                             | yes  | no     | no      | no    | no
the kubelet                           | tcp    | node 10250                            | yes  | no     | no      | no    | no
the kubelet, IPv6                     | tcp    | node6 10250                           | yes  | no     | no      | no    | no
SSH of the node                       | tcp    | node 22                               | yes  | no     | no      | no    | no
another user's pod                    | tcp    | neighbour 8888                        | yes  | no     | no      | no    | no
another user's pod, IPv6              | tcp    | neighbour6 8888                       | yes  | no     | no      | no    | no
the hub                               | tcp    | hub 8081                              | yes  | yes    | yes     | yes   | yes
the hub, IPv6                         | tcp    | hub6 8081                             | yes  | yes    | yes     | yes   | yes
the hub, another port                 | tcp    | hub 8000                              | yes  | no     | no      | no    | no
a pod like the hub elsewhere          | tcp    | elsewhere-hub 8081                    | yes  | no     | no      | no    | no
a pod like the proxy elsewhere        | tcp    | elsewhere-proxy 3128                  | yes  | no     | no      | no    | no
the egress proxy                      | tcp    | proxy 3128                            | yes  | no     | yes     | no    | no
a listed domain by the proxy          | tunnel | listed.matrix.example.org 443         | 200  | no     | 200     | no    | no
a domain below by the proxy           | tunnel | any.below.matrix.example.org 443      | 200  | no     | 200     | no    | no
a domain with IPv6, too, by the proxy | tunnel | both.below.matrix.example.org 443     | 200  | no     | 200     | no    | no
a listed domain, another port         | tunnel | listed.matrix.example.org 8443        | 403  | no     | 403     | no    | no
an unlisted domain by the proxy       | tunnel | unlisted.matrix.example.org 443       | 403  | no     | 403     | no    | no
a listed domain's address by the proxy | tunnel | 198.51.100.180 443                   | 403  | no     | 403     | no    | no
the metadata service by the proxy     | tunnel | 169.254.169.254 443                   | 403  | no     | 403     | no    | no
a name of metadata by the proxy       | tunnel | metadata.below.matrix.example.org 443 | 403  | no     | 403     | no    | no
a name of metadata, IPv6              | tunnel | metadata6.below.matrix.example.org 443 | 403  | no     | 403     | no    | no
a name of the inside by the proxy     | tunnel | private.below.matrix.example.org 443  | 403  | no     | 403     | no    | no
a name of a shared range by the proxy | tunnel | shared.below.matrix.example.org 443   | 403  | no     | 403     | no    | no
a name of an excluded range           | tunnel | excluded.below.matrix.example.org 443 | 403  | no     | 403     | no    | no
a name of the API by the proxy        | tunnel | api.below.matrix.example.org 443      | 403  | no     | 403     | no    | no
"""
"""What answers whom: written by hand, from what the profiles promise."""


def rows() -> Iterator[tuple[Destination, dict[str, str]]]:
    """The table's destinations, and what each profile finds there."""
    head, *lines = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
    for what, kind, to, *answers in lines:
        host, port = to.split()
        yield Destination(what, kind, host, int(port)), dict(zip(head[3:], answers, strict=True))


ROWS = list(rows())
CELLS = [
    pytest.param(profile, one, expected[profile], id=f"{profile}: {one.what}")
    for profile in PROFILES
    for one, expected in ROWS
]


@pytest.fixture(scope="module")
def images(cluster: Cluster) -> dict[str, str]:
    """Images that are on the node."""
    return isolation_lab.images_on(cluster)


@pytest.fixture(scope="module")
def lab(cluster: Cluster, images: dict[str, str]) -> Iterator[Lab]:
    """Everything that was tried, with what came of it."""
    destinations = [one for one, _ in ROWS]
    with isolation_lab.lab(
        cluster, images, destinations, names=[NAMES, NAMES6], domains=DOMAINS, ports=PORTS, excluded=EXCLUDED
    ) as finished:
        yield finished


@pytest.mark.parametrize(("profile", "to", "expected"), CELLS)
def test_a_users_pod_reaches_what_its_profile_opens_and_nothing_else(
    lab: Lab, profile: str, to: Destination, expected: str
):
    assert lab.spaces[profile].answers[to.what] == expected


@pytest.mark.parametrize("place", DOORS)
@pytest.mark.parametrize("profile", PROFILES[1:])
def test_a_pod_of_another_namespace_reaches_none_of_a_hubs(lab: Lab, profile: str, place: str):
    assert lab.intruder[f"{profile} {place}"] == "no"


def test_a_pod_of_another_namespace_reaches_what_has_no_policies(lab: Lab):
    # The proxy has policies of its own wherever it runs.
    assert {place: lab.intruder[f"{NO_POLICIES} {place}"] for place in DOORS} == {
        "neighbour": "yes",
        "hub": "yes",
        "proxy": "no",
    }


def test_a_pod_that_has_no_role_reaches_nothing_of_an_open_hub_and_nothing_outside(lab: Lab):
    assert lab.stranger == {"neighbour": "no", "hub": "no", "proxy": "no", "public": "no"}


def reached(lab: Lab, space: Space, place: Place, to: Destination) -> bool:
    """What the evaluator says of the cluster's policies: the user's for the way out, the other pod's for the way in."""
    policies = lab.policies[space.namespace]
    out = Union.of(policies, USER, space.namespace, EGRESS)
    port, protocol, address = place.port or to.port, to.kind.upper(), place.behind or place.address
    if place.pod is None:
        return out.reaches_address(address, port, protocol)
    into = Union.of(lab.policies.get(place.namespace, []), place.pod, place.namespace, INGRESS)
    user = lab.users[space.profile]
    return out.reaches_pod(place.pod, place.namespace, port, protocol, ip=address) and into.reaches_pod(
        USER, space.namespace, port, protocol, ip=user
    )


@pytest.mark.parametrize(
    ("profile", "to"), [(cell.values[0], cell.values[1]) for cell in CELLS], ids=[c.id for c in CELLS]
)
def test_packets_do_what_the_union_of_all_policies_says(lab: Lab, profile: str, to: Destination):
    space = lab.spaces[profile]
    answered = space.answers[to.what] != "no"

    match to.kind:
        case "name":
            resolver = Destination(to.what, "udp", "dns", 53)
            assert reached(lab, space, space.places["dns"], resolver) == answered
        case "tunnel":
            # Whatever the proxy answers, its pod was reached.
            proxy = Destination(to.what, "tcp", "proxy", 3128)
            assert reached(lab, space, space.places["proxy"], proxy) == answered
        case _:
            assert reached(lab, space, space.places.get(to.host, Place(to.host)), to) == answered


def test_the_components_objects_are_applied_strictly_and_without_a_warning(lab: Lab):
    made = {
        one["kind"]
        for kind in ("resourcequota", "limitrange", "networkpolicy", "deployment", "job", "configmap", "service")
        for one in get(lab.cluster, kind, f"--namespace={lab.spaces['domains'].namespace}")["items"]
    }

    assert made == {"ResourceQuota", "LimitRange", "NetworkPolicy", "Deployment", "Job", "ConfigMap", "Service"}
    # Objects below the namespace's Pod Security Standard are taken with a warning, and their pods are refused later.
    assert lab.said == []


@pytest.mark.parametrize("profile", PROFILES[1:])
def test_the_probe_passes_where_the_profile_that_it_proves_holds(lab: Lab, profile: str):
    job = lab.spaces[profile].jobs[profile]

    assert job["status"].get("succeeded") == 1, job["message"]


def answered(message: str) -> set[str]:
    """The destinations that a probe's message names as answering."""
    return {line.partition(" answered and must not")[0] for line in message.splitlines() if "answered" in line}


def ends(job: Object) -> dict[str, str]:
    """Why a Job ended, by the condition that says so."""
    return {one["type"]: one.get("reason", "") for one in job["status"]["conditions"] if one["status"] == "True"}


def test_the_probe_names_all_that_answers_where_no_policy_acts_and_ends_before_its_deadline(lab: Lab):
    space = lab.spaces[NO_POLICIES]
    job, node = space.jobs["closed"], lab.cluster.address

    # DeadlineExceeded would be the deadline's.
    assert ends(job)["Failed"] == "BackoffLimitExceeded"
    assert answered(job["message"]) == {
        "tcp 10.96.0.1 port 443",
        "tcp fd00:ec2::254 port 80",
        "tcp 2606:4700:4700::1111 port 443",
        *(f"tcp {host} port 80" for host in ("169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16")),
        *(f"tcp {host} port 443" for host in ("10.0.0.1", "172.31.0.1", "192.168.0.1", "100.64.0.1")),
        # The first address of the range that the stack excludes.
        "tcp 203.0.113.1 port 443",
        *(f"tcp {node} port {port}" for port in (10250, 22)),
        *(f"tcp 1.1.1.1 port {port}" for port in (443, 80, 53)),
        *(f"tcp 8.8.8.8 port {port}" for port in (853, 22)),
        "udp 9.9.9.9 port 53",
        "dns example.org port 53",
        f"tcp {space.places['neighbour'].address} port 8888",
    }


def test_the_probe_of_a_closed_profile_fails_where_the_policies_are_open(lab: Lab):
    job = lab.spaces["open"].jobs["closed"]

    assert ends(job)["Failed"] == "BackoffLimitExceeded"
    assert answered(job["message"]) == {
        *(f"tcp 1.1.1.1 port {port}" for port in (443, 80, 53)),
        *(f"tcp 8.8.8.8 port {port}" for port in (853, 22)),
        "udp 9.9.9.9 port 53",
        "dns example.org port 53",
    }


@pytest.fixture(scope="module")
def tenancy(cluster: Cluster, images: dict[str, str]) -> Iterator[str]:
    """A namespace with the most servers that its quota has room for; they wait for a node that never comes."""
    namespace = f"matrix-tenancy-{uuid.uuid4().hex[:6]}"
    system = {"proxy": room(), "pre-puller": prepull_room(1)}
    grants: list[RoleGrant] = [
        {
            "name": "reader",
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
            "subjects": [{"kind": "User", "name": "ada"}],
        },
        {"name": "editor", "clusterRole": "edit", "subjects": [{"kind": "ServiceAccount", "name": "editor"}]},
    ]
    arguments: TenancyArgs = {
        "stack": "matrix",
        "namespace": namespace,
        "userQuota": USER_QUOTA,
        "fleetQuota": {"servers": USERS},
        "system": system,
        "serviceAccounts": ["editor"],
        "roles": grants,
    }
    try:
        assert apply(cluster, objects(lambda: Tenancy("tenancy", arguments))) == ""
        apply(cluster, [waiting(namespace, f"user-{number}") for number in range(USERS)])
        yield namespace
    finally:
        cluster.kubectl("delete", "namespace", "--wait=false", "--ignore-not-found", namespace)


def waiting(namespace: str, name: str) -> Object:
    """A server of a user that no node takes."""
    return pod(namespace, name, USER, ["sleep", "1000"], nodeSelector={"hubstack.test/no-such-node": "yes"})


def test_a_server_beyond_the_quota_is_refused(cluster: Cluster, tenancy: str):
    one_more = cluster.kubectl("create", "--filename=-", given=json.dumps(waiting(tenancy, "one-more")))

    assert one_more.returncode != 0
    assert "exceeded quota: quota" in one_more.stderr


def test_a_container_that_names_no_limits_gets_them(cluster: Cluster, tenancy: str):
    bare = waiting(tenancy, "bare")
    del bare["spec"]["containers"][0]["resources"]
    cluster.kubectl("delete", "pod", "user-0", f"--namespace={tenancy}", "--wait=true")
    try:
        apply(cluster, [bare])
        made = get(cluster, "pod", "bare", f"--namespace={tenancy}")
    finally:
        cluster.kubectl("delete", "pod", "bare", f"--namespace={tenancy}", "--wait=true")
        apply(cluster, [waiting(tenancy, "user-0")])

    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "128Mi"},
        "requests": {"cpu": "125m", "memory": "256Mi", "ephemeral-storage": "128Mi"},
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hostNetwork": True}, "host namespaces"),
        ({"hostPID": True}, "host namespaces"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "restricted volume types"),
        ({"securityContext": {"runAsUser": 0}}, "runAsNonRoot != true"),
    ],
    ids=["the node's network", "the node's processes", "the node's files", "root"],
)
def test_a_pod_with_privileges_is_refused(cluster: Cluster, tenancy: str, change: Object, reason: str):
    wanted = waiting(tenancy, "privileged")
    wanted["spec"] |= change

    refused = cluster.kubectl("create", "--filename=-", given=json.dumps(wanted))

    # A warning would name the reason, too.
    assert 'is forbidden: violates PodSecurity "restricted:v1.34"' in refused.stderr
    assert reason in refused.stderr


def test_a_pod_larger_than_the_largest_that_has_room_is_refused(cluster: Cluster, tenancy: str):
    wanted = waiting(tenancy, "large")
    wanted["spec"]["containers"][0]["resources"]["limits"]["memory"] = "257Mi"

    refused = cluster.kubectl("create", "--filename=-", given=json.dumps(wanted))

    assert "maximum memory usage per Container is 256Mi" in refused.stderr


def test_a_role_holds_for_its_subjects_and_for_what_it_names(cluster: Cluster, tenancy: str):
    def may(subject: str, *words: str) -> bool:
        asked = cluster.kubectl("auth", "can-i", *words, f"--namespace={tenancy}", f"--as={subject}")
        return asked.stdout.strip() == "yes"

    editor = f"system:serviceaccount:{tenancy}:editor"
    assert may("ada", "list", "pods")
    assert not may("ada", "delete", "pods")
    assert not may("eve", "list", "pods")
    assert may(editor, "delete", "pods")
    assert not may(editor, "create", "rolebindings")


def test_the_systems_pods_fit_beside_a_full_house_of_users_and_so_does_their_update(
    cluster: Cluster, tenancy: str, images: dict[str, str]
):
    def proxy(domain: str) -> EgressProxyArgs:
        return {
            "stack": "matrix",
            "namespace": tenancy,
            "image": images["proxy"],
            "domains": [domain],
            "clients": [{"labels": USER}],
        }

    prepull: PrepullArgs = {
        "stack": "matrix",
        "namespace": tenancy,
        "images": [TOOLS, images["python"]],
        "pauseImage": addons.image("pause"),
    }

    def rolled_out(name: str) -> str:
        return cluster.kubectl("rollout", "status", name, f"--namespace={tenancy}", "--timeout=100s").stdout

    said = apply(cluster, objects(lambda: (EgressProxy("proxy", proxy("pypi.org")), Prepull("prepull", prepull))))
    assert said == ""
    assert "successfully rolled out" in rolled_out("daemonset/pre-puller")
    assert "successfully rolled out" in rolled_out("deployment/egress-proxy")

    apply(cluster, objects(lambda: EgressProxy("proxy", proxy("conda.org"))))
    assert "successfully rolled out" in rolled_out("deployment/egress-proxy")
    assert (
        len(get(cluster, "pods", f"--namespace={tenancy}", f"--selector=component={USER['component']}")["items"])
        == USERS
    )


def test_objects_with_every_option_are_known_to_the_api(cluster: Cluster, tenancy: str, images: dict[str, str]):
    # Of every kind alike: each takes of these what it knows.
    everywhere: dict[str, Any] = {
        "stack": "matrix",
        "namespace": tenancy,
        "nodeSelector": {"users": "yes"},
        "imagePullSecrets": ["registry"],
        "tolerations": [{"key": "users", "operator": "Exists", "effect": "NoSchedule"}],
    }
    hard = {"pods": "30", "requests.storage": "30Gi"}
    egress = {"profile": "open", "domains": [], "ports": []}
    tenant: Any = {**everywhere, "persistentHome": True, "keep": True, "hard": hard, "podSecurity": "baseline"}
    proxy: Any = {**everywhere, "image": images["proxy"], "domains": [], "clients": [], "replicas": 2}
    prepull: Any = {**everywhere, "images": [TOOLS]}
    probe: Any = {
        **everywhere,
        "image": images["python"],
        "podLabels": USER,
        "egress": egress,
        "required": [],
        "serviceAccount": "editor",
        "proves": "0" * 64,
    }

    def program() -> None:
        Tenancy("tenancy", tenant)
        EgressProxy("proxy", proxy)
        Prepull("prepull", prepull)
        EgressProbe("probe", probe)

    made = objects(program)

    assert {"PodDisruptionBudget", "LimitRange", "DaemonSet", "Job"} <= {one["kind"] for one in made}
    assert apply(cluster, made, "--dry-run=server", "--force-conflicts") == ""
