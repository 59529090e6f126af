"""The tests' own Kubernetes provider under the real engine, against a real API server."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine import kubernetes_provider
from tests.engine.cluster import TOOLS, helm_program, until
from tests.engine.cluster import Cluster as Node
from tests.engine.inline_program import cli
from tests.engine.kubernetes_provider.addresses import Kind
from tests.engine.kubernetes_provider.cluster import ApiError, Cluster, read_kubeconfig
from tests.engine.kubernetes_provider.objects import Objects, Wanted
from tests.engine.kubernetes_provider.release import Connection, HelmError, Releases
from tests.engine.kubernetes_provider.values import UNKNOWN
from tests.engine.small_program import environment, write

pytestmark = [pytest.mark.engine, pytest.mark.kubernetes]

PROGRAM = "import pulumi, pulumi_kubernetes as k\n"
STATE = "state/.pulumi/stacks/small/one.json"


@pytest.fixture
def api(cluster: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The API of the cluster that the programs of the test deploy to."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    for name, value in kubernetes_provider.environment(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    api = Cluster(read_kubeconfig(str(cluster.kubeconfig), None, {}))
    yield api
    api.close()


@contextmanager
def meanwhile(what: Callable[[], None]) -> Iterator[None]:
    """Do something while the body runs; its errors are the body's."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001 - it is raised below, in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not errors, errors


def up(project: Path, *arguments: str, expect: int = 0) -> str:
    return cli(project, "up", "--yes", "--skip-preview", *arguments, expect=expect)


def refresh(project: Path, *arguments: str) -> str:
    return cli(project, "refresh", "--yes", "--skip-preview", *arguments)


def resources(project: Path) -> dict[str, dict[str, Any]]:
    """The state's resources by type."""
    state = json.loads((project / STATE).read_text())
    return {each["type"]: each for each in state["checkpoint"]["latest"]["resources"]}


def config_map(namespace: str, *, data: str = "1", name: str = "", annotations: str = "") -> str:
    named = f"'name': {name!r}, " if name else ""
    return (
        f"k.core.v1.ConfigMap('settings', metadata={{{named}'namespace': {namespace!r}, "
        f"'annotations': {{{annotations}}}}}, data={{'a': {data!r}}})\n"
    )


def test_objects_go_through_the_whole_cycle(project: Path, api: Cluster):
    service = (
        "k.core.v1.Service('web', metadata={'namespace': n}, spec={'clusterIP': 'None', 'ports': [{'port': 80}]})\n"
    )
    program = PROGRAM + "s = k.core.v1.Namespace('space')\nn = s.metadata['name']\n" + service
    settings = "c = k.core.v1.ConfigMap('settings', metadata={'namespace': n}, data={'a': '1'})\n"
    export = "pulumi.export('name', c.metadata['name'])\npulumi.export('namespace', n)\n"
    write(project, program + settings + export)

    assert "4 to create" in cli(project, "preview")
    up(project)
    cli(project, "preview", "--expect-no-changes")
    refresh(project, "--expect-no-changes")
    namespace, name = (cli(project, "stack", "output", each).strip() for each in ("namespace", "name"))
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert api.get(f"{path}/{name}")["data"] == {"a": "1"}
    assert name.startswith("settings-")

    write(project, program + settings.replace("}, data", ", 'labels': {'x': 'y'}}, data") + export)
    assert "1 updated" in up(project)
    assert api.get(f"{path}/{name}")["metadata"]["labels"] == {"x": "y"}

    write(project, program + settings + export)
    assert "1 updated" in up(project)
    assert "labels" not in api.get(f"{path}/{name}")["metadata"]

    write(project, program + settings.replace("'1'", "'2'") + export)
    assert "1 replaced" in up(project)
    replacement = cli(project, "stack", "output", "name").strip()
    assert replacement != name
    assert api.find(f"{path}/{name}") is None

    cli(project, "destroy", "--yes", "--skip-preview")
    assert api.find(f"/api/v1/namespaces/{namespace}") is None


