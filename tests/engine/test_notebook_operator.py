"""The operator of notebooks as a process, with exactly the rights that it asks for, against a real API server."""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.notebook_operator import access, names
from tests.engine.cluster import Cluster
from tests.engine.notebooks import (
    MANIFESTS,
    OPERATOR_NAMESPACE,
    STACK,
    Api,
    Jupyter,
    Operator,
    RefusedError,
    eventually,
    notebook,
    play_ready,
    prepared,
    profile,
    ready_condition,
    running,
    settings,
)
from tests.stacks import ROOT
from toolchain.notebook_crd import Schemas, definition, write

pytestmark = pytest.mark.kubernetes

CHILDREN = (("StatefulSet", ""), ("Service", ""), ("HTTPRoute", ""), ("Secret", "-token"))


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    found = Api(cluster.kubeconfig)
    with prepared(found):
        yield found


@pytest.fixture(scope="module")
def operator(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running(api, tmp_path_factory.mktemp("operator")) as process:
        yield process


@pytest.fixture
def tenant(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a profile, and of its namespace, that no other test has; both go afterwards."""
    name = f"operator-{random.randrange(16**8):08x}"
    yield name
    for thing in api.list("NotebookRequest"):
        if thing["metadata"]["name"].startswith(name):
            api.delete("NotebookRequest", "", thing["metadata"]["name"])
    api.delete("Profile", "", name)
    api.delete("Namespace", "", name)


@pytest.fixture
def home(api: Api, operator: Operator, tenant: str) -> str:
    """A namespace with a profile that is ready."""
    api.create(profile(tenant))
    wait_for_profile(api, tenant)
    return tenant


def wait_for_profile(api: Api, name: str) -> None:
    eventually(
        lambda: ready_condition(api.get("Profile", "", name)).get("status") == "True",
        f"profile {name} does not get ready",
    )


def reason(api: Api, namespace: str, name: str = "training") -> str | None:
    return ready_condition(api.get("Notebook", namespace, name)).get("reason")


def wait_for(api: Api, namespace: str, wanted: str, name: str = "training") -> None:
    eventually(lambda: reason(api, namespace, name) == wanted, f"{name} does not become {wanted}")


def replicas(api: Api, namespace: str, name: str = "training") -> int | None:
    thing = api.get("StatefulSet", namespace, name)
    return thing["spec"]["replicas"] if thing else None


def start(api: Api, namespace: str, name: str = "training", **parts: Any) -> None:
    api.create(notebook(namespace, name, **parts))
    eventually(lambda: api.get("Pod", namespace, f"{name}-0"), f"{name} gets no pod")
    play_ready(api, namespace, f"{name}-0")
    wait_for(api, namespace, "Running", name)


def annotate(api: Api, namespace: str, name: str = "training", **annotations: str | None) -> None:
    api.patch("Notebook", namespace, name, {"metadata": {"annotations": annotations}})


def samples(kind: str) -> list[dict[str, Any]]:
    things = yaml.safe_load_all((MANIFESTS / "kubeflow-style.yaml").read_text())
    return [thing for thing in things if thing["kind"] == kind]


def sample(file: str, namespace: str) -> dict[str, Any]:
    thing = yaml.safe_load((MANIFESTS / file).read_text())
    thing["metadata"]["namespace"] = namespace
    return thing


def placed(thing: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**thing, "metadata": {**thing["metadata"], "namespace": namespace}}


# What may be asked for.


def test_the_definition_of_notebooks_is_what_this_api_servers_pods_are(api: Api) -> None:
    version = api.ask("GET", "/version")
    if (version["major"], version["minor"]) != ("1", "34"):
        pytest.skip(f"the definition is generated from Kubernetes 1.34, this is {version['gitVersion']}")
    schemas = Schemas(api.ask("GET", "/openapi/v3/api/v1"))
    text = (ROOT / "runtime/notebook_operator/crds/notebooks.yaml").read_text()
    assert text.split("\n", 1)[1] == write(definition(schemas))


def test_the_seeds_example_is_refused_in_words_that_name_the_mistake(api: Api, home: str) -> None:
    with pytest.raises(RefusedError, match=r'unknown field "spec\.template\.spec\.securityContext\[0\]\.fsGroup"'):
        api.create(sample("seed-notebook.invalid.yaml", home))
    with pytest.raises(RefusedError, match=r'securityContext: Invalid value: "array".*must be of type object'):
        api.create(sample("seed-notebook.invalid.yaml", home), validation="Warn")


def test_the_seeds_example_in_its_valid_form_becomes_a_notebook(api: Api, home: str) -> None:
    api.create(sample("seed-notebook.yaml", home))
    eventually(lambda: replicas(api, home) == 1)
    spec = api.get("StatefulSet", home, "training")["spec"]["template"]["spec"]  # pyright: ignore[reportOptionalSubscript]
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["fsGroup"] == 100
    mounts = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert mounts == ["/home/jovyan"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"name": "a" * 53}}, "at most 52 characters"),
        ({"metadata": {"name": "1st"}}, "begin with a letter"),
        ({"spec": {"template": {"spec": {"containers": []}}}}, "at least 1 items"),
        ({"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}}, "image: Required value"),
        ({"spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}}, "name: Required value"),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b", "imge": "c"}]}}}},
            "unknown field.*imge",
        ),
        (
            {
                "spec": {
                    "template": {"spec": {"containers": [{"name": "a", "image": "b"}], "ttlSecondsAfterFinished": 0}}
                }
            },
            "greater than or equal to 1",
        ),
    ],
)
def test_what_no_notebook_can_be_is_refused(api: Api, change: dict[str, Any], words: str) -> None:
    thing = notebook("default")
    broken = {**thing, **change, "metadata": {**thing["metadata"], **change.get("metadata", {})}}
    with pytest.raises(RefusedError, match=words):
        api.create(broken)


@pytest.mark.parametrize(
    ("name", "owner", "words"),
    [
        ("kube-mine", {"kind": "User", "name": "a"}, "namespace of Kubernetes itself"),
        ("a.b", {"kind": "User", "name": "a"}, "namespace takes it"),
        ("operator-a", {"kind": "Robot", "name": "a"}, "User, Group or ServiceAccount"),
        ("operator-a", {"kind": "ServiceAccount", "name": "a"}, "needs its namespace"),
    ],
)
def test_what_no_profile_can_be_is_refused(api: Api, name: str, owner: dict[str, str], words: str) -> None:
    thing = {"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": name}, "spec": {"owner": owner}}
    with pytest.raises(RefusedError, match=words):
        api.create(thing)


def test_kubeflows_manifests_work_unchanged_in_every_version(api: Api, home: str) -> None:
    for thing in samples("Notebook"):
        api.create(placed(thing, home))
    for name in ("jupyter-notebook",):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": home}}
        api.create(account)
    for thing in samples("Notebook"):
        name = thing["metadata"]["name"]
        eventually(lambda name=name: replicas(api, home, name) == 1, f"{name} does not start")
        assert api.get("HTTPRoute", home, name)
    claims = {thing["metadata"]["name"] for thing in api.list("PersistentVolumeClaim", home)}
    assert not claims & {"spawned-home", "early-home"}, "they bring homes of their own"
    assert api.get("Notebook", home, "early")["apiVersion"] == "kubeflow.org/v1"  # pyright: ignore[reportOptionalSubscript]
    early = api.get("StatefulSet", home, "early")
    assert early
    assert early["spec"]["template"]["spec"]["serviceAccountName"] == "jupyter-notebook"


def test_kubeflows_profile_works_unchanged(api: Api, operator: Operator, tenant: str) -> None:
    thing = samples("Profile")[0]
    annotations = profile(tenant)["metadata"]["annotations"]
    api.create({**thing, "metadata": {"name": tenant, "annotations": annotations, "labels": {names.STACK: STACK}}})
    wait_for_profile(api, tenant)
    quota = api.get("ResourceQuota", tenant, "kf-resource-quota")
    assert quota
    assert quota["spec"]["hard"]["requests.storage"] == "5Gi"


# A notebook's life.


def test_a_notebook_and_its_children_come_and_go_together_but_for_the_home(api: Api, home: str) -> None:
    start(api, home)
    uid = api.get("Notebook", home, "training")["metadata"]["uid"]  # pyright: ignore[reportOptionalSubscript]
    for kind, suffix in CHILDREN:
        thing = eventually(lambda kind=kind, suffix=suffix: api.get(kind, home, f"training{suffix}"))
        owner = thing["metadata"]["ownerReferences"][0]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (uid, True, True)
    state = api.get("Notebook", home, "training")["status"]  # pyright: ignore[reportOptionalSubscript]
    assert state["url"] == f"https://nb.example.org/notebook/{home}/training/"
    assert state["readyReplicas"] == 1
    events = {event["reason"] for event in api.list("Event", home) if event["involvedObject"]["kind"] == "Notebook"}
    assert events == {"Created", "Started"}
    api.delete("Notebook", home, "training")
    for kind, suffix in CHILDREN:
        eventually(lambda kind=kind, suffix=suffix: api.get(kind, home, f"training{suffix}") is None, f"{kind} stays")
    claim = api.get("PersistentVolumeClaim", home, "training-home")
    assert claim
    assert "deletionTimestamp" not in claim["metadata"]


def test_a_home_goes_with_its_notebook_if_the_notebook_says_so(api: Api, home: str) -> None:
    start(api, home, annotations={names.DELETE_HOME: "true"})
    eventually(lambda: api.get("PersistentVolumeClaim", home, "training-home"))
    api.delete("Notebook", home, "training")
    eventually(lambda: api.get("Pod", home, "training-0") is None)
    eventually(lambda: api.get("PersistentVolumeClaim", home, "training-home") is None, "the home stays")


def test_a_notebook_made_again_finds_its_home(api: Api, home: str) -> None:
    start(api, home)
    claim = eventually(lambda: api.get("PersistentVolumeClaim", home, "training-home"))
    api.delete("Notebook", home, "training")
    api.create(notebook(home))
    uid = api.get("Notebook", home, "training")["metadata"]["uid"]  # pyright: ignore[reportOptionalSubscript]

    def owned() -> bool:
        held = api.get("StatefulSet", home, "training")
        return bool(held) and held["metadata"]["ownerReferences"][0]["uid"] == uid

    eventually(owned, "the old set is not replaced")
    again = api.get("PersistentVolumeClaim", home, "training-home")
    assert again
    assert again["metadata"]["uid"] == claim["metadata"]["uid"]


@pytest.mark.parametrize("kind", ["StatefulSet", "Service", "HTTPRoute"])
def test_a_child_deleted_by_hand_comes_back(api: Api, home: str, kind: str) -> None:
    start(api, home)
    before = api.get(kind, home, "training")["metadata"]["uid"]  # pyright: ignore[reportOptionalSubscript]
    api.delete(kind, home, "training")

    def renewed() -> bool:
        thing = api.get(kind, home, "training")
        return bool(thing) and thing["metadata"]["uid"] != before

    eventually(renewed, f"{kind} does not come back")


def test_a_child_changed_by_hand_is_set_right(api: Api, home: str) -> None:
    start(api, home)
    container = {"name": "miner", "image": "example.org/miner:1"}
    held = api.get("StatefulSet", home, "training")["spec"]["template"]["spec"]["containers"]  # pyright: ignore[reportOptionalSubscript]
    both = {"spec": {"template": {"spec": {"containers": [*held, container]}}}}
    api.patch("StatefulSet", home, "training", both)
    api.patch("Service", home, "training", {"spec": {"selector": {"app": "mine"}}})
    api.patch("HTTPRoute", home, "training", {"spec": {"hostnames": ["elsewhere.example.org"]}})

    def right() -> bool:
        things = {kind: api.get(kind, home, "training") for kind in ("StatefulSet", "Service", "HTTPRoute")}
        assert all(things.values())
        specs = {kind: thing["spec"] for kind, thing in things.items() if thing}
        return (
            [each["name"] for each in specs["StatefulSet"]["template"]["spec"]["containers"]] == ["training"]
            and specs["Service"]["selector"].get(names.NOTEBOOK_NAME) == "training"
            and specs["HTTPRoute"]["hostnames"] == ["nb.example.org"]
        )

    eventually(right, "what was changed by hand stays changed")


def test_what_belongs_to_somebody_else_is_left_alone(api: Api, home: str) -> None:
    mine = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "training", "namespace": home},
        "spec": {"ports": [{"port": 8080}]},
    }
    api.create(mine)
    api.create(notebook(home))
    wait_for(api, home, "Refused")
    held = api.get("Service", home, "training")
    assert held
    assert [port["port"] for port in held["spec"]["ports"]] == [8080]
    assert "ownerReferences" not in held["metadata"]
    api.delete("Service", home, "training")
    annotate(api, home, **{"touched": "yes"})
    eventually(lambda: replicas(api, home) == 1)


def test_the_annotation_stops_a_notebook_and_its_end_resumes_it(api: Api, home: str) -> None:
    start(api, home)
    annotate(api, home, **{names.STOPPED: "2026-01-02T12:00:00Z"})
    wait_for(api, home, "Stopped")
    eventually(lambda: api.get("Pod", home, "training-0") is None, "the pod stays")
    assert api.get("PersistentVolumeClaim", home, "training-home")
    annotate(api, home, **{names.STOPPED: None})
    eventually(lambda: api.get("Pod", home, "training-0"), "the pod does not come back")


def test_a_users_change_replaces_the_pod(api: Api, home: str) -> None:
    start(api, home, container={"env": [{"name": "GONE", "value": "soon"}]})
    before = api.get("Pod", home, "training-0")["metadata"]["uid"]  # pyright: ignore[reportOptionalSubscript]
    changed = notebook(home, container={"image": "registry.example.org/jupyter:2"})
    api.patch("Notebook", home, "training", {"spec": changed["spec"]})

    def replaced() -> bool:
        pod = api.get("Pod", home, "training-0")
        if not pod or pod["metadata"]["uid"] == before:
            return False
        container = pod["spec"]["containers"][0]
        return container["image"].endswith(":2") and "GONE" not in {variable["name"] for variable in container["env"]}

    eventually(replaced, "the old pod stays")


# Limits.


def test_an_idle_notebook_is_stopped_and_one_in_use_is_not(api: Api, tmp_path: Path, tenant: str) -> None:
    idle, used = Jupyter(), Jupyter()
    used.kernels = [{"execution_state": "busy", "connections": 0, "last_activity": "2026-01-01T00:00:00Z"}]
    used.idle_seconds = 100
    short = {**settings()["notebook"], "idleSeconds": 10}
    api.create(profile(tenant, tenant))
    try:
        with running(api, tmp_path, stack=tenant, notebook=short):
            wait_for_profile(api, tenant)
            for name, server in (("idle", idle), ("used", used)):
                port = {"ports": [{"containerPort": server.port}]}
                start(api, tenant, name, container=port)
            eventually(lambda: idle.asked and used.asked, "nobody asks the servers")
            idle.idle_seconds = 100
            wait_for(api, tenant, "Culled", "idle")
            asked = len(used.asked)
            eventually(lambda: len(used.asked) >= asked + 6, "the used one is no longer asked")
            assert reason(api, tenant, "used") == "Running"
            assert replicas(api, tenant, "idle") == 0
        assert api.get("PersistentVolumeClaim", tenant, "idle-home")
        annotations = api.get("Notebook", tenant, "idle")["metadata"]["annotations"]  # pyright: ignore[reportOptionalSubscript]
        assert names.LAST_ACTIVITY in annotations
        secret = api.get("Secret", tenant, "idle-token")
        assert secret
        import base64

        token = base64.b64decode(secret["data"]["token"]).decode()
        paths = {path for path, _ in idle.asked}
        assert {
            f"/notebook/{tenant}/idle/api/{what}?no_track_activity=1" for what in ("kernels", "terminals", "status")
        } == paths
        assert {header for _, header in idle.asked} == {f"token {token}"}
    finally:
        idle.close()
        used.close()


def test_what_a_quota_refuses_says_so_and_leaves_no_home_and_starts_when_there_is_room(
    api: Api, tmp_path: Path, tenant: str
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "quota"},
        "spec": {"hard": {"pods": "2"}},
    }
    labels = settings()["profile"]["namespaceLabels"]
    with running(api, tmp_path, stack=tenant, profile={"namespaceLabels": labels, "manifests": [quota]}):
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        eventually(lambda: (api.get("ResourceQuota", tenant, "quota") or {}).get("status", {}).get("hard"))
        wanted = [f"n{number}" for number in range(6)]
        for name in wanted:
            api.create(notebook(tenant, name))

        def settled() -> bool:
            reasons = [reason(api, tenant, name) for name in wanted]
            return reasons.count("QuotaExceeded") == 4 and reasons.count("Starting") == 2

        eventually(settled, "the quota is not told")
        pods = {thing["metadata"]["name"][:-2] for thing in api.list("Pod", tenant)}
        assert len(pods) == 2
        homes = {thing["metadata"]["name"].removesuffix("-home") for thing in api.list("PersistentVolumeClaim", tenant)}
        assert homes <= pods, "a home was made for a notebook that may not start"
        refused = next(name for name in wanted if name not in pods)
        assert "exceeded quota: quota" in ready_condition(api.get("Notebook", tenant, refused))["message"]
        events = [event for event in api.list("Event", tenant) if event["reason"] == "Refused"]
        assert {event["involvedObject"]["name"] for event in events} == set(wanted) - pods
        annotate(api, tenant, sorted(pods)[0], **{names.STOPPED: "x"})
        eventually(
            lambda: len({t["metadata"]["name"] for t in api.list("Pod", tenant)} - {f"{name}-0" for name in pods}) == 1
        )


def test_what_pod_security_forbids_is_told_in_the_api_servers_words(api: Api, home: str) -> None:
    api.create(notebook(home, hostNetwork=True))
    wait_for(api, home, "Refused")
    assert "violates PodSecurity" in ready_condition(api.get("Notebook", home, "training"))["message"]
    assert api.list("PersistentVolumeClaim", home) == []


def test_the_fleets_limit_holds(api: Api, tmp_path: Path, tenant: str) -> None:
    with running(api, tmp_path, stack=tenant, fleet={"notebooks": 2}):
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        wanted = [f"n{number}" for number in range(5)]
        for name in wanted:
            api.create(notebook(tenant, name))
        eventually(lambda: [reason(api, tenant, name) for name in wanted].count("Starting") == 2)
        eventually(lambda: [reason(api, tenant, name) for name in wanted].count("FleetFull") == 3)
        assert sum(replicas(api, tenant, name) == 1 for name in wanted) == 2


# Profiles and requests.


def test_an_owner_may_use_notebooks_in_the_profile_and_nobody_else(api: Api, home: str) -> None:
    def may(user: str, verb: str) -> bool:
        attributes = {"namespace": home, "verb": verb, "group": "kubeflow.org", "resource": "notebooks"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }
        return api.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]

    assert may("alice", "create")
    assert not may("bob", "create")
    assert not may("bob", "get")


def test_a_namespace_of_somebody_else_is_not_taken(api: Api, operator: Operator, tenant: str) -> None:
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}})
    api.create(profile(tenant))
    eventually(lambda: ready_condition(api.get("Profile", "", tenant)).get("reason") == "NamespaceTaken")
    assert api.list("RoleBinding", tenant) == []


def test_a_namespace_with_homes_outlives_its_profile(api: Api, operator: Operator, tenant: str) -> None:
    thing = profile(tenant)
    del thing["metadata"]["annotations"]
    api.create(thing)
    wait_for_profile(api, tenant)
    start(api, tenant)
    api.delete("Profile", "", tenant)
    eventually(lambda: api.get("RoleBinding", tenant, "namespaceAdmin") is None, "the owner keeps the rights")
    namespace = api.get("Namespace", "", tenant)
    assert namespace
    assert "deletionTimestamp" not in namespace["metadata"]
    assert api.get("PersistentVolumeClaim", tenant, "training-home")
    api.create(thing)
    wait_for_profile(api, tenant)
    assert api.get("RoleBinding", tenant, "namespaceAdmin")


def test_a_request_makes_the_namespace_with_the_first_notebook_and_reuses_it(
    api: Api, operator: Operator, tenant: str
) -> None:
    user = tenant
    for number in (1, 2):
        api.create(
            {
                "apiVersion": "hubstack.io/v1alpha1",
                "kind": "NotebookRequest",
                "metadata": {"name": f"{tenant}-{number}", "labels": {names.STACK: STACK}},
                "spec": {"user": user, "name": f"n{number}"},
            }
        )
    for number in (1, 2):
        eventually(
            lambda number=number: (
                ready_condition(api.get("NotebookRequest", "", f"{tenant}-{number}")).get("status") == "True"
            )
        )
        state = api.get("NotebookRequest", "", f"{tenant}-{number}")["status"]  # pyright: ignore[reportOptionalSubscript]
        assert state["namespace"] == user
        assert state["url"] == f"https://nb.example.org/notebook/{user}/n{number}/"
        assert api.get("Notebook", user, f"n{number}")
    owned = [thing for thing in api.list("Profile") if thing["spec"]["owner"]["name"] == user]
    assert len(owned) == 1
    with pytest.raises(RefusedError, match="a request is not changed"):
        api.patch("NotebookRequest", "", f"{tenant}-1", {"spec": {"user": "mallory"}})


# The operator itself.


def test_the_operator_reads_no_secret_outside_profiles(api: Api, home: str) -> None:
    subject = f"system:serviceaccount:{OPERATOR_NAMESPACE}:operator"

    def may(namespace: str, verb: str, resource: str, group: str = "") -> bool:
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": subject, "groups": ["system:authenticated"], "resourceAttributes": attributes},
        }
        return api.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]

    assert may(home, "get", "secrets")
    for verb, resource in (("get", "secrets"), ("create", "pods"), ("delete", "pods"), ("patch", "services")):
        assert not may("kube-system", verb, resource)
    assert not may(home, "delete", "persistentvolumeclaims")
    assert not may("", "delete", "namespaces")


def test_it_cannot_give_itself_or_others_more_than_it_may(api: Api, home: str, operator: Operator) -> None:
    own = Api(operator.kubeconfig)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "more", "namespace": "kube-system"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "operator"}],
    }
    with pytest.raises(RefusedError, match="attempting to grant RBAC permissions not currently held"):
        own.create(binding)
    owners = {**binding, "roleRef": {**binding["roleRef"], "name": access.ADMIN_ROLE}}
    with pytest.raises(RefusedError):
        own.create(owners)


def test_a_notebook_outside_a_profile_is_told_what_it_lacks(api: Api, operator: Operator, tenant: str) -> None:
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}})
    api.create(notebook(tenant))
    wait_for(api, tenant, "NoAccess")
    assert "Profile" in ready_condition(api.get("Notebook", tenant, "training"))["message"]
    assert api.list("StatefulSet", tenant) == []


def versions(api: Api, namespace: str) -> dict[tuple[str, str], str]:
    """State of everything that the operator makes, and of what it has told."""
    kinds = ("Notebook", "StatefulSet", "Service", "HTTPRoute", "Secret", "PersistentVolumeClaim", "RoleBinding")
    more = ("ServiceAccount", "ResourceQuota", "NetworkPolicy", "LimitRange", "Event")
    found = {
        (kind, thing["metadata"]["name"]): thing["metadata"]["resourceVersion"]
        for kind in (*kinds, *more)
        for thing in api.list(kind, namespace)
        if kind != "Event" or thing["source"].get("component") == names.OPERATOR
    }
    for kind in ("Profile", "Namespace"):
        thing = api.get(kind, "", namespace)
        assert thing
        found[kind, namespace] = thing["metadata"]["resourceVersion"]
    return found


def settle(api: Api, operator: Operator, namespace: str) -> dict[tuple[str, str], str]:
    """The state once nobody has changed anything between two readings and the operator has nothing to do."""
    seen: list[dict[tuple[str, str], str]] = []

    def still() -> bool:
        seen.append(versions(api, namespace))
        return len(seen) > 1 and seen[-1] == seen[-2] and operator.waiting() == 0

    eventually(still, "the operator does not come to rest")
    return seen[-1]


def test_nothing_is_written_while_servers_are_asked_and_nothing_changes(api: Api, tmp_path: Path, tenant: str) -> None:
    server = Jupyter()
    limits = {**settings()["notebook"], "idleSeconds": 30}
    try:
        with running(api, tmp_path, stack=tenant, notebook=limits) as operator:
            api.create(profile(tenant, tenant))
            wait_for_profile(api, tenant)
            server.kernels = [{"execution_state": "idle", "connections": 1, "last_activity": "2026-01-01T00:00:00Z"}]
            start(api, tenant, container={"ports": [{"containerPort": server.port}]})
            eventually(lambda: len(server.asked) >= 6, "nobody asks the server")
            before = settle(api, operator, tenant)
            asked = len(server.asked)
            eventually(lambda: len(server.asked) >= asked + 9, "nobody asks the server")
            assert versions(api, tenant) == before
    finally:
        server.close()


def test_a_restarted_operator_writes_nothing(api: Api, tmp_path: Path, tenant: str) -> None:
    with running(api, tmp_path, stack=tenant) as operator:
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        start(api, tenant)
        api.create(notebook(tenant, "second", annotations={names.STOPPED: "x"}))
        wait_for(api, tenant, "Stopped", "second")
        before = settle(api, operator, tenant)
        operator.kill()
        operator.start()
        eventually(lambda: operator.waiting() == 0, "the operator does not come back")
        assert settle(api, operator, tenant) == before


def test_killed_at_random_moments_it_ends_where_it_would_have_ended(api: Api, tmp_path: Path, tenant: str) -> None:
    seed = random.randrange(1 << 32)
    sys.stderr.write(f"random seed {seed}\n")
    chance = random.Random(seed)
    stopped, going = [f"s{number}" for number in range(5)], [f"g{number}" for number in range(5)]
    with running(api, tmp_path, stack=tenant) as operator:
        api.create(profile(tenant, tenant))
        eventually(lambda: api.get("Namespace", "", tenant))
        for name in (*stopped, *going):
            api.create(notebook(tenant, name))
        for _ in range(8):
            # From before its first list to the middle of its changes.
            time.sleep(chance.uniform(0.2, 2.5))
            operator.kill()
            operator.start()
            annotate(api, tenant, chance.choice([*stopped, *going]), **{names.STOPPED: chance.choice([None, "x"])})
        for name in stopped:
            annotate(api, tenant, name, **{names.STOPPED: "x"})
        for name in going:
            annotate(api, tenant, name, **{names.STOPPED: None})
        for name in stopped:
            wait_for(api, tenant, "Stopped", name)
            assert replicas(api, tenant, name) == 0
        for name in going:
            eventually(lambda name=name: api.get("Pod", tenant, f"{name}-0"), f"{name} has no pod")
            play_ready(api, tenant, f"{name}-0")
            wait_for(api, tenant, "Running", name)
            assert api.get("PersistentVolumeClaim", tenant, f"{name}-home")
        for name in (*stopped, *going):
            for kind, suffix in CHILDREN:
                assert api.get(kind, tenant, f"{name}{suffix}")
        told = [event for event in api.list("Event", tenant) if event["reason"] == "Created"]
        about = [event["involvedObject"]["name"] for event in told if event["involvedObject"]["kind"] == "Notebook"]
        assert len(about) == len(set(about)), "an event was told twice"


def test_notebooks_are_deleted_while_no_operator_runs(api: Api, tmp_path: Path, tenant: str) -> None:
    with running(api, tmp_path, stack=tenant) as operator:
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        start(api, tenant)
        operator.stop()
        thing = api.get("Notebook", tenant, "training")
        assert thing
        assert "finalizers" not in thing["metadata"]
        assert not [key for key in thing["metadata"].get("annotations", {}) if "kopf" in key]
        api.delete("Notebook", tenant, "training")
        assert api.get("Notebook", tenant, "training") is None
        eventually(lambda: api.get("StatefulSet", tenant, "training") is None)


def test_another_stacks_notebooks_are_left_to_its_operator(api: Api, home: str, operator: Operator) -> None:
    thing = notebook(home)
    thing["metadata"]["labels"] = {names.STACK: "other"}
    api.create(thing)
    api.create(notebook(home, "own"))
    eventually(lambda: replicas(api, home, "own") == 1)
    eventually(lambda: operator.waiting() == 0)
    assert "status" not in (api.get("Notebook", home, "training") or {})
    assert replicas(api, home) is None
