"""What stops a notebook, whatever its user wrote into it, with an API server in memory and a clock that the test moves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import names
from runtime.notebook_operator.operator import is_own
from runtime.notebook_operator.queue import WorkQueue
from runtime.notebook_operator.store import Key
from tests.unit.notebooks import KEY, Place, body, refusal

SET: Key = ("StatefulSet", "alice", "training")
SECOND: Key = ("Notebook", "alice", "second")
MOUNTED = {"volumeMounts": [{"name": "nowhere", "mountPath": "/data"}]}


def refused(kind: str, code: int = 422, *verbs: str) -> Callable[[str, str, bool], ApiError | None]:
    """An API server that refuses changes of a kind."""
    wanted = verbs or ("apply",)
    return lambda verb, what, dry: refusal(code, "Invalid value") if what == kind and verb in wanted else None


def annotated(**annotations: str) -> Callable[[Place], None]:
    return lambda place: place.annotate(**annotations)


def without_its_volume(place: Place) -> None:
    place.make({**place.api.objects[KEY], "spec": body(container=MOUNTED)["spec"]})
    place.api.refuse = refused("StatefulSet")


def with_refused_headers(place: Place) -> None:
    place.annotate(**{names.REQUEST_HEADERS: '{"X": ""}'})
    place.api.refuse = refused("HTTPRoute")


def with_somebody_elses_service(place: Place) -> None:
    place.store.drop(place.api.drop("Service", "alice", "training"))
    place.make({"kind": "Service", "metadata": {"name": "training", "namespace": "alice"}, "spec": {}})


def with_a_service_beyond_the_quota(place: Place) -> None:
    place.store.drop(place.api.drop("Service", "alice", "training"))
    place.api.refuse = refused("Service", 403)


def without_a_container(place: Place) -> None:
    place.make({**place.api.objects[KEY], "spec": {"template": {"spec": {"containers": []}}}})


def with_a_route_that_nobody_serves(place: Place) -> None:
    place.store.drop(place.api.drop("HTTPRoute", "alice", "training"))
    place.api.refuse = refused("HTTPRoute", 404)


UNMAKEABLE: dict[str, Callable[[Place], None]] = {
    "user": annotated(**{names.USER_ID: "root"}),
    "time to live": annotated(**{names.TIME_TO_LIVE: "for ever"}),
    "longest number": annotated(**{names.TIME_TO_LIVE: "9" * 5000}),
    "headers": annotated(**{names.REQUEST_HEADERS: "[" * 100_000}),
    "activity without a zone": annotated(**{names.LAST_ACTIVITY: "2026-01-01T00:00:00"}),
    "headers that the route refuses": with_refused_headers,
    "mount without a volume": without_its_volume,
    "foreign service": with_somebody_elses_service,
    "service beyond the quota": with_a_service_beyond_the_quota,
    "no container": without_a_container,
    "no route": with_a_route_that_nobody_serves,
}
"""What makes it impossible to bring a notebook that runs to what its object asks for."""

unmakeable = pytest.mark.parametrize("spoil", UNMAKEABLE.values(), ids=UNMAKEABLE.keys())


def try_to_look(place: Place, key: Key = KEY) -> float | None:
    """A look, which may fail after it has done the more urgent half."""
    try:
        return place.look(key)
    except ApiError:
        return None


@unmakeable
def test_one_that_cannot_be_made_as_it_is_still_stops_by_the_annotation(spoil: Callable[[Place], None]) -> None:
    place = Place()
    place.start()
    spoil(place)
    try_to_look(place)
    assert place.replicas() == 1, "it is not ended by what it cannot be"
    place.annotate(**{names.STOPPED: "x"})
    try_to_look(place)
    assert place.replicas() == 0
    assert place.reason() == "Stopped"
    before = len(place.api.written)
    for _ in range(3):
        try_to_look(place)
    assert place.api.written[before:] == []


@unmakeable
def test_one_that_cannot_be_made_as_it_is_still_has_a_greatest_age(spoil: Callable[[Place], None]) -> None:
    place = Place()
    place.start()
    spoil(place)
    place.clock.pass_by(7201)
    place.used(0)
    try_to_look(place)
    assert place.replicas() == 0
    assert place.reason() == "Culled"
    assert "greatest age" in place.message()


@unmakeable
def test_one_that_cannot_be_made_as_it_is_is_still_stopped_when_idle(spoil: Callable[[Place], None]) -> None:
    place = Place()
    place.start()
    spoil(place)
    place.clock.pass_by(601)
    place.used(601)
    try_to_look(place)
    assert place.asked > 0
    assert place.replicas() == 0
    assert place.reason() == "Culled"
    assert "600 s without activity" in place.message()


def test_a_look_at_what_cannot_be_made_comes_again_in_time_for_its_limits() -> None:
    place = Place()
    place.start()
    place.annotate(**{names.USER_ID: "root"})
    later = place.look()
    assert place.reason() == "Invalid"
    assert later is not None
    assert later <= 60


def test_one_that_stands_still_says_why_it_could_not_start_again() -> None:
    place = Place()
    place.start()
    place.annotate(**{names.USER_ID: "root", names.STOPPED: "x"})
    place.look()
    assert place.reason() == "Stopped"
    assert "cannot start again" in place.message()
    assert names.USER_ID in place.message()


def test_the_server_of_one_that_names_another_port_by_now_is_asked_where_it_listens() -> None:
    place = Place()
    place.start(container={"ports": [{"containerPort": 9999}]})
    changed = body(container={"ports": [{"containerPort": 1}], **MOUNTED})
    place.make({**place.api.objects[KEY], "spec": changed["spec"]})
    place.api.refuse = refused("StatefulSet")
    place.clock.pass_by(61)
    place.look()
    assert place.addresses[-1].startswith("http://10.0.0.9:9999/notebook/alice/training/")


@pytest.mark.parametrize("code", [422, 403, 500])
def test_one_that_cannot_be_told_that_it_is_stopped_is_stopped_and_stays_so(code: int) -> None:
    place = Place()
    place.start()
    # Such as an admission policy that is stricter than when the notebook was made.
    place.api.refuse = refused("Notebook", code, "patch")
    place.clock.pass_by(7201)
    with pytest.raises(ApiError):
        # The status is a change of the Notebook in this API server.
        place.look()
    assert place.replicas() == 0
    place.play_controller()
    for _ in range(3):
        place.clock.pass_by(31)
        try_to_look(place)
        assert place.replicas() == 0, "a stop that cannot be told is no restart"
    place.api.refuse = lambda verb, kind, dry: None
    place.look()
    assert place.reason() == "Culled"
    annotations = place.api.objects[KEY]["metadata"]["annotations"]
    assert annotations[names.STOPPED] == "2026-01-02T14:00:01Z"
    assert names.CULLED not in place.api.objects[SET]["metadata"]["annotations"]
    place.annotate(**{names.STOPPED: None})
    place.look()
    assert place.replicas() == 1


def test_one_made_again_has_nothing_to_do_with_the_stop_of_the_last_of_its_name() -> None:
    place = Place()
    place.start()
    place.api.refuse = refused("Notebook", 422, "patch")
    place.clock.pass_by(7201)
    try_to_look(place)
    assert names.CULLED in place.api.objects[SET]["metadata"]["annotations"]
    place.api.refuse = lambda verb, kind, dry: None
    place.store.drop(place.api.drop(*KEY))
    place.play_controller()
    again = body()
    place.make({**again, "metadata": {**again["metadata"], "uid": "uid-again"}})
    place.look()
    assert names.STOPPED not in place.api.objects[KEY]["metadata"]["annotations"]
    # The deletion left everything without an owner instead.
    place.store.drop(place.api.drop(*KEY))
    for kind, suffix in (("StatefulSet", ""), ("Service", ""), ("HTTPRoute", ""), ("Secret", "-token")):
        held = place.api.objects[kind, "alice", f"training{suffix}"]
        place.make({**held, "metadata": {**held["metadata"], "ownerReferences": []}})
    place.look()
    place.make({**again, "metadata": {**again["metadata"], "uid": "uid-third"}})
    place.look()
    place.look()
    assert (place.reason(), place.replicas()) == ("Starting", 1)


def test_one_that_is_deleted_and_held_by_a_finalizer_does_not_run_on() -> None:
    place = Place()
    place.start()
    held = place.api.objects[KEY]
    going = {"finalizers": ["example.org/mine"], "deletionTimestamp": "2026-01-02T12:00:00Z"}
    place.make({**held, "metadata": {**held["metadata"], **going}})
    assert place.look() is None
    assert place.replicas() == 0


def test_what_a_deleted_notebook_left_behind_without_an_owner_does_not_run_on() -> None:
    place = Place()
    place.start()
    place.store.drop(place.api.drop(*KEY))
    place.look()
    assert place.replicas() == 1, "what has an owner goes with it"
    held = place.api.objects[SET]
    place.make({**held, "metadata": {**held["metadata"], "ownerReferences": []}})
    place.look()
    assert place.replicas() == 0


def test_a_set_of_somebody_elses_is_not_scaled() -> None:
    place = Place()
    place.make({"kind": "StatefulSet", "metadata": {"name": "training", "namespace": "alice"}, "spec": {"replicas": 1}})
    place.make(body(annotations={names.STOPPED: "x"}))
    place.look()
    assert place.replicas() == 1


# Whose a notebook is.


def test_a_notebook_is_its_namespaces_stacks_whatever_its_own_labels_say() -> None:
    place = Place()

    def profile(name: str, stack: str) -> dict[str, Any]:
        labels = {names.STACK: stack}
        return {"kind": "Profile", "metadata": {"name": name, "labels": labels}, "spec": {}}

    place.make(profile("alice", "dev"))
    place.make(profile("bob", "other"))
    place.make(body(labels={names.STACK: "other"}))
    place.make(body(namespace="bob", labels={names.STACK: "dev"}))
    place.make({"kind": "Namespace", "metadata": {"name": "carol", "labels": {names.STACK: "other"}}})
    assert is_own(KEY, place.store, place.settings)
    assert not is_own(("Notebook", "bob", "training"), place.store, place.settings)
    assert not is_own(("Notebook", "carol", "training"), place.store, place.settings)
    assert not is_own(("Profile", "", "bob"), place.store, place.settings)


def test_a_request_and_a_profile_are_the_stacks_that_they_name() -> None:
    place = Place()
    for stack in ("dev", "other"):
        metadata = {"name": stack, "labels": {names.STACK: stack}}
        place.make({"kind": "NotebookRequest", "metadata": metadata, "spec": {}})
        assert is_own(("NotebookRequest", "", stack), place.store, place.settings) == (stack == "dev")


# The fleet.


def test_one_that_is_resumed_while_its_last_pod_ends_takes_nobodys_place() -> None:
    place = Place(fleet={"notebooks": 1})
    place.start()
    place.annotate(**{names.STOPPED: "x"})
    place.look()
    place.play_controller(slowly=True)
    place.look()
    place.start("second")
    assert place.reason(SECOND) == "Running"
    place.annotate(**{names.STOPPED: None})
    place.look()
    assert place.replicas() == 0
    assert place.reason() == "FleetFull"
    place.end_pods()
    place.look()
    assert place.replicas() == 0
    place.annotate(SECOND, **{names.STOPPED: "x"})
    place.look(SECOND)
    place.look()
    assert place.replicas() == 1


def test_one_that_is_resumed_while_its_last_pod_ends_starts_where_there_is_room() -> None:
    place = Place(fleet={"notebooks": 1})
    place.start()
    place.annotate(**{names.STOPPED: "x"})
    place.look()
    place.play_controller(slowly=True)
    place.annotate(**{names.STOPPED: None})
    place.look()
    assert place.replicas() == 1
    assert place.reason() == "Starting"
    place.clock.pass_by(6)
    place.look()
    assert place.replicas() == 1, "it was admitted, its pod is the next"


def test_one_that_is_resumed_waits_for_the_quota_that_its_last_pod_still_takes() -> None:
    place = Place()
    place.start()
    place.annotate(**{names.STOPPED: "x"})
    place.look()
    place.play_controller(slowly=True)
    place.api.refuse = lambda verb, kind, dry: refusal(403, "exceeded quota: q") if dry else None
    place.annotate(**{names.STOPPED: None})
    assert place.look() == 1
    assert place.reason() == "Starting"
    assert "last pod" in place.message()
    place.end_pods()
    assert place.look() == 1, "the count follows the pod"
    place.clock.pass_by(11)
    place.look()
    assert place.reason() == "QuotaExceeded"
    place.api.refuse = lambda verb, kind, dry: None
    place.look()
    assert place.replicas() == 1


# Errors and a running kernel.


@pytest.mark.parametrize(("code", "message"), [(409, "x"), (429, "x"), (503, "x"), (422, "x"), (403, "exceeded quota")])
def test_no_error_about_the_home_ends_a_pod_that_runs(code: int, message: str) -> None:
    place = Place()
    place.start()
    place.annotate(**{names.DELETE_HOME: "true"})
    claim = "PersistentVolumeClaim"
    place.api.refuse = lambda verb, kind, dry: refusal(code, message) if kind == claim and verb == "patch" else None
    try_to_look(place)
    assert place.replicas() == 1
    place.api.refuse = lambda verb, kind, dry: None
    place.look()
    assert place.reason() == "Running"


@pytest.mark.parametrize("code", [409, 429, 503])
def test_an_error_of_the_moment_about_the_home_is_tried_again(code: int) -> None:
    place = Place()
    place.make(body())
    place.look()
    place.play_controller()
    place.api.refuse = refused("PersistentVolumeClaim", code, "create")
    with pytest.raises(ApiError):
        place.look()
    assert place.replicas() == 1
    place.api.refuse = lambda verb, kind, dry: None
    place.look()
    assert ("PersistentVolumeClaim", "alice", "training-home") in place.api.objects


def test_a_profile_that_is_not_ready_keeps_nothing_that_runs_from_running_or_from_stopping() -> None:
    place = Place()
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}
    profile = {"kind": "Profile", "metadata": {"name": "alice"}, "spec": {}, "status": ready}
    place.make(profile)
    place.start()
    place.start("second")
    broken = {"conditions": [{"type": "Ready", "status": "False", "reason": "Refused"}]}
    place.make({**profile, "status": broken})
    place.look()
    assert place.reason() == "Running"
    place.annotate(**{names.STOPPED: "x"})
    place.look()
    assert (place.reason(), place.replicas()) == ("Stopped", 0)
    place.annotate(**{names.STOPPED: None})
    place.look()
    assert (place.reason(), place.replicas()) == ("Starting", 0)
    assert "profile" in place.message()
    place.clock.pass_by(601)
    place.used(601)
    place.look(SECOND)
    assert (place.reason(SECOND), place.replicas("second")) == ("Culled", 0)


# Time.


def test_a_look_that_hangs_is_given_up_told_and_repeated_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks: list[str] = []

    async def run() -> None:
        again = asyncio.Event()

        async def look(key: Key) -> float | None:
            looks.append(key[2])
            if looks.count("training") == 2:
                again.set()
            if key == KEY and looks.count("training") == 1:
                await asyncio.Event().wait()
            return None

        queue = WorkQueue(look, workers=1, longest=0.05)
        work = asyncio.create_task(queue.run())
        queue.add(KEY)
        queue.add(SECOND)
        await asyncio.wait_for(again.wait(), 10)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    assert looks == ["training", "second", "training"]
    assert "Notebook alice/training: not done after" in caplog.text
