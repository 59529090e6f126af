"""What a real API server makes of a platform's objects: it takes them, and refuses what users may not have."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from components import NotebookPlatform, NotebookPlatformArgs
from components.kubernetes.custom_resources import definitions
from components.kubernetes.notebook_routes import RouteKind
from components.kubernetes.platform_settings import operator_settings
from components.kubernetes.tenancy import user_resources
from tests.engine.cluster_api import Answer, ClusterApi, Manifest, cluster_api
from tests.unit.recording import record

__all__ = ["cluster_api"]

pytestmark = pytest.mark.kubernetes

STACK = "admission-test"
GROUP = "admission-test-users"
ADA, BOB = "ada@example.org", "bob"
ADAS, BOBS = f"{STACK}-ada", f"{STACK}-bob"
IMAGE = "registry.example.org/hubstack/notebook:1.0"

ARGS: NotebookPlatformArgs = {
    "operatorImage": "registry.example.org/hubstack/operator:1.0",
    "notebookImage": IMAGE,
    "egressProxyImage": "registry.example.org/hubstack/egress-proxy:1.0",
    "domain": "nb.example.org",
    "route": {"gateway": "notebooks", "gatewayNamespace": "gateway-system"},
    "egressDomains": ["pypi.org"],
    "userGroup": GROUP,
    "namespaceQuota": {"requests.nvidia.com/gpu": "1"},
    "notebooks": [{"user": ADA, "name": "training"}],
}

AHEAD = {
    "CustomResourceDefinition": 0,
    "Namespace": 0,
    "ClusterRole": 1,
    "ClusterRoleBinding": 2,
    "ValidatingAdmissionPolicy": 1,
    "ValidatingAdmissionPolicyBinding": 2,
}
"""Kinds that others need, in the order in which they are made."""


def whole_numbers(value: Any) -> Any:
    """Numbers as they are written: the engine's protocol knows none but floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole_numbers(part) for key, part in value.items()}
    return [whole_numbers(part) for part in value] if isinstance(value, list) else value


def registered(args: NotebookPlatformArgs) -> list[Manifest]:
    """Every object of a platform as it reaches the provider."""
    found = record(lambda: NotebookPlatform(STACK, args)).registrations
    return [whole_numbers(one.properties) for one in found if one.type.startswith("kubernetes:")]


def profile_objects(namespace: str, owner: str) -> list[Manifest]:
    """A profile's namespace as its operator makes it of the platform's settings."""
    settings = operator_settings(STACK, ARGS)["profile"]
    text = json.dumps(settings["manifests"]).replace("$(namespace)", namespace)
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": owner}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hubstack-notebook-admin"}
    admin = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "namespaceAdmin"},
        "roleRef": role,
        "subjects": [subject],
    }
    metadata = {"name": namespace, "labels": settings["namespaceLabels"], "annotations": {"owner": owner}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata},
        *({**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in [*json.loads(text), admin]),
    ]


def make(api: ClusterApi, manifests: list[Manifest], new: list[Manifest]) -> None:
    """Apply objects; those that were not there before are added to `new`, also where a later one is refused."""
    for one in manifests:
        if api.get(one).status == 404:
            new.append(one)
        answer = api.apply(one)
        assert answer.status < 300, (one["kind"], one["metadata"]["name"], answer.message)


def until(what: str, done: Callable[[], bool]) -> None:
    """Wait for something that the API server does in its own time."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def notebook(name: str = "training", labels: dict[str, str] | None = None, **pod: Any) -> Manifest:
    container = {"name": name, "image": IMAGE}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {"name": name, "namespace": ADAS, **({"labels": labels} if labels else {})},
        "spec": {"template": {"spec": {"containers": [container], **pod}}},
    }


def container(**more: Any) -> list[dict[str, Any]]:
    return [{"name": "training", "image": IMAGE, **more}]


def near(kind: str, wish: str, **term: Any) -> dict[str, Any]:
    """An affinity to pods, or away from them, with a single term: one that must hold, or one that had better."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}, **term}
    terms = {"required": [term], "preferred": [{"weight": 1, "podAffinityTerm": term}]}
    return {"affinity": {kind: {f"{wish}DuringSchedulingIgnoredDuringExecution": terms[wish]}}}