def test_an_object_with_a_name_of_its_own_is_deleted_before_it_is_replaced(project: Path, api: Cluster, namespace: str):
    write(project, PROGRAM + config_map(namespace, name="mine"))
    up(project)
    path = f"/api/v1/namespaces/{namespace}/configmaps/mine"
    first = api.get(path)["metadata"]["uid"]

    write(project, PROGRAM + config_map(namespace, name="mine", data="2"))
    preview = cli(project, "preview")
    up(project)

    assert "1 to replace" in preview
    assert api.get(path)["data"] == {"a": "2"}
    assert api.get(path)["metadata"]["uid"] != first


def test_data_changes_in_place_when_the_providers_configuration_says_so(project: Path, api: Cluster, namespace: str):
    provider = (
        "p = k.Provider('p', enable_config_map_mutable=True, namespace={namespace!r}, kubeconfig={kubeconfig!r})\n"
    )
    contents = Path(os.environ["KUBECONFIG"]).read_text()
    program = PROGRAM + provider.format(namespace=namespace, kubeconfig=contents)
    settings = "k.core.v1.ConfigMap('settings', data={'a': '1'}, opts=pulumi.ResourceOptions(provider=p))\n"
    write(project, program + settings)
    up(project)

    write(project, program + settings.replace("'1'", "'2'"))
    output = up(project)

    assert "1 updated" in output
    [only] = [
        each
        for each in api.items(f"/api/v1/namespaces/{namespace}/configmaps")
        if each["metadata"]["name"].startswith("settings-")
    ]
    assert only["data"] == {"a": "2"}


def test_a_secret_is_encrypted_in_the_state_and_kept_by_a_refresh(project: Path, api: Cluster, namespace: str):
    metadata = f"metadata={{'name': 'word', 'namespace': {namespace!r}}}"
    secret = f"s = k.core.v1.Secret('s', {metadata}, string_data={{'password': 'in-clear-text'}})\n"
    setting = f"k.core.v1.ConfigMap('c', metadata={{'namespace': {namespace!r}}}, data={{'a': pulumi.Output.secret('hid-den')}})\n"
    write(project, PROGRAM + secret + setting + "pulumi.export('data', s.data)\n")

    up(project)
    refresh(project, "--expect-no-changes")

    stored = api.get(f"/api/v1/namespaces/{namespace}/secrets/word")
    assert stored["data"] == {"password": "aW4tY2xlYXItdGV4dA=="}
    state = (project / STATE).read_text()
    assert not {word for word in ("in-clear-text", "aW4tY2xlYXI", "hid-den") if word in state}
    assert json.loads(cli(project, "stack", "output", "data", "--show-secrets", "--json")) == stored["data"]


POLICY = (
    "k.networking.v1.NetworkPolicy('deny', metadata={'namespace': 'default'}, "
    "spec={'podSelector': {}, 'policyType': ['Egress']})\n"
)


@pytest.mark.usefixtures("api")
def test_a_misspelt_field_is_refused_by_the_preview_in_the_servers_words(project: Path):
    write(project, PROGRAM + POLICY)

    assert ".spec.policyType: field not declared in schema" in cli(project, "preview", expect=1)


@pytest.mark.parametrize(
    "inputs",
    [
        {"metadata": {"name": "deny", "namespace": "not-made-yet"}, "spec": {"podSelector": {}, "policyType": []}},
        {"metadata": {"name": "deny"}, "spec": {"podSelector": UNKNOWN, "policyType": []}},
        {"metadata": {"name": "deny"}, "spec": {"podSelector": {}, "egress": [{"to": UNKNOWN}], "ingress": "none"}},
    ],
    ids=["in a namespace that is not there yet", "beside a value that is not known yet", "of the wrong type"],
)
def test_a_misshapen_object_is_refused_by_the_preview_whatever_is_still_missing(api: Cluster, inputs: dict[str, Any]):
    kind = Kind("networking.k8s.io", "v1", "NetworkPolicy")

    with pytest.raises(ApiError, match=r"policyType: field not declared in schema|ingress: expected list, got"):
        Objects(api).try_create(Wanted("urn", kind, inputs), "test")


