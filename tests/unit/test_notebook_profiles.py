"""Profiles and requests: whose namespace is whose, and what is in it."""

import asyncio
from typing import Any

import pytest

from runtime.notebook_operator import access, names, status
from runtime.notebook_operator.cluster import Cluster
from runtime.notebook_operator.profiles import Profiles, furniture, namespace_object, operator_binding
from runtime.notebook_operator.requests import Requests, profile_of
from runtime.notebook_operator.store import Store
from tests.unit.notebooks import IMAGE, Api, Clock, notebook_defaults, refusal, settings

QUOTA = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": {"pods": "5"}}}
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "default-editor", "annotations": {"for": "$(owner)"}},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": access.EDIT_ROLE},
    "subjects": [{"kind": "ServiceAccount", "name": "default-editor", "namespace": "$(namespace)"}],
}
FURNITURE = {"namespaceLabels": {"team": "data"}, "manifests": [QUOTA, POLICY, BINDING]}


def profile(name: str = "alice", owner: str = "alice", **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "annotations": parts.pop("annotations", {})}
    spec = {"owner": {"kind": parts.pop("kind", "User"), "name": owner, **parts.pop("whose", {})}, **parts}
    return {"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": metadata, "spec": spec}


def request(name: str = "r1", user: str = "alice", notebook: str = "training", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hubstack.io/v1alpha1",
        "kind": "NotebookRequest",
        "metadata": {"name": name},
        "spec": {"user": user, "name": notebook, **spec},
    }


class Place:
    """A cluster with profiles and requests."""

    def __init__(self, **changes: Any) -> None:
        self.clock = Clock()
        self.api = Api(self.clock)
        self.settings = settings(**{"profile": FURNITURE, **changes})
        self.store = Store()
        cluster = Cluster(self.api)  # pyright: ignore[reportArgumentType]
        self.profiles = Profiles(self.settings, cluster, self.store, self.clock, "operator")
        self.requests = Requests(self.settings, cluster, self.store, self.clock)

    def make(self, thing: dict[str, Any]) -> None:
        self.store.put(self.api.put(thing))

    def look(self, kind: str, name: str) -> float | None:
        part = self.profiles if kind == "Profile" else self.requests
        return asyncio.run(part.look((kind, "", name)))

    def reason(self, kind: str, name: str) -> str | None:
        return status.reason_of(self.api.objects[kind, "", name].get("status") or {})

    def names(self, kind: str) -> set[str]:
        return {name for found, _, name in self.api.objects if found == kind}


def by_kind(things: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {thing["metadata"]["name"]: thing for thing in things if thing["kind"] == kind}


def test_a_profile_becomes_a_namespace_with_all_that_protects_it() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    namespace = place.api.objects["Namespace", "", "alice"]["metadata"]
    assert namespace["annotations"][names.OWNER] == "alice"
    assert namespace["labels"]["team"] == "data"
    assert namespace["labels"][names.PART_OF] == "kubeflow-profile"
    assert place.names("ServiceAccount") == {"default-editor", "default-viewer"}
    assert place.names("RoleBinding") == {"namespaceAdmin", "default-editor", names.OPERATOR}
    assert place.names("ResourceQuota") == {"quota"}
    assert place.names("NetworkPolicy") == {"deny"}
    assert place.reason("Profile", "alice") == "Ready"
    before = len(place.api.written)
    place.look("Profile", "alice")
    assert place.api.written[before:] == []


def test_the_operators_own_binding_comes_before_what_it_needs_it_for() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    order = [name for verb, kind, name in place.api.written if kind not in {"Profile", "Event"}]
    assert order[:2] == ["alice", names.OPERATOR]
    binding = operator_binding(profile(), place.settings, "operator")
    assert binding["roleRef"]["name"] == access.TENANT_ROLE
    assert binding["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator"}]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"annotations": {names.OWNER: "alice"}},
        {"labels": {names.PART_OF: "kubeflow-profile"}},
        {"labels": {names.PART_OF: "kubeflow-profile"}, "annotations": {names.OWNER: "bob"}},
    ],
)
def test_a_namespace_that_is_not_the_profiles_is_left_alone(metadata: dict[str, Any]) -> None:
    place = Place()
    place.make({"kind": "Namespace", "metadata": {"name": "alice", **metadata}})
    place.make(profile())
    place.look("Profile", "alice")
    assert place.reason("Profile", "alice") == "NamespaceTaken"
    assert place.names("RoleBinding") == set()
    assert place.api.objects["Namespace", "", "alice"]["metadata"].get("labels") == metadata.get("labels")