def request(user: str, name: str = "training", **spec: Any) -> Manifest:
    return {
        "apiVersion": "hubstack.io/v1alpha1",
        "kind": "NotebookRequest",
        "metadata": {"name": f"{STACK}-{name}"},
        "spec": {"user": user, "name": name, **spec},
    }


@pytest.fixture(scope="module")
def platform(cluster_api: ClusterApi) -> Iterator[ClusterApi]:
    """A cluster with a platform's kinds, roles and policies, and two users' namespaces; no operator runs."""
    objects = [one for one in registered(ARGS) if one["kind"] in AHEAD]
    objects.sort(key=lambda one: AHEAD[one["kind"]])
    objects += profile_objects(ADAS, ADA) + profile_objects(BOBS, BOB)
    new: list[Manifest] = []
    try:
        # Another module's platform may have had these namespaces, which take seconds to go.
        until("namespaces are still going", lambda: not any(_is_going(cluster_api, one) for one in objects))
        make(cluster_api, objects, new)
        kinds = [one for one in objects if one["kind"] == "CustomResourceDefinition"]
        until("the kinds are not served", lambda: all(_served(cluster_api, one) for one in kinds))
        bad = notebook(hostNetwork=True)
        until("no policy is in force", lambda: cluster_api.create(bad, dry_run=True).status == 422)
        stranger = request("somebody-else")
        until("no policy is in force", lambda: cluster_api.create(stranger, dry_run=True).status == 422)
        yield cluster_api
    finally:
        for one in reversed(new):
            cluster_api.delete(one)
        until("objects are left", lambda: all(cluster_api.get(one).status == 404 for one in new if _goes_alone(one)))


def _is_going(api: ClusterApi, one: Manifest) -> bool:
    return one["kind"] == "Namespace" and "deletionTimestamp" in api.get(one).body.get("metadata", {})


def _goes_alone(one: Manifest) -> bool:
    """Whether an object goes without a controller: a namespace needs one that a bare API server lacks."""
    return one["kind"] != "Namespace" and "namespace" not in one["metadata"]


def _served(api: ClusterApi, kind: Manifest) -> bool:
    conditions = api.get(kind).body.get("status", {}).get("conditions", [])
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"egressProfile": "closed", "egressDomains": []},
        {"egressProfile": "ports", "egressDomains": [], "egressPorts": [443]},
        {"egressProfile": "open", "egressDomains": [], "route": {"kind": RouteKind.NONE}},
    ],
    ids=["domains", "closed", "ports", "open without a route"],
)
def test_every_object_passes_the_api_servers_strict_validation(platform: ClusterApi, change: dict[str, Any]):
    objects = registered({**ARGS, **change})  # pyright: ignore[reportArgumentType]

    for one in objects:
        place = {"namespace": ADAS} if "namespace" in one["metadata"] else {}
        answer = platform.apply({**one, "metadata": {**one["metadata"], **place}}, dry_run=True)
        assert answer.message == "", (one["kind"], one["metadata"]["name"])
        # The namespace warns of pods that its Pod Security Standard would refuse.
        assert answer.warning == "", (one["kind"], one["metadata"]["name"])
    assert len(objects) > 20


def test_a_definition_is_stored_as_it_is_written(platform: ClusterApi):
    for name, written in definitions(STACK).items():
        stored = platform.get(written).body["spec"]["versions"]
        assert [one["name"] for one in stored] == [one["name"] for one in written["spec"]["versions"]], name
        assert [one["storage"] for one in stored] == [one["storage"] for one in written["spec"]["versions"]], name