def test_what_is_not_known_yet_is_no_mistake(api: Cluster):
    inputs = {"metadata": {"name": "deny"}, "spec": {"podSelector": UNKNOWN, "policyTypes": ["Egress"]}}
    wanted = Wanted("urn", Kind("networking.k8s.io", "v1", "NetworkPolicy"), inputs)

    assert Objects(api).try_create(wanted, "test") == inputs


@pytest.mark.usefixtures("api")
def test_a_value_that_the_server_refuses_is_refused_by_the_preview(project: Path):
    write(project, PROGRAM + "k.core.v1.ConfigMap('c', metadata={'name': 'Not_A_Name'})\n")

    assert "RFC 1123" in cli(project, "preview", expect=1)


def deployment(
    namespace: str, *, history: int = 5, replicas: int = 0, annotations: dict[str, str] | None = None
) -> str:
    container = {"name": "c", "image": "example.org/none:1", "resources": {"requests": {"cpu": "1000m"}}}
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": history,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
    }
    metadata = {"name": "web", "namespace": namespace, "annotations": annotations or {}}
    return f"k.apps.v1.Deployment('web', metadata={metadata!r}, spec={spec!r})\n"


def test_a_change_by_another_program_is_seen_by_a_refresh_and_undone_by_force(
    project: Path, api: Cluster, namespace: str
):
    write(project, PROGRAM + deployment(namespace))
    up(project)
    refresh(project, "--expect-no-changes")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    theirs: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    api.apply(path, {**theirs, "spec": {"minReadySeconds": 1}}, manager="another")
    assert "1 updated" not in refresh(project, "--expect-no-changes")
    spec = {"minReadySeconds": 1, "revisionHistoryLimit": 3}
    api.apply(path, {**theirs, "spec": spec}, manager="another", force=True)

    assert "1 updated" in refresh(project)
    assert resources(project)["kubernetes:apps/v1:Deployment"]["inputs"]["spec"]["revisionHistoryLimit"] == 3
    conflict = up(project, expect=1)
    assert '"another"' in conflict
    assert "patchForce" in conflict
    write(project, PROGRAM + deployment(namespace, annotations={"pulumi.com/patchForce": "true"}))
    up(project)
    assert api.get(path)["spec"]["revisionHistoryLimit"] == 5
    assert api.get(path)["spec"]["minReadySeconds"] == 1


def test_an_object_that_is_gone_is_seen_by_a_refresh_and_made_again(project: Path, api: Cluster, namespace: str):
    write(project, PROGRAM + config_map(namespace, name="mine"))
    up(project)
    path = f"/api/v1/namespaces/{namespace}/configmaps/mine"
    api.delete(path, "Background")

    assert "1 deleted" in refresh(project)
    assert "1 created" in up(project)
    assert api.get(path)["data"] == {"a": "1"}


def test_an_object_that_is_there_already_is_not_taken_over_but_can_be_imported(
    project: Path, api: Cluster, namespace: str
):
    path = f"/api/v1/namespaces/{namespace}/configmaps/mine"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"a": "1"}}
    api.apply(path, body, manager="another")
    program = (
        PROGRAM + f"k.core.v1.ConfigMap('c', metadata={{'name': 'mine', 'namespace': {namespace!r}}}, data={{'a': '1'}}"
    )
    write(project, f"{program})\n")

    assert "already exists" in up(project, expect=1)

    write(project, f"{program}, opts=pulumi.ResourceOptions(import_='{namespace}/mine'))\n")
    assert "1 imported" in up(project)
    write(project, f"{program})\n")
    cli(project, "preview", "--expect-no-changes")


