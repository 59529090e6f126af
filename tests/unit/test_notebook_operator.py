"""What the operator does about a notebook, with an API server in memory and a clock that the test moves."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
import yaml
from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import access, names
from runtime.notebook_operator.cluster import Cluster, Verdict, covered, has_strangers, stamped, verdict
from runtime.notebook_operator.notebooks import Notebooks
from runtime.notebook_operator.queue import WorkQueue
from runtime.notebook_operator.settings import parse_settings
from runtime.notebook_operator.store import Key, Store
from tests.stacks import ROOT
from tests.unit.notebooks import KEY, Place, body, notebook_defaults, refusal


def test_a_notebook_becomes_a_set_a_service_a_route_a_token_and_a_home() -> None:
    place = Place()
    place.start()
    for kind, name in (
        ("StatefulSet", "training"),
        ("Service", "training"),
        ("HTTPRoute", "training"),
        ("Secret", "training-token"),
        ("PersistentVolumeClaim", "training-home"),
    ):
        assert (kind, "alice", name) in place.api.objects
    assert place.reason() == "Running"
    assert place.status()["readyReplicas"] == 1
    assert place.status()["url"] == "https://nb.example.org/notebook/alice/training/"
    assert place.events() == ["Created", "Started"]


def test_nothing_is_written_while_nothing_changes() -> None:
    place = Place()
    place.start()
    place.look()
    place.clock.pass_by(61)
    place.used(30)
    place.look()
    before = len(place.api.written)
    for _ in range(20):
        place.clock.pass_by(25)
        place.used(30)
        place.look()
    assert place.asked > 0
    assert place.api.written[before:] == [("patch", "Notebook", "training")] * len(place.api.written[before:])
    assert len(place.api.written) - before <= 3, "the last activity is noted in steps, not each time"
    idle = Place(notebook=notebook_defaults(idleSeconds=100000, maxAgeSeconds=200000))
    idle.start()
    idle.look()
    idle.clock.pass_by(61)
    idle.look()
    before = len(idle.api.written)
    for _ in range(50):
        idle.clock.pass_by(61)
        idle.look()
    assert idle.api.written[before:] == []


def gates(spec: Mapping[str, Any]) -> list[str]:
    return [gate["name"] for gate in spec.get("schedulingGates") or []]


def test_the_home_is_made_once_the_pod_exists_which_no_scheduler_sees_before() -> None:
    place = Place()
    place.make(body(schedulingGates=[{"name": "example.org/mine"}]))
    place.look()
    assert "PersistentVolumeClaim" not in place.api.kinds()
    place.play_controller()
    pod, stateful = ("Pod", "alice", "training-0"), ("StatefulSet", "alice", "training")
    assert gates(place.api.objects[pod]["spec"]) == ["example.org/mine", names.HOME_GATE]
    place.look()
    assert "PersistentVolumeClaim" in place.api.kinds()
    assert gates(place.api.objects[pod]["spec"]) == ["example.org/mine"]
    template = place.api.objects[stateful]["spec"]["template"]
    assert gates(template["spec"]) == ["example.org/mine"], "the next pod finds its home"
    written = [(verb, kind) for verb, kind, _ in place.api.written]
    assert written.index(("create", "PersistentVolumeClaim")) < written.index(("patch", "Pod"))


def test_a_pod_that_waits_for_a_home_of_before_the_last_operators_end_is_let_through() -> None:
    place = Place()
    place.make(body())
    place.look()
    place.play_controller()
    place.make(
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "training-home", "namespace": "alice"}, "spec": {}}
    )
    place.look()
    assert gates(place.api.objects["Pod", "alice", "training-0"]["spec"]) == []


def test_a_pod_with_a_home_of_its_users_is_not_held_up() -> None:
    place = Place()
    place.make(body(annotations={names.HOME_PATH: ""}))
    place.look()
    assert gates(place.api.objects["StatefulSet", "alice", "training"]["spec"]["template"]["spec"]) == []


def test_a_notebook_that_exceeds_the_quota_leaves_nothing_behind_and_says_why() -> None:
    place = Place()
    words = 'pods "training-" is forbidden: exceeded quota: quota, requested: pods=1, used: pods=2, limited: pods=2'
    place.api.refuse = lambda verb, kind, dry: refusal(403, words) if dry and kind == "Pod" else None
    place.make(body())
    later = place.look()
    assert place.api.kinds() == {"Notebook", "Event"}
    assert place.reason() == "QuotaExceeded"
    held = {entry["type"]: entry for entry in place.status()["conditions"]}
    assert held["QuotaExceeded"]["status"] == "True"
    assert words in held["Ready"]["message"]
    assert place.events() == ["Refused"]
    assert later is not None
    assert later <= 30
    place.api.refuse = lambda verb, kind, dry: None
    place.look()
    assert place.replicas() == 1


def test_a_home_beyond_the_quota_keeps_the_notebook_from_starting() -> None:
    place = Place()
    claim = "PersistentVolumeClaim"
    words = "exceeded quota: homes"
    place.api.refuse = lambda verb, kind, dry: refusal(403, words) if dry and kind == claim else None
    place.make(body())
    place.look()
    assert place.reason() == "QuotaExceeded"
    assert "StatefulSet" not in place.api.kinds()


def test_a_pod_that_is_refused_after_all_ends_the_start() -> None:
    place = Place()
    place.make(body())
    place.look()
    assert place.replicas() == 1
    place.api.refuse = lambda verb, kind, dry: refusal(403, "exceeded quota: q") if dry else None
    place.look()
    assert place.replicas() == 1, "the set's controller has some seconds to make the pod"
    place.clock.pass_by(6)
    place.look()
    assert place.replicas() == 0
    assert place.reason() == "QuotaExceeded"
    assert "PersistentVolumeClaim" not in place.api.kinds()


def test_a_home_that_is_refused_after_all_stops_the_pod() -> None:
    place = Place()
    place.make(body())
    place.look()
    place.play_controller()
    claim = "PersistentVolumeClaim"
    place.api.refuse = lambda verb, kind, dry: (
        refusal(403, "exceeded quota: q") if kind == claim and verb == "create" else None
    )
    place.look()
    assert place.replicas() == 0
    assert place.reason() == "QuotaExceeded"


def test_a_senseless_template_waits_for_its_user() -> None:
    place = Place()
    place.api.refuse = lambda verb, kind, dry: refusal(422, "spec.containers[0].image: Required") if dry else None
    place.make(body())
    later = place.look()
    assert place.reason() == "Refused"
    assert "spec.containers[0].image" in place.status()["conditions"][0]["message"]
    assert later is not None
    assert later > 60


def test_an_annotation_that_makes_no_sense_is_told_in_the_status() -> None:
    place = Place()
    place.make(body(annotations={names.USER_ID: "root"}))
    place.look()
    assert place.reason() == "Invalid"
    assert names.USER_ID in place.status()["conditions"][0]["message"]
    place.annotate(**{names.USER_ID: "5"})
    place.look()
    assert place.reason() == "Starting"


def test_an_error_of_the_moment_is_no_verdict_on_the_notebook() -> None:
    place = Place()
    place.api.refuse = lambda verb, kind, dry: refusal(503, "try later") if dry else None
    place.make(body())
    with pytest.raises(ApiError):
        place.look()
    assert "status" not in place.api.objects[KEY]


def test_a_namespace_without_the_operators_role_is_said_to_have_no_profile() -> None:
    place = Place()
    words = 'services "training" is forbidden: User "operator" cannot patch resource "services" in API group "" in the namespace "alice"'
    place.api.refuse = lambda verb, kind, dry: refusal(403, words) if dry else None
    place.make(body())
    place.look()
    assert place.reason() == "NoAccess"


def test_a_notebook_waits_for_its_profile() -> None:
    place = Place()
    profile = {"kind": "Profile", "metadata": {"name": "alice"}, "spec": {"owner": {"kind": "User", "name": "a"}}}
    place.make(profile)
    place.make(body())
    place.look()
    assert place.reason() == "Starting"
    assert "StatefulSet" not in place.api.kinds()
    place.make({**profile, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    place.look()
    assert place.replicas() == 1


def test_the_fleet_has_a_limit_and_one_that_stops_makes_room() -> None:
    place = Place(fleet={"notebooks": 1})
    place.start()
    second = ("Notebook", "alice", "second")
    place.make(body("second"))
    place.look(second)
    assert place.reason(second) == "FleetFull"
    assert ("StatefulSet", "alice", "second") not in place.api.objects
    place.annotate(**{names.STOPPED: "now"})
    place.look()
    place.look(second)
    assert place.replicas("second") == 1


def test_starts_at_the_same_time_do_not_pass_the_fleets_limit() -> None:
    place = Place(fleet={"notebooks": 3})
    keys = [("Notebook", "alice", f"n{number}") for number in range(8)]
    for _, _, name in keys:
        place.make(body(name))

    async def all_at_once() -> None:
        await asyncio.gather(*(place.notebooks.look(key) for key in keys))

    asyncio.run(all_at_once())
    assert sum(kind == "StatefulSet" for kind, _, _ in place.api.objects) == 3
    assert sorted(filter(None, map(place.reason, keys))).count("FleetFull") == 5


def test_the_annotation_stops_and_its_end_resumes() -> None:
    place = Place()
    place.start()
    place.annotate(**{names.STOPPED: "2026-01-02"})
    place.look()
    assert place.replicas() == 0
    assert place.reason() == "Stopped"
    assert ("PersistentVolumeClaim", "alice", "training-home") in place.api.objects
    place.play_controller()
    place.annotate(**{names.STOPPED: None})
    place.look()
    assert place.replicas() == 1
    place.play_controller()
    place.look()
    assert place.events() == ["Created", "Started", "Stopped", "Resumed", "Started"]


def test_an_idle_notebook_is_stopped_and_keeps_its_home() -> None:
    place = Place()
    place.start()
    later = place.look()
    assert later is not None
    assert later <= 60
    place.clock.pass_by(601)
    place.used(601)
    place.look()
    annotations = place.api.objects[KEY]["metadata"]["annotations"]
    assert annotations[names.STOPPED] == "2026-01-02T12:10:01Z"
    assert annotations[names.LAST_ACTIVITY] == "2026-01-02T12:00:00Z"
    assert place.replicas() == 0
    assert place.reason() == "Culled"
    assert "600 s without activity" in place.status()["conditions"][0]["message"]
    assert place.events()[-1] == "Culled"
    assert ("PersistentVolumeClaim", "alice", "training-home") in place.api.objects


def test_it_is_stopped_when_its_time_is_over_not_an_interval_later() -> None:
    place = Place()
    place.start()
    place.clock.pass_by(61)
    place.used(31)
    later = place.look()
    for _ in range(100):
        if place.reason() == "Culled":
            break
        assert later is not None
        place.clock.pass_by(later)
        later = place.look()
    # Last used 30 s after the start.
    assert place.clock.seconds() - 1000 == pytest.approx(630, abs=1)


def test_one_that_is_used_in_its_last_seconds_goes_on() -> None:
    place = Place()
    place.start()
    place.clock.pass_by(595)
    place.used(595)
    later = place.look()
    assert later is not None
    assert later <= 5, "sooner if its children are due to be read again"
    place.used(0)
    place.clock.pass_by(later)
    place.look()
    assert place.reason() == "Running"


def test_one_that_was_stopped_by_the_operator_and_then_by_hand_is_stopped_by_hand() -> None:
    place = Place()
    place.start()
    place.clock.pass_by(601)
    place.used(601)
    place.look()
    place.annotate(**{names.STOPPED: "by me"})
    place.look()
    assert place.reason() == "Stopped"


@pytest.mark.parametrize(
    "kernel",
    [
        {"execution_state": "busy", "connections": 0, "last_activity": "2026-01-01T00:00:00Z"},
        {"execution_state": "idle", "connections": 2, "last_activity": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_kernel_in_use_keeps_a_notebook_alive_up_to_its_greatest_age(kernel: dict[str, Any]) -> None:
    place = Place()
    place.start()
    for _ in range(110):
        place.clock.pass_by(61)
        place.used(9999, [kernel])
        place.look()
        assert place.reason() == "Running"
    place.clock.pass_by(7200 - 110 * 61)
    place.look()
    assert place.reason() == "Culled"
    assert "greatest age of 7200 s" in place.status()["conditions"][0]["message"]


def test_a_server_that_cannot_be_read_is_stopped_by_its_age_alone_and_the_status_says_so() -> None:
    place = Place()
    place.start()
    place.server = None
    place.clock.pass_by(601)
    place.look()
    assert place.reason() == "Running"
    known = next(entry for entry in place.status()["conditions"] if entry["type"] == "ActivityKnown")
    assert known["status"] == "False"
    assert "cannot be reached" in known["message"]
    place.clock.pass_by(7200)
    place.look()
    assert place.reason() == "Culled"


def test_a_pod_that_is_not_ready_is_not_asked() -> None:
    place = Place()
    place.make(body())
    place.look()
    place.play_controller(ready=False)
    for _ in range(5):
        place.clock.pass_by(100)
        place.look()
    assert place.asked == 0
    assert place.reason() == "Starting"


def test_a_restarted_operator_goes_on_where_the_last_one_was_killed() -> None:
    place = Place()
    place.start()
    place.clock.pass_by(61)
    place.look()
    before = len(place.api.written)
    again = Place()
    again.api, again.clock, again.server = place.api, place.clock, place.server
    again.store = Store()
    again.notebooks = Notebooks(
        place.settings,
        Cluster(place.api),  # pyright: ignore[reportArgumentType]
        again.store,
        httpx2.AsyncClient(transport=httpx2.MockTransport(again.answer)),
        place.clock,
        timer=place.clock.seconds,
    )
    for thing in place.api.objects.values():
        if thing["kind"] not in {"Event", "Secret"}:
            again.store.put(thing)
    again.look()
    assert place.api.written[before:] == []
    place.clock.pass_by(600)
    again.look()
    assert again.reason() == "Culled"


@pytest.mark.parametrize("kind", ["StatefulSet", "Service", "HTTPRoute"])
def test_a_child_that_was_deleted_comes_back(kind: str) -> None:
    place = Place()
    place.start()
    place.store.drop(place.api.drop(kind, "alice", "training"))
    place.look()
    assert (kind, "alice", "training") in place.api.objects


def test_a_child_that_was_changed_is_set_right() -> None:
    place = Place()
    place.start()
    service = place.api.objects["Service", "alice", "training"]
    place.make({**service, "spec": {**service["spec"], "selector": {"app": "mine"}}})
    place.look()
    assert place.api.objects["Service", "alice", "training"]["spec"]["selector"][names.NOTEBOOK_NAME] == "training"


def test_a_watch_that_missed_a_deletion_is_made_good() -> None:
    place = Place()
    place.start()
    place.api.drop("Service", "alice", "training")
    place.look()
    assert ("Service", "alice", "training") not in place.api.objects, "the watch has told nothing"
    place.clock.pass_by(601)
    place.used(0)
    place.look()
    assert ("Service", "alice", "training") in place.api.objects


def test_a_home_whose_deletion_a_watch_missed_is_made_again_for_the_next_start() -> None:
    place = Place()
    place.start()
    place.annotate(**{names.STOPPED: "x"})
    place.look()
    place.play_controller()
    place.api.drop("PersistentVolumeClaim", "alice", "training-home")
    place.clock.pass_by(601)
    place.annotate(**{names.STOPPED: None})
    place.look()
    template = place.api.objects["StatefulSet", "alice", "training"]["spec"]["template"]
    assert gates(template["spec"]) == [names.HOME_GATE]
    place.play_controller()
    place.look()
    assert ("PersistentVolumeClaim", "alice", "training-home") in place.api.objects


def test_a_claim_of_somebodys_own_is_not_taken_into_the_memory_of_homes() -> None:
    place = Place()
    place.make(body(annotations={names.HOME_PATH: ""}))
    place.look()
    place.api.put({"kind": "PersistentVolumeClaim", "metadata": {"name": "training-home", "namespace": "alice"}})
    place.clock.pass_by(601)
    place.look()
    assert place.store.get("PersistentVolumeClaim", "alice", "training-home") is None


@pytest.mark.parametrize(("kind", "name"), [("Service", "training"), ("Secret", "training-token")])
def test_what_belongs_to_somebody_else_is_left_alone(kind: str, name: str) -> None:
    place = Place()
    foreign = {"kind": kind, "metadata": {"name": name, "namespace": "alice"}, "spec": {"mine": 1}}
    place.make(foreign)
    place.make(body())
    place.look()
    assert place.reason() == "Refused"
    assert f"{kind} {name}" in place.status()["conditions"][0]["message"]
    assert place.api.objects[kind, "alice", name]["spec"] == {"mine": 1}
    assert "StatefulSet" not in place.api.kinds()


def test_children_of_a_deleted_notebook_of_the_same_name_are_waited_for() -> None:
    place = Place()
    place.start()
    place.make({**body(), "metadata": {**body()["metadata"], "uid": "uid-new"}})
    place.api.objects[KEY]["metadata"]["uid"] = "uid-new"
    place.store.put(
        {**place.api.objects[KEY], "metadata": {**place.api.objects[KEY]["metadata"], "resourceVersion": "9999"}}
    )
    assert place.look() == 1
    assert place.reason() == "Starting"
    assert "deleted notebook" in place.status()["conditions"][0]["message"]


def test_a_users_change_replaces_the_pod_and_the_platforms_does_not() -> None:
    place = Place()
    place.start()
    changed = body(container={"image": "example.org/jupyter:2"})
    place.make({**place.api.objects[KEY], "spec": changed["spec"]})
    place.look()
    assert ("delete", "Pod", "training-0") in place.api.written
    template = place.api.objects["StatefulSet", "alice", "training"]["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "example.org/jupyter:2"
    other = Place()
    other.start()
    object.__setattr__(other.settings.notebook, "environment", {"HTTPS_PROXY": "http://elsewhere:3128"})
    other.look()
    assert ("delete", "Pod", "training-0") not in other.api.written


def test_the_home_follows_the_annotation_that_deletes_it() -> None:
    place = Place()
    place.start()
    claim = ("PersistentVolumeClaim", "alice", "training-home")
    place.annotate(**{names.DELETE_HOME: "true"})
    place.look()
    assert [owner["uid"] for owner in place.api.objects[claim]["metadata"]["ownerReferences"]] == ["uid-training"]
    place.annotate(**{names.DELETE_HOME: None, names.STOPPED: "x"})
    place.look()
    assert place.api.objects[claim]["metadata"]["ownerReferences"] == []


def test_a_claim_that_somebody_made_is_mounted_and_left_as_it_is() -> None:
    place = Place()
    place.make(
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "training-home", "namespace": "alice"}, "spec": {}}
    )
    place.start(annotations={names.DELETE_HOME: "true"})
    assert place.reason() == "Running"
    assert "ownerReferences" not in place.api.objects["PersistentVolumeClaim", "alice", "training-home"]["metadata"]


def test_a_notebook_that_is_being_deleted_is_left_to_kubernetes() -> None:
    place = Place()
    place.start()
    going = place.api.objects[KEY]
    place.make({**going, "metadata": {**going["metadata"], "deletionTimestamp": "2026-01-02T12:00:00Z"}})
    place.store.drop(place.api.drop("Service", "alice", "training"))
    assert place.look() is None
    assert ("Service", "alice", "training") not in place.api.objects


def test_a_token_that_is_lost_is_made_again() -> None:
    place = Place()
    place.start()
    place.look()
    place.api.drop("Secret", "alice", "training-token")
    place.clock.pass_by(61)
    place.look()
    assert ("Secret", "alice", "training-token") in place.api.objects


def test_an_event_told_twice_is_kept_once() -> None:
    place = Place()
    place.make(body())
    place.api.refuse = lambda verb, kind, dry: refusal(503, "gone") if (verb, kind) == ("patch", "Notebook") else None
    for _ in range(3):
        with pytest.raises(ApiError):
            place.look()
        place.clock.pass_by(1)
    assert place.events() == ["Created"]


def test_a_notebook_that_only_says_more_of_the_same_is_no_event() -> None:
    place = Place()
    place.make(body())
    place.look()
    place.play_controller(ready=False)
    place.look()
    pod = place.api.objects["Pod", "alice", "training-0"]
    waiting = {"name": "notebook", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    place.make({**pod, "status": {**pod["status"], "containerStatuses": [waiting]}})
    place.look()
    assert "ImagePullBackOff no such image" in place.status()["conditions"][0]["message"]
    assert place.status()["containerState"]["waiting"]["reason"] == "ImagePullBackOff"
    assert place.events() == ["Created"]


# The parts that know nothing of notebooks.


def test_an_object_is_in_sync_with_what_the_api_server_made_of_it() -> None:
    wanted = {"kind": "Service", "metadata": {"name": "a"}, "spec": {"cpu": "1000m", "ports": [{"port": 80}]}}

    class Normalising:
        async def apply(self, thing: Any, *, force: bool) -> dict[str, Any]:
            return {**thing, "spec": {"cpu": "1", "ports": [{"port": 80, "protocol": "TCP"}], "type": "ClusterIP"}}

    cluster = Cluster(Normalising())  # pyright: ignore[reportArgumentType]
    metadata = stamped(wanted)["metadata"]
    actual = {"kind": "Service", "metadata": metadata, "spec": {"cpu": "1", "ports": [{"port": 80}]}}
    assert not cluster.in_sync(wanted, actual)
    asyncio.run(cluster.apply(wanted))
    assert cluster.in_sync(wanted, actual)
    # Another process has no memory of it, but sees that nothing was asked differently.
    fresh = Cluster(Normalising())  # pyright: ignore[reportArgumentType]
    assert fresh.in_sync(wanted, stamped(wanted))
    less = {**wanted, "spec": {"cpu": "1000m"}}
    assert not fresh.in_sync(less, stamped(wanted)), "what is no longer asked for must go"
    assert not cluster.in_sync(wanted, {**actual, "spec": {**actual["spec"], "cpu": "2"}})
    assert not cluster.in_sync({**wanted, "spec": {}, "data": 1}, actual)


def test_what_somebody_put_into_a_list_is_seen() -> None:
    wanted = {"containers": [{"name": "a"}], "x": 1}
    assert not has_strangers(wanted, {"containers": [{"name": "a", "image": "b"}], "y": [1]})
    assert has_strangers(wanted, {"containers": [{"name": "a"}, {"name": "b"}]})
    assert has_strangers({"c": [{"env": []}]}, {"c": [{"env": [1]}]})
    assert covered(wanted, {"containers": [{"name": "a", "image": "b"}], "y": 1}) == {"containers": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (403, "pods is forbidden: exceeded quota: q, requested: pods=1", Verdict.QUOTA),
        (403, 'secrets is forbidden: User "x" cannot get resource "secrets" in API group', Verdict.ACCESS),
        (403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest"', Verdict.REFUSED),
        (422, "invalid", Verdict.REFUSED),
        (409, "modified", Verdict.AGAIN),
        (500, "internal", Verdict.AGAIN),
        (429, "slow down", Verdict.AGAIN),
    ],
)
def test_errors_are_told_apart(code: int, message: str, expected: Verdict) -> None:
    assert verdict(refusal(code, message)) is expected


def test_of_two_states_the_newer_stays_and_a_new_object_outlives_the_old_ones_deletion() -> None:
    store = Store()

    def state(version: str, uid: str = "1") -> dict[str, Any]:
        return {"kind": "Pod", "metadata": {"name": "a", "namespace": "n", "uid": uid, "resourceVersion": version}}

    store.put(state("10"))
    store.put(state("9"))
    held = store.get("Pod", "n", "a")
    assert held
    assert held["metadata"]["resourceVersion"] == "10"
    store.put(state("11", "2"))
    store.drop(state("12", "1"))
    assert store.get("Pod", "n", "a")
    store.drop(state("13", "2"))
    assert store.get("Pod", "n", "a") is None


def test_the_queue_looks_at_a_key_one_at_a_time_and_again_if_it_was_named_meanwhile() -> None:
    looks: list[str] = []
    together: list[int] = []
    busy = 0

    async def run() -> None:
        done = asyncio.Event()

        async def look(key: Key) -> float | None:
            nonlocal busy
            busy += 1
            together.append(busy)
            if key == KEY and looks.count("training") == 0:
                queue.add(KEY)
                queue.add(KEY)
            looks.append(key[2])
            await asyncio.sleep(0)
            busy -= 1
            if looks.count("training") == 2:
                done.set()
            return None

        queue = WorkQueue(look, workers=4)
        work = asyncio.create_task(queue.run())
        queue.add(KEY)
        await asyncio.wait_for(done.wait(), 10)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    assert looks == ["training", "training"]
    assert max(together) == 1


def test_the_queue_comes_back_to_a_failure_with_growing_pauses_and_goes_on_with_the_rest() -> None:
    pauses: list[float] = []

    async def run() -> None:
        done = asyncio.Event()

        async def look(key: Key) -> float | None:
            if key == KEY:
                raise RuntimeError("broken")
            done.set()
            return None

        class Impatient(WorkQueue):
            def add_later(self, key: Key, seconds: float) -> None:
                pauses.append(seconds)
                if len(pauses) < 10:
                    self._due(key)

        queue = Impatient(look, workers=1)
        work = asyncio.create_task(queue.run())
        queue.add(KEY)
        while len(pauses) < 10:
            await asyncio.sleep(0)
        queue.add(("Notebook", "alice", "fine"))
        await asyncio.wait_for(done.wait(), 10)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    assert pauses[:3] == [0.5, 1, 2]
    assert pauses[-1] == 60


@pytest.mark.parametrize("times", [(0.01, 3600), (3600, 0.01)])
def test_of_two_times_for_a_key_the_queue_keeps_the_sooner(times: tuple[float, float]) -> None:
    async def run() -> None:
        done = asyncio.Event()

        async def look(_: Key) -> float | None:
            done.set()
            return None

        queue = WorkQueue(look, workers=1)
        work = asyncio.create_task(queue.run())
        for seconds in times:
            queue.add_later(KEY, seconds)
        await asyncio.wait_for(done.wait(), 10)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())


class Timers(WorkQueue):
    """A queue that writes down what it is to come back to."""

    def __init__(self) -> None:
        self.times: dict[Key, float] = {}

    def add_later(self, key: Key, seconds: float) -> None:
        self.times[key] = seconds


def test_when_a_pod_has_ended_those_without_room_are_tried_again_and_no_others() -> None:
    place, queue = Place(fleet={"notebooks": 1}), Timers()
    place.start()
    second = ("Notebook", "alice", "second")
    place.make(body("second"))
    place.look(second)
    place.notebooks.released(queue)
    assert queue.times == {second: 1}
    place.annotate(**{names.STOPPED: "now"})
    place.look()
    place.look(second)
    queue.times.clear()
    place.notebooks.released(queue)
    assert queue.times == {}


def test_a_pod_that_ends_while_a_notebook_is_being_refused_has_it_tried_again_at_once() -> None:
    place, queue = Place(), Timers()

    def full(_verb: str, kind: str, dry: bool) -> ApiError | None:
        if not dry or kind != "Pod":
            return None
        place.notebooks.released(queue)
        return refusal(403, "exceeded quota: quota")

    place.api.refuse = full
    place.make(body())
    assert place.look() == 1
    assert place.reason() == "QuotaExceeded"
    place.api.refuse = lambda verb, kind, dry: refusal(403, "exceeded quota: quota") if dry and kind == "Pod" else None
    assert place.look() == 30, "nothing was released during this look"
    place.api.refuse = lambda verb, kind, dry: place.notebooks.released(queue)
    later = place.look()
    assert later is not None
    assert later > 1, "one that starts waits for nobody's room"


# What the stack hands over, and what the operator may do.


def test_settings_that_make_no_sense_are_named() -> None:
    document = yaml.safe_load(json.dumps(settings_document()))
    assert parse_settings(document).notebooks == 10
    for path, value, words in (
        (("basePath",), "notebook", "basePath"),
        (("basePath",), "/notebook/", "basePath"),
        (("route",), {"kind": "Ingress"}, "Ingress"),
        (("notebook", "idleSeconds"), 0, "idleSeconds"),
        (("profile", "manifests"), [{"apiVersion": "v1", "kind": "Pod"}], "Pod"),
        (("surplus",), 1, "surplus"),
    ):
        broken = json.loads(json.dumps(document))
        where = broken
        for key in path[:-1]:
            where = where[key]
        where[path[-1]] = value
        with pytest.raises((TypeError, ValueError), match=words):
            parse_settings(broken)


def settings_document() -> dict[str, Any]:
    return {
        "stack": "dev",
        "domain": "nb.example.org",
        "basePath": "/notebook",
        "route": {"kind": "none"},
        "requestTimeoutSeconds": 300,
        "notebook": notebook_defaults(),
        "profile": {"namespaceLabels": {}, "manifests": []},
        "fleet": {"notebooks": 10},
    }


def test_the_operators_rights_have_no_star_and_no_secret_of_the_whole_cluster() -> None:
    for rule in (*access.CLUSTER_RULES, *access.TENANT_RULES):
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert "escalate" not in rule["verbs"]
        assert "impersonate" not in rule["verbs"]
        if "bind" in rule["verbs"]:
            assert rule["resourceNames"]
    of_all = {
        (resource, verb) for rule in access.CLUSTER_RULES for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert not {resource for resource, _ in of_all} & {"secrets", "pods/exec", "configmaps", "networkpolicies"}
    writing = {(resource, verb) for resource, verb in of_all if verb not in {"get", "list", "watch", "bind"}}
    assert writing == {
        ("profiles", "create"),
        ("notebooks/status", "patch"),
        ("profiles/status", "patch"),
        ("notebookrequests/status", "patch"),
        ("notebookrequests", "delete"),
        ("namespaces", "create"),
        ("namespaces", "patch"),
        ("events", "create"),
        ("rolebindings", "create"),
        ("rolebindings", "patch"),
    }
    in_tenants = {
        (resource, verb) for rule in access.TENANT_RULES for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert ("persistentvolumeclaims", "delete") not in in_tenants
    assert ("notebooks", "delete") not in in_tenants


@pytest.mark.parametrize("name", ["notebooks", "profiles", "notebookrequests"])
def test_the_definitions_serve_what_kubeflow_serves(name: str) -> None:
    text = (ROOT / "runtime/notebook_operator/crds" / f"{name}.yaml").read_text()
    definition = yaml.safe_load(text)
    versions = {version["name"]: version for version in definition["spec"]["versions"]}
    expected = {"notebooks": {"v1", "v1beta1", "v1alpha1"}, "profiles": {"v1", "v1beta1"}}
    assert set(versions) == expected.get(name, {"v1alpha1"})
    assert all(version["served"] for version in versions.values())
    assert [version for version, spec in versions.items() if spec["storage"]] == [next(iter(versions))]
    assert all(version["subresources"] == {"status": {}} for version in versions.values())
    assert len(text) < 80_000


def test_the_definition_of_notebooks_asks_for_a_container_with_name_and_image() -> None:
    definition = yaml.safe_load((ROOT / "runtime/notebook_operator/crds/notebooks.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    containers = schema["properties"]["spec"]["properties"]["template"]["properties"]["spec"]["properties"][
        "containers"
    ]
    assert containers["minItems"] == 1
    assert containers["items"]["required"] == ["image", "name"]
    assert set(schema["properties"]["status"]["properties"]) >= {"conditions", "readyReplicas", "containerState", "url"}
