"""A platform under the real engine, with the policy pack, on a real cluster with the images of the project.

Its users ask for notebooks, open, use, stop and resume them while it runs; then it is destroyed, and made again.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.notebook_operator.names import namespace_names
from tests.e2e.chromium import chromium, text_of
from tests.e2e.jupyterlab import run_cell
from tests.engine.cluster import Cluster, until
from tests.engine.cluster_stack import ask, everything, gone, reaching
from tests.engine.gateway_pages import NO_SERVER, open_page
from tests.engine.platform_lab import DOMAIN, Person, configuration
from tests.engine.project_images import notebook_image
from tests.stacks import Stack

pytestmark = [pytest.mark.engine, pytest.mark.kubernetes, pytest.mark.docker]

SLOW_SECONDS = 300
"""How long a notebook may take to start or stop where much else runs."""

NOTEBOOKS = {"platform": {"notebooks": ["ada@example.org training"], "imagePullSecrets": ["registry"]}}
ADAS = namespace_names("ada@example.org")[0]
DEFINITIONS = ("notebookrequests.hubstack.io", "notebooks.kubeflow.org", "profiles.kubeflow.org")

STOPPED = "kubeflow-resource-stopped"
BASIC = {
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
    "notebookrequests.hubstack.io",
}
"""What whoever is in the group may do everywhere: ask what they may do, and for a notebook of their own."""

ASK = """
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=3).status)
except OSError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def credentials(cluster: Cluster) -> None:
    """A registry's credentials, where the platform is going to be; they go with it."""
    ask(cluster, "create", "namespace", "hubstack-life")
    given = ("--docker-server=registry.example.org", "--docker-username=puller", "--docker-password=only-pulls")
    ask(cluster, "create", "secret", "docker-registry", "registry", "--namespace=hubstack-life", *given)


@pytest.fixture(scope="module")
def before(cluster: Cluster, credentials: None, gateway: str) -> set[str]:
    """What the cluster holds without a platform."""
    return everything(cluster)