def test_a_job_that_fails_fails_the_update_with_what_its_container_said(project: Path, api: Cluster, namespace: str):
    command = ["sh", "-c", "echo 169.254.169.254 answers > /dev/termination-log; exit 3"]
    container = {"name": "probe", "image": TOOLS, "imagePullPolicy": "Never", "command": command}
    spec = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    metadata = {"name": "probe", "namespace": namespace}
    write(project, PROGRAM + f"k.batch.v1.Job('probe', metadata={metadata!r}, spec={spec!r})\n")

    output = up(project, expect=1)

    assert "[BackoffLimitExceeded]" in output
    assert "container probe ended with exit code 3 (Error): 169.254.169.254 answers" in output
    assert resources(project)["kubernetes:batch/v1:Job"]["initErrors"]
    assert "BackoffLimitExceeded" in refresh(project)
    cli(project, "destroy", "--yes", "--skip-preview")
    assert api.items(f"/apis/batch/v1/namespaces/{namespace}/jobs") == []


def running(namespace: str, image: str, annotations: dict[str, str] | None = None) -> str:
    """A Deployment that answers, its Service, and a StatefulSet with a volume."""
    answer = ["sh", "-c", "mkdir /tmp/w && echo hello > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w"]
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container = {"name": "c", "image": image, "imagePullPolicy": "Never", "command": answer, "readinessProbe": probe}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    web = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    service = {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": 8080}]}
    sleep = {"name": "c", "image": TOOLS, "imagePullPolicy": "Never", "command": ["sleep", "3600"]}
    sleep["volumeMounts"] = [{"name": "home", "mountPath": "/home"}]
    pod = {"terminationGracePeriodSeconds": 0, "containers": [sleep]}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    store = {
        "serviceName": "store",
        "selector": {"matchLabels": {"c": "d"}},
        "template": {"metadata": {"labels": {"c": "d"}}, "spec": pod},
        "volumeClaimTemplates": [{"metadata": {"name": "home"}, "spec": claim}],
    }
    web_metadata = {"name": "web", "namespace": namespace, "annotations": annotations or {}}
    metadata = {"namespace": namespace}
    return (
        f"d = k.apps.v1.Deployment('web', metadata={web_metadata!r}, spec={web!r})\n"
        f"k.core.v1.Service('web', metadata={metadata!r}, spec={service!r})\n"
        f"k.core.v1.PersistentVolumeClaim('late', metadata={metadata!r}, spec={claim!r})\n"
        f"k.apps.v1.StatefulSet('store', metadata={metadata!r}, spec={store!r})\n"
    )


def test_an_update_ends_when_everything_runs_and_fails_when_it_does_not(project: Path, api: Cluster, namespace: str):
    write(project, PROGRAM + running(namespace, TOOLS))

    up(project)

    [deployment] = api.items(f"/apis/apps/v1/namespaces/{namespace}/deployments")
    [store] = api.items(f"/apis/apps/v1/namespaces/{namespace}/statefulsets")
    assert deployment["status"]["availableReplicas"] == store["status"]["readyReplicas"] == 1
    refresh(project, "--expect-no-changes")
    cli(project, "preview", "--expect-no-changes")

    soon = {"pulumi.com/timeoutSeconds": "5"}
    write(project, PROGRAM + running(namespace, "hubstack.test/none:v0", soon))
    output = up(project, expect=1)
    assert "timed out after 5 s: 1 old replicas are still there" in output
    assert "container c waits: ErrImageNeverPull" in output


def test_an_update_that_is_stopped_keeps_what_it_made_in_the_state(project: Path, api: Cluster, namespace: str):
    write(project, PROGRAM + running(namespace, "hubstack.test/none:v0").split("\n", maxsplit=1)[0])
    stopped = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=project,
        env=environment(project),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    until(lambda: api.find(path))

    os.killpg(stopped.pid, signal.SIGINT)

    assert stopped.wait(timeout=60) != 0
    assert "canceled" in resources(project)["kubernetes:apps/v1:Deployment"]["initErrors"][0]


def test_a_workload_that_does_not_come_up_fails_after_its_time_and_says_why(
    project: Path, api: Cluster, namespace: str
):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    api.apply(f"/api/v1/namespaces/{namespace}/resourcequotas/q", quota, manager="test")
    until(lambda: "hard" in api.get(f"/api/v1/namespaces/{namespace}/resourcequotas/q").get("status", {}))
    soon = {"pulumi.com/timeoutSeconds": "3"}
    write(project, PROGRAM + deployment(namespace, replicas=1, annotations=soon))

    output = up(project, expect=1)

    assert "timed out after 3 s" in output
    assert "exceeded quota: q" in output
    write(project, PROGRAM + deployment(namespace, replicas=1, annotations={"pulumi.com/skipAwait": "true"}))
    up(project)


DEFINITION = {
    "group": "provider.hubstack.test",
    "scope": "Namespaced",
    "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
    "versions": [
        {
            "name": "v1",
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            },
        }
    ],
}


