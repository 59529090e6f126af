"""What may be asked for: the notebooks and profiles that the API server takes, and those that it refuses."""

from typing import Any

import pytest
import yaml

from tests.engine.notebook_operator.steps import replicas
from tests.engine.notebooks import MANIFESTS, Api, RefusedError, eventually, notebook
from tests.stacks import ROOT
from toolchain.notebook_crd import Schemas, definition, write

pytestmark = pytest.mark.kubernetes


def sample(file: str, namespace: str) -> dict[str, Any]:
    thing = yaml.safe_load((MANIFESTS / file).read_text())
    thing["metadata"]["namespace"] = namespace
    return thing


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
