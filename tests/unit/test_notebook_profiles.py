"""Profiles: whose namespace is whose, and what is in it."""

import asyncio
from typing import Any

import pytest

from runtime.notebook_operator import access, names, status
from runtime.notebook_operator.cluster import Cluster
from runtime.notebook_operator.profiles import Profiles, furniture, namespace_object, operator_binding
from runtime.notebook_operator.requests import Requests
from runtime.notebook_operator.store import Store
from tests.unit.notebooks import Api, Clock, refusal, settings

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


def test_a_profile_whose_deletion_a_watch_missed_is_furnished_no_longer() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    place.api.drop("Profile", "", "alice")
    place.api.drop("RoleBinding", "alice", "namespaceAdmin")
    assert place.look("Profile", "alice") is None
    assert "namespaceAdmin" not in place.names("RoleBinding")
    assert place.store.get("Profile", "", "alice") is None


def test_a_profile_whose_change_a_watch_missed_is_furnished_as_it_is_now() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    place.api.put(profile(resourceQuotaSpec={"hard": {"pods": "1"}}))
    place.look("Profile", "alice")
    assert place.api.objects["ResourceQuota", "alice", "quota"]["spec"] == {"hard": {"pods": "1"}}


def test_a_refused_manifest_is_told_in_the_api_servers_words() -> None:
    place = Place()
    place.api.refuse = lambda verb, kind, dry: refusal(422, "spec.hard: Invalid") if kind == "ResourceQuota" else None
    place.make(profile())
    place.look("Profile", "alice")
    assert place.reason("Profile", "alice") == "Refused"
    condition = place.api.objects["Profile", "", "alice"]["status"]["conditions"][0]
    assert condition["message"] == "spec.hard: Invalid"


def test_credentials_of_registries_are_copied_into_the_namespace_and_follow_the_original() -> None:
    place = Place(profile={"imagePullSecrets": ["registry"]})
    original = {"kind": "Secret", "metadata": {"name": "registry", "namespace": "dev"}, "type": "dockerconfigjson"}
    place.make({**original, "data": {"auth": "one"}})
    place.make(profile())
    place.look("Profile", "alice")
    copy = place.api.objects["Secret", "alice", "registry"]
    assert (copy["type"], copy["data"]) == ("dockerconfigjson", {"auth": "one"})
    for account in ("default-editor", "default-viewer"):
        assert place.api.objects["ServiceAccount", "alice", account]["imagePullSecrets"] == [{"name": "registry"}]
    before = len(place.api.written)
    place.look("Profile", "alice")
    assert place.api.written[before:] == []
    place.make({**original, "data": {"auth": "two"}})
    place.look("Profile", "alice")
    assert place.api.objects["Secret", "alice", "registry"]["data"] == {"auth": "two"}


def test_credentials_that_are_not_there_keep_nobody_from_starting() -> None:
    place = Place(profile={"imagePullSecrets": ["registry"]})
    place.make(profile())
    place.look("Profile", "alice")
    assert place.reason("Profile", "alice") == "Ready"