REFUSED: dict[str, tuple[Manifest, str]] = {
    "the host's network": (notebook(hostNetwork=True), "shares nothing with its node: leave out hostNetwork"),
    "the host's processes": (notebook(hostPID=True), "leave out hostNetwork, hostPID and hostIPC"),
    "the host's memory": (notebook(hostIPC=True), "leave out hostNetwork, hostPID and hostIPC"),
    "a port of the host": (notebook(containers=container(ports=[{"containerPort": 8888, "hostPort": 80}])), "hostPort"),
    "a folder of the host": (notebook(volumes=[{"name": "h", "hostPath": {"path": "/"}}]), "hostPath"),
    "a network volume": (
        notebook(volumes=[{"name": "n", "nfs": {"server": "10.0.0.1", "path": "/"}}]),
        "network volumes are not",
    ),
    "a driver's volume": (
        notebook(
            volumes=[{"name": "c", "csi": {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "10.0.0.1"}}}]
        ),
        "hostPath, csi and network volumes are not",
    ),
    "a device that no quota limits": (
        notebook(containers=container(resources={"limits": {"amd.com/gpu": "1"}})),
        "a notebook's resources are cpu, memory, ephemeral-storage, nvidia.com/gpu; others need a limit in the platform's",
    ),
    "such a device in an init container": (
        notebook(initContainers=container(resources={"requests": {"amd.com/gpu": 1}, "limits": {"amd.com/gpu": 1}})),
        "others need a limit in the platform's namespaceQuota, as requests.<name>",
    ),
    "huge pages of the whole pod": (notebook(resources={"limits": {"hugepages-2Mi": "4Mi"}}), "others need a limit"),
    **{
        f"a place by others' pods: {wish} {kind}, {next(iter(term))}": (
            notebook(**near(kind, wish, **term)),
            "placed by pods of its own namespace alone: leave out namespaces and namespaceSelector",
        )
        for kind in ("podAffinity", "podAntiAffinity")
        for wish in ("required", "preferred")
        for term in ({"namespaces": [BOBS]}, {"namespaceSelector": {}})
    },
    "privileges": (notebook(containers=container(securityContext={"privileged": True})), "leave out privileged"),
    "privileges in an init container": (
        notebook(initContainers=container(securityContext={"privileged": True})),
        "leave out privileged",
    ),
    "escalation": (
        notebook(containers=container(securityContext={"allowPrivilegeEscalation": True})),
        "allowPrivilegeEscalation",
    ),
    "a capability": (
        notebook(containers=container(securityContext={"capabilities": {"add": ["NET_ADMIN"]}})),
        "added capabilities",
    ),
    "root": (notebook(securityContext={"runAsUser": 0}), "does not run as root"),
    "root in a container": (notebook(containers=container(securityContext={"runAsUser": 0})), "does not run as root"),
    "perhaps root": (notebook(securityContext={"runAsNonRoot": False}), "does not run as root"),
    "another's account": (
        notebook(serviceAccountName="notebook-operator"),
        "serviceAccountName is notebook-operator; a notebook has one of default-editor, default-viewer",
    ),
    "another's account, by its old name": (notebook(serviceAccount="notebook-operator"), "serviceAccountName is"),
    "a node": (notebook(nodeName="node-1"), "leave out nodeName and priorityClassName"),
    "priority": (notebook(priorityClassName="system-node-critical"), "leave out nodeName and priorityClassName"),
    "another role": (notebook(labels={"hubstack.role": "egress-proxy"}), "the label hubstack.role"),
    "another's name": (notebook(labels={"notebook-name": "other"}), "the label notebook-name"),
    "a long name": (notebook("n" * 53), "at most 52 characters"),
    "no name of a Service": (notebook("1st"), "begin with a letter"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_notebook_that_asks_for_too_much_is_refused_in_a_sentence(platform: ClusterApi, what: str):
    manifest, sentence = REFUSED[what]

    answer = platform.create(manifest, user=ADA, dry_run=True)

    assert answer.status == 422, answer
    assert sentence in answer.message


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_older_versions_are_judged_by_what_they_become(platform: ClusterApi, version: str):
    good, bad = ({**one, "apiVersion": f"kubeflow.org/{version}"} for one in (notebook(), notebook(hostNetwork=True)))

    assert platform.create(good, user=ADA, dry_run=True).message == ""
    assert "leave out hostNetwork" in platform.create(bad, user=ADA, dry_run=True).message


def test_what_a_user_may_have_is_let_in(platform: ClusterApi):
    whole = notebook(
        labels={"hubstack.role": "notebook", "team": "a"},
        serviceAccountName="default-viewer",
        securityContext={"fsGroup": 100, "runAsUser": 1000, "runAsNonRoot": True},
        containers=container(
            ports=[{"containerPort": 8888}],
            resources={
                "requests": {"cpu": "100m", "memory": 10**8, "nvidia.com/gpu": 1},
                "limits": {"ephemeral-storage": "1Gi", "nvidia.com/gpu": "1"},
            },
            securityContext={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            volumeMounts=[{"name": "shm", "mountPath": "/dev/shm"}, {"name": "home", "mountPath": "/home/jovyan"}],
        ),
        volumes=[
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "home", "persistentVolumeClaim": {"claimName": "mine"}},
        ],
        **near("podAntiAffinity", "required", namespaces=[]),
    )

    assert platform.create(whole, user=ADA, dry_run=True).message == ""


def test_a_request_is_made_in_ones_own_name(platform: ClusterApi):
    assert platform.create(request(ADA), user=ADA, groups=[GROUP], dry_run=True).message == ""


def test_a_request_in_anothers_name_is_refused_whoever_asks(platform: ClusterApi):
    answers = [
        platform.create(request(BOB), user=ADA, groups=[GROUP], dry_run=True),
        platform.create(request(BOB), dry_run=True),
    ]

    assert [answer.status for answer in answers] == [422, 422]
    assert (
        f'a NotebookRequest is made in one\'s own name alone: spec.user is "{BOB}", and you are "{ADA}"'
        in answers[0].message
    )


def test_who_is_not_of_the_group_makes_no_request(platform: ClusterApi):
    assert platform.create(request("carol"), user="carol", groups=["others"], dry_run=True).status == 403


def test_a_service_account_gets_no_notebook(platform: ClusterApi):
    user = f"system:serviceaccount:{ADAS}:default-editor"

    answer = platform.create(request(user), user=user, groups=[GROUP], dry_run=True)

    assert "notebooks belong to people" in answer.message


@pytest.mark.parametrize("wish", ["required", "preferred"])
@pytest.mark.parametrize("kind", ["podAffinity", "podAntiAffinity"])
def test_a_notebook_may_be_near_its_owners_others_or_away_from_them(platform: ClusterApi, kind: str, wish: str):
    assert platform.create(notebook(**near(kind, wish)), user=ADA, dry_run=True).message == ""


@pytest.mark.parametrize(
    ("pod", "sentence"),
    [
        ({"hostNetwork": True}, "leave out hostNetwork"),
        ({"containers": container(resources={"requests": {"amd.com/gpu": 1}})}, "others need a limit"),
        (
            {"volumes": [{"name": "c", "csi": {"driver": "nfs.csi.k8s.io"}}]},
            "hostPath, csi and network volumes are not",
        ),
        (near("podAntiAffinity", "required", namespaceSelector={}), "leave out namespaces and namespaceSelector"),
        (near("podAffinity", "preferred", namespaces=[BOBS]), "leave out namespaces and namespaceSelector"),
    ],
    ids=["the host's network", "a device", "a driver's volume", "no pod beside it", "another's pod beside it"],
)
def test_a_request_for_what_no_notebook_may_have_is_refused_at_once(
    platform: ClusterApi, pod: dict[str, Any], sentence: str
):
    template = {"spec": {"containers": container(), **pod}}

    answer = platform.create(request(ADA, template=template), user=ADA, groups=[GROUP], dry_run=True)

    assert sentence in answer.message


def test_a_request_with_all_that_a_notebook_may_have_is_let_in(platform: ClusterApi):
    gpu = container(resources={"limits": {"cpu": 1, "nvidia.com/gpu": 1}})
    template = {"spec": {"containers": gpu, **near("podAntiAffinity", "preferred")}}

    assert platform.create(request(ADA, template=template), user=ADA, groups=[GROUP], dry_run=True).message == ""


def test_what_a_policy_asks_is_cheap_enough_for_the_largest_notebooks(platform: ClusterApi):
    terms = [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}} for _ in range(2000)]
    crowd = [
        {"name": f"c{number}", "image": IMAGE, "resources": {"limits": {"cpu": "1m", "memory": "1Mi"}}}
        for number in range(500)
    ]
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}

    assert platform.create(notebook(containers=crowd, affinity=affinity), user=ADA, dry_run=True).message == ""