def test_a_definition_and_its_resource_are_made_by_one_program_which_waits_for_its_condition(
    project: Path, api: Cluster, namespace: str
):
    name = "things.provider.hubstack.test"
    crd = f"k.apiextensions.v1.CustomResourceDefinition('crd', metadata={{'name': {name!r}}}, spec={DEFINITION!r})\n"
    metadata = {"name": "one", "namespace": namespace, "annotations": {"pulumi.com/waitFor": "condition=Ready"}}
    thing = (
        "t = k.apiextensions.CustomResource('t', api_version='provider.hubstack.test/v1', kind='Thing', "
        f"metadata={metadata!r}, spec={{'size': 1}}, opts=pulumi.ResourceOptions(depends_on=crd))\n"
    )
    write(project, PROGRAM + "crd = " + crd + thing)
    path = f"/apis/provider.hubstack.test/v1/namespaces/{namespace}/things/one"
    cli(project, "preview")

    def ready() -> None:
        until(lambda: api.find(path))
        conditions = [{"type": "Ready", "status": "True"}]
        body = {"apiVersion": "provider.hubstack.test/v1", "kind": "Thing", "metadata": {"name": "one"}}
        api.apply(f"{path}/status", {**body, "status": {"conditions": conditions}}, manager="test")

    with meanwhile(ready):
        up(project)

    state = resources(project)["kubernetes:provider.hubstack.test/v1:Thing"]
    assert state["outputs"]["status"]["conditions"][0]["status"] == "True"
    cli(project, "preview", "--expect-no-changes")
    write(project, PROGRAM + "crd = " + crd + thing.replace("'size'", "'sise'"))
    assert "sise" in cli(project, "preview", expect=1)
    cli(project, "destroy", "--yes", "--skip-preview")
    assert api.find(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}") is None


def test_a_kind_that_the_api_does_not_serve_is_named(project: Path, api: Cluster):
    write(project, PROGRAM + "k.apiextensions.CustomResource('t', api_version='example.net/v1', kind='Nothing')\n")

    assert "does not serve Nothing in example.net/v1" in up(project, expect=1)


def test_a_deletion_waits_for_finalizers_and_names_them_when_time_is_up(project: Path, api: Cluster, namespace: str):
    finalizer = "example.org/keep"
    metadata = {"name": "mine", "namespace": namespace, "finalizers": [finalizer]}
    timeouts = "opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(delete='2s'))"
    write(project, PROGRAM + f"k.core.v1.ConfigMap('c', metadata={metadata!r}, {timeouts})\n")
    up(project)

    output = cli(project, "destroy", "--yes", "--skip-preview", expect=1)

    assert f"still there after 2 s: waiting for it to be gone; finalizers {finalizer}" in output
    path = f"/api/v1/namespaces/{namespace}/configmaps/mine"
    [manager] = {each["manager"] for each in api.get(path)["metadata"]["managedFields"]}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "finalizers": []}}
    api.apply(path, body, manager=manager, force=True)
    cli(project, "destroy", "--yes", "--skip-preview")
    assert api.find(path) is None


