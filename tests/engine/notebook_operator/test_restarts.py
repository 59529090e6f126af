"""The operator writes nothing where nothing changes, and killed or stopped it loses nothing."""

import random
import sys
import time
from pathlib import Path

import pytest

from runtime.notebook_operator import names
from tests.engine.notebook_operator.steps import (
    CHILDREN,
    annotate,
    replicas,
    settle,
    start,
    versions,
    wait_for,
    wait_for_profile,
)
from tests.engine.notebooks import Api, Jupyter, eventually, notebook, play_ready, profile, running, settings

pytestmark = pytest.mark.kubernetes


def test_nothing_is_written_while_servers_are_asked_and_nothing_changes(api: Api, tmp_path: Path, tenant: str) -> None:
    server = Jupyter()
    limits = {**settings()["notebook"], "idleSeconds": 30}
    try:
        with running(api, tmp_path, stack=tenant, notebook=limits) as operator:
            api.create(profile(tenant, tenant))
            wait_for_profile(api, tenant)
            server.kernels = [{"execution_state": "idle", "connections": 1, "last_activity": "2026-01-01T00:00:00Z"}]
            start(api, tenant, container={"ports": [{"containerPort": server.port}]})
            eventually(lambda: len(server.asked) >= 6, "nobody asks the server")
            before = settle(api, operator, tenant)
            asked = len(server.asked)
            eventually(lambda: len(server.asked) >= asked + 9, "nobody asks the server")
            assert versions(api, tenant) == before
    finally:
        server.close()


def test_a_restarted_operator_writes_nothing(api: Api, tmp_path: Path, tenant: str) -> None:
    with running(api, tmp_path, stack=tenant) as operator:
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        start(api, tenant)
        api.create(notebook(tenant, "second", annotations={names.STOPPED: "x"}))
        wait_for(api, tenant, "Stopped", "second")
        before = settle(api, operator, tenant)
        operator.kill()
        operator.start()
        eventually(lambda: operator.waiting() == 0, "the operator does not come back")
        assert settle(api, operator, tenant) == before


def test_killed_at_random_moments_it_ends_where_it_would_have_ended(api: Api, tmp_path: Path, tenant: str) -> None:
    seed = random.randrange(1 << 32)
    sys.stderr.write(f"random seed {seed}\n")
    chance = random.Random(seed)
    stopped, going = [f"s{number}" for number in range(5)], [f"g{number}" for number in range(5)]
    with running(api, tmp_path, stack=tenant) as operator:
        api.create(profile(tenant, tenant))
        eventually(lambda: api.get("Namespace", "", tenant))
        for name in (*stopped, *going):
            api.create(notebook(tenant, name))
        for _ in range(8):
            # From before its first list to the middle of its changes.
            time.sleep(chance.uniform(0.2, 2.5))
            operator.kill()
            operator.start()
            annotate(api, tenant, chance.choice([*stopped, *going]), **{names.STOPPED: chance.choice([None, "x"])})
        for name in stopped:
            annotate(api, tenant, name, **{names.STOPPED: "x"})
        for name in going:
            annotate(api, tenant, name, **{names.STOPPED: None})
        for name in stopped:
            wait_for(api, tenant, "Stopped", name)
            # Stopped before its profile was ready, it has no set yet.
            eventually(lambda name=name: replicas(api, tenant, name) == 0, f"{name} is not scaled to none")
        for name in going:
            eventually(lambda name=name: api.get("Pod", tenant, f"{name}-0"), f"{name} has no pod")
            play_ready(api, tenant, f"{name}-0")
            wait_for(api, tenant, "Running", name)
            assert api.get("PersistentVolumeClaim", tenant, f"{name}-home")
        settle(api, operator, tenant)
        for name in (*stopped, *going):
            for kind, suffix in CHILDREN:
                assert api.get(kind, tenant, f"{name}{suffix}")
        told = [event for event in api.list("Event", tenant) if event["reason"] == "Created"]
        about = [event["involvedObject"]["name"] for event in told if event["involvedObject"]["kind"] == "Notebook"]
        assert len(about) == len(set(about)), "an event was told twice"


def test_notebooks_are_deleted_while_no_operator_runs(api: Api, tmp_path: Path, tenant: str) -> None:
    with running(api, tmp_path, stack=tenant) as operator:
        api.create(profile(tenant, tenant))
        wait_for_profile(api, tenant)
        start(api, tenant)
        operator.stop()
        thing = api.get("Notebook", tenant, "training")
        assert thing
        assert "finalizers" not in thing["metadata"]
        assert not [key for key in thing["metadata"].get("annotations", {}) if "kopf" in key]
        api.delete("Notebook", tenant, "training")
        assert api.get("Notebook", tenant, "training") is None
        eventually(lambda: api.get("StatefulSet", tenant, "training") is None)
