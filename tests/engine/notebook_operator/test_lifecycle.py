"""A notebook's life: its children and its home come and go with it, and are set right when they are changed."""

import pytest

from runtime.notebook_operator import names
from tests.engine.notebook_operator.steps import CHILDREN, annotate, replicas, settled, start, wait_for
from tests.engine.notebooks import Api, eventually, notebook, play_ready, ready_condition

pytestmark = pytest.mark.kubernetes


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


def test_a_changed_notebook_is_settled_when_its_new_pod_answers_or_when_it_stands_still(api: Api, home: str) -> None:
    start(api, home)
    assert settled(api, home) == "True"
    before = api.get("Pod", home, "training-0")["metadata"]["uid"]  # pyright: ignore[reportOptionalSubscript]
    api.patch("Notebook", home, "training", {"spec": notebook(home, container={"image": "example.org/new:2"})["spec"]})
    assert settled(api, home) != "True", "the old pod's answers are not the new one's"
    eventually(lambda: settled(api, home) == "False")
    eventually(
        lambda: (api.get("Pod", home, "training-0") or {"metadata": {"uid": before}})["metadata"]["uid"] != before
    )
    assert settled(api, home) == "False"
    play_ready(api, home, "training-0")
    eventually(lambda: settled(api, home) == "True")
    annotate(api, home, **{names.STOPPED: "x"})
    wait_for(api, home, "Stopped")
    api.patch("Notebook", home, "training", {"spec": notebook(home, container={"image": "example.org/new:3"})["spec"]})
    eventually(lambda: settled(api, home) == "True")
    assert replicas(api, home) == 0


def test_a_change_that_cannot_start_ends_no_pod(api: Api, home: str) -> None:
    start(api, home)
    before = api.get("Pod", home, "training-0")["metadata"]["uid"]  # pyright: ignore[reportOptionalSubscript]
    api.patch("Notebook", home, "training", {"spec": {"template": {"spec": {"hostNetwork": True}}}})
    wait_for(api, home, "Refused")
    told = ready_condition(api.get("Notebook", home, "training"))["message"]
    assert told.startswith("what runs goes on as it was started: ")
    assert "violates PodSecurity" in told
    assert settled(api, home) == "False"
    api.patch("Notebook", home, "training", {"spec": {"template": {"spec": {"hostNetwork": None}}}})
    wait_for(api, home, "Running")
    pod = api.get("Pod", home, "training-0")
    assert pod
    assert pod["metadata"]["uid"] == before
    assert "deletionTimestamp" not in pod["metadata"]