def test_a_namespace_of_another_stack_is_left_to_its_operator() -> None:
    place = Place()
    labels = {names.PART_OF: "kubeflow-profile", names.STACK: "other"}
    metadata = {"name": "alice", "labels": labels, "annotations": {names.OWNER: "alice"}}
    place.make({"kind": "Namespace", "metadata": metadata})
    place.make(profile())
    assert place.look("Profile", "alice") is None
    assert place.api.objects["Namespace", "", "alice"]["metadata"]["labels"] == labels
    assert "status" not in place.api.objects["Profile", "", "alice"]


def test_a_profile_that_comes_back_finds_its_namespace() -> None:
    place = Place()
    labels = {names.PART_OF: "kubeflow-profile"}
    place.make(
        {"kind": "Namespace", "metadata": {"name": "alice", "labels": labels, "annotations": {names.OWNER: "alice"}}}
    )
    place.make(profile())
    place.look("Profile", "alice")
    assert place.reason("Profile", "alice") == "Ready"


def test_a_namespace_outlives_its_profile_unless_the_profile_says_so() -> None:
    assert "ownerReferences" not in namespace_object(profile(), settings())["metadata"]
    gone = profile(annotations={names.DELETE_NAMESPACE: "true"})
    assert [owner["uid"] for owner in namespace_object(gone, settings())["metadata"]["ownerReferences"]] == [
        "uid-alice"
    ]


def test_a_namespace_goes_with_its_profile_where_the_stack_keeps_nothing_unless_the_profile_says_so() -> None:
    nothing_kept = settings(profile={"keepNamespaces": False})
    kept = profile(annotations={names.DELETE_NAMESPACE: "false"})

    assert namespace_object(profile(), nothing_kept)["metadata"]["ownerReferences"][0]["uid"] == "uid-alice"
    assert "ownerReferences" not in namespace_object(kept, nothing_kept)["metadata"]


