"""What keeps a notebook from running: idleness, quotas, Pod Security and the fleet's limit."""

from pathlib import Path

import pytest

from runtime.notebook_operator import names
from tests.engine.notebook_operator.steps import annotate, reason, replicas, start, wait_for, wait_for_profile
from tests.engine.notebooks import Api, Jupyter, eventually, notebook, profile, ready_condition, running, settings

pytestmark = pytest.mark.kubernetes


def test_an_idle_notebook_is_stopped_and_one_in_use_is_not(api: Api, tmp_path: Path, tenant: str) -> None:
    idle, used = Jupyter(), Jupyter()
    used.kernels = [{"execution_state": "busy", "connections": 0, "last_activity": "2026-01-01T00:00:00Z"}]
    used.idle_seconds = 100
    short = {**settings()["notebook"], "idleSeconds": 10}
    api.create(profile(tenant, tenant))
    try:
        with running(api, tmp_path, stack=tenant, notebook=short):
            wait_for_profile(api, tenant)
            for name, server in (("idle", idle), ("used", used)):
                port = {"ports": [{"containerPort": server.port}]}
                start(api, tenant, name, container=port)
            eventually(lambda: idle.asked and used.asked, "nobody asks the servers")
            idle.idle_seconds = 100
            wait_for(api, tenant, "Culled", "idle")
            asked = len(used.asked)
            eventually(lambda: len(used.asked) >= asked + 6, "the used one is no longer asked")
            assert reason(api, tenant, "used") == "Running"
            assert replicas(api, tenant, "idle") == 0
        assert api.get("PersistentVolumeClaim", tenant, "idle-home")
        annotations = api.get("Notebook", tenant, "idle")["metadata"]["annotations"]  # pyright: ignore[reportOptionalSubscript]
        assert names.LAST_ACTIVITY in annotations
        secret = api.get("Secret", tenant, "idle-token")
        assert secret
        import base64

        token = base64.b64decode(secret["data"]["token"]).decode()
        paths = {path for path, _ in idle.asked}
        assert {
            f"/notebook/{tenant}/idle/api/{what}?no_track_activity=1" for what in ("kernels", "terminals", "status")
        } == paths
        assert {header for _, header in idle.asked} == {f"token {token}"}
    finally:
        idle.close()
        used.close()


def test_what_a_quota_refuses_says_so_and_leaves_no_home_and_starts_when_there_is_room(
    api: Api, tmp_path: Path, tenant: str
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "quota"},
        "spec": {"hard": {"pods": "2"}},
    }
    labels = settings()["profile"]["namespaceLabels"]
    with running(api, tmp_path, stack=tenant, profile={"namespaceLabels": labels, "manifests": [quota]}):
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        eventually(lambda: (api.get("ResourceQuota", tenant, "quota") or {}).get("status", {}).get("hard"))
        wanted = [f"n{number}" for number in range(6)]
        for name in wanted:
            api.create(notebook(tenant, name))

        def settled() -> bool:
            reasons = [reason(api, tenant, name) for name in wanted]
            return reasons.count("QuotaExceeded") == 4 and reasons.count("Starting") == 2

        eventually(settled, "the quota is not told")
        pods = {thing["metadata"]["name"][:-2] for thing in api.list("Pod", tenant)}
        assert len(pods) == 2
        homes = {thing["metadata"]["name"].removesuffix("-home") for thing in api.list("PersistentVolumeClaim", tenant)}
        assert homes <= pods, "a home was made for a notebook that may not start"
        refused = next(name for name in wanted if name not in pods)
        assert "exceeded quota: quota" in ready_condition(api.get("Notebook", tenant, refused))["message"]
        events = [event for event in api.list("Event", tenant) if event["reason"] == "Refused"]
        assert {event["involvedObject"]["name"] for event in events} == set(wanted) - pods
        annotate(api, tenant, sorted(pods)[0], **{names.STOPPED: "x"})
        eventually(
            lambda: len({t["metadata"]["name"] for t in api.list("Pod", tenant)} - {f"{name}-0" for name in pods}) == 1
        )


def test_what_pod_security_forbids_is_told_in_the_api_servers_words(api: Api, home: str) -> None:
    api.create(notebook(home, hostNetwork=True))
    wait_for(api, home, "Refused")
    assert "violates PodSecurity" in ready_condition(api.get("Notebook", home, "training"))["message"]
    assert api.list("PersistentVolumeClaim", home) == []


def test_the_fleets_limit_holds(api: Api, tmp_path: Path, tenant: str) -> None:
    with running(api, tmp_path, stack=tenant, fleet={"notebooks": 2}):
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        wanted = [f"n{number}" for number in range(5)]
        for name in wanted:
            api.create(notebook(tenant, name))
        eventually(lambda: [reason(api, tenant, name) for name in wanted].count("Starting") == 2)
        eventually(lambda: [reason(api, tenant, name) for name in wanted].count("FleetFull") == 3)
        assert sum(replicas(api, tenant, name) == 1 for name in wanted) == 2


def test_one_resumed_while_its_last_pod_ends_does_not_pass_the_fleets_limit(
    api: Api, tmp_path: Path, tenant: str
) -> None:
    with running(api, tmp_path, stack=tenant, fleet={"notebooks": 1}):
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        start(api, tenant, "first")
        # No kubelet has a part in the test; this holds the pod as one does that waits for its processes to end.
        api.patch("Pod", tenant, "first-0", {"metadata": {"finalizers": ["example.org/ending"]}})
        try:
            annotate(api, tenant, "first", **{names.STOPPED: "x"})
            wait_for(api, tenant, "Stopped", "first")
            eventually(lambda: "deletionTimestamp" in (api.get("Pod", tenant, "first-0") or {})["metadata"])
            start(api, tenant, "second")
            annotate(api, tenant, "first", **{names.STOPPED: None})
            wait_for(api, tenant, "FleetFull", "first")
        finally:
            api.patch("Pod", tenant, "first-0", {"metadata": {"finalizers": None}})
        eventually(lambda: api.get("Pod", tenant, "first-0") is None, "the pod stays")
        assert replicas(api, tenant, "first") == 0
        annotate(api, tenant, "second", **{names.STOPPED: "x"})
        eventually(lambda: replicas(api, tenant, "first") == 1, "there is room, and it does not start")


def test_what_is_too_large_is_told_its_size_and_starts_once_it_is_smaller(api: Api, home: str) -> None:
    container = {"env": [{"name": "HUGE", "value": "x" * 100_000}]}
    api.create(notebook(home, container=container))
    wait_for(api, home, "Invalid")
    assert "and may have 65536" in ready_condition(api.get("Notebook", home, "training"))["message"]
    assert replicas(api, home) is None
    api.patch("Notebook", home, "training", {"spec": notebook(home)["spec"]})
    eventually(lambda: replicas(api, home) == 1)