@pytest.fixture(scope="module", autouse=True)
def stack(cluster: Cluster, before: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A platform with one notebook, of which nothing is left at the end."""
    folder = tmp_path_factory.mktemp("stack")
    with reaching(cluster, folder / "bin"):
        stack = Stack("life", folder, configuration(cluster, dataProtection=True, **NOTEBOOKS))
        try:
            previewed = stack.run("preview", "--stack", stack.name, "--policy-pack", "policies")
            assert "to create" in previewed
            assert everything(cluster) - before == set(), "a preview makes nothing"
            stack.up("--skip-preview")
            yield stack
        finally:
            stack.destroy()
    gone(cluster, before)


def has_notebook(person: Person, name: str = "mine") -> str:
    """The address of a notebook that somebody asked for, once it answers; people's namespaces are called as they are."""
    person.ask("create", "--filename=-", given=person.request(name))
    return runs(person, name)


def runs(person: Person, name: str = "mine") -> str:
    """The address of somebody's notebook, once it answers."""
    until(lambda: reason(person, name) == "Running", SLOW_SECONDS, pause=1)
    return person.ask("get", "notebook", name, f"--namespace={person.name}", "--output=jsonpath={.status.url}")


def reason(person: Person, name: str, of: str = "reason") -> str:
    """Why a notebook is ready or not; empty before anybody says, or before its owner may look."""
    form = f'--output=jsonpath={{.status.conditions[?(@.type=="Ready")].{of}}}'
    return person.kubectl("get", "notebook", name, f"--namespace={person.name}", form).stdout


def annotate(person: Person, *annotations: str, name: str = "mine") -> None:
    person.ask("annotate", "--overwrite", f"--namespace={person.name}", "notebook", name, *annotations)


def token(person: Person, name: str = "mine") -> str:
    """What opens a notebook, as its owner reads it."""
    form = "--output=jsonpath={.data.token}"
    return base64.b64decode(person.ask("get", "secret", f"{name}-token", f"--namespace={person.name}", form)).decode()


def homes(cluster: Cluster, person: Person) -> str:
    form = "--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{'\\n'}{end}"
    return ask(cluster, "get", "persistentvolumeclaims", f"--namespace={person.name}", form)


def test_a_notebook_lives_until_it_is_deleted_and_its_home_outlives_it(cluster: Cluster, gateway: str, tmp_path: Path):
    ada = Person(cluster, tmp_path, "ada")
    url = has_notebook(ada)
    assert url == f"https://{DOMAIN}/notebook/ada/mine/"
    home = homes(cluster, ada)
    assert home.startswith("mine-home ")

    with chromium(tmp_path / "profile", {DOMAIN: gateway}) as browser:
        open_page(browser, url, SLOW_SECONDS)
        assert "/notebook/ada/mine/login" in browser.current_url
        browser.get(f"{url}lab?token={token(ada)}")
        assert run_cell(browser, "print(6 * 7, open('kept.txt', 'w').write('still here'))", SLOW_SECONDS) == "42 10"
        # An open page is somebody who uses the notebook.
        browser.get("about:blank")

        annotate(ada, f"{STOPPED}=now")
        until(lambda: "mine-0" not in ada.ask("get", "pods", "--namespace=ada", "--output=name"), SLOW_SECONDS, pause=1)
        browser.get(url)
        assert text_of(browser, "body") == NO_SERVER

        annotate(ada, f"{STOPPED}-")
        runs(ada)
        open_page(browser, f"{url}files/kept.txt?token={token(ada)}", SLOW_SECONDS)
        assert text_of(browser, "body") == "still here"
        browser.get("about:blank")

    annotate(ada, "notebooks.hubstack.io/ttl-seconds=5")
    form = "--output=jsonpath={.metadata.annotations}"
    until(lambda: STOPPED in ada.ask("get", "notebook", "mine", "--namespace=ada", form), SLOW_SECONDS, pause=1)
    assert "notebooks.hubstack.io/culled" in ada.ask("get", "notebook", "mine", "--namespace=ada", form)

    ada.ask("delete", "notebook", "mine", "--namespace=ada", "--timeout=100s")
    kinds = "statefulsets,services,httproutes,secrets,pods"

    def left() -> set[str]:
        return set(ask(cluster, "get", kinds, "--namespace=ada", "--output=name").split()) - {"secret/registry"}

    until(lambda: not left(), SLOW_SECONDS, pause=1)
    assert homes(cluster, ada) == home


def test_nobody_reaches_what_is_another_users(cluster: Cluster, tmp_path: Path):
    eve, mallory = (Person(cluster, tmp_path, name) for name in ("eve", "mallory"))
    for person in (eve, mallory):
        has_notebook(person)

    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "eve"}}
    told = mallory.ask("create", "--validate=false", "--filename=-", "--output=json", given=json.dumps(review))
    allowed = json.loads(told)["status"]
    named = {
        f"{resource}.{group}"
        for rule in allowed["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert not allowed["incomplete"]
    assert named == BASIC

    there = "--namespace=eve"
    for words in (
        ["get", "secret", "mine-token"],
        ["get", "secrets"],
        ["get", "notebooks"],
        ["get", "pods", "--all-namespaces"],
        ["exec", "mine-0", "--", "true"],
        ["logs", "mine-0"],
        ["delete", "notebook", "mine"],
        ["delete", "persistentvolumeclaim", "mine-home"],
        ["annotate", "notebook", "mine", f"{STOPPED}=now"],
    ):
        assert "forbidden" in mallory.refused(words[0], there, *words[1:]).lower()
    refusal = mallory.refused("create", "--filename=-", given=mallory.request("theirs", user="eve"))
    assert 'spec.user is "eve", and you are "mallory"' in refusal

    def seen_from(pod: str, address: str) -> str:
        return ask(cluster, "exec", f"--namespace={pod}", "mine-0", "--", "python3", "-c", ASK, address).strip()

    addressed = {
        name: ask(cluster, "get", "pod", "mine-0", f"--namespace={name}", "--output=jsonpath={.status.podIP}")
        for name in ("eve", "mallory")
    }
    assert seen_from("eve", f"http://{addressed['eve']}:8888/notebook/eve/mine/api") == "200"
    for address in ("http://mine.eve", f"http://{addressed['eve']}:8888"):
        seen = seen_from("mallory", f"{address}/notebook/eve/mine/api")
        # Policies drop or refuse packets, by their engine; an HTTPError would be an answer.
        assert seen.startswith(("URLError", "TimeoutError")), seen


def test_a_notebook_that_the_quota_refuses_says_so_and_leaves_no_home(cluster: Cluster, tmp_path: Path):
    carol = Person(cluster, tmp_path, "carol")
    has_notebook(carol, "first")
    carol.ask("create", "--filename=-", given=carol.request("second"))
    runs(carol, "second")
    kept = homes(cluster, carol)

    carol.ask("create", "--filename=-", given=carol.request("third"))

    until(lambda: "exceeded quota" in reason(carol, "third", "message"), SLOW_SECONDS, pause=1)
    assert homes(cluster, carol) == kept
    carol.ask("delete", "notebook", "third", "--namespace=carol", "--timeout=100s")
    assert homes(cluster, carol) == kept


def test_what_came_of_a_request_is_told_to_its_user(cluster: Cluster, tmp_path: Path):
    frank = Person(cluster, tmp_path, "frank")
    nothing = {"spec": {"containers": []}}
    wanted = [frank.request("mine"), frank.request("broken", template=nothing)]
    for one in wanted:
        frank.ask("create", "--filename=-", given=one)

    def told(name: str) -> str:
        form = "--output=jsonpath={range .items[*]}{.reason} {.message}{'\\n'}{end}"
        chosen = f"--field-selector=involvedObject.name={name}"
        return frank.kubectl("get", "events", "--namespace=frank", chosen, form).stdout

    until(lambda: "RequestMade NotebookRequest frank-mine: notebook mine is in namespace frank" in told("mine"), 60)
    until(lambda: "RequestRefused NotebookRequest frank-broken: " in told("broken"), 60)
    assert "spec.template.spec.containers" in told("broken")
    assert "forbidden" in frank.refused("get", "notebookrequest", "frank-mine").lower()


def test_users_namespaces_have_the_registrys_credentials(cluster: Cluster):
    form = "--output=jsonpath={.data}"
    original = ask(cluster, "get", "secret", "registry", "--namespace=hubstack-life", form)

    assert ask(cluster, "get", "secret", "registry", f"--namespace={ADAS}", form) == original
    pod = ask(cluster, "get", "pods", f"--namespace={ADAS}", "--output=jsonpath={.items[*].spec.imagePullSecrets}")
    assert "registry" in pod


def kubeflows() -> dict[str, dict[str, Any]]:
    """Notebooks as people apply them to Kubeflow, by their names, with an image that this cluster has."""
    text = (Path(__file__).parent / "manifests" / "kubeflow-samples.yaml").read_text()
    things = yaml.safe_load_all(text.replace("$(image)", notebook_image()))
    return {thing["metadata"]["name"]: thing for thing in things}


def test_kubeflows_samples_run_as_they_are_in_every_version(cluster: Cluster, gateway: str, tmp_path: Path):
    dana = Person(cluster, tmp_path, "dana")
    there = "--namespace=dana"
    # The first notebook makes the namespace, and its home counts.
    has_notebook(dana)
    dana.ask("delete", "notebook/mine", "persistentvolumeclaim/mine-home", there, "--timeout=100s")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "spawned-workspace"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
    }
    dana.ask("create", there, "--filename=-", given=json.dumps(claim))

    with chromium(tmp_path / "profile", {DOMAIN: gateway}) as browser:
        for name, thing in kubeflows().items():
            dana.ask("create", there, "--filename=-", given=json.dumps(thing))
            open_page(browser, f"{runs(dana, name)}api", SLOW_SECONDS)
            assert browser.current_url == f"https://{DOMAIN}/notebook/dana/{name}/api"
            assert "version" in json.loads(text_of(browser, "body"))
            own = homes(cluster, dana)
            assert (f"{name}-home " in own) is (name != "spawned"), "what has a workspace needs no home"
            gone_with_it = [f"notebook/{name}", *([] if name == "spawned" else [f"persistentvolumeclaim/{name}-home"])]
            browser.get("about:blank")
            dana.ask("delete", *gone_with_it, there, "--timeout=100s")


def test_a_kubeflow_notebook_with_limits_above_the_platforms_is_told_which(cluster: Cluster, tmp_path: Path):
    erin = Person(cluster, tmp_path, "erin")
    has_notebook(erin)
    thing = kubeflows()["sample-v1"]
    thing["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "0.6", "memory": "1.2Gi"}}

    erin.ask("create", "--namespace=erin", "--filename=-", given=json.dumps(thing))

    until(lambda: "maximum memory usage per Container is 384Mi" in reason(erin, "sample-v1", "message"), SLOW_SECONDS)
    assert "maximum cpu usage per Container is 500m" in reason(erin, "sample-v1", "message")


def test_a_notebook_of_the_stack_is_told_with_its_address(stack: Stack):
    assert stack.outputs()["urls"] == {f"{ADAS}/training": f"https://{DOMAIN}/notebook/{ADAS}/training/"}


def test_another_update_and_a_refresh_change_nothing(stack: Stack):
    stack.up("--skip-preview", "--expect-no-changes")
    stack.run("refresh", "--yes", "--skip-preview", "--stack", stack.name, "--expect-no-changes")


def test_an_update_that_changes_a_stopped_notebook_of_the_stack_does_not_wait_for_it_to_run(
    cluster: Cluster, stack: Stack
):
    def told(path: str) -> str:
        form = f"--output=jsonpath={{{path}}}"
        return ask(cluster, "get", f"--namespace={ADAS}", "notebook", "training", form)

    limit = ".spec.template.spec.containers[0].resources.limits.cpu"
    before = told(limit)
    ask(cluster, "annotate", f"--namespace={ADAS}", "notebook", "training", f"{STOPPED}=now")
    until(lambda: told('.status.conditions[?(@.type=="Ready")].reason') == "Stopped", SLOW_SECONDS, pause=1)
    less = {"cpu": 0.4, "memory": "384M", "home": "64M", "tmp": "64M"}
    stack.write_config(configuration(cluster, dataProtection=True, userQuota=less, **NOTEBOOKS))

    stack.up("--skip-preview")

    assert told(limit) not in {"", before}
    assert told(".status.observedGeneration") == told(".metadata.generation")
    assert told('.status.conditions[?(@.type=="Settled")].status') == "True"
    assert "training-0" not in ask(cluster, "get", "pods", f"--namespace={ADAS}", "--output=name")


def test_a_platform_keeps_what_users_own_until_its_stack_says_otherwise(
    cluster: Cluster, before: set[str], stack: Stack, tmp_path: Path
):
    bob = Person(cluster, tmp_path, "bob")
    has_notebook(bob)
    form = "--output=jsonpath={.metadata.uid}"
    home = ask(cluster, "get", f"--namespace={ADAS}", "persistentvolumeclaim", "training-home", form)
    bobs = homes(cluster, bob)

    told = stack.destroy()

    left = everything(cluster) - before
    kept = {f"CustomResourceDefinition//{name}" for name in DEFINITIONS}
    assert kept | {f"Namespace//{ADAS}", "Namespace//bob"} <= left
    assert not [one for one in left if one.startswith("ClusterRole")]
    retained = [line for line in told.splitlines() if "[retain]" in line]
    for name in (*DEFINITIONS, ADAS):
        assert [line for line in retained if f"-{name} " in line], f"{name} is named"
    assert homes(cluster, bob) == bobs

    # What was kept is taken up again, and goes once nothing is to be kept.
    stack.write_config(configuration(cluster, dataProtection=False, **NOTEBOOKS))
    stack.up("--skip-preview")
    assert ask(cluster, "get", f"--namespace={ADAS}", "persistentvolumeclaim", "training-home", form) == home