def test_the_owners_rights_go_with_the_profile_and_what_protects_the_namespace_stays() -> None:
    things = furniture(profile(), settings(profile=FURNITURE))
    owned = {thing["metadata"]["name"] for thing in things if thing["metadata"].get("ownerReferences")}
    assert owned == {"namespaceAdmin"}
    admin = by_kind(things, "RoleBinding")["namespaceAdmin"]
    assert admin["roleRef"]["name"] == access.ADMIN_ROLE
    assert admin["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]


def test_a_service_account_can_own_a_profile() -> None:
    things = furniture(profile(kind="ServiceAccount", whose={"namespace": "ci"}), settings())
    subject = by_kind(things, "RoleBinding")["namespaceAdmin"]["subjects"][0]
    assert subject == {"apiGroup": "", "kind": "ServiceAccount", "name": "alice", "namespace": "ci"}


def test_placeholders_are_filled_wherever_they_are() -> None:
    binding = by_kind(furniture(profile(owner="a@b"), settings(profile=FURNITURE)), "RoleBinding")["default-editor"]
    assert binding["subjects"][0]["namespace"] == "alice"
    assert binding["metadata"]["annotations"] == {"for": "a@b"}
    assert binding["metadata"]["namespace"] == "alice"


def test_a_profiles_own_quota_replaces_the_platforms() -> None:
    own = profile(resourceQuotaSpec={"hard": {"cpu": "1"}})
    assert by_kind(furniture(own, settings(profile=FURNITURE)), "ResourceQuota")["quota"]["spec"] == {
        "hard": {"cpu": "1"}
    }
    assert by_kind(furniture(own, settings()), "ResourceQuota")["kf-resource-quota"]["spec"] == {"hard": {"cpu": "1"}}
    assert by_kind(furniture(profile(resourceQuotaSpec={}), settings(profile=FURNITURE)), "ResourceQuota")["quota"][
        "spec"
    ] == {"hard": {"pods": "5"}}


def test_what_the_settings_no_longer_have_goes_and_what_others_made_stays() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    place.make({**POLICY, "metadata": {"name": "mine", "namespace": "alice"}})
    place.profiles = Profiles(
        settings(profile={"manifests": [QUOTA]}),
        Cluster(place.api),  # pyright: ignore[reportArgumentType]
        place.store,
        place.clock,
        "operator",
    )
    place.look("Profile", "alice")
    assert place.names("NetworkPolicy") == {"mine"}
    assert place.names("RoleBinding") == {"namespaceAdmin", names.OPERATOR}


def test_a_policy_that_was_deleted_or_changed_comes_back() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    place.api.drop("ResourceQuota", "alice", "quota")
    changed = place.api.objects["NetworkPolicy", "alice", "deny"]
    place.api.put({**changed, "spec": {"podSelector": {}, "policyTypes": []}})
    place.look("Profile", "alice")
    assert place.names("ResourceQuota") == {"quota"}
    assert place.api.objects["NetworkPolicy", "alice", "deny"]["spec"]["policyTypes"] == ["Ingress"]


def test_a_refused_manifest_is_told_in_the_api_servers_words() -> None:
    place = Place()
    place.api.refuse = lambda verb, kind, dry: refusal(422, "spec.hard: Invalid") if kind == "ResourceQuota" else None
    place.make(profile())
    place.look("Profile", "alice")
    assert place.reason("Profile", "alice") == "Refused"
    condition = place.api.objects["Profile", "", "alice"]["status"]["conditions"][0]
    assert condition["message"] == "spec.hard: Invalid"


def test_a_users_first_request_makes_the_namespace_and_the_second_reuses_it() -> None:
    place = Place()
    place.make(request())
    place.look("NotebookRequest", "r1")
    assert place.names("Profile") == {"alice"}
    assert place.reason("NotebookRequest", "r1") == "ProfilePending"
    place.look("Profile", "alice")
    place.look("NotebookRequest", "r1")
    state = place.api.objects["NotebookRequest", "", "r1"]["status"]
    assert state["namespace"] == "alice"
    assert state["url"] == "https://nb.example.org/notebook/alice/training/"
    assert status.is_ready(state)
    made = place.api.objects["Notebook", "alice", "training"]
    assert made["spec"]["template"]["spec"]["containers"] == [{"name": "training", "image": IMAGE}]
    place.make(request("r2", notebook="second"))
    place.look("NotebookRequest", "r2")
    assert place.names("Profile") == {"alice"}
    assert ("Notebook", "alice", "second") in place.api.objects


def test_a_served_request_does_not_bring_a_deleted_notebook_back() -> None:
    place = Place()
    place.make(request())
    for kind, name in (("NotebookRequest", "r1"), ("Profile", "alice"), ("NotebookRequest", "r1")):
        place.look(kind, name)
    place.api.drop("Notebook", "alice", "training")
    assert place.look("NotebookRequest", "r1") is None
    assert place.names("Notebook") == set()


def test_a_request_that_was_cut_short_is_finished_and_not_served_twice() -> None:
    place = Place()
    place.make(request())
    place.look("NotebookRequest", "r1")
    place.look("Profile", "alice")
    place.look("NotebookRequest", "r1")
    half = place.api.objects["NotebookRequest", "", "r1"]
    half.pop("status")
    place.store.put({**place.api.put(half)})
    place.look("NotebookRequest", "r1")
    assert place.reason("NotebookRequest", "r1") == "Made"


def test_a_notebook_that_the_user_had_already_is_left_as_it_is() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    place.make({"kind": "Notebook", "metadata": {"name": "training", "namespace": "alice"}, "spec": {"mine": 1}})
    place.make(request())
    place.look("NotebookRequest", "r1")
    assert place.reason("NotebookRequest", "r1") == "Exists"
    assert place.api.objects["Notebook", "alice", "training"]["spec"] == {"mine": 1}


def test_a_users_profile_is_found_by_its_owner_whatever_it_is_called() -> None:
    place = Place()
    place.make(profile("team-a", owner="alice"))
    place.look("Profile", "team-a")
    place.make(request())
    place.look("NotebookRequest", "r1")
    assert ("Notebook", "team-a", "training") in place.api.objects
    groups = [profile("g", owner="alice", kind="Group")]
    assert profile_of("alice", groups) is None


def test_a_name_that_is_somebody_elses_is_not_taken_over() -> None:
    place = Place()
    place.make(profile("alice", owner="mallory"))
    place.make(request())
    place.look("NotebookRequest", "r1")
    mine = profile_of("alice", place.store.of("Profile"))
    assert mine
    assert mine["metadata"]["name"] == names.namespace_names("alice")[1]
    other = Place()
    other.make({"kind": "Namespace", "metadata": {"name": "alice"}})
    other.make(request())
    other.look("NotebookRequest", "r1")
    assert other.names("Profile") == {names.namespace_names("alice")[1]}


def test_a_request_without_an_image_on_a_platform_without_one_is_refused() -> None:
    place = Place(notebook=notebook_defaults(image=None))
    place.make(profile())
    place.look("Profile", "alice")
    place.make(request())
    place.look("NotebookRequest", "r1")
    assert place.reason("NotebookRequest", "r1") == "Refused"
    place.make(request("r2", template={"spec": {"containers": [{"name": "x", "image": "y:1"}]}}))
    place.look("NotebookRequest", "r2")
    assert (
        place.api.objects["Notebook", "alice", "training"]["spec"]["template"]["spec"]["containers"][0]["image"]
        == "y:1"
    )


def test_a_template_that_the_api_server_refuses_is_told_in_its_words() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    place.api.refuse = lambda verb, kind, dry: (
        refusal(422, "securityContext: must be object") if kind == "Notebook" else None
    )
    place.make(request(template={"spec": {}}))
    place.look("NotebookRequest", "r1")
    condition = place.api.objects["NotebookRequest", "", "r1"]["status"]["conditions"][0]
    assert (condition["reason"], condition["message"]) == ("Refused", "securityContext: must be object")