def test_a_request_is_not_changed_once_it_is_made_but_its_metadata_is(platform: ClusterApi):
    mine = request(ADA, "kept")
    assert platform.create(mine, user=ADA, groups=[GROUP]).message == ""
    try:
        changed: Answer = platform.merge(mine, {"spec": {"name": "other"}})
        marked = platform.merge(mine, {"metadata": {"annotations": {"seen": "yes"}}})
    finally:
        platform.delete(mine)

    assert changed.status == 422
    assert "is not changed" in changed.message
    assert marked.status == 200


VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
KINDS = [
    (group, *kind.split("/"))
    for group, kinds in {
        "": (
            "configmaps endpoints events limitranges namespaces persistentvolumeclaims persistentvolumes pods "
            "pods/attach pods/exec pods/log pods/portforward pods/proxy resourcequotas secrets serviceaccounts "
            "serviceaccounts/token services services/proxy nodes nodes/proxy"
        ),
        "apps": "daemonsets deployments replicasets statefulsets statefulsets/scale",
        "batch": "cronjobs jobs",
        "kubeflow.org": "notebooks notebooks/status notebooks/finalizers profiles profiles/status",
        "hubstack.io": "notebookrequests notebookrequests/status",
        "networking.k8s.io": "ingresses networkpolicies",
        "gateway.networking.k8s.io": "gateways httproutes referencegrants",
        "getambassador.io": "hosts mappings",
        "rbac.authorization.k8s.io": "clusterrolebindings clusterroles rolebindings roles",
        "apiextensions.k8s.io": "customresourcedefinitions",
        "admissionregistration.k8s.io": "validatingadmissionpolicies validatingadmissionpolicybindings",
    }.items()
    for kind in kinds.split()
]