def test_a_patch_sets_its_fields_and_gives_them_back(project: Path, api: Cluster, namespace: str):
    metadata = {"name": "default", "namespace": namespace, "labels": {"x": "y"}}
    write(project, PROGRAM + f"k.core.v1.ServiceAccountPatch('p', metadata={metadata!r})\n")
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"

    before = api.get(path)["metadata"]["uid"]
    up(project)
    assert api.get(path)["metadata"]["labels"] == {"x": "y"}
    cli(project, "destroy", "--yes", "--skip-preview")
    assert "labels" not in api.get(path)["metadata"]
    assert api.get(path)["metadata"]["uid"] == before


def test_a_cluster_that_does_not_answer_is_named_before_anything_changes(
    project: Path, api: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "silent").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "silent"))
    write(project, PROGRAM + "k.core.v1.Namespace('space')\n")

    output = cli(project, "preview", expect=1)

    assert "configured Kubernetes cluster is unreachable: https://127.0.0.1:9" in output


def test_what_the_user_may_not_do_is_refused_by_the_preview_with_the_missing_right(
    project: Path, api: Cluster, cluster: Node, namespace: str
):
    contents = cluster.user_kubeconfig("nobody-in-particular")
    provider = f"p = k.Provider('p', kubeconfig=pulumi.Output.secret({contents!r}), namespace={namespace!r})\n"
    options = "opts=pulumi.ResourceOptions(provider=p)"
    write(project, PROGRAM + provider + f"k.core.v1.ConfigMap('c', data={{'a': '1'}}, {options})\n")

    output = cli(project, "preview", expect=1)

    assert 'User "nobody-in-particular" cannot get resource "configmaps"' in output


def test_objects_of_a_yaml_file_are_made(project: Path, api: Cluster, namespace: str):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": namespace}}
    (project / "objects.yaml").write_text(yaml.safe_dump_all([{**body, "data": {"a": "1"}}, None]))
    write(project, "import pulumi_kubernetes as k\nk.yaml.ConfigFile('f', file='objects.yaml')\n")

    up(project)

    assert api.get(f"/api/v1/namespaces/{namespace}/configmaps/mine")["data"] == {"a": "1"}


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: tiny\nversion: 1.2.3\nappVersion: '9'\n",
    "values.yaml": "text: default\nword: ''\n",
    "values.schema.json": json.dumps(
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {"text": {"type": "string"}, "word": {"type": "string"}, "global": {}},
        }
    ),
    "templates/settings.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tiny-settings}\ndata:\n"
        "  text: {{ .Values.text | quote }}\n  word: {{ .Values.word | sha256sum }}\n"
    ),
    "templates/hook.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: tiny-hook\n  annotations: {helm.sh/hook: 'pre-install'}\n"
        "data: {revision: '{{ .Release.Revision }}'}\n"
    ),
}


