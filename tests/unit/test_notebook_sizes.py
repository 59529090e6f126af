"""What the operator keeps in its memory of what users write, however large that is."""

import asyncio
import json
from typing import Any

import kopf
import pytest

from runtime.notebook_operator import names
from runtime.notebook_operator.operator import Operator, handlers
from runtime.notebook_operator.store import LARGEST_BYTES, Store, excess, shorten
from tests.unit import test_notebook_requests as requests
from tests.unit.notebooks import KEY, Place, body, settings

HUGE = "x" * 1_000_000


def text_bytes(thing: Any) -> int:
    return len(json.dumps(thing, separators=(",", ":")))


def large(**parts: Any) -> dict[str, Any]:
    return body(container={"env": [{"name": "HUGE", "value": HUGE}]}, **parts)


def test_thirty_notebooks_of_a_megabyte_take_no_more_memory_than_thirty_small_ones() -> None:
    store = Store()
    for number in range(30):
        store.put(large() | {"metadata": {"name": f"n{number}", "namespace": "alice", "resourceVersion": "1"}})
    assert text_bytes(list(store.of("Notebook"))) < 30_000


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {f"l{number}": "x" * 60 for number in range(9000)}},
        {"annotations": {"mine": HUGE}},
        {"annotations": {f"a{number}": "" for number in range(50_000)}},
        {"annotations": {names.STOPPED: HUGE}},
        {"finalizers": [f"example.org/{number}" for number in range(50_000)]},
    ],
    ids=["labels", "annotation", "annotations", "stop", "finalizers"],
)
def test_no_part_of_a_large_notebook_is_kept_that_is_large_itself(metadata: dict[str, Any]) -> None:
    store = Store()
    store.put({**body(), "metadata": {**body()["metadata"], **metadata}})
    held = store.get(*KEY)
    assert text_bytes(held) < 10_000
    assert held
    assert held["metadata"]["uid"] == "uid-training"


def test_the_limit_is_for_what_the_user_writes_and_not_for_what_is_told_of_it() -> None:
    store = Store()
    room = LARGEST_BYTES - text_bytes(body(container={"image": ""}))
    told = {"status": {"url": "x" * 1000}, "metadata": {**body()["metadata"], "managedFields": [HUGE]}}
    for number, image, whole in ((1, "x" * room, True), (2, "x" * (room + 1), False)):
        thing = body(container={"image": image}) | told
        store.put({**thing, "metadata": {**thing["metadata"], "resourceVersion": str(number)}})
        held = store.get(*KEY)
        assert held
        assert ("template" in held["spec"]) is whole
        assert held["status"] == told["status"]
        assert "managedFields" not in held["metadata"]


def test_a_status_that_the_operator_cannot_have_written_is_not_kept() -> None:
    store = Store()
    store.put({**body(), "status": {"url": HUGE}})
    assert text_bytes(store.get(*KEY)) < 1000


def test_what_the_operator_makes_is_kept_whole() -> None:
    store = Store()
    store.put({"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"containers": [HUGE]}})
    held = store.get("Pod", "", "a")
    assert held
    assert held["spec"]["containers"] == [HUGE]


def test_a_notebook_that_is_too_large_is_told_its_size_and_the_limit_once() -> None:
    place = Place()
    place.make(large())
    place.look()
    assert place.reason() == "Invalid"
    size = text_bytes({key: part for key, part in place.api.objects[KEY].items() if key != "status"})
    assert place.message() == f"it has {size} bytes as JSON, and may have 65536"
    before = len(place.api.written)
    place.look()
    place.clock.pass_by(601)
    place.look()
    assert place.api.written[before:] == []
    assert place.api.kinds() == {"Notebook", "Event"}
    place.make({**place.api.objects[KEY], "spec": body()["spec"]})
    place.look()
    assert place.replicas() == 1


def test_a_notebook_that_grows_too_large_runs_on_and_stops_by_the_annotation_and_by_its_limits() -> None:
    place = Place()
    place.start()
    place.make({**place.api.objects[KEY], "spec": large()["spec"]})
    place.look()
    assert (place.reason(), place.replicas()) == ("Invalid", 1)
    place.annotate(mine=HUGE, **{names.STOPPED: "x"})
    place.look()
    assert place.replicas() == 0
    old = Place()
    old.start()
    old.make({**old.api.objects[KEY], "spec": large()["spec"]})
    old.clock.pass_by(7201)
    old.look()
    assert old.replicas() == 0
    assert old.reason() == "Culled"


def test_a_request_that_is_too_large_is_refused_where_its_user_may_read_it() -> None:
    place = requests.Place()
    place.make(requests.request(template={"spec": {"containers": [{"name": "n", "image": HUGE}]}}))
    for kind, name in (("NotebookRequest", "r1"), ("Profile", "alice"), ("NotebookRequest", "r1")):
        place.look(kind, name)
    assert place.reason("NotebookRequest", "r1") == "Refused"
    assert place.names("Notebook") == set()
    told = [thing for (kind, where, _), thing in place.api.objects.items() if (kind, where) == ("Event", "alice")]
    assert "may have 65536" in next(event["message"] for event in told if event["reason"] == "RequestRefused")
    assert text_bytes(list(place.store.of("NotebookRequest"))) < 2000


def test_what_is_not_kept_is_freed_wherever_it_came_from() -> None:
    raw = {**large(), "status": {"url": "u"}}
    raw["metadata"]["managedFields"] = [HUGE]
    shorten(kopf.Body(raw))  # pyright: ignore[reportArgumentType]
    assert text_bytes(raw) < 1000
    assert raw["status"] == {"url": "u"}
    store = Store()
    store.put(raw)
    held = store.get(*KEY)
    assert held
    assert "may have 65536" in (excess(held) or "")
    small = {**body(), "status": {"url": "u"}}
    shorten(small)
    assert small == {**body(), "status": {"url": "u"}}


def test_the_framework_lists_few_objects_at_once_and_holds_none_of_them_whole() -> None:
    operator = Operator(settings())

    async def connect_nowhere() -> None:
        """No cluster has a part in this."""

    operator.start = connect_nowhere
    registry = handlers(operator)
    configured = kopf.OperatorSettings()
    [start] = [each.fn for each in registry._activities.get_all_handlers() if each.id.endswith("start")]
    [keep] = [each.fn for each in registry._indexing.get_all_handlers() if each.id == "keep-notebooks"]
    raw: Any = large()

    async def run() -> None:
        await start(settings=configured)  # pyright: ignore[reportCallIssue]
        await keep(body=kopf.Body(raw))  # pyright: ignore[reportCallIssue]

    asyncio.run(run())
    assert configured.watching.chunk_size == 2
    assert text_bytes(raw) < 1000
    assert operator.store.get(*KEY)
