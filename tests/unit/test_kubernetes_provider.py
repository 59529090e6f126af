"""The pure parts of the tests' own Kubernetes provider."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine import kubernetes_provider
from tests.engine.kubernetes_provider import (
    addresses,
    cluster,
    configuration,
    diff,
    drift,
    jsonpath,
    naming,
    objects,
    release,
    server,
    values,
    waits,
)
from tests.engine.kubernetes_provider.addresses import Kind, Served
from tests.engine.kubernetes_provider.values import UNKNOWN

CONFIG_MAP = Kind("", "v1", "ConfigMap")
SECRET = Kind("", "v1", "Secret")
JOB = Kind("batch", "v1", "Job")


# Values


DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), DATA, max_size=4))
def test_what_is_encoded_is_decoded_again(data):
    hidden = frozenset({(key,) for key in list(data)[:1]})

    assert values.decode(values.encode(data, hidden)) == (data, hidden)


def test_a_secret_deep_in_a_list_makes_the_list_in_the_outputs_secret():
    outputs = {"spec": {"env": [{"name": "A", "value": "b"}], "open": 1}}

    assert values.secrets_within(outputs, [("spec", "env", 0, "value")]) == {("spec", "env")}


def test_a_secret_input_without_an_output_hides_nothing():
    assert values.secrets_within({"spec": {}}, [("spec", "password"), ("other",)]) == frozenset()


def test_a_secrets_data_is_secret_whoever_made_it():
    outputs = {"kind": "Secret", "data": {"a": "eA=="}, "metadata": {"name": "n"}}

    encoded = server.as_properties(outputs, [])

    assert values.decode(encoded) == (outputs, {("data",)})
    assert values.decode(server.as_properties({**outputs, "kind": "ConfigMap"}, []))[1] == frozenset()


def test_the_known_part_leaves_out_what_is_not_known_yet():
    data = {"a": UNKNOWN, "b": [1, UNKNOWN, {"c": UNKNOWN, "d": 2}]}

    assert values.has_unknown(data)
    assert values.known_part(data) == {"b": [1, {"d": 2}]}


# Addresses


@pytest.mark.parametrize(
    ("token", "path"),
    [
        ("kubernetes:core/v1:ConfigMap", "/api/v1/namespaces/space/things/one"),
        ("kubernetes:apps/v1:Deployment", "/apis/apps/v1/namespaces/space/things/one"),
        ("kubernetes:networking.k8s.io/v1:NetworkPolicy", "/apis/networking.k8s.io/v1/namespaces/space/things/one"),
        ("kubernetes:kubeflow.org/v1:Notebook", "/apis/kubeflow.org/v1/namespaces/space/things/one"),
    ],
)
def test_a_token_leads_to_the_path_of_an_object(token: str, path: str):
    served = Served(addresses.kind_of_token(token), "things", namespaced=True)

    assert served.object("space", "one") == path


def test_an_object_outside_of_namespaces_has_none_in_its_path():
    served = Served(Kind("", "v1", "Namespace"), "namespaces", namespaced=False)

    assert served.object("ignored", "one") == "/api/v1/namespaces/one"


@pytest.mark.parametrize("token", ["aws:s3/bucket:Bucket", "kubernetes:core/v1", "kubernetes::Pod"])
def test_a_token_of_no_kind_is_refused(token: str):
    with pytest.raises(ValueError, match="is not the token"):
        addresses.kind_of_token(token)


def test_a_patch_is_about_the_kind_that_it_patches():
    assert addresses.is_patch("kubernetes:core/v1:ServiceAccountPatch")
    assert addresses.plain_kind(addresses.kind_of_token("kubernetes:core/v1:NodePatch")).name == "Node"
    assert not addresses.is_patch("kubernetes:core/v1:Pod")


def test_discovery_leaves_subresources_out():
    found = addresses.served_kinds(
        "",
        "v1",
        {
            "resources": [
                {"name": "pods", "kind": "Pod", "namespaced": True},
                {"name": "pods/eviction", "kind": "Eviction", "namespaced": True},
            ]
        },
    )

    assert set(found) == {"Pod"}


def test_a_definition_tells_the_kinds_to_come():
    definition = {
        "spec": {
            "group": "example.org",
            "scope": "Cluster",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1"}, {"name": "v2"}],
        }
    }

    assert addresses.defined_kinds(definition) == [
        Served(Kind("example.org", version, "Thing"), "things", namespaced=False) for version in ("v1", "v2")
    ]


@pytest.mark.parametrize("identity", [("space", "one"), (None, "one")])
def test_an_id_is_read_as_it_was_written(identity):
    assert addresses.parse_identity(addresses.identity(*identity)) == identity


# Names


def test_an_object_without_a_name_gets_one_with_seven_hexadecimal_digits_that_a_seed_repeats():
    first = naming.named({}, {}, "web", b"seed")
    second = naming.named({}, {}, "web", b"seed")

    assert first == second
    assert first["metadata"]["annotations"] == {naming.AUTONAMED: "true"}
    name, digits = first["metadata"]["name"].rsplit("-", 1)
    assert name == "web"
    assert len(digits) == 7
    assert int(digits, 16) >= 0


def test_a_chosen_name_stays_in_later_updates():
    old = naming.named({}, {}, "web", b"seed")

    assert (
        naming.named({"metadata": {"labels": {}}}, old, "web", b"other")["metadata"]["name"]
        == (old["metadata"]["name"])
    )


@pytest.mark.parametrize("metadata", [{"name": "mine"}, {"name": UNKNOWN}])
def test_a_name_of_the_programs_own_is_left_alone(metadata):
    assert naming.named({"metadata": metadata}, {}, "web", b"seed") == {"metadata": metadata}


def test_the_stacks_own_naming_rules_come_first():
    assert naming.named({}, {}, "web", b"seed", "proposed")["metadata"]["name"] == "proposed"


@pytest.mark.parametrize(
    ("annotations", "option", "seconds"),
    [({}, 0, 600), ({naming.TIMEOUT: "30"}, 0, 30), ({naming.TIMEOUT: "30"}, 5, 5), ({naming.TIMEOUT: "soon"}, 0, 600)],
)
def test_a_wait_is_as_long_as_the_option_or_else_the_annotation_says(annotations, option, seconds):
    assert naming.timeout_seconds({"metadata": {"annotations": annotations}}, option) == seconds


def test_a_wait_for_several_things_is_a_json_list():
    one = {"metadata": {"annotations": {naming.WAIT_FOR: "condition=Ready"}}}
    two = {"metadata": {"annotations": {naming.WAIT_FOR: '["condition=Ready", "jsonpath={.a}"]'}}}

    assert naming.wait_expressions(one) == ["condition=Ready"]
    assert naming.wait_expressions(two) == ["condition=Ready", "jsonpath={.a}"]
    assert naming.wait_expressions({}) == []


# Differences


def texts(old, new) -> set[tuple[str, str]]:
    return {(change.text, change.kind) for change in diff.changes(old, new)}


def test_differences_are_found_where_they_are():
    old = {"a": 1, "gone": 1, "list": [1, {"x": 1}], "metadata": {"annotations": {"a.b/c": "1"}}}
    new = {"a": True, "list": [1, {"x": 2}, 3], "new": 1, "metadata": {"annotations": {"a.b/c": "2"}}}

    assert texts(old, new) == {
        ("a", "update"),
        ("gone", "delete"),
        ("new", "add"),
        ("list[1].x", "update"),
        ("list[2]", "add"),
        ('metadata.annotations["a.b/c"]', "update"),
    }


@given(DATA)
def test_nothing_differs_from_itself_but_what_is_not_known(data):
    assert list(diff.changes(data, data)) == [] or values.has_unknown(data)


def test_a_value_that_is_not_known_yet_may_have_changed():
    assert texts({"a": 1}, {"a": UNKNOWN}) == {("a", "update")}


def replaced(kind: Kind, old, new, **options) -> bool:
    fields = diff.replacing_fields(kind, new, **options)
    return any(diff.replaces(change, fields) for change in diff.changes(old, new))


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        (CONFIG_MAP, {"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}, True),
        (CONFIG_MAP, {"metadata": {"namespace": "a"}}, {"metadata": {"namespace": "b"}}, True),
        (CONFIG_MAP, {"metadata": {"name": "a"}}, {"metadata": {"name": "a", "labels": {"x": "y"}}}, False),
        (JOB, {"spec": {"template": {"spec": {"a": 1}}}}, {"spec": {"template": {"spec": {"a": 2}}}}, True),
        (JOB, {"spec": {"ttlSecondsAfterFinished": 1}}, {"spec": {"ttlSecondsAfterFinished": 2}}, False),
        (
            Kind("apps", "v1", "Deployment"),
            {"spec": {"template": {"spec": {"a": 1}}}},
            {"spec": {"template": {"spec": {"a": 2}}}},
            False,
        ),
        (
            Kind("apps", "v1", "StatefulSet"),
            {"spec": {"volumeClaimTemplates": [{"a": 1}]}},
            {"spec": {"volumeClaimTemplates": [{"a": 2}]}},
            True,
        ),
        (Kind("", "v1", "Service"), {"spec": {"clusterIP": "10.0.0.1"}}, {"spec": {"clusterIP": "None"}}, True),
        (
            Kind("", "v1", "PersistentVolumeClaim"),
            {"spec": {"storageClassName": "a"}},
            {"spec": {"storageClassName": "b"}},
            True,
        ),
        (
            Kind("", "v1", "PersistentVolumeClaim"),
            {"spec": {"resources": {"requests": {"storage": "1Gi"}}}},
            {"spec": {"resources": {"requests": {"storage": "2Gi"}}}},
            False,
        ),
        (
            Kind("", "v1", "Pod"),
            {"spec": {"containers": [{"image": "a"}]}},
            {"spec": {"containers": [{"image": "b"}]}},
            True,
        ),
        (Kind("rbac.authorization.k8s.io", "v1", "RoleBinding"), {"roleRef": {"a": 1}}, {"roleRef": {"a": 2}}, True),
    ],
)
def test_only_what_cannot_change_replaces_an_object(kind: Kind, old, new, expected: bool):
    assert replaced(kind, old, new) is expected


@pytest.mark.parametrize("kind", [CONFIG_MAP, SECRET])
def test_new_data_replaces_a_config_map_or_secret_unless_the_provider_lets_it_change(kind: Kind):
    old, new = {"data": {"a": "1"}}, {"data": {"a": "2"}}

    assert replaced(kind, old, new)
    assert not replaced(kind, old, new, mutable=frozenset({kind.name}))
    assert replaced(kind, old, {**new, "immutable": True}, mutable=frozenset({kind.name}))


def test_an_object_whose_name_the_program_chose_is_deleted_before_its_replacement_is_made():
    own = {"metadata": {"name": "web", "namespace": "space"}}

    assert diff.deletes_first(own, "web", "space")
    assert not diff.deletes_first(own, "old", "space")
    assert not diff.deletes_first(own, "web", None)
    assert not diff.deletes_first(naming.named({}, {}, "web", b"seed", "web"), "web", None)


def test_a_secrets_text_and_its_encoded_data_are_the_same():
    text = diff.comparable(SECRET, {"stringData": {"a": "word"}, "data": {"b": "eA=="}, "type": None})

    assert text == {"data": {"a": "d29yZA==", "b": "eA=="}}
    assert diff.comparable(SECRET, {"stringData": {"a": UNKNOWN}}) == {"data": {"a": UNKNOWN}}
    assert diff.comparable(CONFIG_MAP, {"stringData": {"a": "b"}}) == {"stringData": {"a": "b"}}


# Drift


def test_what_the_server_rewrote_or_added_is_no_drift():
    inputs = {"spec": {"cpu": "1000m", "list": [{"a": 1}]}}
    applied = {"spec": {"cpu": "1", "list": [{"a": 1, "default": True}], "more": 1}}

    assert drift.drifted(inputs, applied, applied) == inputs


def test_what_something_else_changed_or_removed_is_drift():
    inputs = {"spec": {"cpu": "1000m", "kept": "500m", "gone": 1, "list": [{"a": 1}]}}
    applied = {"spec": {"cpu": "1", "kept": "0.5", "gone": 1, "list": [{"a": 1, "b": 2}]}}
    live = {"spec": {"cpu": "2", "kept": "0.5", "list": [{"a": 3, "b": 2}]}}

    assert drift.drifted(inputs, applied, live) == {"spec": {"cpu": "2", "kept": "500m", "list": [{"a": 3}]}}


def test_a_secret_that_something_else_changed_keeps_the_form_of_its_inputs():
    inputs = {"kind": "Secret", "stringData": {"a": "old"}}

    assert drift.secret_inputs(inputs, {"kind": "Secret", "data": {"a": "bmV3"}}) == {
        "kind": "Secret",
        "stringData": {"a": "new"},
    }


def test_an_imported_object_has_no_inputs_that_only_the_server_writes():
    live = {
        "kind": "ConfigMap",
        "metadata": {"name": "a", "uid": "1", "managedFields": [], "annotations": {drift.LAST_APPLIED: "{}"}},
        "status": {"phase": "x"},
        "data": {},
    }

    assert drift.inputs_of(live) == {"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}}
    assert drift.LAST_APPLIED not in drift.outputs_of(live)["metadata"]["annotations"]


# Waits


def test_a_job_that_fails_says_why_and_what_its_container_said_last():
    job = {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "R", "message": "too often"}]}}
    ended = {"name": "main", "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "1.1.1.1 answers"}}}
    pod = {"metadata": {"name": "probe-x"}, "status": {"containerStatuses": [ended]}}

    found = waits.state(JOB, job, waits.Related(pods=[pod]))

    assert found.failed
    assert found.message.startswith("[R] too often; [Pod probe-x]: container main ended with exit code 3 (Error)")
    assert found.message.endswith("1.1.1.1 answers")


@pytest.mark.parametrize(
    ("kind", "live", "ready"),
    [
        ("batch/v1/Job", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, True),
        ("batch/v1/Job", {"status": {"active": 1}}, False),
        ("v1/Pod", {"metadata": {"name": "p"}, "status": {"phase": "Succeeded"}}, True),
        ("v1/Pod", {"metadata": {"name": "p"}, "status": {"phase": "Running"}}, False),
        (
            "v1/Pod",
            {"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            True,
        ),
        ("v1/PersistentVolumeClaim", {"status": {"phase": "Pending"}}, False),
        ("v1/PersistentVolumeClaim", {"status": {"phase": "Bound"}}, True),
        ("v1/Service", {"spec": {"type": "ExternalName"}}, True),
        ("v1/Service", {"spec": {"clusterIP": "None", "selector": {"a": "b"}}}, True),
        ("v1/Service", {"spec": {"clusterIP": "10.0.0.1", "selector": {"a": "b"}}}, False),
        ("v1/Service", {"spec": {"clusterIP": "10.0.0.1"}}, True),
        ("v1/Namespace", {"status": {"phase": "Terminating"}}, False),
        ("v1/ResourceQuota", {"spec": {"hard": {"pods": "1"}}}, False),
        ("v1/ResourceQuota", {"spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}}}, True),
        ("networking.k8s.io/v1/Ingress", {}, True),
    ],
)
def test_an_object_is_ready_when_its_kind_says_so(kind: str, live, ready: bool):
    api_version, _, name = kind.rpartition("/")

    assert waits.state(addresses.kind_of(api_version, name), live).ready is ready


def rollout(spec, status, generation: int = 2):
    return {"metadata": {"generation": generation}, "spec": spec, "status": {"observedGeneration": 2, **status}}


@pytest.mark.parametrize(
    ("kind", "live", "ready"),
    [
        ("Deployment", rollout({"replicas": 2}, {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), True),
        ("Deployment", rollout({"replicas": 2}, {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}), False),
        ("Deployment", rollout({"replicas": 2}, {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}), False),
        ("Deployment", rollout({"replicas": 1}, {"replicas": 1, "updatedReplicas": 1}), False),
        ("Deployment", rollout({"replicas": 0}, {}), True),
        ("Deployment", rollout({"replicas": 0}, {}, generation=3), False),
        (
            "StatefulSet",
            rollout({}, {"readyReplicas": 1, "updateRevision": "b", "currentRevision": "b"}),
            True,
        ),
        ("StatefulSet", rollout({}, {"readyReplicas": 1, "updateRevision": "b", "currentRevision": "a"}), False),
        ("StatefulSet", rollout({}, {}), False),
        (
            "DaemonSet",
            rollout({}, {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1}),
            True,
        ),
        ("DaemonSet", rollout({}, {"desiredNumberScheduled": 1, "numberAvailable": 1}), False),
    ],
)
def test_a_workload_is_ready_when_its_last_change_is_rolled_out(kind: str, live, ready: bool):
    assert waits.state(Kind("apps", "v1", kind), live).ready is ready


def test_a_deployment_that_makes_no_progress_has_failed():
    live = rollout({}, {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "m"}]})

    assert waits.state(Kind("apps", "v1", "Deployment"), live) == waits.failure("[ProgressDeadlineExceeded] m")


def test_a_service_is_ready_when_one_of_its_pods_is():
    live = {"spec": {"clusterIP": "10.0.0.1", "selector": {"a": "b"}}}
    unready = {"endpoints": [{"conditions": {"ready": False}}]}
    ready = {"endpoints": [{"conditions": {"ready": True}}]}
    kind = Kind("", "v1", "Service")

    assert not waits.state(kind, live, waits.Related(endpoints=[unready])).ready
    assert waits.state(kind, live, waits.Related(endpoints=[unready, ready])).ready


def test_a_claim_that_waits_for_its_first_pod_is_not_waited_for():
    live = {"status": {"phase": "Pending"}}

    assert waits.state(Kind("", "v1", "PersistentVolumeClaim"), live, waits.Related(binds_late=True)).ready


@pytest.mark.parametrize(
    ("expression", "ready"),
    [
        ("condition=Ready", True),
        ("condition=ready=true", True),
        ("condition=Ready=False", False),
        ("condition=Absent", False),
        ("condition=Old", False),
        ("jsonpath={.status.phase}=Running", True),
        ("jsonpath={.status.phase}='Running'", True),
        ("jsonpath={.status.phase}=Failed", False),
        ("jsonpath={.status.phase}", True),
        ("jsonpath={.status.url}", False),
        ('jsonpath={.status.conditions[?(@.type=="Ready")].status}=True', True),
    ],
)
def test_a_wait_for_something_ends_when_it_is_so(expression: str, ready: bool):
    live = {
        "metadata": {"generation": 2},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "Old", "status": "True", "observedGeneration": 1},
            ],
        },
    }

    assert waits.expressed(expression, live).ready is ready


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{.a.b}", [1]),
        ("a.b", [1]),
        ("{.a['b']}", [1]),
        ("{.list[0].x}", [1]),
        ("{.list[-1].x}", [2]),
        ("{.list[*].x}", [1, 2]),
        ('{.list[?(@.name=="n")].x}', [2]),
        ("{.labels.a\\.b}", [3]),
        ("{.list[9].x}", []),
        ("{.nothing.here}", []),
    ],
)
def test_a_json_path_selects_like_kubectls(path: str, expected):
    data = {"a": {"b": 1}, "list": [{"x": 1}, {"x": 2, "name": "n"}], "labels": {"a.b": 3}}

    assert jsonpath.found(path, data) == expected


def test_a_json_path_that_cannot_be_read_is_an_error():
    with pytest.raises(ValueError, match="cannot be read"):
        jsonpath.found("{range .items[*]}", {})


class SlowlyReady:
    """An API whose Namespace is active at the third look."""

    def __init__(self):
        self.looks = 0

    def serves(self, kind: Kind) -> Served:
        return Served(kind, "namespaces", namespaced=False)

    def find(self, path: str):
        return None

    def apply(self, path: str, body, **options):
        return body

    def get(self, path: str):
        self.looks += 1
        return {"metadata": {"name": "n"}, "status": {"phase": "Active" if self.looks > 2 else "Young"}}


@pytest.mark.parametrize("canceled", [False, True])
def test_a_wait_tells_what_it_waits_for_and_ends_when_it_is_canceled(monkeypatch: pytest.MonkeyPatch, canceled: bool):
    monkeypatch.setattr(objects, "STILL_WAITING_SECONDS", -1.0)
    monkeypatch.setattr(objects, "FIRST_PAUSE_SECONDS", 0.0)
    wanted = objects.Wanted("urn", Kind("", "v1", "Namespace"), {"metadata": {"name": "n"}})
    told: list[tuple[str, bool]] = []
    manager = objects.Objects(SlowlyReady())  # pyright: ignore[reportArgumentType] - as much of it as this needs
    if canceled:
        manager.canceled.set()
        with pytest.raises(objects.NotReadyError, match="canceled"):
            manager.create(wanted, "m", 60, lambda text, lasting: told.append((text, lasting)))
    else:
        manager.create(wanted, "m", 60, lambda text, lasting: told.append((text, lasting)))

    assert told[0] == ("the namespace is Young", False)
    assert told[1] == ("still waiting after 0 s: the namespace is Young", True)


# Releases

RELEASE = {"name": "hub", "namespace": "space", "chart": "jupyterhub", "version": "4.4.0"}


def test_a_release_waits_and_takes_its_values_from_files():
    arguments = release.install_arguments({**RELEASE, "createNamespace": True}, [Path("/v.yaml")])

    assert arguments[:5] == ["install", "hub", "jupyterhub", "--version", "4.4.0"]
    assert {"--wait", "--create-namespace"} <= set(arguments)
    assert arguments[arguments.index("--values") + 1] == "/v.yaml"
    assert arguments[arguments.index("--namespace") + 1] == "space"
    assert arguments[arguments.index("--timeout") + 1] == "300s"


@pytest.mark.parametrize(
    ("inputs", "present", "absent"),
    [
        ({"skipAwait": True}, set(), {"--wait", "--atomic"}),
        ({"atomic": True, "skipAwait": True}, {"--atomic"}, {"--wait"}),
        ({"waitForJobs": True}, {"--wait", "--wait-for-jobs"}, set()),
        ({"repositoryOpts": {"repo": "https://charts.invalid"}}, {"--repo", "https://charts.invalid"}, set()),
        ({"timeout": 60, "disableWebhooks": True}, {"60s", "--no-hooks"}, {"300s"}),
        ({"dependencyUpdate": True}, {"--dependency-update"}, set()),
    ],
)
def test_a_releases_arguments_become_helms(inputs, present, absent):
    arguments = set(release.install_arguments({**RELEASE, **inputs}, []))

    assert present <= arguments
    assert not absent & arguments


def test_an_upgrade_makes_no_namespace_and_keeps_as_much_history_as_asked():
    arguments = release.upgrade_arguments({**RELEASE, "createNamespace": True, "maxHistory": 0}, [])

    assert "--create-namespace" not in arguments
    assert arguments[-2:] == ["--history-max", "0"]


def test_names_of_a_manifests_objects_are_listed_by_kind():
    manifest = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: hub, namespace: space}\n"
        "---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    )

    assert release.resource_names(manifest) == {
        "ConfigMap/v1": ["a", "b"],
        "Deployment.apps/apps/v1": ["space/hub"],
    }


def test_arguments_that_are_not_served_are_named():
    assert release.refused_options({**RELEASE, "verify": True, "lint": False}) == ["verify"]


def test_a_helm_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(release.HelmError, match="HUBSTACK_HELM"):
        release.program({"PATH": str(tmp_path)})
    assert release.program({"PATH": str(tmp_path), "HUBSTACK_HELM": "/opt/helm"}) == "/opt/helm"


# Configuration

KUBECONFIG = """
current-context: one
contexts:
- {name: one, context: {cluster: c, user: u, namespace: home}}
- {name: two, context: {cluster: c}}
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
"""


def test_a_kubeconfig_is_read_from_its_contents_or_its_path(tmp_path: Path):
    file = tmp_path / "config"
    file.write_text(KUBECONFIG)

    by_contents = cluster.read_kubeconfig(KUBECONFIG, None, {})
    by_path = cluster.read_kubeconfig(str(file), None, {})
    by_variable = cluster.read_kubeconfig(None, "two", {"KUBECONFIG": str(file)})

    assert by_contents.namespace == by_path.namespace == "home"
    assert by_path.fname == file
    assert by_variable.context_name == "two"
    assert by_variable.namespace == "default"


@pytest.mark.parametrize(("given", "context"), [("/nowhere/config", None), (KUBECONFIG, "three"), ("{}", None)])
def test_a_cluster_that_is_not_configured_is_an_error(given: str, context: str | None):
    with pytest.raises(cluster.UnreachableError, match="no Kubernetes cluster is configured"):
        cluster.read_kubeconfig(given, context, {})


def test_a_cluster_that_does_not_answer_is_named_by_its_address():
    silent = cluster.Cluster(cluster.read_kubeconfig(KUBECONFIG, None, {}))

    with pytest.raises(cluster.UnreachableError, match=r"unreachable: https://127\.0\.0\.1:1: "):
        silent.version()


def test_options_that_the_provider_cannot_honour_are_refused():
    given = {
        "kubeconfig": "x",
        "renderYamlToDirectory": "out",
        "enableServerSideApply": "false",
        "deleteUnreachable": "",
    }

    assert [key for key, _ in configuration.problems(given)] == [
        "deleteUnreachable",
        "renderYamlToDirectory",
        "enableServerSideApply",
    ]
    assert configuration.problems({"kubeconfig": "x", "enableServerSideApply": "true"}) == []


def test_data_changes_in_place_when_the_program_or_the_environment_says_so():
    read = configuration.read({"enableConfigMapMutable": "true"}, {"PULUMI_K8S_ENABLE_SECRET_MUTABLE": "true"})

    assert read.mutable == {"ConfigMap", "Secret"}
    assert configuration.read({}, {}).mutable == frozenset()


# The program


def test_the_launcher_serves_from_any_folder_and_claims_the_sdks_version(tmp_path: Path):
    folder = kubernetes_provider.launcher(tmp_path / "bin")
    program = folder / "pulumi-resource-kubernetes"
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")

    process = subprocess.Popen([program, "127.0.0.1:1"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0

    assert program.stat().st_mode & stat.S_IXUSR
    assert sys.executable in program.read_text()
    assert kubernetes_provider.environment(folder)["PATH"].split(os.pathsep)[0] == str(folder)
    requirement = f"pulumi-kubernetes=={kubernetes_provider.VERSION}"
    assert requirement in (kubernetes_provider.ROOT / "pyproject.toml").read_text()