@pytest.fixture
def chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small chart with a schema and a hook."""
    monkeypatch.setenv("HUBSTACK_HELM", helm_program())
    for name, text in CHART.items():
        file = tmp_path / "tiny" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "tiny"


def tiny(namespace: str, values: str, more: str = "") -> str:
    return (
        PROGRAM
        + f"r = k.helm.v3.Release('r', chart='./tiny', name='tiny', namespace={namespace!r}, values={values}{more})\n"
        + "pulumi.export('revision', r.status.revision)\npulumi.export('app', r.status.app_version)\n"
    )


def helm(*arguments: str) -> None:
    subprocess.run([os.environ["HUBSTACK_HELM"], *arguments], check=True, capture_output=True, timeout=60)


def test_a_release_goes_through_the_whole_cycle_with_its_hooks(
    project: Path, api: Cluster, namespace: str, chart: Path
):
    write(project, tiny(namespace, "{'text': 'one', 'word': pulumi.Output.secret('in-clear-text')}"))

    cli(project, "preview")
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/tiny-settings") is None
    up(project)
    cli(project, "preview", "--expect-no-changes")
    refresh(project, "--expect-no-changes")
    assert api.get(f"/api/v1/namespaces/{namespace}/configmaps/tiny-hook")["data"] == {"revision": "1"}
    assert cli(project, "stack", "output", "app").strip() == "9"
    assert "in-clear-text" not in (project / STATE).read_text()
    assert resources(project)["kubernetes:helm.sh/v3:Release"]["outputs"]["resourceNames"] == {
        "ConfigMap/v1": ["tiny-settings"]
    }

    write(project, tiny(namespace, "{'text': 'two'}"))
    assert "1 updated" in up(project)
    assert cli(project, "stack", "output", "revision").strip() == "2"
    assert api.get(f"/api/v1/namespaces/{namespace}/configmaps/tiny-settings")["data"]["text"] == "two"

    helm("upgrade", "tiny", str(chart), "--namespace", namespace, "--set", "text=theirs")
    assert "1 updated" in refresh(project)
    up(project)
    assert api.get(f"/api/v1/namespaces/{namespace}/configmaps/tiny-settings")["data"]["text"] == "two"

    helm("uninstall", "tiny", "--namespace", namespace)
    assert "1 deleted" in refresh(project)
    assert "1 created" in up(project)
    cli(project, "destroy", "--yes", "--skip-preview")
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/tiny-settings") is None


@pytest.mark.usefixtures("api", "chart")
def test_values_that_the_charts_schema_forbids_are_refused_by_the_preview(project: Path, namespace: str):
    write(project, tiny(namespace, "{'txt': 'one'}"))

    assert "additional properties 'txt' not allowed" in cli(project, "preview", expect=1)


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"txt": "one", "text": UNKNOWN}, "additional properties 'txt' not allowed"),
        ({"text": 1}, "got number, want string"),
        ({"text": UNKNOWN}, None),
    ],
    ids=["misspelt beside a value that is not known yet", "of the wrong type", "not known yet"],
)
def test_a_preview_judges_the_values_that_are_known(chart: Path, given: dict[str, object], mistake: str | None):
    releases = Releases(os.environ["HUBSTACK_HELM"], Connection(chart / "no-kubeconfig", "none"))
    inputs = {"name": "tiny", "namespace": "any", "chart": str(chart), "values": given}

    if mistake is None:
        releases.try_out(inputs)
    else:
        with pytest.raises(HelmError, match=mistake):
            releases.try_out(inputs)


@pytest.mark.usefixtures("api", "chart")
def test_a_chart_that_is_not_there_is_refused_by_the_preview(project: Path, namespace: str):
    write(project, tiny(namespace, "{}").replace("./tiny", "./tinny"))

    assert "./tinny" in cli(project, "preview", expect=1)


def test_a_release_that_fails_stays_in_the_state_and_is_mended_by_the_next_update(
    project: Path, api: Cluster, namespace: str, chart: Path
):
    broken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_A_Name}\n"
    (chart / "templates/broken.yaml").write_text(broken)
    write(project, tiny(namespace, "{'text': 'one'}"))

    assert "Not_A_Name" in up(project, expect=1)
    assert resources(project)["kubernetes:helm.sh/v3:Release"]["outputs"]["status"]["status"] == "failed"

    (chart / "templates/broken.yaml").unlink()
    up(project)
    assert resources(project)["kubernetes:helm.sh/v3:Release"]["outputs"]["status"]["status"] == "deployed"