def allowed(api: ClusterApi, user: str, groups: list[str], namespace: str) -> set[str]:
    """All that somebody may do in a namespace, or with an empty one in the whole cluster."""
    found: set[str] = set()
    for (group, resource, *sub), verb in itertools.product(KINDS, VERBS):
        attributes = {"group": group, "resource": resource, "verb": verb, "namespace": namespace}
        if api.may(user, groups, {**attributes, **({"subresource": sub[0]} if sub else {})}):
            found.add(" ".join(["/".join([resource, *sub]), verb]))
    return found


OWN = {
    *(f"notebooks {verb}" for verb in VERBS if verb != "deletecollection"),
    *(
        f"{kind} {verb}"
        for kind in ("events", "limitranges", "notebooks/status", "persistentvolumeclaims", "pods", "resourcequotas")
        for verb in ("get", "list", "watch")
    ),
    "persistentvolumeclaims create",
    "persistentvolumeclaims delete",
    "pods/log get",
    "secrets get",
}
"""All that a profile's owner may do there."""


def test_an_owner_may_do_in_their_namespace_what_the_role_says_and_nothing_more(platform: ClusterApi):
    assert allowed(platform, ADA, [GROUP, "system:authenticated"], ADAS) == OWN | {"notebookrequests create"}


@pytest.mark.parametrize(("user", "theirs"), [(ADA, BOBS), (BOB, ADAS), (ADA, "kube-system"), (ADA, "")])
def test_a_user_may_do_nothing_with_what_is_anothers(platform: ClusterApi, user: str, theirs: str):
    assert allowed(platform, user, [GROUP, "system:authenticated"], theirs) == {"notebookrequests create"}


