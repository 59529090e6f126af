"""What a change of a notebook does to the pod that runs, and when it is done, with an API server in memory."""

from typing import Any

import pytest

from runtime.notebook_operator import names
from tests.unit.notebooks import KEY, Place, body, refusal

POD = ("Pod", "alice", "training-0")
SET = ("StatefulSet", "alice", "training")


def change(place: Place, image: str = "example.org/jupyter:2") -> None:
    """Have the notebook's user ask for another image."""
    place.make({**place.api.objects[KEY], "spec": body(container={"image": image})["spec"]})


def settled(place: Place) -> str:
    """What who waits for the condition `Settled` sees: its status, if it is of what the notebook asks for by now."""
    state = place.status()
    if state["observedGeneration"] < place.api.objects[KEY]["metadata"]["generation"]:
        return "Unknown"
    return next(entry["status"] for entry in state["conditions"] if entry["type"] == "Settled")


def image_of(pod: dict[str, Any]) -> str:
    return pod["spec"]["containers"][0]["image"]


def test_a_notebook_is_settled_when_it_answers_and_not_before() -> None:
    place = Place()
    place.make(body())
    place.look()
    assert settled(place) == "False"
    place.play_controller(ready=False)
    place.look()
    assert settled(place) == "False"
    place.play_controller()
    place.make({**place.api.objects[POD], "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    place.look()
    assert settled(place) == "True"


def test_a_stopped_notebook_is_settled_and_stays_so_when_it_is_changed() -> None:
    place = Place()
    place.start()
    place.annotate(**{names.STOPPED: "x"})
    place.look()
    assert (place.reason(), settled(place)) == ("Stopped", "True")
    change(place)
    assert settled(place) == "Unknown"
    place.look()
    assert (place.reason(), settled(place)) == ("Stopped", "True")


def test_a_culled_notebook_is_settled() -> None:
    place = Place()
    place.start()
    place.clock.pass_by(601)
    place.used(601)
    place.look()
    assert (place.reason(), settled(place)) == ("Culled", "True")


def test_a_refused_notebook_is_not_settled() -> None:
    place = Place()
    place.api.refuse = lambda verb, kind, dry: refusal(422, "no such thing") if dry else None
    place.make(body())
    place.look()
    assert (place.reason(), settled(place)) == ("Refused", "False")


def test_a_changed_notebook_is_not_settled_before_its_new_pod_answers() -> None:
    place = Place()
    place.start()
    assert settled(place) == "True"
    change(place)
    assert settled(place) == "Unknown"
    place.look()
    assert settled(place) == "False", "no watch has told of the old pod's end"
    place.look()
    assert settled(place) == "False"
    assert place.api.written.count(("delete", "Pod", "training-0")) == 1
    place.play_controller()
    place.look()
    assert settled(place) == "True"
    assert image_of(place.api.objects[POD]) == "example.org/jupyter:2"


def test_a_change_that_comes_during_a_look_is_not_taken_for_seen() -> None:
    place = Place()
    place.start()
    place.annotate(**{names.STOPPED: "x"})

    place.store.drop(place.api.drop("Service", "alice", "training"))

    def change_meanwhile(verb: str, kind: str, _dry: bool) -> None:
        if (verb, kind) == ("apply", "Service"):
            change(place)

    place.api.refuse = change_meanwhile
    place.look()
    assert (place.reason(), settled(place)) == ("Stopped", "Unknown")
    place.look()
    assert (place.reason(), settled(place)) == ("Stopped", "True")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (403, "maximum memory usage per Container is 384Mi, but limit is 1Gi"),
        (422, "spec.containers[0].image: Invalid"),
    ],
)
def test_a_change_that_cannot_start_leaves_what_runs_alone_and_is_told(code: int, words: str) -> None:
    place = Place()
    place.start()
    before = place.api.objects[SET]["spec"]
    place.api.refuse = lambda verb, kind, dry: refusal(code, words) if dry and kind == "Pod" else None
    change(place)
    place.look()
    assert ("delete", "Pod", "training-0") not in place.api.written
    assert place.api.objects[SET]["spec"] == before, "should the pod end by itself, the next is one that may start"
    assert (place.reason(), settled(place)) == ("Refused", "False")
    assert place.message() == f"what runs goes on as it was started: {words}"
    assert place.events()[-1] == "Refused"
    place.clock.pass_by(601)
    place.used(601)
    place.look()
    assert place.replicas() == 0, "its limits hold as ever"


def test_a_refused_change_that_is_taken_back_leaves_the_pod_as_it_is() -> None:
    place = Place()
    place.start()
    first = place.api.objects[KEY]["spec"]
    place.api.refuse = lambda verb, kind, dry: refusal(422, "no such thing") if dry else None
    change(place)
    place.look()
    place.make({**place.api.objects[KEY], "spec": first})
    place.look()
    assert (place.reason(), settled(place)) == ("Running", "True")
    assert ("delete", "Pod", "training-0") not in place.api.written


def test_a_refused_change_that_is_allowed_later_is_made_then() -> None:
    place = Place()
    place.start()
    place.api.refuse = lambda verb, kind, dry: refusal(403, "maximum memory usage") if dry else None
    change(place)
    later = place.look()
    assert later is not None
    assert later <= 30
    place.api.refuse = lambda verb, kind, dry: None
    place.look()
    place.play_controller()
    assert image_of(place.api.objects[POD]) == "example.org/jupyter:2"


def test_a_quota_that_still_counts_the_old_pod_does_not_keep_the_new_one_from_starting() -> None:
    place = Place()
    place.start()
    place.api.refuse = lambda verb, kind, dry: (
        refusal(403, "exceeded quota: q") if dry and POD in place.api.objects else None
    )
    change(place)
    place.look()
    assert ("delete", "Pod", "training-0") in place.api.written
    place.play_controller()
    place.look()
    assert place.reason() == "Running"


def test_an_error_of_the_moment_ends_no_pod_for_a_change() -> None:
    from lightkube.core.exceptions import ApiError

    place = Place()
    place.start()
    place.api.refuse = lambda verb, kind, dry: refusal(503, "try later") if dry else None
    change(place)
    with pytest.raises(ApiError):
        place.look()
    assert POD in place.api.objects
