"""Requests for notebooks: what comes of them, who is told, and when they go."""

from typing import Any

import pytest
from lightkube.core.exceptions import ApiError

from runtime.notebook_operator import names, status
from runtime.notebook_operator.requests import profile_of, surplus
from tests.unit.notebooks import IMAGE, notebook_defaults, refusal
from tests.unit.test_notebook_profiles import Place, profile


def request(name: str = "r1", user: str = "alice", notebook: str = "training", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hubstack.io/v1alpha1",
        "kind": "NotebookRequest",
        "metadata": {"name": name},
        "spec": {"user": user, "name": notebook, **spec},
    }


def served(place: Place) -> None:
    """Have Alice's request r1 served."""
    place.make(request())
    for kind, name in (("NotebookRequest", "r1"), ("Profile", "alice"), ("NotebookRequest", "r1")):
        place.look(kind, name)


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


def test_where_no_route_leads_in_a_served_request_tells_the_address_of_a_forwarded_port() -> None:
    place = Place(route={"kind": "none"})
    served(place)
    url = place.api.objects["NotebookRequest", "", "r1"]["status"]["url"]
    assert url == "http://localhost:8888/notebook/alice/training/"


def test_a_served_request_does_not_bring_a_deleted_notebook_back() -> None:
    place = Place()
    place.make(request())
    for kind, name in (("NotebookRequest", "r1"), ("Profile", "alice"), ("NotebookRequest", "r1")):
        place.look(kind, name)
    place.api.drop("Notebook", "alice", "training")
    place.look("NotebookRequest", "r1")
    assert place.names("Notebook") == set()


def test_a_finished_request_stays_for_five_minutes_and_goes() -> None:
    place = Place()
    served(place)
    place.clock.pass_by(299)
    assert place.look("NotebookRequest", "r1") == 1
    assert place.names("NotebookRequest") == {"r1"}
    place.clock.pass_by(1)
    assert place.look("NotebookRequest", "r1") is None
    assert place.names("NotebookRequest") == set()
    assert place.names("Notebook") == {"training"}


def test_a_request_that_was_served_before_times_were_written_down_goes_too() -> None:
    place = Place()
    served(place)
    old = place.api.objects["NotebookRequest", "", "r1"]
    old["status"].pop("finished")
    place.store.put(place.api.put(old))
    place.api.drop("Notebook", "alice", "training")
    place.clock.pass_by(300)
    place.look("NotebookRequest", "r1")
    assert place.names("NotebookRequest") == set()
    assert place.names("Notebook") == set()


def test_what_came_of_a_request_is_told_where_its_user_may_read_it() -> None:
    place = Place()
    served(place)
    told = [thing for (kind, where, _), thing in place.api.objects.items() if (kind, where) == ("Event", "alice")]
    [made] = [event for event in told if event["reason"] == "RequestMade"]
    assert made["message"] == "NotebookRequest r1: notebook training is in namespace alice"
    assert (made["involvedObject"]["kind"], made["involvedObject"]["name"]) == ("Notebook", "training")
    assert made["involvedObject"]["namespace"] == "alice"


def test_a_refused_request_is_not_tried_again() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    asked: list[str] = []

    def refuse(verb: str, kind: str, _dry: bool) -> Any:
        if (verb, kind) != ("create", "Notebook"):
            return None
        asked.append(kind)
        return refusal(422, "leave out hostNetwork")

    place.api.refuse = refuse
    place.make(request())
    assert place.look("NotebookRequest", "r1") == 300
    place.look("NotebookRequest", "r1")
    assert asked == ["Notebook"]
    [event] = [thing for (kind, where, _), thing in place.api.objects.items() if (kind, where) == ("Event", "alice")]
    assert (event["type"], event["message"]) == ("Warning", "NotebookRequest r1: leave out hostNetwork")
    place.clock.pass_by(300)
    place.look("NotebookRequest", "r1")
    assert place.names("NotebookRequest") == set()


def test_an_error_of_the_moment_is_tried_again_for_an_hour() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    place.api.refuse = lambda verb, kind, dry: refusal(503, "busy") if kind == "Notebook" else None
    place.make(request())
    with pytest.raises(ApiError):
        place.look("NotebookRequest", "r1")
    assert place.reason("NotebookRequest", "r1") is None
    place.clock.pass_by(3601)
    place.look("NotebookRequest", "r1")
    assert place.reason("NotebookRequest", "r1") == "Refused"


def test_a_request_whose_profile_never_gets_ready_is_given_up_and_says_why() -> None:
    place = Place()
    place.make(profile())
    place.make({"kind": "Namespace", "metadata": {"name": "alice"}})
    place.look("Profile", "alice")
    place.make(request())
    later = place.look("NotebookRequest", "r1")
    assert later == 3601
    place.clock.pass_by(later)
    place.look("NotebookRequest", "r1")
    condition = place.api.objects["NotebookRequest", "", "r1"]["status"]["conditions"][0]
    assert condition["reason"] == "Refused"
    assert "there is a namespace alice already" in condition["message"]


def test_a_user_has_twenty_requests_at_once_and_others_have_theirs() -> None:
    place = Place()
    place.make(profile())
    place.look("Profile", "alice")
    for number in range(25):
        place.make(request(f"r{number:02}", notebook=f"n{number}"))
        place.clock.pass_by(1)
    place.make(request("bobs", user="bob"))
    for number in range(25):
        place.look("NotebookRequest", f"r{number:02}")
    assert place.names("NotebookRequest") == {"bobs", *(f"r{number:02}" for number in range(20))}
    assert place.names("Notebook") == {f"n{number}" for number in range(20)}
    told = [thing for (kind, _, _), thing in place.api.objects.items() if kind == "Event"]
    assert len([event for event in told if event["reason"] == "TooManyRequests"]) == 1


def test_finished_requests_make_room_for_new_ones() -> None:
    done = [{**request(f"d{n}"), "status": {"finished": "2026-01-02T12:00:00Z"}} for n in range(2)]
    new = [request(f"n{n}") for n in range(3)]
    for number, one in enumerate((*done, *new)):
        one["metadata"]["creationTimestamp"] = f"2026-01-02T12:00:0{number}Z"
    assert [one["metadata"]["name"] for one in surplus((*done, *new), 4)] == ["d0"]
    assert [one["metadata"]["name"] for one in surplus((*done, *new), 2)] == ["d0", "d1", "n2"]
    assert surplus((*done, *new), 5) == []


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
