"""The hub's database outlives `destroy`, and the stack's next update takes it up again."""

from pathlib import Path

import pytest

from tests.engine.cluster import Cluster, until
from tests.engine.cluster_stack import ask, everything, gone, reaching
from tests.engine.test_ephemeral_stack import configuration
from tests.stacks import Stack

pytestmark = [pytest.mark.engine, pytest.mark.kubernetes, pytest.mark.docker]


def uid(cluster: Cluster, kind: str, name: str, *place: str) -> str:
    return ask(cluster, "get", kind, name, *place, "--output=jsonpath={.metadata.uid}")


@pytest.mark.usefixtures("gateway")
def test_a_kept_database_is_taken_up_by_the_next_update(cluster: Cluster, tmp_path: Path):
    before = everything(cluster)
    with reaching(cluster, tmp_path / "bin"):
        stack = Stack("kept", tmp_path, configuration(cluster, egressProfile="closed", dataProtection=True))
        namespace = f"hubstack-{stack.name}"
        claim = ("persistentvolumeclaim", "hub-db-dir", f"--namespace={namespace}")
        try:
            stack.up("--skip-preview")
            made = uid(cluster, *claim)

            stack.destroy()

            assert uid(cluster, *claim) == made, "destroy keeps the database"
            running = ("get", "pods,services", f"--namespace={namespace}", "--output=name")
            until(lambda: "/" not in ask(cluster, *running), 120, pause=2)

            stack.up("--skip-preview")

            assert uid(cluster, *claim) == made, "the next update does not begin with another"
            assert stack.outputs()["namespace"] == namespace
        finally:
            stack.destroy()
            ask(cluster, "delete", "namespace", namespace, "--ignore-not-found")
    gone(cluster, before)