def test_a_notebooks_account_has_its_own_namespace_alone(platform: ClusterApi):
    account = f"system:serviceaccount:{ADAS}:default-editor"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{ADAS}", "system:authenticated"]

    assert allowed(platform, account, groups, ADAS) == OWN - {"persistentvolumeclaims delete"}
    assert allowed(platform, account, groups, BOBS) == set()


def test_who_may_look_changes_nothing_and_reads_no_secret(platform: ClusterApi):
    account = f"system:serviceaccount:{ADAS}:default-viewer"
    found = allowed(platform, account, ["system:serviceaccounts", "system:authenticated"], ADAS)

    assert {line.split()[1] for line in found} == {"get", "list", "watch"}
    assert not {line for line in found if line.startswith(("secrets", "pods/"))}


SEED = """
containers:
- name: notebook
  image: gcr.io/kubeflow-images-public/tensorflow-1.10.1-notebook-cpu:v0.3.0
  resources:
    requests: {cpu: 500m, memory: 1Gi}
  workingDir: /home/jovyan
securityContext: {fsGroup: 100, runAsUser: 1000}
"""


def limited(api: ClusterApi, pod: dict[str, Any]) -> Answer:
    """A pod in a user's namespace, as admission leaves it; the quota is another test's."""
    secured = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    containers = [
        {**one, "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
        for one in pod["containers"]
    ]
    spec = {**pod, "containers": containers, "securityContext": {**pod.get("securityContext", {}), **secured}}
    metadata = {"name": "limited", "namespace": BOBS}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return api.create(manifest, dry_run=True)


def test_the_seeds_requests_get_the_limits_of_a_whole_notebook(platform: ClusterApi):
    answer = limited(platform, yaml.safe_load(SEED))

    assert answer.message == ""
    [container] = answer.body["spec"]["containers"]
    assert container["resources"]["limits"] == user_resources({}, persistent_home=True)["limits"]


def test_a_pod_above_a_notebooks_limits_is_refused_with_both(platform: ClusterApi):
    pod = yaml.safe_load(SEED)
    pod["containers"][0]["resources"] = {"limits": {"cpu": "4", "memory": "1Gi"}}

    assert "maximum cpu usage per Container is 1, but limit is 4" in limited(platform, pod).message


def test_a_device_that_the_quota_names_is_limited_by_it(platform: ClusterApi):
    def with_devices(number: int) -> Answer:
        pod = yaml.safe_load(SEED)
        pod["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": number}}
        return limited(platform, pod)

    [quota] = [one for one in profile_objects(BOBS, BOB) if one["kind"] == "ResourceQuota"]
    until("the quota is not counted", lambda: "used" in platform.get(quota).body.get("status", {}))

    assert with_devices(1).message == ""
    assert "requested: requests.nvidia.com/gpu=2, used: requests.nvidia.com/gpu=0, limited:" in with_devices(2).message


def test_a_privileged_pod_is_refused_by_the_namespace_itself(platform: ClusterApi):
    assert (
        'violates PodSecurity "restricted:v1.34"'
        in limited(platform, {**yaml.safe_load(SEED), "hostNetwork": True}).message
    )
